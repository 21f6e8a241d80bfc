"""Outcomes, reasons, states and dispositions, from enum members to wire values and back.

Stands below the other wire modules. Members pair by name, so that a member without its wire value
fails at the first test, and a wire value without its member is an error, never a guess.
"""

from collections.abc import Sequence

from inference_audit.v1 import audit_pb2, findings_pb2, verdict_pb2

from audit.errors import ConfigurationError
from audit.findings import Disposition
from audit.records import AuditState, Outcome, Reason


def outcome_to_wire(outcome: Outcome) -> "verdict_pb2.Outcome.ValueType":
    """Return the wire value of an outcome."""
    return verdict_pb2.Outcome.Value(f"OUTCOME_{outcome.name}")


def outcome_from_wire(value: int) -> Outcome:
    """Return the outcome of a wire value. Raises: ConfigurationError for an unknown one."""
    return Outcome[_member_name(verdict_pb2.Outcome.items(), value, "OUTCOME_")]


def reason_to_wire(reason: Reason) -> "verdict_pb2.Reason.ValueType":
    """Return the wire value of a reason."""
    return verdict_pb2.Reason.Value(f"REASON_{reason.name}")


def reason_from_wire(value: int) -> Reason:
    """Return the reason of a wire value. Raises: ConfigurationError for an unknown one."""
    return Reason[_member_name(verdict_pb2.Reason.items(), value, "REASON_")]


def state_to_wire(state: AuditState) -> "audit_pb2.AuditState.ValueType":
    """Return the wire value of a state."""
    return audit_pb2.AuditState.Value(f"AUDIT_STATE_{state.name}")


def state_from_wire(value: int) -> AuditState:
    """Return the state of a wire value. Raises: ConfigurationError for an unknown one."""
    return AuditState[_member_name(audit_pb2.AuditState.items(), value, "AUDIT_STATE_")]


def disposition_to_wire(disposition: Disposition) -> "findings_pb2.Disposition.ValueType":
    """Return the wire value of a disposition."""
    return findings_pb2.Disposition.Value(f"DISPOSITION_{disposition.name}")


def disposition_from_wire(value: int) -> Disposition:
    """Return the disposition of a wire value. Raises: ConfigurationError for an unknown one."""
    return Disposition[_member_name(findings_pb2.Disposition.items(), value, "DISPOSITION_")]


def _member_name(items: Sequence[tuple[str, int]], value: int, prefix: str) -> str:
    for name, number in items:
        if number == value and value != 0:
            return name.removeprefix(prefix)
    kind = prefix.removesuffix("_").lower()
    raise ConfigurationError(
        f"the service answered with {kind} {value}, which this version does not know: update it"
    )

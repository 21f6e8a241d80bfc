"""Enums of sweeps, to wire values and back.

Stands below the other wire modules of sweeps. Members pair by name, so that a member without its
wire value fails at the first test, and a wire value without its member is an error, never a guess.
"""

from collections.abc import Sequence

from inference_audit.v1 import sweep_pb2 as pb

from audit.errors import ConfigurationError, InvalidRequest
from audit.sweep_records import (
    ApiStyle,
    CatchUpRule,
    ChangeKind,
    EndpointRole,
    OverlapRule,
    ReadingStatus,
    SlotState,
    SweepOutcome,
    SweepState,
)

_Items = Sequence[tuple[str, int]]


def role_to_wire(role: EndpointRole) -> "pb.EndpointRole.ValueType":
    """Return the wire value of a role."""
    return pb.EndpointRole.Value(f"ENDPOINT_ROLE_{role.name}")


def role_from_wire(field: str, value: int) -> EndpointRole:
    """Return the role that is stated, a target's if none is. Raises: InvalidRequest."""
    name = _stated(field, pb.EndpointRole.items(), value, "ENDPOINT_ROLE_")
    return EndpointRole.TARGET if name is None else EndpointRole[name]


def answered_role_from_wire(value: int) -> EndpointRole:
    """Return the role that a service states. Raises: ConfigurationError for an unknown one."""
    return EndpointRole[_answered(pb.EndpointRole.items(), value, "ENDPOINT_ROLE_")]


def api_to_wire(api: ApiStyle) -> "pb.ApiStyle.ValueType":
    """Return the wire value of a route style."""
    return pb.ApiStyle.Value(f"API_STYLE_{api.name}")


def api_from_wire(field: str, value: int) -> ApiStyle:
    """Return the route style that is stated, completions if none is. Raises: InvalidRequest."""
    name = _stated(field, pb.ApiStyle.items(), value, "API_STYLE_")
    return ApiStyle.COMPLETIONS if name is None else ApiStyle[name]


def overlap_to_wire(rule: OverlapRule) -> "pb.OverlapRule.ValueType":
    """Return the wire value of a rule for overlaps."""
    return pb.OverlapRule.Value(f"OVERLAP_RULE_{rule.name}")


def overlap_from_wire(field: str, value: int) -> OverlapRule:
    """Return the rule for overlaps that is stated, skip if none is. Raises: InvalidRequest."""
    name = _stated(field, pb.OverlapRule.items(), value, "OVERLAP_RULE_")
    return OverlapRule.SKIP if name is None else OverlapRule[name]


def catch_up_to_wire(rule: CatchUpRule) -> "pb.CatchUpRule.ValueType":
    """Return the wire value of a rule for missed runs."""
    return pb.CatchUpRule.Value(f"CATCH_UP_RULE_{rule.name}")


def catch_up_from_wire(field: str, value: int) -> CatchUpRule:
    """Return the rule for missed runs that is stated, none if none is. Raises: InvalidRequest."""
    name = _stated(field, pb.CatchUpRule.items(), value, "CATCH_UP_RULE_")
    return CatchUpRule.NONE if name is None else CatchUpRule[name]


def sweep_state_to_wire(state: SweepState) -> "pb.SweepState.ValueType":
    """Return the wire value of a sweep's state."""
    return pb.SweepState.Value(f"SWEEP_STATE_{state.name}")


def sweep_state_from_wire(value: int) -> SweepState:
    """Return the state of a wire value. Raises: ConfigurationError for an unknown one."""
    return SweepState[_answered(pb.SweepState.items(), value, "SWEEP_STATE_")]


def run_state_to_wire(state: SlotState) -> "pb.SweepRunState.ValueType":
    """Return the wire value of a run's state."""
    return pb.SweepRunState.Value(f"SWEEP_RUN_STATE_{state.name}")


def run_state_from_wire(value: int) -> SlotState:
    """Return the state of a wire value. Raises: ConfigurationError for an unknown one."""
    return SlotState[_answered(pb.SweepRunState.items(), value, "SWEEP_RUN_STATE_")]


def reading_status_to_wire(status: ReadingStatus) -> "pb.ReadingStatus.ValueType":
    """Return the wire value of a reading's status."""
    return pb.ReadingStatus.Value(f"READING_STATUS_{status.name}")


def reading_status_from_wire(value: int) -> ReadingStatus:
    """Return the status of a wire value. Raises: ConfigurationError for an unknown one."""
    return ReadingStatus[_answered(pb.ReadingStatus.items(), value, "READING_STATUS_")]


def sweep_outcome_to_wire(outcome: SweepOutcome) -> "pb.SweepOutcome.ValueType":
    """Return the wire value of an outcome."""
    return pb.SweepOutcome.Value(f"SWEEP_OUTCOME_{outcome.name}")


def sweep_outcome_from_wire(value: int) -> SweepOutcome:
    """Return the outcome of a wire value. Raises: ConfigurationError for an unknown one."""
    return SweepOutcome[_answered(pb.SweepOutcome.items(), value, "SWEEP_OUTCOME_")]


def change_kind_to_wire(kind: ChangeKind) -> "pb.ChangeKind.ValueType":
    """Return the wire value of a kind of change."""
    return pb.ChangeKind.Value(f"CHANGE_KIND_{kind.name}")


def change_kind_from_wire(value: int) -> ChangeKind:
    """Return the kind of a wire value. Raises: ConfigurationError for an unknown one."""
    return ChangeKind[_answered(pb.ChangeKind.items(), value, "CHANGE_KIND_")]


def _stated(field: str, items: _Items, value: int, prefix: str) -> str | None:
    if value == 0:
        return None
    name = _member_name(items, value, prefix)
    if name is None:
        known = ", ".join(f"{n.removeprefix(prefix)} = {number}" for n, number in items if number)
        raise InvalidRequest.of(field, f"is {value}, which is unknown here; known are {known}")
    return name


def _answered(items: _Items, value: int, prefix: str) -> str:
    name = _member_name(items, value, prefix)
    if name is None:
        kind = prefix.removesuffix("_").lower().replace("_", " ")
        raise ConfigurationError(
            f"the service answered with {kind} {value}, which this version does not know: update it"
        )
    return name


def _member_name(items: _Items, value: int, prefix: str) -> str | None:
    for name, number in items:
        if number == value and value != 0:
            return name.removeprefix(prefix)
    return None

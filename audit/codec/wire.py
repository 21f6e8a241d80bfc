"""Requests and audits, from records to messages and back.

Stands at the edge of service and client: past it, nobody handles a protobuf class. It maps fields
and leaves the checks to `audit.codec.limits`.
"""

from dataclasses import dataclass

from inference_audit.v1 import audit_pb2, audit_service_pb2

from audit.codec.wire_enums import state_from_wire, state_to_wire
from audit.codec.wire_exchange import (
    claim_from_wire,
    claim_to_wire,
    exchange_from_wire,
    exchange_to_wire,
)
from audit.codec.wire_time import time_from_wire, time_to_wire
from audit.codec.wire_verdict import verdict_from_wire, verdict_to_wire
from audit.records import AuditRecord, AuditRequest, AuditState, Claim, SignedVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditView:
    """An audit as a client sees it: an AuditRecord without the exchange.

    Times are RFC 3339 UTC.
    """

    audit_id: str
    request_id: str
    request_digest: str
    claim: Claim
    state: AuditState
    submitted_at: str
    finished_at: str | None = None
    signed: SignedVerdict | None = None


def request_to_wire(request: AuditRequest) -> audit_service_pb2.SubmitAuditRequest:
    """Return the message for a checked request."""
    return audit_service_pb2.SubmitAuditRequest(
        request_id=request.request_id,
        exchange=exchange_to_wire(request.exchange),
        claim=claim_to_wire(request.claim),
    )


def request_from_wire(message: audit_service_pb2.SubmitAuditRequest) -> AuditRequest:
    """Return the unchecked record of a message."""
    return AuditRequest(
        request_id=message.request_id,
        exchange=exchange_from_wire(message.exchange),
        claim=claim_from_wire(message.claim),
    )


def audit_to_wire(record: AuditRecord) -> audit_pb2.Audit:
    """Return the message for a stored audit."""
    signed = record.signed
    return audit_pb2.Audit(
        audit_id=record.audit_id,
        request_id=record.request.request_id,
        state=state_to_wire(record.state),
        submit_time=time_to_wire(record.submitted_at),
        finish_time=None if record.finished_at is None else time_to_wire(record.finished_at),
        request_digest=record.request_digest,
        claim=claim_to_wire(record.request.claim),
        verdict=None if signed is None else verdict_to_wire(signed.verdict),
        envelope=b"" if signed is None else signed.envelope,
        key_id="" if signed is None else signed.key_id,
    )


def audit_from_wire(message: audit_pb2.Audit) -> AuditView:
    """Return what a message says of an audit. Raises: ConfigurationError for unknown values."""
    signed = None
    if message.HasField("verdict"):
        signed = SignedVerdict(
            verdict=verdict_from_wire(message.verdict),
            envelope=message.envelope,
            key_id=message.key_id,
        )
    has_finished = message.HasField("finish_time")
    return AuditView(
        audit_id=message.audit_id,
        request_id=message.request_id,
        request_digest=message.request_digest,
        claim=claim_from_wire(message.claim),
        state=state_from_wire(message.state),
        submitted_at=time_from_wire(message.submit_time),
        finished_at=time_from_wire(message.finish_time) if has_finished else None,
        signed=signed,
    )

"""From table rows to the auditor's records, and the errors that both stores raise alike.

Rows never leave this package, and no query is made here.
"""

from audit.errors import AuditNotFound, CorruptState, RequestConflict, StorageError, StreamMoved
from audit.findings import ProviderFinding, StreamKey
from audit.records import (
    AuditRecord,
    AuditRequest,
    Job,
    SignedVerdict,
    StoredStream,
    Verdict,
)
from storage.models import AuditRow, StreamRow, VerdictRow
from storage.serialise import from_json


def to_record(row: AuditRow) -> AuditRecord:
    """Return the audit of a row and its verdict row. Raises: StorageError for a damaged row."""
    return AuditRecord(
        audit_id=row.audit_id,
        request=from_json(AuditRequest, row.request_json),
        request_digest=row.request_digest,
        state=row.state,
        submitted_at=row.submitted_at,
        finished_at=row.finished_at,
        signed=None if row.verdict is None else _signed(row.verdict),
    )


def to_job(row: AuditRow) -> Job:
    """Return the job that a claimed row stands for. Raises: StorageError for a damaged row."""
    return Job(
        audit_id=row.audit_id,
        request=from_json(AuditRequest, row.request_json),
        request_digest=row.request_digest,
        attempt=row.attempt,
        tenant=row.tenant,
    )


def _signed(row: VerdictRow) -> SignedVerdict:
    return SignedVerdict(
        verdict=from_json(Verdict, row.verdict_json), envelope=row.envelope, key_id=row.key_id
    )


def to_key(row: StreamRow) -> StreamKey:
    """Return whose evidence a row holds."""
    return StreamKey(
        provider=row.provider,
        endpoint=row.endpoint,
        model=row.model,
        model_digest=row.model_digest,
        calibration_id=row.calibration_id,
        policy_id=row.policy_id,
    )


def to_stream(row: StreamRow) -> StoredStream:
    """Return the provider evidence of a row. Raises: CorruptState for a damaged row."""
    try:
        finding = from_json(ProviderFinding, row.finding_json)
    except StorageError as error:
        raise CorruptState.of(
            row.stream_id, f"its finding is damaged: {error.__cause__}"
        ) from error
    for name, column, found in (
        ("stream_id", row.stream_id, finding.stream_id),
        ("outcome", row.outcome, finding.outcome),
        ("log10_e_value", row.log10_e_value, finding.log10_e_value),
    ):
        if column != found:
            raise CorruptState.of(row.stream_id, f"{name} and its finding contradict each other")
    # SQLite keeps what is written, of whatever type.
    if not isinstance(row.version, int) or row.version < 1 or not isinstance(row.state_json, str):
        raise CorruptState.of(row.stream_id, "its version or its state is of the wrong kind")
    return StoredStream(
        key=to_key(row), finding=finding, state_json=row.state_json, version=row.version
    )


def stream_moved(stream_id: str) -> StreamMoved:
    """Return the error for an update that was not made from the stored version."""
    return StreamMoved(
        f"the provider evidence {stream_id} was updated meanwhile, nothing was stored: "
        "read it again and repeat the step"
    )


def audit_not_found(audit_id: str) -> AuditNotFound:
    """Return the error for the end of an audit that this database does not hold."""
    return AuditNotFound(f"no audit {audit_id!r}: check the database URL")


def require_same_digest(request_id: str, stored: str, offered: str) -> None:
    """Raise RequestConflict unless a repeated submission carries the same exchange."""
    if stored != offered:
        raise RequestConflict(
            f"request_id {request_id!r} was used for another exchange: "
            "send the same exchange again, or choose a new request_id"
        )

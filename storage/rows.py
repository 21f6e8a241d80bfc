"""From table rows to the auditor's records; used by the SQL store alone.

Rows never leave this package, and no query is made here.
"""

from audit.errors import RequestConflict
from audit.records import AuditRecord, AuditRequest, Job, SignedVerdict, Verdict
from storage.models import AuditRow, VerdictRow
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
    )


def _signed(row: VerdictRow) -> SignedVerdict:
    return SignedVerdict(
        verdict=from_json(Verdict, row.verdict_json), envelope=row.envelope, key_id=row.key_id
    )


def require_same_digest(request_id: str, stored: str, offered: str) -> None:
    """Raise RequestConflict unless a repeated submission carries the same exchange."""
    if stored != offered:
        raise RequestConflict(
            f"request_id {request_id!r} was used for another exchange: "
            "send the same exchange again, or choose a new request_id"
        )

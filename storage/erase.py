"""Erases the content of a tenant's old audits; entries and leaves stay, so the tree stays whole.

An audit goes as a whole, with intent, verdict, evidence and request, once its verdict is old
enough: as long as it runs, its request is needed. One that ended without a logged verdict, before
there was a log, goes by the time of its end. Freed pages keep their bytes for a while: SQLite's are
cleared by `storage.engine`, PostgreSQL's by VACUUM; backups are the operator's.
"""

from datetime import UTC, datetime

from sqlalchemy import Connection, Select, delete, func, select, union_all, update

from audit.errors import InvalidRequest
from audit.log_records import EntryKind, Erasure
from audit.records import AuditState
from storage.log_models import ArtifactRow, ArtifactUseRow, ContentRow, EntryRow
from storage.models import AuditRow, VerdictRow

#: Kinds whose content tells about single exchanges.
ERASABLE = (EntryKind.INTENT, EntryKind.VERDICT)


def erase(connection: Connection, erasure: Erasure, now: str) -> None:
    """Erase what `count_erasable` counts, with the audits and artifacts behind it.

    Raises: InvalidRequest.
    """
    old = _old_audits(erasure)
    connection.execute(
        update(ContentRow)
        .where(ContentRow.entry_digest.in_(_digests(erasure)), ContentRow.envelope.is_not(None))
        .values(envelope=None, erased_at=now)
    )
    connection.execute(delete(ArtifactUseRow).where(ArtifactUseRow.audit_id.in_(old)))
    is_used = select(ArtifactUseRow.digest).where(ArtifactUseRow.digest == ArtifactRow.digest)
    connection.execute(delete(ArtifactRow).where(~is_used.exists()))
    connection.execute(delete(VerdictRow).where(VerdictRow.audit_id.in_(old)))
    # Audits last: what is old is told by them too.
    is_done = AuditRow.state == AuditState.DONE
    connection.execute(delete(AuditRow).where(is_done, AuditRow.audit_id.in_(old)))


def count_erasable(connection: Connection, erasure: Erasure) -> int:
    """Return how many entries' contents `erase` would erase. Raises: InvalidRequest."""
    query = select(func.count(ContentRow.entry_digest)).where(
        ContentRow.entry_digest.in_(_digests(erasure)), ContentRow.envelope.is_not(None)
    )
    return connection.execute(query).scalar_one()


def comparable_time(before: str) -> str:
    """Return a time as our clock writes it, so that it compares as text.

    Raises: InvalidRequest naming `before`.
    """
    try:
        moment = datetime.fromisoformat(before)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidRequest.of("before", "must be a time with its zone, as 2026-01-31T00:00:00Z")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _digests(erasure: Erasure) -> Select[str]:
    return select(EntryRow.entry_digest).where(
        EntryRow.tenant == erasure.tenant,
        EntryRow.kind.in_([kind.value for kind in ERASABLE]),
        EntryRow.log_index < erasure.below_index,
        EntryRow.audit_id.in_(_old_audits(erasure)),
    )


def _old_audits(erasure: Erasure) -> Select[str]:
    """Return the ids of the audits to be erased, as a query."""
    before = comparable_time(erasure.before)
    is_verdict = EntryRow.kind == EntryKind.VERDICT.value
    unfinished = select(AuditRow.audit_id).where(AuditRow.state != AuditState.DONE)
    logged = (
        select(EntryRow.audit_id)
        .where(
            is_verdict,
            EntryRow.tenant == erasure.tenant,
            EntryRow.recorded_at < before,
            EntryRow.log_index < erasure.below_index,
        )
        .except_(unfinished)
        .subquery()
    )
    not_logged = (
        select(AuditRow.audit_id)
        .where(
            AuditRow.tenant == erasure.tenant,
            AuditRow.state == AuditState.DONE,
            AuditRow.finished_at < before,
        )
        .except_(select(EntryRow.audit_id).where(is_verdict))
        .subquery()
    )
    both = union_all(select(logged.c.audit_id), select(not_logged.c.audit_id)).subquery()
    return select(both.c.audit_id)

"""Ends audits in the transaction that appends their verdicts: few statements, however many audits.

`storage.log` opens the transaction; a refusal undoes all of it.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select, update
from sqlalchemy.orm import Session

from audit.errors import CorruptState, JobEndRefused, StreamMoved
from audit.log_records import JobEnd
from audit.records import AuditState
from storage.bulk import bulk_insert
from storage.engine import insert_into
from storage.log_models import ArtifactRow, ArtifactUseRow
from storage.models import AuditRow, VerdictRow
from storage.rows import audit_not_found
from storage.serialise import to_json
from storage.streams import advance_stream


def end_jobs(session: Session, ends: Sequence[JobEnd], now: str) -> None:
    """Store the verdicts and end the jobs; one that is DONE already keeps what it has.

    Raises: JobEndRefused naming the first that cannot end.
    """
    if not ends:
        return
    connection = session.connection()
    first_of_each = {end.job.audit_id: end for end in reversed(ends)}
    ended = _mark_done(connection, list(first_of_each), now)
    already_done = _known(connection, first_of_each.keys() - ended)
    fresh = [end for audit_id, end in reversed(first_of_each.items()) if audit_id in ended]
    for end in reversed(first_of_each.values()):
        audit_id = end.job.audit_id
        if audit_id in ended:
            _advance(session, end, now)
        elif audit_id not in already_done:
            raise JobEndRefused(audit_id, audit_not_found(audit_id))
    bulk_insert(connection, VerdictRow, [_verdict_values(end, now) for end in fresh])
    _store_artifacts(connection, fresh)


def _mark_done(connection: Connection, audit_ids: Sequence[str], now: str) -> set[str]:
    end = (
        update(AuditRow)
        .where(AuditRow.audit_id.in_(audit_ids), AuditRow.state != AuditState.DONE)
        .values(state=AuditState.DONE, finished_at=now)
        .returning(AuditRow.audit_id)
    )
    return set(connection.execute(end).scalars())


def _known(connection: Connection, audit_ids: Iterable[str]) -> set[str]:
    wanted = list(audit_ids)
    if not wanted:
        return set()
    query = select(AuditRow.audit_id).where(AuditRow.audit_id.in_(wanted))
    return set(connection.execute(query).scalars())


def _advance(session: Session, end: JobEnd, now: str) -> None:
    if end.stream is None:
        return
    try:
        advance_stream(session, end.stream, now)
    except (StreamMoved, CorruptState) as error:
        raise JobEndRefused(end.job.audit_id, error) from error


def _verdict_values(end: JobEnd, now: str) -> dict[str, object]:
    return {
        "audit_id": end.job.audit_id,
        "outcome": end.signed.verdict.outcome.name,
        "verdict_json": to_json(end.signed.verdict),
        "envelope": end.signed.envelope,
        "key_id": end.signed.key_id,
        "recorded_at": now,
    }


def _store_artifacts(connection: Connection, ends: Sequence[JobEnd]) -> None:
    artifacts = {
        artifact.digest: {
            "digest": artifact.digest,
            "media_type": artifact.media_type,
            "content": artifact.content,
        }
        for end in ends
        for artifact in end.artifacts
    }
    if not artifacts:
        return
    uses = {(end.job.audit_id, a.digest) for end in ends for a in end.artifacts}
    dialect = connection.dialect
    connection.execute(
        insert_into(ArtifactRow, dialect).on_conflict_do_nothing(), list(artifacts.values())
    )
    connection.execute(
        insert_into(ArtifactUseRow, dialect).on_conflict_do_nothing(),
        [{"audit_id": audit_id, "digest": digest} for audit_id, digest in sorted(uses)],
    )

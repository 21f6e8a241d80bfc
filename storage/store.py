"""The SQL adapter of the `AuditStore` port: the last arrow of the data flow.

Each method is one transaction. On SQLite a writer takes the write lock at BEGIN; on PostgreSQL row
locks and unique constraints give the same outcome. Nothing is judged, signed or retried here.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, Select, select, update
from sqlalchemy.orm import Session

from audit.errors import AuditNotFound
from audit.findings import StreamKey
from audit.ports import Clock, NewId
from audit.records import (
    AuditFilter,
    AuditPage,
    AuditRecord,
    AuditRequest,
    AuditState,
    Job,
    SignedVerdict,
    StoredStream,
    StreamPage,
)
from storage.cursor import (
    check_page_size,
    decode_cursor,
    decode_stream_cursor,
    encode_cursor,
)
from storage.engine import WRITES, insert_into, open_engine
from storage.errors import storage_errors
from storage.models import AuditRow, VerdictRow
from storage.rows import require_same_digest, to_job, to_record
from storage.serialise import to_json
from storage.streams import advance_stream, find_stream, page_of_streams
from storage.upgrade import upgrade


def open_store(url: str, *, clock: Clock, new_id: NewId) -> "SqlAuditStore":
    """Open the database, bring its schema up to date and return the store; close it after use.

    Raises: ConfigurationError, StorageError.
    """
    engine = open_engine(url)
    try:
        upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlAuditStore(engine, clock=clock, new_id=new_id)


class SqlAuditStore:
    """Keeps audits in SQLite or PostgreSQL; safe to call from several threads and processes."""

    def __init__(self, engine: Engine, *, clock: Clock, new_id: NewId) -> None:
        self._engine = engine
        self._clock = clock
        self._new_id = new_id

    def submit(self, request: AuditRequest, request_digest: str) -> tuple[AuditRecord, bool]:
        """Store a new audit durably and return (audit, True), or (the earlier one, False).

        Raises: RequestConflict where the request_id was used for another digest; StorageError.
        """
        new = {
            "audit_id": self._new_id(),
            "request_id": request.request_id,
            "request_digest": request_digest,
            "request_json": to_json(request),
            "model": request.claim.model,
            "state": AuditState.QUEUED,
            "attempt": 0,
            "submitted_at": self._clock(),
        }
        insert_unless_known = (
            insert_into(AuditRow, self._engine.dialect)
            .values(new)
            .on_conflict_do_nothing(index_elements=["request_id"])
            .returning(AuditRow.audit_id)
        )
        known = select(AuditRow).where(AuditRow.request_id == request.request_id)
        with self._transaction("storing an audit", writes=True) as session:
            # Insert first, look second: the other order would race with another process.
            is_new = session.execute(insert_unless_known).scalar_one_or_none() is not None
            row = session.scalars(known).one()
            require_same_digest(request.request_id, row.request_digest, request_digest)
            return to_record(row), is_new

    def get(self, audit_id: str) -> AuditRecord:
        """Return one audit. Raises: AuditNotFound, StorageError."""
        with self._transaction("reading an audit") as session:
            row = session.scalars(_audit(audit_id)).one_or_none()
            if row is None:
                raise AuditNotFound(f"no audit {audit_id!r}: check the id, or list the audits")
            return to_record(row)

    def list(self, where: AuditFilter, *, page_size: int, cursor: str | None) -> AuditPage:
        """Return one page, newest first.

        Raises: InvalidRequest for a bad cursor or size; StorageError.
        """
        check_page_size(page_size)
        query = _matching(where).order_by(AuditRow.ordinal.desc()).limit(page_size + 1)
        if cursor is not None:
            query = query.where(AuditRow.ordinal < decode_cursor(cursor, where))
        with self._transaction("listing audits") as session:
            rows = session.scalars(query).all()
            has_more = len(rows) > page_size
            return AuditPage(
                audits=tuple(to_record(row) for row in rows[:page_size]),
                next_cursor=encode_cursor(rows[page_size - 1].ordinal, where) if has_more else None,
            )

    def claim(self) -> Job | None:
        """Take the oldest QUEUED audit, mark it RUNNING and count the attempt; None without one.

        Raises: StorageError.
        """
        # SKIP LOCKED lets PostgreSQL workers take different audits at once; SQLite ignores it.
        oldest = (
            select(AuditRow.ordinal)
            .where(AuditRow.state == AuditState.QUEUED)
            .order_by(AuditRow.ordinal)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        take = (
            update(AuditRow)
            .where(AuditRow.ordinal == oldest)
            .values(
                state=AuditState.RUNNING, attempt=AuditRow.attempt + 1, claimed_at=self._clock()
            )
            .returning(AuditRow)
            .execution_options(synchronize_session=False)
        )
        with self._transaction("claiming an audit", writes=True) as session:
            row = session.scalars(take).one_or_none()
            return None if row is None else to_job(row)

    def complete(self, job: Job, signed: SignedVerdict, stream: StoredStream | None = None) -> None:
        """Store verdict, envelope and provider evidence and end the job at once.

        A second call changes nothing.
        Raises: AuditNotFound, StreamMoved, CorruptState, StorageError.
        """
        now = self._clock()
        end = (
            update(AuditRow)
            .where(AuditRow.audit_id == job.audit_id, AuditRow.state != AuditState.DONE)
            .values(state=AuditState.DONE, finished_at=now)
            .returning(AuditRow.audit_id)
            .execution_options(synchronize_session=False)
        )
        verdict = VerdictRow(
            audit_id=job.audit_id,
            outcome=signed.verdict.outcome,
            verdict_json=to_json(signed.verdict),
            envelope=signed.envelope,
            key_id=signed.key_id,
            recorded_at=now,
        )
        with self._transaction("recording a verdict", writes=True) as session:
            if session.execute(end).scalar_one_or_none() is not None:
                session.add(verdict)
                if stream is not None:
                    advance_stream(session, stream, now)
            elif session.scalars(_audit(job.audit_id)).one_or_none() is None:
                raise AuditNotFound(f"no audit {job.audit_id!r}: check the database URL")

    def read_stream(self, key: StreamKey) -> StoredStream | None:
        """Return a provider's evidence; None before its first exchange.

        Raises: CorruptState, StorageError.
        """
        with self._transaction("reading provider evidence") as session:
            return find_stream(session, key)

    def list_streams(self, *, page_size: int, cursor: str | None) -> StreamPage:
        """Return one page of providers, most recently updated first.

        Raises: InvalidRequest for a bad cursor or size; CorruptState, StorageError.
        """
        check_page_size(page_size)
        below = None if cursor is None else decode_stream_cursor(cursor)
        with self._transaction("listing providers") as session:
            return page_of_streams(session, page_size, below)

    def release(self, job: Job, *, uncounted: bool = False) -> None:
        """Put a RUNNING audit back in the queue; one that ended or was taken anew stays as it is.

        `uncounted` gives the attempt back too. Raises: StorageError.
        """
        # The attempt tells this worker's claim from a later one, which is not ours to give back.
        give_back = (
            update(AuditRow)
            .where(
                AuditRow.audit_id == job.audit_id,
                AuditRow.state == AuditState.RUNNING,
                AuditRow.attempt == job.attempt,
            )
            .values(state=AuditState.QUEUED, attempt=AuditRow.attempt - int(uncounted))
            .execution_options(synchronize_session=False)
        )
        with self._transaction("releasing an audit", writes=True) as session:
            session.execute(give_back)

    def requeue_unfinished(self) -> int:
        """Put RUNNING audits of a stopped process back in the queue; return how many.

        Raises: StorageError.
        """
        requeue = (
            update(AuditRow)
            .where(AuditRow.state == AuditState.RUNNING)
            .values(state=AuditState.QUEUED)
            .returning(AuditRow.ordinal)
            .execution_options(synchronize_session=False)
        )
        with self._transaction("requeueing audits", writes=True) as session:
            return len(session.execute(requeue).all())

    def close(self) -> None:
        """Release the database; the store must not be used afterwards."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, doing: str, *, writes: bool = False) -> Iterator[Session]:
        engine = self._engine.execution_options(**{WRITES: writes})
        with storage_errors(doing), Session(engine) as session, session.begin():
            yield session


def _audit(audit_id: str) -> Select[AuditRow]:
    return select(AuditRow).where(AuditRow.audit_id == audit_id)


def _matching(where: AuditFilter) -> Select[AuditRow]:
    query = select(AuditRow)
    if where.outcome is not None:
        query = query.join(VerdictRow, VerdictRow.audit_id == AuditRow.audit_id)
        query = query.where(VerdictRow.outcome == where.outcome)
    if where.state is not None:
        query = query.where(AuditRow.state == where.state)
    if where.model is not None:
        query = query.where(AuditRow.model == where.model)
    return query

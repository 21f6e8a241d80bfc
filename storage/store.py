"""The SQL adapter of the `AuditStore` port: the last arrow of the data flow.

Each method is one transaction. On SQLite a writer takes the write lock at BEGIN; on PostgreSQL row
locks and unique constraints give the same outcome. Nothing is judged, signed or retried here.
"""

from sqlalchemy import Engine, Select, select, update

from audit.errors import AuditNotFound, StorageError
from audit.findings import StreamKey
from audit.log_records import DEFAULT_TENANT
from audit.ports import Clock, NewId
from audit.records import (
    AuditFilter,
    AuditPage,
    AuditRecord,
    AuditRequest,
    AuditState,
    Job,
    StoredStream,
    StreamPage,
)
from storage.billing import SqlBillingStore
from storage.cursor import (
    check_page_size,
    decode_cursor,
    decode_stream_cursor,
    encode_cursor,
)
from storage.engine import insert_into, open_engine
from storage.log import SqlLogStore
from storage.models import AuditRow, VerdictRow
from storage.rows import require_same_digest, to_job, to_record
from storage.serialise import to_json
from storage.streams import find_stream, page_of_streams
from storage.sweeps import SqlSweepStore
from storage.transactions import lock_log, transaction
from storage.upgrade import upgrade


def open_store(
    url: str, *, clock: Clock, new_id: NewId, tenant: str = DEFAULT_TENANT
) -> "SqlAuditStore":
    """Open the database, bring its schema up to date and return the store; close it after use.

    New audits are the tenant's.

    Raises: ConfigurationError, StorageError.
    """
    engine = open_engine(url)
    try:
        upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlAuditStore(engine, clock=clock, new_id=new_id, tenant=tenant)


class SqlAuditStore:
    """Keeps audits in SQLite or PostgreSQL; safe to call from several threads and processes."""

    def __init__(
        self, engine: Engine, *, clock: Clock, new_id: NewId, tenant: str = DEFAULT_TENANT
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._new_id = new_id
        self._tenant = tenant
        self._log = SqlLogStore(engine)
        self._billing = SqlBillingStore(engine, clock=clock)
        self._sweeps = SqlSweepStore(engine)

    @property
    def log(self) -> SqlLogStore:
        """The verdict log in the same database; it is closed with this store."""
        return self._log

    @property
    def sweeps(self) -> SqlSweepStore:
        """The sweeps in the same database; they are closed with this store."""
        return self._sweeps

    @property
    def billing(self) -> SqlBillingStore:
        """The billing evidence in the same database; it is closed with this store."""
        return self._billing

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
            "tenant": self._tenant,
        }
        insert_unless_known = (
            insert_into(AuditRow, self._engine.dialect)
            .values(new)
            .on_conflict_do_nothing(index_elements=["request_id"])
            .returning(AuditRow.audit_id)
        )
        known = select(AuditRow).where(AuditRow.request_id == request.request_id)
        with transaction(self._engine, "storing an audit", writes=True) as session:
            # Insert first, look second: the other order would race with another process.
            is_new = session.execute(insert_unless_known).scalar_one_or_none() is not None
            row = session.scalars(known).one_or_none()
            if row is None:
                raise StorageError("the earlier audit was erased at this moment: send it again")
            require_same_digest(request.request_id, row.request_digest, request_digest)
            return to_record(row), is_new

    def get(self, audit_id: str) -> AuditRecord:
        """Return one audit. Raises: AuditNotFound, StorageError."""
        with transaction(self._engine, "reading an audit") as session:
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
        with transaction(self._engine, "listing audits") as session:
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
        with transaction(self._engine, "claiming an audit", writes=True) as session:
            row = session.scalars(take).one_or_none()
            return None if row is None else to_job(row)

    def read_stream(self, key: StreamKey) -> StoredStream | None:
        """Return a provider's evidence; None before its first exchange.

        Raises: CorruptState, StorageError.
        """
        with transaction(self._engine, "reading provider evidence") as session:
            return find_stream(session, key)

    def list_streams(self, *, page_size: int, cursor: str | None) -> StreamPage:
        """Return one page of providers, most recently updated first.

        Raises: InvalidRequest for a bad cursor or size; CorruptState, StorageError.
        """
        check_page_size(page_size)
        below = None if cursor is None else decode_stream_cursor(cursor)
        with transaction(self._engine, "listing providers") as session:
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
        with transaction(self._engine, "releasing an audit", writes=True) as session:
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
        with transaction(self._engine, "requeueing audits", writes=True) as session:
            # An append ends many audits at once; two such writers could each wait for the other.
            lock_log(session.connection())
            return len(session.execute(requeue).all())

    def close(self) -> None:
        """Release the database; the store must not be used afterwards."""
        self._engine.dispose()


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

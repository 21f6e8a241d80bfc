"""The SQL adapter of the `LogStore` port, on the same database as the audits.

An append is one transaction: an advisory lock gives order, and the conditional update of the tree's
one row gives safety, even if two sequencers run. Indexes are counted here and never taken from a
sequence of the database. Hashes are stored as given; nothing is derived or judged here.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, Select, select, update
from sqlalchemy.orm import aliased

from audit.log_records import (
    Artifact,
    EntryKind,
    Erasure,
    LogBatch,
    LogEntry,
    LogSnapshot,
    Receipt,
    StoredCheckpoint,
    StoredTimestamp,
    TenantHead,
    Tile,
    TreeHead,
)
from storage.bulk import bulk_insert
from storage.engine import clear_journal, insert_into
from storage.erase import count_erasable, erase
from storage.job_ends import end_jobs
from storage.log_models import (
    ArtifactRow,
    CheckpointRow,
    ContentRow,
    EntryRow,
    TenantRow,
    TileRow,
    TimestampRow,
    TreeRow,
)
from storage.log_rows import (
    entry_values,
    last_of_tenants,
    log_moved,
    require_whole,
    to_checkpoint,
    to_entry,
    to_head,
)
from storage.transactions import lock_log, transaction


class SqlLogStore:
    """Keeps the log in SQLite or PostgreSQL; safe to call from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def snapshot(self, entry_keys: Sequence[str], tenants: Sequence[str]) -> LogSnapshot:
        """Return head, tenants' last entries and known keys as of one moment.

        Raises: StorageError.
        """
        heads = select(TenantRow).where(TenantRow.tenant.in_(tenants)).order_by(TenantRow.tenant)
        known = (
            select(EntryRow.entry_key, EntryRow.log_index, EntryRow.entry_digest)
            .where(EntryRow.entry_key.in_(entry_keys))
            .order_by(EntryRow.log_index)
        )
        with transaction(self._engine, "reading the log's head", is_one_moment=True) as session:
            return LogSnapshot(
                head=to_head(session.scalars(select(TreeRow)).one()),
                tenants=tuple(
                    TenantHead(
                        tenant=row.tenant, sequence=row.sequence, entry_digest=row.entry_digest
                    )
                    for row in session.scalars(heads)
                ),
                known=tuple(
                    (key, Receipt(log_index=log_index, entry_digest=digest))
                    for key, log_index, digest in session.execute(known)
                ),
            )

    def commit(self, batch: LogBatch, *, recorded_at: str) -> None:
        """Append a batch, end its jobs and erase content: all of it or nothing, durably.

        Raises: LogMoved, JobEndRefused, InvalidRequest for an erasure's time, StorageError.
        """
        require_whole(batch)
        with transaction(self._engine, "appending to the log", writes=True) as session:
            connection = session.connection()
            lock_log(connection)
            _move_head(connection, batch)
            _insert_entries(connection, batch, recorded_at)
            _store_tiles(connection, batch.tiles)
            end_jobs(session, batch.job_ends, recorded_at)
            for erasure in batch.erasures:
                erase(connection, erasure, recorded_at)
        if batch.erasures:
            # SQLite's journal still holds what was erased.
            clear_journal(self._engine)

    def read_head(self) -> TreeHead:
        """Return the tree as of the last commit. Raises: StorageError."""
        with transaction(self._engine, "reading the log's head") as session:
            return to_head(session.scalars(select(TreeRow)).one())

    def read_leaf_hashes(self, first: int, end: int) -> tuple[bytes, ...]:
        """Return the leaf hashes of [first, end), fewer where the log is shorter.

        Raises: StorageError.
        """
        query = (
            select(EntryRow.leaf_hash)
            .where(EntryRow.log_index >= first, EntryRow.log_index < end)
            .order_by(EntryRow.log_index)
        )
        with transaction(self._engine, "reading leaf hashes") as session:
            return tuple(session.scalars(query))

    def read_tile(self, level: int, index: int) -> bytes | None:
        """Return a stored tile's hashes; None where none is stored. Raises: StorageError."""
        query = select(TileRow.hashes).where(TileRow.level == level, TileRow.tile_index == index)
        with transaction(self._engine, "reading a tile") as session:
            return session.scalars(query).one_or_none()

    def read_entries(self, first: int, end: int) -> tuple[LogEntry, ...]:
        """Return the entries of [first, end) in order, fewer where the log is shorter.

        Raises: StorageError.
        """
        return self._entries(
            select(EntryRow)
            .where(EntryRow.log_index >= first, EntryRow.log_index < end)
            .order_by(EntryRow.log_index)
        )

    def find_entry(self, entry_key: str) -> LogEntry | None:
        """Return the entry of a key; None where there is none. Raises: StorageError."""
        found = self._entries(select(EntryRow).where(EntryRow.entry_key == entry_key))
        return found[0] if found else None

    def list_of_kind(self, kind: EntryKind, *, first: int, limit: int) -> tuple[LogEntry, ...]:
        """Return up to `limit` entries of a kind with index >= first, in order.

        Raises: StorageError.
        """
        return self._entries(
            select(EntryRow)
            .where(EntryRow.kind == kind.value, EntryRow.log_index >= first)
            .order_by(EntryRow.log_index)
            .limit(limit)
        )

    def read_artifact(self, digest: str) -> Artifact | None:
        """Return an artifact; None where it was never stored, or was erased.

        Raises: StorageError.
        """
        query = select(ArtifactRow).where(ArtifactRow.digest == digest)
        with transaction(self._engine, "reading an artifact") as session:
            row = session.scalars(query).one_or_none()
            if row is None:
                return None
            return Artifact(digest=row.digest, media_type=row.media_type, content=row.content)

    def save_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Store a checkpoint; one of the same size is replaced only by one that is witnessed.

        Raises: StorageError.
        """
        content = {
            "root": checkpoint.root,
            "note": checkpoint.note,
            "issued_at": checkpoint.issued_at,
        }
        put = insert_into(CheckpointRow, self._engine.dialect).values(
            size=checkpoint.size, is_witnessed=checkpoint.is_witnessed, **content
        )
        place = ["size", "is_witnessed"]
        # The note without witnesses stays: it is what was published first.
        if checkpoint.is_witnessed:
            put = put.on_conflict_do_update(index_elements=place, set_=content)
        else:
            put = put.on_conflict_do_nothing(index_elements=place)
        with transaction(self._engine, "storing a checkpoint", writes=True) as session:
            session.connection().execute(put)

    def latest_checkpoint(self, *, witnessed: bool = False) -> StoredCheckpoint | None:
        """Return the largest checkpoint, or the largest witnessed one; None where none is.

        Raises: StorageError.
        """
        query = select(CheckpointRow).order_by(
            CheckpointRow.size.desc(), CheckpointRow.is_witnessed.desc()
        )
        if witnessed:
            query = query.where(CheckpointRow.is_witnessed)
        with transaction(self._engine, "reading a checkpoint") as session:
            row = session.scalars(query.limit(1)).one_or_none()
            return None if row is None else to_checkpoint(row)

    def list_checkpoints(self, *, above_size: int, limit: int) -> tuple[StoredCheckpoint, ...]:
        """Return up to `limit` checkpoints with size > above_size, smallest first; one of a size.

        Raises: StorageError.
        """
        with transaction(self._engine, "listing checkpoints") as session:
            return tuple(map(to_checkpoint, session.scalars(_preferred(above_size).limit(limit))))

    def save_timestamp(self, timestamp: StoredTimestamp) -> None:
        """Store a time-stamp of a checkpoint; an authority's first one stays.

        Raises: StorageError.
        """
        put = (
            insert_into(TimestampRow, self._engine.dialect)
            .values(
                size=timestamp.size,
                authority=timestamp.authority,
                response=timestamp.response,
                obtained_at=timestamp.obtained_at,
            )
            .on_conflict_do_nothing(index_elements=["size", "authority"])
        )
        with transaction(self._engine, "storing a time-stamp", writes=True) as session:
            session.connection().execute(put)

    def list_timestamps(self, *, first_size: int, limit: int) -> tuple[StoredTimestamp, ...]:
        """Return up to `limit` time-stamps of checkpoints with size >= first_size, smallest first.

        Raises: StorageError.
        """
        query = (
            select(TimestampRow)
            .where(TimestampRow.size >= first_size)
            .order_by(TimestampRow.size, TimestampRow.authority)
            .limit(limit)
        )
        with transaction(self._engine, "listing time-stamps") as session:
            return tuple(
                StoredTimestamp(
                    size=row.size,
                    authority=row.authority,
                    response=row.response,
                    obtained_at=row.obtained_at,
                )
                for row in session.scalars(query)
            )

    def count_erasable(self, erasure: Erasure) -> int:
        """Return how many entries' contents an erasure would erase.

        Raises: InvalidRequest for its time; StorageError.
        """
        with transaction(self._engine, "counting what can be erased") as session:
            return count_erasable(session.connection(), erasure)

    def _entries(self, query: Select[EntryRow]) -> tuple[LogEntry, ...]:
        with transaction(self._engine, "reading entries of the log") as session:
            return tuple(map(to_entry, session.scalars(query)))


def _move_head(connection: Connection, batch: LogBatch) -> None:
    old, new = batch.previous, batch.head
    move = (
        update(TreeRow)
        .where(TreeRow.size == old.size, TreeRow.root == old.root)
        .values(size=new.size, root=new.root, range_hashes=b"".join(new.range_hashes))
    )
    if connection.execute(move).rowcount != 1:
        raise log_moved(batch)


def _insert_entries(connection: Connection, batch: LogBatch, recorded_at: str) -> None:
    if not batch.entries:
        return
    contents = [
        {"entry_digest": entry.entry_digest, "envelope": entry.envelope} for entry in batch.entries
    ]
    bulk_insert(connection, ContentRow, contents)
    bulk_insert(connection, EntryRow, entry_values(batch, recorded_at))
    put = insert_into(TenantRow, connection.dialect)
    put = put.on_conflict_do_update(
        index_elements=["tenant"],
        set_={"sequence": put.excluded.sequence, "entry_digest": put.excluded.entry_digest},
    )
    heads = [
        {"tenant": head.tenant, "sequence": head.sequence, "entry_digest": head.entry_digest}
        for head in last_of_tenants(batch)
    ]
    connection.execute(put, heads)


def _store_tiles(connection: Connection, tiles: Sequence[Tile]) -> None:
    # A tile that grew several times in one batch is stored once, as it ended.
    last = {(tile.level, tile.index): tile.hashes for tile in tiles}
    if not last:
        return
    put = insert_into(TileRow, connection.dialect)
    put = put.on_conflict_do_update(
        index_elements=["level", "tile_index"], set_={"hashes": put.excluded.hashes}
    )
    rows = [
        {"level": level, "tile_index": index, "hashes": hashes}
        for (level, index), hashes in last.items()
    ]
    connection.execute(put, rows)


def _preferred(above_size: int) -> Select[CheckpointRow]:
    """Return the query for one checkpoint of each size, the witnessed one where there is one."""
    better = aliased(CheckpointRow)
    has_better = select(better.size).where(better.size == CheckpointRow.size, better.is_witnessed)
    return (
        select(CheckpointRow)
        .where(CheckpointRow.size > above_size)
        .where(CheckpointRow.is_witnessed | ~has_better.exists())
        .order_by(CheckpointRow.size)
    )

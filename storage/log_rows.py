"""Between the log's tables and the auditor's records; no query is run here.

Rows never leave this package. Where the in-memory twin makes the same promise, it calls the same
check.
"""

from audit.errors import LogMoved, StorageError
from audit.log_records import (
    EntryKind,
    LogBatch,
    LogEntry,
    StoredCheckpoint,
    TenantHead,
    TreeHead,
)
from storage.log_models import CheckpointRow, EntryRow, TreeRow

_HASH_SIZE = 32


def to_head(row: TreeRow) -> TreeHead:
    """Return the tree of its row."""
    packed = row.range_hashes
    hashes = (packed[at : at + _HASH_SIZE] for at in range(0, len(packed), _HASH_SIZE))
    return TreeHead(size=row.size, root=row.root, range_hashes=tuple(hashes))


def to_entry(row: EntryRow) -> LogEntry:
    """Return the entry of a row and its content row. Raises: StorageError for an unknown kind."""
    try:
        kind = EntryKind(row.kind)
    except ValueError as error:
        raise StorageError(
            f"entry {row.log_index} of the log is of the unknown kind {row.kind!r}; a newer "
            "version wrote it, or it is damaged: upgrade inference-audit, or restore the database "
            "from a backup"
        ) from error
    content = row.content
    return LogEntry(
        log_index=row.log_index,
        kind=kind,
        tenant=row.tenant,
        tenant_sequence=row.tenant_sequence,
        entry_key=row.entry_key,
        audit_id=row.audit_id,
        entry_digest=row.entry_digest,
        leaf_body=row.leaf_body,
        leaf_hash=row.leaf_hash,
        envelope=None if content is None else content.envelope,
        recorded_at=row.recorded_at,
        erased_at=None if content is None else content.erased_at,
    )


def to_checkpoint(row: CheckpointRow) -> StoredCheckpoint:
    """Return the checkpoint of a row."""
    return StoredCheckpoint(
        size=row.size,
        root=row.root,
        note=row.note,
        issued_at=row.issued_at,
        is_witnessed=row.is_witnessed,
    )


def entry_values(batch: LogBatch, recorded_at: str) -> list[dict[str, object]]:
    """Return the columns of a batch's entries, in order; the index is counted here."""
    return [
        {
            "log_index": log_index,
            "kind": entry.kind.value,
            "tenant": entry.tenant,
            "tenant_sequence": entry.tenant_sequence,
            "entry_key": entry.entry_key,
            "audit_id": entry.audit_id,
            "entry_digest": entry.entry_digest,
            "leaf_body": entry.leaf_body,
            "leaf_hash": entry.leaf_hash,
            "recorded_at": recorded_at,
        }
        for log_index, entry in enumerate(batch.entries, start=batch.previous.size)
    ]


def last_of_tenants(batch: LogBatch) -> tuple[TenantHead, ...]:
    """Return the last entry in a batch of each tenant, ordered by tenant."""
    last = {
        entry.tenant: TenantHead(
            tenant=entry.tenant, sequence=entry.tenant_sequence, entry_digest=entry.entry_digest
        )
        for entry in batch.entries
    }
    # Always in one order, so that two writers never wait for each other.
    return tuple(last[tenant] for tenant in sorted(last))


def require_whole(batch: LogBatch) -> None:
    """Raise StorageError unless the tree grows by just the entries of the batch."""
    grown = batch.head.size - batch.previous.size
    if grown != len(batch.entries):
        raise StorageError(
            f"a batch of {len(batch.entries)} entries moves the head by {grown}; report this as "
            "a bug"
        )


def log_moved(batch: LogBatch) -> LogMoved:
    """Return the error for a batch that was not built on the stored head."""
    return LogMoved(
        f"the log does not stand at {batch.previous.size} entries any more, nothing was stored: "
        "read its head again and repeat the step"
    )

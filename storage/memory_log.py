"""The in-memory twin of `storage.log`: the same port in plain Python, to specify and to test.

One conformance suite runs over both. It shares audits and lock with `storage.memory`.
"""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from audit.errors import StorageError
from audit.log_records import (
    Artifact,
    EntryKind,
    Erasure,
    JobEnd,
    LogBatch,
    LogEntry,
    LogSnapshot,
    Receipt,
    StoredCheckpoint,
    StoredTimestamp,
    TenantHead,
    TreeHead,
)
from audit.records import AuditState
from storage.erase import ERASABLE, comparable_time
from storage.log_rows import last_of_tenants, log_moved, require_whole
from storage.memory_audits import Audits

# RFC 9162: the root of no leaves is the hash of nothing.
_EMPTY = TreeHead(size=0, root=hashlib.sha256().digest(), range_hashes=())


@dataclass(slots=True)
class _Log:
    """Everything but the audits; a copy of it is a backup."""

    head: TreeHead = _EMPTY
    entries: list[LogEntry] = field(default_factory=list)
    by_key: dict[str, int] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)
    places: set[tuple[str, int]] = field(default_factory=set)
    """Tenants with their sequence numbers."""
    tenants: dict[str, TenantHead] = field(default_factory=dict)
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    checkpoints: dict[tuple[int, bool], StoredCheckpoint] = field(default_factory=dict)
    timestamps: dict[tuple[int, str], StoredTimestamp] = field(default_factory=dict)
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    uses: set[tuple[str, str]] = field(default_factory=set)
    """Audit ids with the digests of their artifacts."""


class InMemoryLogStore:
    """Keeps the log in lists and dictionaries; safe to call from several threads."""

    def __init__(self, audits: Audits) -> None:
        self._audits = audits
        self._log = _Log()

    def __getstate__(self) -> object:
        """Return a backup of the log, without the audits."""
        with self._audits.lock:
            return copy.deepcopy(self._log)

    def __setstate__(self, state: object) -> None:
        """Put a backup in place of the log. Raises: TypeError for anything else."""
        if not isinstance(state, _Log):
            raise TypeError("only what __getstate__ returned can be put back")
        with self._audits.lock:
            self._log = copy.deepcopy(state)

    def snapshot(self, entry_keys: Sequence[str], tenants: Sequence[str]) -> LogSnapshot:
        """Return head, tenants' last entries and known keys as of one moment."""
        with self._audits.lock:
            log = self._log
            found = sorted({log.by_key[key] for key in entry_keys if key in log.by_key})
            entries = [log.entries[index] for index in found]
            return LogSnapshot(
                head=log.head,
                tenants=tuple(log.tenants[t] for t in sorted(set(tenants)) if t in log.tenants),
                known=tuple((entry.entry_key, _receipt(entry)) for entry in entries),
            )

    def commit(self, batch: LogBatch, *, recorded_at: str) -> None:
        """Append a batch, end its jobs and erase content: all of it or nothing.

        Raises: LogMoved, JobEndRefused, InvalidRequest for an erasure's time, StorageError.
        """
        require_whole(batch)
        for erasure in batch.erasures:
            comparable_time(erasure.before)
        with self._audits.lock:
            head = self._log.head
            if (head.size, head.root) != (batch.previous.size, batch.previous.root):
                raise log_moved(batch)
            _require_new(self._log, batch)
            _store_artifacts(self._log, self._audits.end(batch.job_ends, recorded_at))
            _append(self._log, batch, recorded_at)
            for erasure in batch.erasures:
                self._erase(erasure, recorded_at)

    def read_head(self) -> TreeHead:
        """Return the tree as of the last commit."""
        with self._audits.lock:
            return self._log.head

    def read_leaf_hashes(self, first: int, end: int) -> tuple[bytes, ...]:
        """Return the leaf hashes of [first, end), fewer where the log is shorter."""
        return tuple(entry.leaf_hash for entry in self.read_entries(first, end))

    def read_tile(self, level: int, index: int) -> bytes | None:
        """Return a stored tile's hashes; None where none is stored."""
        with self._audits.lock:
            return self._log.tiles.get((level, index))

    def read_entries(self, first: int, end: int) -> tuple[LogEntry, ...]:
        """Return the entries of [first, end) in order, fewer where the log is shorter."""
        with self._audits.lock:
            return tuple(self._log.entries[max(first, 0) : max(end, 0)])

    def find_entry(self, entry_key: str) -> LogEntry | None:
        """Return the entry of a key; None where there is none."""
        with self._audits.lock:
            index = self._log.by_key.get(entry_key)
            return None if index is None else self._log.entries[index]

    def list_of_kind(self, kind: EntryKind, *, first: int, limit: int) -> tuple[LogEntry, ...]:
        """Return up to `limit` entries of a kind with index >= first, in order."""
        with self._audits.lock:
            found = (entry for entry in self._log.entries[max(first, 0) :] if entry.kind is kind)
            return tuple(islice(found, limit))

    def read_artifact(self, digest: str) -> Artifact | None:
        """Return an artifact; None where it was never stored, or was erased."""
        with self._audits.lock:
            return self._log.artifacts.get(digest)

    def save_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Store a checkpoint; one of the same size is replaced only by one that is witnessed."""
        place = (checkpoint.size, checkpoint.is_witnessed)
        with self._audits.lock:
            if checkpoint.is_witnessed or place not in self._log.checkpoints:
                self._log.checkpoints[place] = checkpoint

    def latest_checkpoint(self, *, witnessed: bool = False) -> StoredCheckpoint | None:
        """Return the largest checkpoint, or the largest witnessed one; None where none is."""
        with self._audits.lock:
            places = [place for place in self._log.checkpoints if place[1] or not witnessed]
            return self._log.checkpoints[max(places)] if places else None

    def list_checkpoints(self, *, above_size: int, limit: int) -> tuple[StoredCheckpoint, ...]:
        """Return up to `limit` checkpoints with size > above_size, one of a size, in order."""
        with self._audits.lock:
            held = self._log.checkpoints
            # In this order the witnessed note of a size comes last and stays.
            best = {size: held[size, is_witnessed] for size, is_witnessed in sorted(held)}
        return tuple(islice((best[size] for size in best if size > above_size), limit))

    def save_timestamp(self, timestamp: StoredTimestamp) -> None:
        """Store a time-stamp of a checkpoint; an authority's first one stays."""
        with self._audits.lock:
            self._log.timestamps.setdefault((timestamp.size, timestamp.authority), timestamp)

    def list_timestamps(self, *, first_size: int, limit: int) -> tuple[StoredTimestamp, ...]:
        """Return up to `limit` time-stamps of checkpoints with size >= first_size."""
        with self._audits.lock:
            held = sorted(self._log.timestamps.items(), key=lambda item: item[0])
        found = (timestamp for (size, _), timestamp in held if size >= first_size)
        return tuple(islice(found, limit))

    def count_erasable(self, erasure: Erasure) -> int:
        """Return how many entries' contents an erasure would erase. Raises: InvalidRequest."""
        with self._audits.lock:
            return len(self._erasable(erasure, self._old_audits(erasure)))

    def _erase(self, erasure: Erasure, now: str) -> None:
        old, log = self._old_audits(erasure), self._log
        for entry in self._erasable(erasure, old):
            log.entries[entry.log_index] = replace(entry, envelope=None, erased_at=now)
        log.uses = {use for use in log.uses if use[0] not in old}
        kept = {digest for _, digest in log.uses}
        log.artifacts = {digest: a for digest, a in log.artifacts.items() if digest in kept}
        self._audits.drop_done(old)

    def _erasable(self, erasure: Erasure, old: set[str]) -> list[LogEntry]:
        return [
            entry
            for entry in self._log.entries[: max(erasure.below_index, 0)]
            if entry.tenant == erasure.tenant
            and entry.kind in ERASABLE
            and entry.audit_id in old
            and entry.envelope is not None
        ]

    def _old_audits(self, erasure: Erasure) -> set[str]:
        before = comparable_time(erasure.before)
        verdicts = [e for e in self._log.entries if e.kind is EntryKind.VERDICT and e.audit_id]
        logged = {
            entry.audit_id
            for entry in verdicts
            if entry.tenant == erasure.tenant
            and entry.recorded_at < before
            and entry.log_index < erasure.below_index
        }
        audits = self._audits.entries.values()
        unfinished = {a.record.audit_id for a in audits if a.record.state is not AuditState.DONE}
        ended_before = {
            audit.record.audit_id
            for audit in audits
            if audit.tenant == erasure.tenant
            and audit.record.finished_at is not None
            and audit.record.finished_at < before
        }
        not_logged = ended_before - {entry.audit_id for entry in verdicts}
        return {audit_id for audit_id in logged | not_logged if audit_id} - unfinished


def _receipt(entry: LogEntry) -> Receipt:
    return Receipt(log_index=entry.log_index, entry_digest=entry.entry_digest)


def _require_new(log: _Log, batch: LogBatch) -> None:
    """Raise StorageError for what the databases' constraints refuse."""
    new = set[tuple[str, object]]()
    for entry in batch.entries:
        place = (entry.tenant, entry.tenant_sequence)
        names: set[tuple[str, object]] = {
            ("key", entry.entry_key),
            ("place", place),
            ("digest", entry.entry_digest),
        }
        is_known = (
            entry.entry_key in log.by_key
            or place in log.places
            or entry.entry_digest in log.digests
        )
        if is_known or not new.isdisjoint(names):
            raise StorageError(f"the entry {entry.entry_key!r} repeats another: build it again")
        new |= names


def _append(log: _Log, batch: LogBatch, recorded_at: str) -> None:
    for log_index, entry in enumerate(batch.entries, start=batch.previous.size):
        log.by_key[entry.entry_key] = log_index
        log.places.add((entry.tenant, entry.tenant_sequence))
        log.digests.add(entry.entry_digest)
        log.entries.append(
            LogEntry(
                log_index=log_index,
                kind=entry.kind,
                tenant=entry.tenant,
                tenant_sequence=entry.tenant_sequence,
                entry_key=entry.entry_key,
                audit_id=entry.audit_id,
                entry_digest=entry.entry_digest,
                leaf_body=entry.leaf_body,
                leaf_hash=entry.leaf_hash,
                envelope=entry.envelope,
                recorded_at=recorded_at,
                erased_at=None,
            )
        )
    log.tenants |= {head.tenant: head for head in last_of_tenants(batch)}
    log.tiles |= {(tile.level, tile.index): tile.hashes for tile in batch.tiles}
    log.head = batch.head


def _store_artifacts(log: _Log, ends: Sequence[JobEnd]) -> None:
    for end in ends:
        for artifact in end.artifacts:
            log.artifacts.setdefault(artifact.digest, artifact)
            log.uses.add((end.job.audit_id, artifact.digest))

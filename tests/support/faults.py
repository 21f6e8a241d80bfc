"""A log store whose steps fail on command: lost, or kept but reported as failed.

Sunlight's table of failures, for our steps: a write that is lost leaves nothing; a write that is
kept and reported as failed leaves everything, and its caller cannot tell the two apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from audit.errors import StorageError
from audit.ledger.anchor import Anchor
from audit.ledger.checkpoints import Checkpoint
from audit.log_records import (
    Artifact,
    EntryKind,
    Erasure,
    LogBatch,
    LogEntry,
    LogSnapshot,
    StoredCheckpoint,
    StoredTimestamp,
    TreeHead,
)
from audit.ports import LogStore


class Step(StrEnum):
    """The steps of one append, in order."""

    SNAPSHOT = "snapshot"
    COMMIT = "commit"
    CHECKPOINT = "checkpoint"
    ANCHOR = "anchor"


@dataclass(slots=True)
class Fault:
    """The next failure: at which step, and whether the step is carried out all the same."""

    step: Step | None = None
    is_kept: bool = False

    def before(self, step: Step) -> None:
        """Fail where the step is to be lost."""
        if self.step is step and not self.is_kept:
            self.step = None
            raise StorageError(f"{step}: lost")

    def after(self, step: Step) -> None:
        """Fail where the step was kept."""
        if self.step is step and self.is_kept:
            self.step = None
            raise StorageError(f"{step}: kept, but reported as failed")


class FaultyLogStore:
    """Passes everything on to a real store, but for the failures."""

    def __init__(self, store: LogStore, fault: Fault) -> None:
        self.inner = store
        self._fault = fault

    def snapshot(self, entry_keys: Sequence[str], tenants: Sequence[str]) -> LogSnapshot:
        self._fault.before(Step.SNAPSHOT)
        return self.inner.snapshot(entry_keys, tenants)

    def commit(self, batch: LogBatch, *, recorded_at: str) -> None:
        self._fault.before(Step.COMMIT)
        self.inner.commit(batch, recorded_at=recorded_at)
        self._fault.after(Step.COMMIT)

    def save_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        self._fault.before(Step.CHECKPOINT)
        self.inner.save_checkpoint(checkpoint)
        self._fault.after(Step.CHECKPOINT)

    def read_head(self) -> TreeHead:
        return self.inner.read_head()

    def read_leaf_hashes(self, first: int, end: int) -> tuple[bytes, ...]:
        return self.inner.read_leaf_hashes(first, end)

    def read_tile(self, level: int, index: int) -> bytes | None:
        return self.inner.read_tile(level, index)

    def read_entries(self, first: int, end: int) -> tuple[LogEntry, ...]:
        return self.inner.read_entries(first, end)

    def find_entry(self, entry_key: str) -> LogEntry | None:
        return self.inner.find_entry(entry_key)

    def list_of_kind(self, kind: EntryKind, *, first: int, limit: int) -> tuple[LogEntry, ...]:
        return self.inner.list_of_kind(kind, first=first, limit=limit)

    def read_artifact(self, digest: str) -> Artifact | None:
        return self.inner.read_artifact(digest)

    def latest_checkpoint(self, *, witnessed: bool = False) -> StoredCheckpoint | None:
        return self.inner.latest_checkpoint(witnessed=witnessed)

    def list_checkpoints(self, *, above_size: int, limit: int) -> tuple[StoredCheckpoint, ...]:
        return self.inner.list_checkpoints(above_size=above_size, limit=limit)

    def save_timestamp(self, timestamp: StoredTimestamp) -> None:
        self.inner.save_timestamp(timestamp)

    def list_timestamps(self, *, first_size: int, limit: int) -> tuple[StoredTimestamp, ...]:
        return self.inner.list_timestamps(first_size=first_size, limit=limit)

    def count_erasable(self, erasure: Erasure) -> int:
        return self.inner.count_erasable(erasure)


class FaultyAnchor(Anchor):
    """An anchor whose writing fails on command."""

    __slots__ = ("fault",)

    fault: Fault

    def advance(self, checkpoint: Checkpoint, note: bytes) -> None:
        fault: Fault = self.fault  # set by `faulty_anchor`: the record itself is frozen
        fault.before(Step.ANCHOR)
        super().advance(checkpoint, note)
        fault.after(Step.ANCHOR)


def faulty_anchor(anchor: Anchor, fault: Fault) -> FaultyAnchor:
    """Return an anchor of the same file that fails on command."""
    made = FaultyAnchor(anchor.path, anchor.log_key)
    object.__setattr__(made, "fault", fault)
    return made

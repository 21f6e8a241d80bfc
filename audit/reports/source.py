"""Where a report's facts come from: a log, or an evidence pack, behind one protocol.

A source hands out raw bytes and claims; what may be relied on is decided in `opening`. What a
source merely states, because nobody signed it, is called `stated_...`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from audit.errors import ConfigurationError, VerificationError
from audit.ledger.reader import LogReader
from audit.ledger.witness_policy import NONE
from audit.log_records import Artifact, EntryKind, LogEntry, StoredCheckpoint, StoredTimestamp
from audit.reports.trust import read_trust

#: What every tenant's report opens: these entries say how audits are run, not what was audited.
COMMON_KINDS = frozenset({EntryKind.POLICY, EntryKind.CALIBRATION, EntryKind.KEY_EVENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """One entry of the log as a source hands it out."""

    log_index: int
    leaf_body: bytes | None
    """None where the entry is another tenant's and not for this report."""
    envelope: bytes | None
    """None where the content was erased, is gone, or is another tenant's."""
    stated_tenant: str
    stated_key: str

    @property
    def is_foreign(self) -> bool:
        """Whether the entry is another tenant's."""
        return self.leaf_body is None


class EntrySource(Protocol):
    """One log up to its last checkpoint, as one tenant, or with None its operator, may see it."""

    @property
    def trust_root(self) -> bytes:
        """The trust root file."""
        ...

    @property
    def checkpoint(self) -> StoredCheckpoint:
        """The last checkpoint; it stays the same for as long as the source lives."""
        ...

    def first_checkpoint(self, above_size: int) -> StoredCheckpoint:
        """Return the smallest checkpoint of more than `above_size` entries, or else the last."""
        ...

    def witnessed_checkpoints(self) -> Iterator[StoredCheckpoint]:
        """Yield checkpoints that witnesses may have cosigned, smallest first, up to the last."""
        ...

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return the proof that the tree of one size begins with that of another."""
        ...

    def entries(self, first: int, end: int, tenant: str | None) -> Iterator[SourceEntry]:
        """Yield every entry of [first, end) in order; those of other tenants closed."""
        ...

    def artifact(self, digest: str) -> Artifact | None:
        """Return a file that a verdict names; None where it is not kept."""
        ...

    def timestamps(self) -> tuple[StoredTimestamp, ...]:
        """Return the time-stamps of the last checkpoint."""
        ...

    def tile(self, level: int, index: int, width: int) -> bytes:
        """Return a tile's hashes, 32 bytes each."""
        ...


class LogSource:
    """The log itself, as of the making of this source, though it goes on growing.

    What a report was made from is what its pack must hold, even where witnesses and authorities
    answer in between.
    """

    def __init__(self, reader: LogReader, trust_root: bytes, *, is_witnessed: bool = False) -> None:
        """Fix the last checkpoint; `is_witnessed` takes the last that witnesses cosigned.

        Raises: EntryNotFound where there is none; ConfigurationError where nobody asks for
        witnesses; VerificationError for a trust root that is none.
        """
        if is_witnessed and read_trust(trust_root).policy.quorum == NONE:
            raise ConfigurationError(
                "the log has no witness policy (the trust root's policy says `quorum none`), so no "
                "checkpoint of it counts as witnessed: leave out --witnessed, or give the log a "
                "witness policy"
            )
        self._reader = reader
        self._trust_root = trust_root
        self._checkpoint = reader.checkpoint(witnessed=is_witnessed)
        self._firsts: dict[int, StoredCheckpoint] = {}
        size = self._checkpoint.size
        stamps = [stamp for stamp in reader.timestamps(size) if stamp.size == size]
        self._stamps = tuple(sorted(stamps, key=lambda stamp: (stamp.authority, stamp.response)))

    @property
    def trust_root(self) -> bytes:
        """The trust root file."""
        return self._trust_root

    @property
    def checkpoint(self) -> StoredCheckpoint:
        """The last checkpoint, as of the making of this source."""
        return self._checkpoint

    def first_checkpoint(self, above_size: int) -> StoredCheckpoint:
        """Return the smallest checkpoint of more than `above_size` entries, or else the last."""
        if above_size not in self._firsts:
            found = next(self._reader.checkpoints(above_size=above_size), self._checkpoint)
            is_earlier = found.size < self._checkpoint.size
            self._firsts[above_size] = found if is_earlier else self._checkpoint
        return self._firsts[above_size]

    def witnessed_checkpoints(self) -> Iterator[StoredCheckpoint]:
        """Yield the witnessed checkpoints before the last, smallest first, and then the last."""
        for checkpoint in self._reader.checkpoints(above_size=0):
            if checkpoint.size >= self._checkpoint.size:
                break
            if checkpoint.is_witnessed:
                yield checkpoint
        yield self._checkpoint

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return the proof that the tree of one size begins with that of another."""
        return self._reader.consistency(old_size, new_size)

    def entries(self, first: int, end: int, tenant: str | None) -> Iterator[SourceEntry]:
        """Yield every entry of [first, end) in order. Raises: VerificationError for a hole."""
        expected = first
        for entry in self._reader.entries(first, end):
            if entry.log_index != expected:
                break
            yield _closed(entry) if _is_foreign(entry, tenant) else _opened(entry)
            expected += 1
        if expected < end:
            raise VerificationError(
                f"the log has no entry {expected}, though its checkpoint names {end} or more: run "
                "`inference-audit upkeep fsck`"
            )

    def artifact(self, digest: str) -> Artifact | None:
        """Return a file that a verdict names; None where it is not kept."""
        return self._reader.artifact(digest)

    def timestamps(self) -> tuple[StoredTimestamp, ...]:
        """Return the time-stamps of the last checkpoint by authority, as of the source's making."""
        return self._stamps

    def tile(self, level: int, index: int, width: int) -> bytes:
        """Return a tile's hashes, 32 bytes each."""
        return self._reader.tile(level, index, width)


def require_window(first: int, end: int | None, size: int) -> int:
    """Return the end of an index window in a tree of `size`. Raises: ConfigurationError."""
    found = size if end is None else end
    if not 0 <= first <= found <= size:
        raise ConfigurationError(
            f"the window from index {first} to {found} does not lie in the log of {size} entries: "
            "choose other indexes, or wait for the next checkpoint"
        )
    return found


def _is_foreign(entry: LogEntry, tenant: str | None) -> bool:
    return tenant is not None and entry.tenant != tenant and entry.kind not in COMMON_KINDS


def _opened(entry: LogEntry) -> SourceEntry:
    return SourceEntry(
        log_index=entry.log_index,
        leaf_body=entry.leaf_body,
        envelope=entry.envelope,
        stated_tenant=entry.tenant,
        stated_key=entry.entry_key,
    )


def _closed(entry: LogEntry) -> SourceEntry:
    return SourceEntry(
        log_index=entry.log_index, leaf_body=None, envelope=None, stated_tenant="", stated_key=""
    )

"""Reads the verdict log: entries, checkpoints, tiles and proofs, all from what is stored.

Proofs are computed from tiles, so that any reader with the same tiles gets the same bytes.
"""

from collections.abc import Iterator

from audit.errors import EntryNotFound, InvalidRequest
from audit.ledger.merkle import HashReader, consistency_proof, inclusion_proof
from audit.ledger.tiles import encode_entry_bundle, hash_reader, tile_bytes
from audit.log_records import (
    Artifact,
    EntryKind,
    LogEntry,
    StoredCheckpoint,
    StoredTimestamp,
)
from audit.ports import LogStore

PAGE = 512


class LogReader:
    """Reads one log; safe to call from several threads."""

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def checkpoint(self, *, witnessed: bool = False) -> StoredCheckpoint:
        """Return the newest checkpoint, or the newest witnessed one. Raises: EntryNotFound."""
        found = self._store.latest_checkpoint(witnessed=witnessed)
        if found is None:
            kind = "witnessed checkpoint" if witnessed else "checkpoint"
            raise EntryNotFound(f"the log has no {kind} yet: try again once something is logged")
        return found

    def checkpoints(self, *, above_size: int = -1) -> Iterator[StoredCheckpoint]:
        """Yield the checkpoints of more than `above_size` entries, smallest first."""
        while page := self._store.list_checkpoints(above_size=above_size, limit=PAGE):
            yield from page
            above_size = page[-1].size

    def entries(self, first: int, end: int) -> Iterator[LogEntry]:
        """Yield the entries of [first, end) in order, fewer where the log is shorter."""
        while first < end:
            page = self._store.read_entries(first, min(end, first + PAGE))
            if not page:
                return
            yield from page
            first += len(page)

    def entry(self, index: int) -> LogEntry:
        """Return one entry. Raises: EntryNotFound."""
        found = self._store.read_entries(index, index + 1) if index >= 0 else ()
        if not found:
            raise EntryNotFound(f"the log has no entry {index}: see its checkpoint for its size")
        return found[0]

    def find(self, entry_key: str) -> LogEntry:
        """Return the entry of a key such as `verdict:<audit id>`. Raises: EntryNotFound."""
        found = self._store.find_entry(entry_key)
        if found is None:
            raise EntryNotFound(f"the log has no entry {entry_key!r}: check the id, or try later")
        return found

    def of_kind(self, kind: EntryKind, *, first: int = 0) -> Iterator[LogEntry]:
        """Yield the entries of a kind with index >= first, in order."""
        while page := self._store.list_of_kind(kind, first=first, limit=PAGE):
            yield from page
            first = page[-1].log_index + 1

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the inclusion proof of an entry in the tree of a size. Raises: InvalidRequest."""
        self._require_size(size, "tree_size")
        if not 0 <= index < size:
            raise InvalidRequest.of("index", f"must be 0 to {size - 1} in a tree of size {size}")
        return inclusion_proof(index, size, self._reader(size))

    def consistency(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """Return the proof that one tree begins with another. Raises: InvalidRequest."""
        self._require_size(new_size, "new_size")
        if not 0 <= old_size <= new_size:
            raise InvalidRequest.of("old_size", f"must be 0 to {new_size}")
        return consistency_proof(old_size, new_size, self._reader(new_size))

    def tile(self, level: int, index: int, width: int) -> bytes:
        """Return a tile's hashes, 32 bytes each. Raises: InvalidRequest, EntryNotFound."""
        if not (0 <= level < 8 and index >= 0 and 1 <= width <= 256):
            raise InvalidRequest.of("tile", "level is 0 to 7, width is 1 to 256")
        size = self._store.read_head().size
        # a hash of this level covers 256**level leaves
        if (index * 256 + width) * 256**level > size:
            raise EntryNotFound(f"the log of {size} entries has no such tile: fetch a narrower one")
        return tile_bytes(level, index, width, self._store.read_tile, self._store.read_leaf_hashes)

    def entry_bundle(self, index: int, width: int) -> bytes:
        """Return the leaves of a level-0 tile. Raises: InvalidRequest, EntryNotFound."""
        if not (index >= 0 and 1 <= width <= 256):
            raise InvalidRequest.of("tile", "width is 1 to 256")
        found = self._store.read_entries(index * 256, index * 256 + width)
        if len(found) < width:
            raise EntryNotFound("the log has no such entries yet: fetch a narrower bundle")
        return encode_entry_bundle([entry.leaf_body for entry in found])

    def artifact(self, digest: str) -> Artifact | None:
        """Return a file that a verdict names; None where it is not kept."""
        return self._store.read_artifact(digest)

    def timestamps(self, first_size: int) -> tuple[StoredTimestamp, ...]:
        """Return the first time-stamps of checkpoints of at least so many entries."""
        return self._store.list_timestamps(first_size=first_size, limit=PAGE)

    def _require_size(self, size: int, field: str) -> None:
        held = self._store.read_head().size
        if not 0 <= size <= held:
            raise InvalidRequest.of(field, f"must be 0 to {held}, the size of the log")

    def _reader(self, size: int) -> HashReader:
        return hash_reader(size, self._store.read_tile, self._store.read_leaf_hashes)

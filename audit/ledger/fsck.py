"""Checks a whole log against itself: every entry, tile, checkpoint and tenant's chain.

Everything is derived anew from the entries and held against what is stored; each contradiction is
told with its place. It needs no key but the log's own, and changes nothing.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from audit.errors import VerificationError
from audit.ledger.checkpoints import Checkpoint, parse_checkpoint_body
from audit.ledger.leaf_check import check_leaf
from audit.ledger.merkle import EMPTY_HEAD, grow, leaf_hash
from audit.ledger.notes import NoteKey, open_note
from audit.ledger.tiles import TileEdge
from audit.log_records import (
    EntryKind,
    Erasure,
    LogEntry,
    StoredCheckpoint,
    Tile,
    TreeHead,
)
from audit.ports import LogStore

_PAGE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found: the size that was checked, and each contradiction in a sentence."""

    size: int
    num_erased: int
    num_checkpoints: int
    problems: tuple[str, ...]


@dataclass(slots=True)
class _Walk:
    """The log as derived anew, up to one entry."""

    head: TreeHead = EMPTY_HEAD
    edge: TileEdge = field(
        default_factory=lambda: TileEdge.load(0, (), lambda _level, _index: None)
    )
    chains: dict[str, tuple[int, str]] = field(default_factory=dict)
    erasures: tuple[Erasure, ...] = ()
    num_erased: int = 0


def check_log(
    store: LogStore, log_key: NoteKey | None = None, anchored: Checkpoint | None = None
) -> Checked:
    """Return what contradicts itself in a log, or the anchor where that is given.

    Checkpoints' signatures are checked with the key only.
    """
    size = store.read_head().size
    walk, problems = _Walk(erasures=logged_erasures(store)), list[str]()
    if anchored is not None and anchored.size > size:
        problems.append(f"the anchor names {anchored.size} entries, the database holds {size}")
    checkpoints = _all_checkpoints(store)
    num_checkpoints = 0
    pending = next(checkpoints, None)
    # one may be of the empty log
    if pending is not None and pending.size == 0:
        problems += _checkpoint_problems(pending, walk.head, log_key)
        num_checkpoints, pending = 1, next(checkpoints, None)
    for first in range(0, size, _PAGE):
        page = store.read_entries(first, min(size, first + _PAGE))
        present = {entry.log_index for entry in page}
        gone = [index for index in range(first, min(size, first + _PAGE)) if index not in present]
        if gone:
            problems.append(f"entries are missing, and nothing after them was checked: {gone}")
            break
        for entry in page:
            problems += _entry_problems(entry, walk)
            # checkpoints may end anywhere; each is held against the tree of just its size
            walk.head = grow(walk.head, [leaf_hash(entry.leaf_body)])
            if anchored is not None and anchored.size == walk.head.size:
                problems += _anchor_problems(anchored, walk.head)
            while pending is not None and pending.size <= walk.head.size:
                problems += _checkpoint_problems(pending, walk.head, log_key)
                num_checkpoints += 1
                pending = next(checkpoints, None)
        walk.edge, tiles = walk.edge.grown([leaf_hash(entry.leaf_body) for entry in page])
        problems += _tile_problems(store, tiles, walk.head.size, size)
    problems += _head_problems(store, walk)
    if pending is not None:
        problems.append(f"checkpoint {pending.size}: it names more entries than the log holds")
    return Checked(
        size=size,
        num_erased=walk.num_erased,
        num_checkpoints=num_checkpoints,
        problems=tuple(problems),
    )


def _entry_problems(entry: LogEntry, walk: _Walk) -> Iterator[str]:
    place = f"entry {entry.log_index}"
    if leaf_hash(entry.leaf_body) != entry.leaf_hash:
        yield f"{place}: its leaf hash is not that of its leaf"
    sequence, _ = walk.chains.get(entry.tenant, (0, ""))
    if entry.tenant_sequence != sequence + 1:
        reached = entry.tenant_sequence
        yield f"{place}: tenant {entry.tenant!r} goes from entry {sequence} to {reached}"
    walk.chains[entry.tenant] = (entry.tenant_sequence, entry.entry_digest)
    if entry.envelope is None:
        if entry.erased_at is None or not _is_covered(entry, walk.erasures):
            yield f"{place}: its content ({entry.entry_key}) is gone, and no erasure says so"
        else:
            walk.num_erased += 1
    try:
        check_leaf(entry.leaf_body, entry.envelope, entry.entry_digest)
    except VerificationError as error:
        yield f"{place}: {error}"


def logged_erasures(store: LogStore) -> tuple[Erasure, ...]:
    """Return the erasures that are in a log; those that cannot be read count for nothing."""
    found: list[Erasure] = []
    first = 0
    while page := store.list_of_kind(EntryKind.ERASURE, first=first, limit=_PAGE):
        first = page[-1].log_index + 1
        for entry in page:
            erasure = _erasure_of(entry)
            if erasure is not None:
                found.append(erasure)
    return tuple(found)


def _erasure_of(entry: LogEntry) -> Erasure | None:
    try:
        payload = base64.b64decode(json.loads(entry.envelope or b"")["payload"])
        bounds = json.loads(payload)["predicate"]["erasure"]
        below = min(int(bounds["belowIndex"]), entry.log_index)
        return Erasure(tenant=bounds["tenant"], before=bounds["before"], below_index=below)
    except (ValueError, KeyError, TypeError):
        return None


def _is_covered(entry: LogEntry, erasures: Sequence[Erasure]) -> bool:
    # An audit goes with its verdict, so its intent may be older, never younger, than the bounds.
    return any(
        erasure.tenant == entry.tenant
        and entry.log_index < erasure.below_index
        and entry.recorded_at < erasure.before
        for erasure in erasures
    )


def _anchor_problems(anchored: Checkpoint, head: TreeHead) -> Iterator[str]:
    if anchored.root != head.root:
        yield f"the anchor names another tree of {anchored.size} entries"


def _checkpoint_problems(
    checkpoint: StoredCheckpoint, head: TreeHead, log_key: NoteKey | None
) -> Iterator[str]:
    place = f"checkpoint {checkpoint.size}"
    if checkpoint.size < head.size:
        return
    if checkpoint.root != head.root:
        yield f"{place}: its root is not that of the entries"
    if log_key is None:
        return
    try:
        stated = parse_checkpoint_body(open_note(checkpoint.note, [log_key]).text)
    except VerificationError as error:
        yield f"{place}: {error}"
        return
    if (stated.size, stated.root) != (checkpoint.size, checkpoint.root):
        yield f"{place}: its note names another tree"
    if stated.origin != log_key.name:
        yield f"{place}: its note is of the log {stated.origin!r}"


def _tile_problems(
    store: LogStore, tiles: Sequence[Tile], reached: int, size: int
) -> Iterator[str]:
    # Higher tiles grow: only the last state of each is stored.
    final = {(tile.level, tile.index): tile for tile in tiles}
    for (level, index), tile in final.items():
        covered = 256**level
        is_final = len(tile.hashes) == 256 * 32 or (size // covered) == (reached // covered)
        if is_final and store.read_tile(level, index) != tile.hashes:
            yield f"tile {level}/{index}: it is not that of the entries"


def _head_problems(store: LogStore, walk: _Walk) -> Iterator[str]:
    held = store.read_head()
    if held.size == walk.head.size and held != walk.head:
        yield f"tree of size {held.size}: its root is not that of the entries"
    snapshot = store.snapshot((), sorted(walk.chains))
    heads = {head.tenant: (head.sequence, head.entry_digest) for head in snapshot.tenants}
    for tenant, last in walk.chains.items():
        if held.size == walk.head.size and heads.get(tenant) != last:
            yield f"tenant {tenant!r}: its last entry is not the one that is noted"


def _all_checkpoints(store: LogStore) -> Iterator[StoredCheckpoint]:
    above = -1
    while page := store.list_checkpoints(above_size=above, limit=_PAGE):
        yield from page
        above = page[-1].size

"""Holds the entries that are read against the tree that the last checkpoint signs.

Every tile on the way from a leaf to the root is hashed once: a complete tile must have the hash
that the tile above holds for it, and the incomplete ones at the right edge make the root.
"""

from collections.abc import Callable
from typing import TypeAlias

from audit.errors import VerificationError
from audit.ledger.merkle import leaf_hash, perfect_root, root_at
from audit.log_records import StoredCheckpoint

#: Level, index, width -> hashes.
ReadTile: TypeAlias = Callable[[int, int, int], bytes]

TILE_WIDTH = 256
_HASH_BYTES = 32


def tile_width(size: int, level: int, index: int) -> int:
    """Return how many hashes a tile has in a tree of `size`; 0 or less where it has none."""
    return min(TILE_WIDTH, (size >> (8 * level)) - index * TILE_WIDTH)


class BrokenTree(VerificationError):
    """Tiles and checkpoint contradict each other: nothing of this log can be relied on."""


class TreeCheck:
    """Checks the leaves of one tree, asked for in log order."""

    def __init__(self, checkpoint: StoredCheckpoint, read: ReadTile) -> None:
        """Hold the right edge of the tree against its root. Raises: BrokenTree."""
        self._size = checkpoint.size
        self._read = read
        self._held: dict[int, tuple[int, tuple[bytes, ...]]] = {}
        self._edge: dict[tuple[int, int], tuple[bytes, ...]] = {}
        root = root_at(self._size, self._hash_at)
        if root != checkpoint.root:
            raise BrokenTree(
                f"the tiles of the log give the root {root.hex()}, but its checkpoint of "
                f"{self._size} entries names {checkpoint.root.hex()}: do not rely on this log"
            )

    def has_leaf(self, index: int, body: bytes) -> bool:
        """Return whether a leaf is the one at its place in the tree. Raises: BrokenTree."""
        return leaf_hash(body) == self._checked(0, index // TILE_WIDTH)[index % TILE_WIDTH]

    def _checked(self, level: int, index: int) -> tuple[bytes, ...]:
        held = self._held.get(level)
        if held is not None and held[0] == index:
            return held[1]
        hashes = self._tile(level, index)
        if len(hashes) == TILE_WIDTH:
            above = self._checked(level + 1, index // TILE_WIDTH)
            if perfect_root(hashes) != above[index % TILE_WIDTH]:
                raise BrokenTree(
                    f"tile {level}/{index} of the log is not the one that its checkpoint signs: do "
                    "not rely on this log"
                )
        self._held[level] = index, hashes
        return hashes

    def _tile(self, level: int, index: int) -> tuple[bytes, ...]:
        if (level, index) in self._edge:
            return self._edge[level, index]
        width = tile_width(self._size, level, index)
        data = self._read(level, index, width)
        if len(data) != width * _HASH_BYTES:
            raise BrokenTree(f"tile {level}/{index} of the log has a wrong length")
        places = range(0, len(data), _HASH_BYTES)
        hashes = tuple(data[place : place + _HASH_BYTES] for place in places)
        if width < TILE_WIDTH:
            # No tile above vouches for these, only the root: they are read once.
            self._edge[level, index] = hashes
        return hashes

    def _hash_at(self, level: int, index: int) -> bytes:
        # a subtree of 2**level leaves: some hashes of one tile, 8 levels apart
        tile_level, inner = divmod(level, 8)
        first = index << inner
        hashes = self._tile(tile_level, first // TILE_WIDTH)
        place = first % TILE_WIDTH
        return perfect_root(hashes[place : place + (1 << inner)])

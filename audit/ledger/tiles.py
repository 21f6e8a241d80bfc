"""Tiles of the tree, as C2SP tlog-tiles 0.1.0 lays them out: 256 hashes of every eighth level.

A hash of tile level L is the root of 256**L leaves, so any hash of the tree is that of at most 128
neighbours within one tile. Level 0 holds leaf hashes. Entry bundles hold the leaves of a level-0
tile, each with its length in two bytes.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from audit.errors import VerificationError
from audit.ledger.merkle import HASH_BYTES, HashReader, perfect_root
from audit.log_records import Tile

WIDTH = 256
MAX_ENTRY_BYTES = 65_535

ReadTile = Callable[[int, int], bytes | None]
"""(level, index) -> the stored hashes of a tile, or None."""
ReadLeafHashes = Callable[[int, int], tuple[bytes, ...]]
"""(first, end) -> the leaf hashes of [first, end)."""

_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,5}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)
_MAX_LEVEL = 63
_CACHED_TILES = 64


class TileError(VerificationError):
    """A tile, its path or an entry bundle is malformed, or the tree has no such tile."""


@dataclass(frozen=True, slots=True)
class TilePath:
    """What a path names: a tile of hashes, or (level None) an entry bundle; width 1 to 256."""

    level: int | None
    index: int
    width: int


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """Return the path of a tile. Raises: TileError."""
    if not 0 <= level <= _MAX_LEVEL:
        raise TileError(f"there is no tile level {level}: levels go from 0 to {_MAX_LEVEL}")
    return f"tile/{level}/{_index_path(index, width)}"


def entries_path(index: int, width: int = WIDTH) -> str:
    """Return the path of an entry bundle. Raises: TileError."""
    return f"tile/entries/{_index_path(index, width)}"


def parse_tile_path(text: str) -> TilePath:
    """Return what a path names; each tile has one path only. Raises: TileError."""
    match = _PATH.fullmatch(text)
    if match is None or not text.isascii():
        raise TileError(f"{text[:120]!r} is not the path of a tile")
    level = None if match["level"] == "entries" else int(match["level"])
    index = int(match["index"].replace("x", "").replace("/", ""))
    width = int(match["width"] or WIDTH)
    if match["width"] and width >= WIDTH:
        raise TileError(f"{text[:120]!r} names a partial tile of {width}: at most {WIDTH - 1}")
    path = entries_path(index, width) if level is None else tile_path(level, index, width)
    if path != text:
        raise TileError(f"{text[:120]!r} has leading zeros: its path is {path!r}")
    return TilePath(level=level, index=index, width=width)


def encode_entry_bundle(bodies: Sequence[bytes]) -> bytes:
    """Return an entry bundle. Raises: TileError where an entry is too long."""
    longest = max(map(len, bodies), default=0)
    if longest > MAX_ENTRY_BYTES:
        raise TileError(f"an entry has {longest} bytes; a bundle takes {MAX_ENTRY_BYTES}")
    return b"".join(len(body).to_bytes(2, "big") + body for body in bodies)


def decode_entry_bundle(data: bytes) -> tuple[bytes, ...]:
    """Return the entries of a bundle. Raises: TileError."""
    bodies: list[bytes] = []
    position = 0
    while position < len(data):
        start = position + 2
        end = start + int.from_bytes(data[position:start], "big")
        if len(data) < max(start, end):
            raise TileError(f"the entry bundle ends within its entry {len(bodies)}")
        bodies.append(data[start:end])
        position = end
    if len(bodies) > WIDTH:
        raise TileError(f"the entry bundle has {len(bodies)} entries; at most {WIDTH}")
    return tuple(bodies)


@dataclass(frozen=True, slots=True)
class TileEdge:
    """The rightmost, partial tile of each level: all that is needed to append."""

    size: int
    partial: tuple[tuple[bytes, ...], ...]
    """Hashes by level, fewer than 256 each; the last level has some."""

    @classmethod
    def load(cls, size: int, level0_hashes: Sequence[bytes], read_tile: ReadTile) -> "TileEdge":
        """Return the edge of a stored tree, given the leaf hashes after its last full tile.

        Raises: TileError where they, or a stored tile, are not as many as the size says.
        """
        if len(level0_hashes) != size % WIDTH:
            raise TileError(
                f"{len(level0_hashes)} leaf hashes were given instead of {size % WIDTH}, "
                f"those after the last full tile of {size} entries"
            )
        partial = [tuple(level0_hashes)]
        count = size // WIDTH
        while count:
            width, level = count % WIDTH, len(partial)
            stored = _stored_hashes(level, count // WIDTH, width, read_tile) if width else b""
            partial.append(_split(stored))
            count //= WIDTH
        return cls(size=size, partial=tuple(partial) if size else ())

    def grown(self, leaf_hashes: Sequence[bytes]) -> tuple["TileEdge", tuple[Tile, ...]]:
        """Return the edge after these leaves, and the tiles to store, each once, in its last state.

        That is level 0 once complete, and higher levels wherever they grew.
        """
        partial: list[tuple[bytes, ...]] = []
        tiles: list[Tile] = []
        added, level, size = list(leaf_hashes), 0, self.size
        while added or level < len(self.partial):
            held = self.partial[level] if level < len(self.partial) else ()
            hashes = [*held, *added]
            first = size // WIDTH
            full = len(hashes) // WIDTH
            for number in range(full + (level > 0 and len(added) > 0)):
                part = hashes[number * WIDTH : (number + 1) * WIDTH]
                if part:
                    tiles.append(Tile(level=level, index=first + number, hashes=b"".join(part)))
            partial.append(tuple(hashes[full * WIDTH :]))
            added = [perfect_root(hashes[at : at + WIDTH]) for at in range(0, full * WIDTH, WIDTH)]
            level, size = level + 1, size // WIDTH
        return TileEdge(size=self.size + len(leaf_hashes), partial=tuple(partial)), tuple(tiles)


def hash_reader(size: int, read_tile: ReadTile, read_leaf_hashes: ReadLeafHashes) -> HashReader:
    """Return a reader of the hashes of a tree that is stored as tiles; it keeps a few tiles.

    The reader raises: TileError outside the tree, or where a tile is missing or too narrow.
    """

    @lru_cache(maxsize=_CACHED_TILES)
    def hashes_of(level: int, index: int) -> bytes:
        width = min(WIDTH, size // WIDTH**level - index * WIDTH)
        return tile_bytes(level, index, width, read_tile, read_leaf_hashes)

    def read(level: int, index: int) -> bytes:
        if not (0 <= level and 0 <= index and (index + 1) << level <= size):
            raise TileError(f"a tree of size {size} has no complete subtree {index} of 2**{level}")
        tile_level, height = divmod(level, 8)
        tile_index, offset = divmod(index << height, WIDTH)
        hashes = hashes_of(tile_level, tile_index)
        part = hashes[offset * HASH_BYTES : (offset + (1 << height)) * HASH_BYTES]
        return perfect_root(_split(part))

    return read


def tile_bytes(
    level: int, index: int, width: int, read_tile: ReadTile, read_leaf_hashes: ReadLeafHashes
) -> bytes:
    """Return the first `width` hashes of a tile. Raises: TileError where they are not stored."""
    if level == 0 and width < WIDTH:
        stored = read_leaf_hashes(index * WIDTH, index * WIDTH + width)
        return _require_width(0, index, width, b"".join(stored))
    return _stored_hashes(level, index, width, read_tile)


def _stored_hashes(level: int, index: int, width: int, read_tile: ReadTile) -> bytes:
    return _require_width(level, index, width, read_tile(level, index) or b"")


def _require_width(level: int, index: int, width: int, hashes: bytes) -> bytes:
    if len(hashes) < width * HASH_BYTES or len(hashes) % HASH_BYTES:
        raise TileError(
            f"tile {level}/{index} is stored with {len(hashes)} bytes, but its {width} hashes take "
            f"{width * HASH_BYTES}: check the log against itself, or restore it from a backup"
        )
    return hashes[: width * HASH_BYTES]


def _split(hashes: bytes) -> tuple[bytes, ...]:
    return tuple(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES))


def _index_path(index: int, width: int) -> str:
    if index < 0:
        raise TileError(f"there is no tile {index}: tiles count from 0")
    if not 1 <= width <= WIDTH:
        raise TileError(f"a tile holds 1 to {WIDTH} hashes, not {width}")
    return "/".join(_groups(index)) + ("" if width == WIDTH else f".p/{width}")


def _groups(index: int) -> Iterator[str]:
    digits = f"{index:d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    for at in range(0, len(digits) - 3, 3):
        yield f"x{digits[at : at + 3]}"
    yield digits[-3:]

"""Tiles: two published logs rebuilt byte for byte, paths, bundles, and growth in any batches."""

import base64
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import merkle, tiles
from audit.ledger.checkpoints import Checkpoint, format_checkpoint_body
from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.notes import Ed25519NoteSigner, format_vkey, sign_note
from audit.ledger.tiles import TileEdge, TileError, TilePath
from tests.support.vectors import load_json, vectors_folder


class TileLog:
    """A log in memory that stores just the tiles that it is told to."""

    def __init__(self) -> None:
        self.edge = TileEdge.load(0, (), self.read_tile)
        self.head = merkle.EMPTY_HEAD
        self.leaf_hashes: list[bytes] = []
        self.tiles: dict[tuple[int, int], bytes] = {}

    def append(self, leaf_hashes: list[bytes]) -> None:
        self.edge, stored = self.edge.grown(leaf_hashes)
        assert len({(tile.level, tile.index) for tile in stored}) == len(stored)
        for tile in stored:
            # level 0 once complete, and nothing that is stored already
            assert tile.level or len(tile.hashes) == 256 * 32
            assert self.tiles.get((tile.level, tile.index)) != tile.hashes
        self.tiles |= {(tile.level, tile.index): tile.hashes for tile in stored}
        self.leaf_hashes += leaf_hashes
        self.head = merkle.grow(self.head, leaf_hashes)

    def read_tile(self, level: int, index: int) -> bytes | None:
        return self.tiles.get((level, index))

    def read_leaf_hashes(self, first: int, end: int) -> tuple[bytes, ...]:
        return tuple(self.leaf_hashes[first:end])

    def reader(self, size: int) -> merkle.HashReader:
        return tiles.hash_reader(size, self.read_tile, self.read_leaf_hashes)

    def tile(self, level: int, index: int, width: int) -> bytes:
        return tiles.tile_bytes(level, index, width, self.read_tile, self.read_leaf_hashes)


def leaf_hashes_of(first: int, end: int) -> list[bytes]:
    return [merkle.leaf_hash(b"%d" % index) for index in range(first, end)]


def files_below(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


# Published logs


def test_the_published_tessera_log_is_rebuilt_byte_for_byte() -> None:
    published = load_json("tlog-tiles/tessera-15.json")
    seed = base64.b64decode(published["testOnlySkey"].split("+", 4)[4])[1:]
    signer = Ed25519NoteSigner(published["origin"], Ed25519PrivateKey.from_private_bytes(seed))
    assert format_vkey(signer.key) == published["vkey"]

    def checkpoint(log: TileLog) -> bytes:
        stated = Checkpoint(origin=published["origin"], size=log.head.size, root=log.head.root)
        return sign_note(format_checkpoint_body(stated), [signer])

    log = TileLog()
    bodies = [entry.encode() for entry in published["entries"]]
    files = {"checkpoint.0": checkpoint(log)}
    for size, body in enumerate(bodies, start=1):
        log.append([merkle.leaf_hash(body)])
        files[f"checkpoint.{size}"] = files["checkpoint"] = checkpoint(log)
        files[tiles.tile_path(0, 0, size)] = log.tile(0, 0, size)
        files[tiles.entries_path(0, size)] = tiles.encode_entry_bundle(bodies[:size])
    expected = files_below(vectors_folder() / "tlog-tiles/tessera-15")
    assert len(expected) == 17 + 15 + 15
    assert files == expected
    for size in range(1, 16):
        bundle = expected[f"tile/entries/000.p/{size}"]
        assert tiles.decode_entry_bundle(bundle) == tuple(bodies[:size])


def test_the_published_sunlight_mirror_is_rebuilt_byte_for_byte() -> None:
    published = load_json("tlog-tiles/sunlight-mirror-300.json")
    log = TileLog()
    log.append([merkle.leaf_hash(b"record %d" % index) for index in range(300)])
    seed = hashlib.sha256(b"skylight test mirror key").digest()
    mirror = WitnessSigner(published["cosigner"], Ed25519PrivateKey.from_private_bytes(seed))
    assert format_vkey(mirror.key) == published["cosignerVkey"]
    text = format_checkpoint_body(
        Checkpoint(origin=published["origin"], size=300, root=log.head.root)
    )
    assert files_below(vectors_folder() / "tlog-tiles/sunlight-mirror-300") == {
        "checkpoint": f"{text}\n{mirror.cosign(text, published['timestamp'])}".encode(),
        "tile/0/000": log.tile(0, 0, 256),
        "tile/0/001.p/44": log.tile(0, 1, 44),
        "tile/1/000.p/1": log.tile(1, 0, 1),
    }


# Paths


def test_published_paths_are_written_and_read_as_published() -> None:
    published = load_json("tlog-tiles/paths.json")
    count = 0
    for case in published["entriesForIndex"]:
        index = case["index"] // 256
        width = min(256, case["size"] - index * 256)
        assert tiles.entries_path(index, width) == case["path"]
        assert tiles.parse_tile_path(case["path"]) == TilePath(None, index, width)
        count += 1
    for case in published["tile"]:
        width = case["partial"] or 256
        assert tiles.tile_path(case["level"], case["index"], width) == case["path"]
        assert tiles.parse_tile_path(case["path"]) == TilePath(case["level"], case["index"], width)
        count += 1
    for case in published["parse"]:
        path = f"tile/{case['level']}/{case['index']}"
        count += 1
        if case.get("wantErr"):
            with pytest.raises(TileError):
                tiles.parse_tile_path(path)
        else:
            assert tiles.parse_tile_path(path) == TilePath(
                case["wantLevel"], case["wantIndex"], case["wantPartial"] or 256
            )
    assert count == 31


@given(
    level=st.none() | st.integers(0, 63),
    index=st.integers(0, 10**18 - 1),
    width=st.integers(1, 256),
)
def test_every_tile_has_one_path(level: int | None, index: int, width: int) -> None:
    path = (
        tiles.entries_path(index, width) if level is None else tiles.tile_path(level, index, width)
    )
    assert tiles.parse_tile_path(path) == TilePath(level, index, width)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tile/0/x000/001", "leading zeros: its path is 'tile/0/001'"),
        ("tile/0/001.p/256", "partial tile of 256: at most 255"),
        ("tile/0/001.p/0", "not the path of a tile"),
        ("tile/0/001.p/01", "not the path of a tile"),
        ("tile/00/001", "not the path of a tile"),
        ("tile/64/001", "no tile level 64"),
        ("/tile/0/001", "not the path of a tile"),
        ("tile/0/001\n", "not the path of a tile"),
        ("tile/0/../001", "not the path of a tile"),
        ("tile/0/\u0660\u0660\u0661", "not the path of a tile"),
        ("tile/data/001", "not the path of a tile"),
    ],
)
def test_malformed_paths_are_refused(path: str, text: str) -> None:
    with pytest.raises(TileError, match=text):
        tiles.parse_tile_path(path)


def test_paths_of_impossible_tiles_are_not_written() -> None:
    with pytest.raises(TileError, match="no tile -1"):
        tiles.tile_path(0, -1)
    with pytest.raises(TileError, match="1 to 256 hashes, not 257"):
        tiles.entries_path(0, 257)
    with pytest.raises(TileError, match="no tile level -1"):
        tiles.tile_path(-1, 0)


# Entry bundles


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_bundles_read_back(bodies: list[bytes]) -> None:
    assert tiles.decode_entry_bundle(tiles.encode_entry_bundle(bodies)) == tuple(bodies)


def test_malformed_bundles_are_refused() -> None:
    with pytest.raises(TileError, match="ends within its entry 1"):
        tiles.decode_entry_bundle(b"\x00\x01a\x00\x02b")
    with pytest.raises(TileError, match="ends within its entry 0"):
        tiles.decode_entry_bundle(b"\x00")
    with pytest.raises(TileError, match="has 257 entries"):
        tiles.decode_entry_bundle(b"\x00\x00" * 257)
    with pytest.raises(TileError, match="an entry has 65536 bytes; a bundle takes 65535"):
        tiles.encode_entry_bundle([b"a" * 65_536])
    longest = [b"a" * 65_535]
    assert tiles.decode_entry_bundle(tiles.encode_entry_bundle(longest)) == tuple(longest)


# Growth

GROWN = leaf_hashes_of(0, 1200)
HALF_MILLION = 256 * 256 * 2 + 256 * 3 + 7


@given(size=st.integers(0, 1200), splits=st.lists(st.integers(0, 1200), max_size=8))
@settings(deadline=None, max_examples=50)
def test_any_batches_give_the_same_tiles_as_one(size: int, splits: list[int]) -> None:
    whole, batched = TileLog(), TileLog()
    whole.append(GROWN[:size])
    position = 0
    for bound in sorted({size, *(min(split, size) for split in splits)}):
        batched.append(GROWN[position:bound])
        position = bound
    assert batched.tiles == whole.tiles
    assert batched.edge == whole.edge
    loaded = TileEdge.load(size, GROWN[size - size % 256 : size], whole.read_tile)
    assert loaded == whole.edge


@given(size=st.integers(1, 1200), data=st.data())
@settings(deadline=None, max_examples=50)
def test_the_reader_gives_the_hashes_of_the_tree(size: int, data: st.DataObject) -> None:
    log = TileLog()
    # the tiles may be of a later, larger tree
    log.append(GROWN[: size + data.draw(st.integers(0, 300))])
    read = log.reader(size)
    level = data.draw(st.integers(0, size.bit_length() - 1))
    index = data.draw(st.integers(0, (size >> level) - 1))
    expected = merkle.grow(merkle.EMPTY_HEAD, GROWN[index << level : (index + 1) << level])
    assert read(level, index) == expected.root
    assert merkle.root_at(size, read) == merkle.grow(merkle.EMPTY_HEAD, GROWN[:size]).root


def test_three_levels_of_tiles() -> None:
    leaves = [index.to_bytes(32, "big") for index in range(HALF_MILLION)]
    log, batched = TileLog(), TileLog()
    log.append(leaves)
    for first in range(0, HALF_MILLION, 10_007):
        batched.append(leaves[first : first + 10_007])
    assert batched.tiles == log.tiles
    assert [len(hashes) // 32 for (level, _), hashes in sorted(log.tiles.items()) if level] == [
        256,
        256,
        3,
        2,
    ]
    read = log.reader(HALF_MILLION)
    assert merkle.root_at(HALF_MILLION, read) == log.head.root
    for index in (0, 65_535, 65_536, HALF_MILLION - 1):
        proof = merkle.inclusion_proof(index, HALF_MILLION, read)
        merkle.verify_inclusion(
            leaf=leaves[index], index=index, size=HALF_MILLION, proof=proof, root=log.head.root
        )
    proof = merkle.consistency_proof(65_537, HALF_MILLION, read)
    old_root = merkle.grow(merkle.EMPTY_HEAD, leaves[:65_537]).root
    merkle.verify_consistency(
        old_size=65_537,
        new_size=HALF_MILLION,
        old_root=old_root,
        new_root=log.head.root,
        proof=proof,
    )


def test_missing_and_narrow_tiles_are_told() -> None:
    log = TileLog()
    log.append(GROWN[:600])
    read = log.reader(600)
    with pytest.raises(TileError, match=r"no complete subtree 2 of 2\*\*8"):
        read(8, 2)
    with pytest.raises(TileError, match="no complete subtree -1"):
        read(0, -1)
    log.tiles[1, 0] = log.tiles[1, 0][:32]
    with pytest.raises(TileError, match="tile 1/0 is stored with 32 bytes, but its 2 hashes"):
        log.reader(600)(8, 1)
    del log.tiles[0, 1]
    with pytest.raises(TileError, match="tile 0/1 is stored with 0 bytes"):
        log.reader(600)(0, 256)
    with pytest.raises(TileError, match="tile 1/0 is stored"):
        TileEdge.load(600, GROWN[512:600], log.read_tile)
    with pytest.raises(TileError, match="87 leaf hashes were given instead of 88"):
        TileEdge.load(600, GROWN[513:600], log.read_tile)

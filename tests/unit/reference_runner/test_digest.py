"""The digest names all bytes of a checkpoint, in the order that model-signing gives them."""

import hashlib
from pathlib import Path

import pytest

from reference_runner.digest import CHUNK_SIZE_BYTES, checkpoint_digest
from reference_runner.errors import CheckpointError
from tests.support.example_model import MODEL

FILES = {"Z": b"1", "a/b": b"2", "a b": b"3", "a-b": b"4", "a.txt": b"5", "empty": b""}
#: Path parts are compared one by one, so what lies in folder `a` comes before `a b` and `a-b`.
ORDER = ["Z", "a/b", "a b", "a-b", "a.txt", "empty"]
#: By model-signing 1.1.1 over FILES.
SIGNED_ROOT = "sha256:f316687ee7a41993b9cf8a8dcbab3b37238321e26a36a7aef3a81a1df56fb85a"


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def test_the_digest_is_the_hash_of_the_files_hashes_in_order(tmp_path: Path) -> None:
    digests = b"".join(hashlib.sha256(FILES[name]).digest() for name in ORDER)
    expected = f"sha256:{hashlib.sha256(digests).hexdigest()}"
    assert checkpoint_digest(folder_of(tmp_path, FILES)) == expected == SIGNED_ROOT


def test_files_larger_than_a_chunk_are_hashed_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * (CHUNK_SIZE_BYTES // 256) + b"end"
    inner = hashlib.sha256(hashlib.sha256(content).digest()).hexdigest()
    assert checkpoint_digest(folder_of(tmp_path, {"w": content})) == f"sha256:{inner}"


def test_history_and_signature_are_not_part_of_the_model(tmp_path: Path) -> None:
    extra = {".git/HEAD": b"x", ".gitattributes": b"x", ".gitignore": b"x", "model.sig": b"x"}
    with_extra = folder_of(tmp_path / "b", FILES | extra)
    assert checkpoint_digest(with_extra) == checkpoint_digest(folder_of(tmp_path / "a", FILES))


def test_a_history_deeper_down_is_part_of_the_model(tmp_path: Path) -> None:
    deeper = folder_of(tmp_path / "b", FILES | {"sub/.git": b"x"})
    assert checkpoint_digest(deeper) != checkpoint_digest(folder_of(tmp_path / "a", FILES))


def test_one_flipped_bit_changes_the_digest(tmp_path: Path) -> None:
    before = checkpoint_digest(folder_of(tmp_path, FILES))
    (tmp_path / "a.txt").write_bytes(b"4")
    assert checkpoint_digest(tmp_path) != before


def test_a_rename_that_changes_the_order_changes_the_digest(tmp_path: Path) -> None:
    before = checkpoint_digest(folder_of(tmp_path, FILES))
    (tmp_path / "a.txt").rename(tmp_path / "A.txt")
    assert checkpoint_digest(tmp_path) != before


def test_a_folder_without_files_has_no_digest(tmp_path: Path) -> None:
    folder_of(tmp_path, {".git/HEAD": b"x"})
    with pytest.raises(CheckpointError, match="no files in"):
        checkpoint_digest(tmp_path)


@pytest.mark.parametrize("nested", [False, True])
def test_the_digest_equals_model_signings_root(nested: bool, tmp_path: Path) -> None:
    hashing = pytest.importorskip("model_signing.hashing")
    folder = folder_of(tmp_path, FILES) if nested else MODEL
    root = hashlib.sha256()
    for resource in hashing.Config().hash(folder).resource_descriptors():
        root.update(resource.digest.digest_value)
    assert checkpoint_digest(folder) == f"sha256:{root.hexdigest()}"

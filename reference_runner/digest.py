"""The digest that names a checkpoint: the OpenSSF model-signing root of its folder.

Every file is hashed with SHA-256; the root is the SHA-256 of those digests, joined in the order of
the files' relative names, compared part by part (`a/b` comes before `a-b`). A verdict thereby names
the very bytes that a publisher may have signed with `model-signing`.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from reference_runner.errors import CheckpointError

CHUNK_SIZE_BYTES = 1 << 20

#: Left out by model-signing 1.1.1 too (`signing.py`, `hashing.Config`): history and signature are
#: not the model.
IGNORED_NAMES = frozenset({".git", ".gitattributes", ".github", ".gitignore", "model.sig"})


def checkpoint_digest(folder: Path) -> str:
    """Return `sha256:<hex>` of all files below `folder`.

    Raises: CheckpointError where the folder is missing, empty or unreadable.
    Source: OpenSSF model-signing 1.1.1, predicate `https://model_signing/signature/v1.0`.
    """
    try:
        names = sorted(_file_names(folder), key=lambda name: name.split("/"))
        root = hashlib.sha256()
        for name in names:
            root.update(_file_digest(folder / name))
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {folder}: {error}") from error
    if not names:
        raise CheckpointError(f"no files in {folder}: name the folder of a Hugging Face checkpoint")
    return f"sha256:{root.hexdigest()}"


def _file_names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] not in IGNORED_NAMES:
            yield relative.as_posix()


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_SIZE_BYTES):
            digest.update(chunk)
    return digest.digest()

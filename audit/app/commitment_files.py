"""The files of a commitment: JSON that the parties exchange, and secrets for their owner only."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from audit.codec.json_access import parse_object
from audit.errors import ConfigurationError, InvalidRequest
from audit.hidden_tokens.commitment.documents import (
    ProviderSecrets,
    parse_secrets,
    secrets_document,
)
from audit.ledger.key_files import PRIVATE_MODE, make_durable, write_beside

#: A million opened tokens stay below it; the other party wrote the file.
MAX_FILE_BYTES = 64 << 20

_OTHERS = stat.S_IRWXG | stat.S_IRWXO

T = TypeVar("T")


def read_file(path: Path, parse: Callable[[object], T]) -> T:
    """Return what a JSON file holds. Raises: ConfigurationError, InvalidRequest naming the file."""
    content, _ = _read(path)
    return _parsed(path, content, parse)


def read_bytes(path: Path) -> bytes:
    """Return a small file whole. Raises: ConfigurationError, InvalidRequest."""
    return _read(path)[0]


def write_file(path: Path, document: dict[str, object]) -> None:
    """Write one JSON object. Raises: ConfigurationError."""
    try:
        path.write_bytes(_encoded(document))
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error


def read_secrets(path: Path) -> ProviderSecrets:
    """Return the secrets of `keep_secrets`. Raises: ConfigurationError, InvalidRequest."""
    content, mode = _read(path)
    if mode & _OTHERS:
        raise ConfigurationError(
            f"the secrets {path} are open to other users (mode {stat.S_IMODE(mode):04o}): "
            f"chmod 600 {path}"
        )
    return _parsed(path, content, parse_secrets)


def keep_secrets(path: Path, kept: ProviderSecrets) -> None:
    """Write secrets for this user only, durably.

    Raises: ConfigurationError, also for a file that exists: without the secrets in it, another
    commitment could not be opened any more.
    """
    try:
        temporary = write_beside(path, _encoded(secrets_document(kept)), PRIVATE_MODE)
        try:
            # a link, unlike a rename, replaces nothing
            path.hardlink_to(temporary)
        finally:
            temporary.unlink()
        make_durable(path.parent)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{path} exists, and may hold the secrets of another commitment: name a new file"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error


def _encoded(document: dict[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def _read(path: Path) -> tuple[bytes, int]:
    """Return content and mode; of the open file, as a path could be exchanged in between."""
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise InvalidRequest.of(str(path), f"has more than {MAX_FILE_BYTES} bytes")
    return content, mode


def _parsed(path: Path, content: bytes, parse: Callable[[object], T]) -> T:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest.of(str(path), "is not UTF-8 text") from error
    document = parse_object(text, str(path))
    try:
        return parse(document)
    except InvalidRequest as error:
        first = error.violations[0]
        raise InvalidRequest.of(f"{path}: {first.field}", first.description) from error

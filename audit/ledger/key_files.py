"""Files with private keys: made once, for their owner only, durable before they are used."""

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from audit.errors import ConfigurationError

PRIVATE_MODE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def load_or_create_private(path: Path, generate: Callable[[], PrivateKeyTypes]) -> PrivateKeyTypes:
    """Return the private key in a file (PEM PKCS8), made by `generate` at the first start.

    Several processes may start at once: all end with the same key.
    Raises: ConfigurationError when the file cannot be used, is open to other users, or holds none.
    """
    try:
        if not path.exists():
            _create(path, generate())
        return _load(path)
    except OSError as error:
        raise ConfigurationError(
            f"the key file {error.filename or path} cannot be used ({error.strerror}): choose a "
            "folder that this user can write"
        ) from error


def write_beside(path: Path, content: bytes, mode: int) -> Path:
    """Write a new file in the folder of `path`, durably, and return it."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    return Path(name)


def make_durable(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: Path, private_key: PrivateKeyTypes) -> None:
    pem = private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = write_beside(path, pem, PRIVATE_MODE)
    try:
        # A link, unlike a rename, never replaces the key of a process that was faster.
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    make_durable(path.parent)


def _load(path: Path) -> PrivateKeyTypes:
    with path.open("rb") as file:
        # Asked of the open file: a path could be exchanged between the check and the reading.
        mode = os.fstat(file.fileno()).st_mode
        if mode & _OTHERS:
            raise ConfigurationError(
                f"the key file {path} is open to other users (mode {stat.S_IMODE(mode):04o}): "
                f"chmod 600 {path}, and make a new key if somebody may have read it"
            )
        pem = file.read()
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{path} is not an unencrypted PEM private key: move it away and a new one is made"
        ) from error

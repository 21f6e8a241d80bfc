"""The verdict key: one ECDSA P-256 private key in a file that only its owner can read.

Loaded once at start and handed to `audit.ledger.envelope`. The public half lies beside it for
auditors. No key is ever logged, and no password, HSM or key service is handled here.
"""

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from audit.errors import ConfigurationError

_PRIVATE_MODE = 0o600
_PUBLIC_MODE = 0o644
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A P-256 private key that can sign, and shows no more of itself than its key_id."""

    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    public_key_pem: bytes = field(repr=False)
    """PEM SubjectPublicKeyInfo, as verifiers want it."""
    key_id: str
    """Hex SHA-256 of the DER SubjectPublicKeyInfo."""

    @classmethod
    def of(cls, private_key: ec.EllipticCurvePrivateKey) -> "SigningKey":
        """Return the signing key of a P-256 private key.

        Raises: ConfigurationError for other curves.
        """
        if not isinstance(private_key.curve, ec.SECP256R1):
            raise ConfigurationError(
                f"verdicts are signed with P-256, not {private_key.curve.name}: make another key"
            )
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        public_key = private_key.public_key()
        return cls(
            private_key=private_key,
            public_key_pem=public_key.public_bytes(serialization.Encoding.PEM, spki),
            key_id=hashlib.sha256(
                public_key.public_bytes(serialization.Encoding.DER, spki)
            ).hexdigest(),
        )

    def sign(self, message: bytes) -> bytes:
        """Return the deterministic ECDSA signature over SHA-256 of the message, DER encoded."""
        return self.private_key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def load_or_create_key(path: Path) -> SigningKey:
    """Return the key in `path` (PEM PKCS8), made at the first start, and write `<path>.pub`.

    Several processes may start at once: all end with the same key.
    Raises: ConfigurationError when a file cannot be read or written, is open to other users, or is
    no P-256 key.
    """
    try:
        if not path.exists():
            _create(path)
        key = _load(path)
        _publish(key, path.with_name(path.name + ".pub"))
    except OSError as error:
        raise ConfigurationError(
            f"the key file {error.filename or path} cannot be used ({error.strerror}): choose a "
            "folder that this user can write"
        ) from error
    return key


def _create(path: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = _write_beside(path, pem, _PRIVATE_MODE)
    try:
        # A link, unlike a rename, never replaces the key of a process that was faster.
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    _make_durable(path.parent)


def _load(path: Path) -> SigningKey:
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
        private_key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{path} is not an unencrypted PEM private key: move it away and a new one is made"
        ) from error
    if not isinstance(private_key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{path} is not an ECDSA P-256 key: name another file")
    return SigningKey.of(private_key)


def _publish(key: SigningKey, path: Path) -> None:
    try:
        published = path.read_bytes()
    except FileNotFoundError:
        _write_beside(path, key.public_key_pem, _PUBLIC_MODE).replace(path)
        _make_durable(path.parent)
        return
    if published != key.public_key_pem:
        raise ConfigurationError(
            f"{path} is not the public key of the private key beside it: move it away, and tell "
            "the auditors if the key was changed on purpose"
        )


def _write_beside(path: Path, content: bytes, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    return Path(name)


def _make_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The verdict key: one ECDSA P-256 private key in a file that only its owner can read.

Loaded once at start, by way of `audit.ledger.signers`, where hardware modules and key services are
handled as well. The public half lies beside it for auditors. No key is ever logged.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from audit.errors import ConfigurationError
from audit.ledger.key_files import load_or_create_private, make_durable, write_beside

_PUBLIC_MODE = 0o644
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


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
        public_key = private_key.public_key()
        return cls(
            private_key=private_key,
            public_key_pem=pem_of(public_key),
            key_id=key_id_of(public_key),
        )

    def sign(self, message: bytes) -> bytes:
        """Return the deterministic ECDSA signature over SHA-256 of the message, DER encoded."""
        return self.private_key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def key_id_of(public_key: ec.EllipticCurvePublicKey) -> str:
    """Return the key id: hex SHA-256 of the DER SubjectPublicKeyInfo."""
    return hashlib.sha256(public_key.public_bytes(serialization.Encoding.DER, _SPKI)).hexdigest()


def pem_of(public_key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the key as PEM SubjectPublicKeyInfo."""
    return public_key.public_bytes(serialization.Encoding.PEM, _SPKI)


def load_public_key(pem: bytes, what: str) -> ec.EllipticCurvePublicKey:
    """Return a P-256 public key; `what` names it in errors. Raises: ConfigurationError."""
    try:
        public_key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{what} is not a PEM public key: name a file that begins with BEGIN PUBLIC KEY"
        ) from error
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(
        public_key.curve, ec.SECP256R1
    ):
        raise ConfigurationError(f"{what} is not an ECDSA P-256 key: name another one")
    return public_key


def load_or_create_key(path: Path) -> SigningKey:
    """Return the key in `path` (PEM PKCS8), made at the first start, and write `<path>.pub`.

    Several processes may start at once: all end with the same key.
    Raises: ConfigurationError when a file cannot be read or written, is open to other users, or is
    no P-256 key.
    """
    private_key = load_or_create_private(path, lambda: ec.generate_private_key(ec.SECP256R1()))
    if not isinstance(private_key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{path} is not an ECDSA P-256 key: name another file")
    key = SigningKey.of(private_key)
    published = path.with_name(path.name + ".pub")
    try:
        _publish(key, published)
    except OSError as error:
        raise ConfigurationError(
            f"the key file {error.filename or published} cannot be used ({error.strerror}): choose "
            "a folder that this user can write"
        ) from error
    return key


def _publish(key: SigningKey, path: Path) -> None:
    try:
        published = path.read_bytes()
    except FileNotFoundError:
        write_beside(path, key.public_key_pem, _PUBLIC_MODE).replace(path)
        make_durable(path.parent)
        return
    if published != key.public_key_pem:
        raise ConfigurationError(
            f"{path} is not the public key of the private key beside it: move it away, and tell "
            "the auditors if the key was changed on purpose"
        )

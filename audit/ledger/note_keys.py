"""Verifier keys of signed notes, as text: `<name>+<key id>+<base64 of type and key>` (C2SP vkeys).

All published types of signed-note 1.0.0 are read; only those that this log and its witnesses use
can be verified (see `notes`).
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from audit.errors import VerificationError

KEY_HASH_BYTES = 4


class NoteError(VerificationError):
    """A signed note, a line of it or a verifier key is malformed or does not verify."""


class Algorithm(IntEnum):
    """Signature types of C2SP signed-note; the first byte of a key."""

    ED25519 = 0x01
    ECDSA = 0x02
    COSIGNATURE_V1 = 0x04
    """Ed25519 over a checkpoint and a time."""
    RFC6962 = 0x05
    ML_DSA_44 = 0x06
    """ML-DSA-44 over a checkpoint's tree, a time and both names."""


_RAW_KEY_BYTES = {
    Algorithm.ED25519: 32,
    Algorithm.COSIGNATURE_V1: 32,
    Algorithm.ML_DSA_44: 1312,
}


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key with the name it signs under; `public` is raw, or DER for ECDSA and RFC 6962."""

    name: str
    key_hash: bytes
    """4 bytes: with the name, what a signature line names its key by."""
    algorithm: Algorithm
    public: bytes

    @classmethod
    def of(cls, name: str, algorithm: Algorithm, public: bytes) -> "NoteKey":
        """Return the key with its ID computed. Raises: NoteError."""
        require_key_name(name)
        _require_public(algorithm, public)
        return cls(name, _key_hash(name, algorithm, public), algorithm, public)

    @property
    def id(self) -> str:
        """The key ID in hex."""
        return self.key_hash.hex()


def format_vkey(key: NoteKey) -> str:
    """Return a key as text."""
    material = base64.b64encode(bytes([key.algorithm]) + key.public).decode("ascii")
    return f"{key.name}+{key.id}+{material}"


def parse_vkey(text: str) -> NoteKey:
    """Return the key of a vkey, whose ID must be that of its name and key. Raises: NoteError."""
    shown = repr(text[:80])
    # base64 may hold a plus, names may not
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise NoteError(f"the key {shown} has {len(parts)} parts instead of 3: name+id+key")
    name, key_id, encoded = parts
    require_key_name(name)
    if not re.fullmatch("[0-9a-f]{8}", key_id):
        raise NoteError(f"the key {shown} has an ID that is not 8 lower-case hex digits")
    material = decode_base64(encoded, f"the key {shown}")
    if not material:
        raise NoteError(f"the key {shown} is empty")
    try:
        algorithm = Algorithm(material[0])
    except ValueError as error:
        raise NoteError(f"the key {shown} is of the unknown type {material[0]:#04x}") from error
    key = NoteKey.of(name, algorithm, material[1:])
    if key.id != key_id:
        raise NoteError(f"the key {shown} has the ID {key_id}, but its name and key give {key.id}")
    return key


def require_key_name(name: str) -> None:
    """Pass where a text can name a key. Raises: NoteError."""
    if not name:
        raise NoteError("a key name is empty")
    if "+" in name:
        raise NoteError(f"the key name {name[:80]!r} has a plus sign")
    if any(character.isspace() or ord(character) < 0x20 for character in name):
        raise NoteError(f"the key name {name[:80]!r} has a space or a control character")


def decode_base64(text: str, what: str) -> bytes:
    """Return the bytes of strict, canonical base64. Raises: NoteError naming `what`."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise NoteError(f"{what} is not base64") from error
    if base64.b64encode(data).decode("ascii") != text:
        raise NoteError(f"{what} is not written in canonical base64")
    return data


def _key_hash(name: str, algorithm: Algorithm, public: bytes) -> bytes:
    if algorithm is Algorithm.ECDSA:
        # older than the rule for the others: it does not cover the name
        return hashlib.sha256(public).digest()[:KEY_HASH_BYTES]
    # C2SP static-ct-api: the log's ID stands for its key
    identity = hashlib.sha256(public).digest() if algorithm is Algorithm.RFC6962 else public
    sequence = name.encode("utf-8") + b"\n" + bytes([algorithm]) + identity
    return hashlib.sha256(sequence).digest()[:KEY_HASH_BYTES]


def _require_public(algorithm: Algorithm, public: bytes) -> None:
    expected = _RAW_KEY_BYTES.get(algorithm)
    if expected is not None:
        if len(public) != expected:
            raise NoteError(
                f"a key of type {algorithm.name} has {len(public)} bytes instead of {expected}"
            )
        return
    try:
        load_der_public_key(public)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NoteError(f"a key of type {algorithm.name} is not a DER public key") from error

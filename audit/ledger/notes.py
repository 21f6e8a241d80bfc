"""Signed notes, read strictly (C2SP signed-note 1.0.0).

A note is a text, an empty line, and one line for each signature. Verified here are Ed25519 (0x01),
and of cosignatures (C2SP tlog-cosignature 1.1.0-rc.1) `cosignature/v1` (0x04) and ML-DSA-44 (0x06).
The log's own ML-DSA-44 line is of that last type, since no other is assigned to ML-DSA: it states
the time 0, so that it makes no statement but the log's own, that this is its tree.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from audit.ledger.checkpoints import parse_checkpoint_body
from audit.ledger.cosignatures import encode_time, subtree_message, verify_cosignature
from audit.ledger.note_keys import (
    KEY_HASH_BYTES,
    Algorithm,
    NoteError,
    NoteKey,
    decode_base64,
    format_vkey,
    parse_vkey,
    require_key_name,
)

__all__ = [
    "Algorithm",
    "Ed25519NoteSigner",
    "MlDsa44NoteSigner",
    "NoteError",
    "NoteKey",
    "NoteSignature",
    "NoteSigner",
    "OpenedNote",
    "SignedNote",
    "UntrustedNote",
    "VerifiedSignature",
    "format_note",
    "format_vkey",
    "open_note",
    "parse_note",
    "parse_vkey",
    "sign_note",
    "verify_line",
]

MAX_NOTE_BYTES = 1_000_000
#: C2SP asks for at least 16.
MAX_SIGNATURES = 64
_DASH = "\u2014 "


class UntrustedNote(NoteError):
    """A well-formed note that no known key has signed, or a known key's line that fails."""


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature line; which key, and its signature without the key ID."""

    name: str
    key_hash: bytes
    signature: bytes

    def line(self) -> str:
        """Return the line, newline included."""
        payload = base64.b64encode(self.key_hash + self.signature).decode("ascii")
        return f"{_DASH}{self.name} {payload}\n"


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A note as written; nothing of it is verified. `text` ends with a newline."""

    text: str
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A known key's good signature; cosignatures state a time, in Unix seconds."""

    key: NoteKey
    timestamp_s: int | None


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note that a known key has signed."""

    text: str
    verified: tuple[VerifiedSignature, ...]
    """One for each known key that signed, in the order of the lines."""
    unverified: tuple[NoteSignature, ...]
    """Lines of unknown keys, each once."""


class NoteSigner(Protocol):
    """Signs note texts under one name."""

    @property
    def key(self) -> NoteKey:
        """The key that verifies its lines."""
        ...

    def sign(self, text: str) -> bytes:
        """Return the signature of a line, without the key ID."""
        ...


class Ed25519NoteSigner:
    """Signs with Ed25519 (0x01); the same text gives the same bytes."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        public = private_key.public_key().public_bytes_raw()
        self.key = NoteKey.of(name, Algorithm.ED25519, public)

    def sign(self, text: str) -> bytes:
        """Return the 64 bytes of the signature."""
        return self._private_key.sign(text.encode("utf-8"))


class MlDsa44NoteSigner:
    """Signs checkpoints with ML-DSA-44 (0x06) at the time 0; each signature is another."""

    def __init__(self, name: str, private_key: MLDSA44PrivateKey) -> None:
        self._private_key = private_key
        public = private_key.public_key().public_bytes_raw()
        self.key = NoteKey.of(name, Algorithm.ML_DSA_44, public)

    def sign(self, text: str) -> bytes:
        """Return time and signature. Raises: CheckpointTextError where the text is none."""
        message = subtree_message(self.key.name, 0, parse_checkpoint_body(text))
        return encode_time(0) + self._private_key.sign(message)


def sign_note(text: str, signers: Sequence[NoteSigner]) -> bytes:
    """Return the note of a text with a line of each signer.

    Raises: NoteError, and CheckpointTextError where a signer takes only checkpoints.
    """
    lines = tuple(
        NoteSignature(signer.key.name, signer.key.key_hash, signer.sign(text)) for signer in signers
    )
    return format_note(SignedNote(text, lines))


def format_note(note: SignedNote) -> bytes:
    """Return a note's bytes, which read back as the same note. Raises: NoteError."""
    data = f"{note.text}\n{''.join(line.line() for line in note.signatures)}".encode()
    if parse_note(data) != note:
        raise NoteError("the note's text would be read as another: it does not end with a newline")
    return data


def parse_note(data: bytes) -> SignedNote:
    """Return a note's text and lines, unverified. Raises: NoteError."""
    if len(data) > MAX_NOTE_BYTES:
        raise NoteError(f"the note has {len(data)} bytes; at most {MAX_NOTE_BYTES} are read")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteError(f"the note is not UTF-8: see its byte {error.start}") from error
    if any(byte < 0x20 and byte != 0x0A for byte in data):
        raise NoteError("the note has a control character")
    if not note.endswith("\n"):
        raise NoteError("the note does not end with a newline")
    text, blank, block = note.rpartition("\n\n")
    if not blank:
        raise NoteError("the note has no empty line between its text and its signatures")
    if not block:
        raise NoteError("the note has no signature lines")
    lines = block.split("\n")[:-1]
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"the note has {len(lines)} signatures; at most {MAX_SIGNATURES} are read")
    return SignedNote(f"{text}\n", tuple(_parse_line(line) for line in lines))


def open_note(note: bytes | SignedNote, keys: Iterable[NoteKey]) -> OpenedNote:
    """Return a note that at least one known key has signed; lines of others are ignored.

    Every line of a known key must verify; several of one key count once, as the earliest of them.
    Raises: UntrustedNote where a known key's line fails or there is none; NoteError; and
    CheckpointTextError where a key cosigns checkpoints and the text is none.
    """
    parsed = parse_note(note) if isinstance(note, bytes) else note
    known: dict[tuple[str, bytes], list[NoteKey]] = {}
    for key in keys:
        known.setdefault((key.name, key.key_hash), []).append(key)
    verified: dict[NoteKey, VerifiedSignature] = {}
    unverified: dict[NoteSignature, None] = {}
    for line in parsed.signatures:
        matching = known.get((line.name, line.key_hash), [])
        if not matching:
            unverified[line] = None
            continue
        if len(matching) > 1:
            raise NoteError(f"the key {line.name}+{line.key_hash.hex()} is given more than once")
        result = VerifiedSignature(matching[0], verify_line(matching[0], parsed.text, line))
        held = verified.setdefault(matching[0], result)
        if (result.timestamp_s or 0) < (held.timestamp_s or 0):
            verified[matching[0]] = result
    if not verified:
        raise UntrustedNote("no known key has signed the note: see that the right keys are trusted")
    return OpenedNote(parsed.text, tuple(verified.values()), tuple(unverified))


def verify_line(key: NoteKey, text: str, line: NoteSignature) -> int | None:
    """Return the time that a line states, or None, once its signature is verified.

    Raises: UntrustedNote, and CheckpointTextError where the key cosigns checkpoints and the text
    is none.
    """
    if (line.name, line.key_hash) != (key.name, key.key_hash):
        raise UntrustedNote(f"the line of {line.name} is not of the key {key.name}+{key.id}")
    if key.algorithm in (Algorithm.COSIGNATURE_V1, Algorithm.ML_DSA_44):
        try:
            return verify_cosignature(key, text, line.signature)
        except NoteError as error:
            raise UntrustedNote(str(error)) from error
    if key.algorithm is not Algorithm.ED25519:
        raise UntrustedNote(
            f"the key {key.name}+{key.id} is of type {key.algorithm.name}, which is not verified "
            "here: trust an Ed25519 or ML-DSA-44 key"
        )
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(line.signature, text.encode("utf-8"))
    except (InvalidSignature, ValueError) as error:
        raise UntrustedNote(f"the signature of {key.name} does not verify") from error
    return None


def _parse_line(line: str) -> NoteSignature:
    shown = repr(line[:80])
    if not line.startswith(_DASH):
        raise NoteError(f"the signature line {shown} does not begin with an em dash and a space")
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not space:
        raise NoteError(f"the signature line {shown} is not a name, a space and a signature")
    require_key_name(name)
    payload = decode_base64(encoded, f"the signature of line {shown}")
    if len(payload) <= KEY_HASH_BYTES:
        raise NoteError(f"the signature of line {shown} is shorter than a key ID and a signature")
    return NoteSignature(name, payload[:KEY_HASH_BYTES], payload[KEY_HASH_BYTES:])

"""Cosignatures of checkpoints: Ed25519 `cosignature/v1` and ML-DSA-44 `subtree/v1`.

C2SP tlog-cosignature 1.1.0-rc.1. A line's signature is an 8-byte big-endian POSIX time followed by
the signature. Ed25519 (type 0x04) signs a header, the time and the checkpoint's whole text.
ML-DSA-44 (type 0x06) signs a structure: the label `subtree/v1`, cosigner's name, time, log's
origin, start (0 for a checkpoint), end (the size) and root; names have one byte of length. Its time
may be 0, which says nothing about the tree being the largest.
"""

import base64
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from audit.ledger.checkpoints import Checkpoint, parse_checkpoint_body
from audit.ledger.note_keys import Algorithm, NoteError, NoteKey

MAX_TIMESTAMP = 2**63 - 1
_TIME_BYTES = 8
_SIGNATURE_BYTES = {Algorithm.COSIGNATURE_V1: 64, Algorithm.ML_DSA_44: 2420}


class WitnessSigner:
    """Cosigns checkpoints as a witness: Ed25519, `cosignature/v1`."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        public = private_key.public_key().public_bytes_raw()
        self.key = NoteKey.of(name, Algorithm.COSIGNATURE_V1, public)

    def cosign(self, checkpoint_text: str, timestamp_s: int) -> str:
        """Return the signature line, newline included, for a checkpoint's text.

        `timestamp_s` is in Unix seconds. Raises: CheckpointTextError, NoteError.
        """
        parse_checkpoint_body(checkpoint_text)
        time = encode_time(timestamp_s)
        signature = self._private_key.sign(_cosigned_text(checkpoint_text, timestamp_s))
        payload = base64.b64encode(self.key.key_hash + time + signature).decode("ascii")
        return f"\u2014 {self.key.name} {payload}\n"


def cosignature_timestamp(signature: bytes) -> int:
    """Return the time (Unix seconds) of a line's signature, of either kind, without verifying it.

    Raises: NoteError.
    """
    if len(signature) - _TIME_BYTES not in _SIGNATURE_BYTES.values():
        raise NoteError(f"a cosignature cannot have {len(signature)} bytes")
    timestamp_s = int.from_bytes(signature[:_TIME_BYTES], "big")
    if timestamp_s > MAX_TIMESTAMP:
        raise NoteError("the time of a cosignature is above 2**63 - 1")
    return timestamp_s


def verify_cosignature(key: NoteKey, text: str, signature: bytes) -> int:
    """Return when a checkpoint's text was cosigned, in Unix seconds.

    `signature` is that of a line, without the key ID. Raises: NoteError, and CheckpointTextError
    where the text is no checkpoint.
    """
    expected = _SIGNATURE_BYTES.get(key.algorithm)
    if expected is None:
        raise NoteError(f"the key {key.name}+{key.id} is of type {key.algorithm.name}: no cosigner")
    if len(signature) != _TIME_BYTES + expected:
        raise NoteError(
            f"the cosignature of {key.name} has {len(signature)} bytes "
            f"instead of {_TIME_BYTES + expected}"
        )
    timestamp_s = cosignature_timestamp(signature)
    checkpoint = parse_checkpoint_body(text)
    verify: Callable[[bytes, bytes], None]
    try:
        if key.algorithm is Algorithm.ML_DSA_44:
            verify = MLDSA44PublicKey.from_public_bytes(key.public).verify
            message = subtree_message(key.name, timestamp_s, checkpoint)
        else:
            verify = Ed25519PublicKey.from_public_bytes(key.public).verify
            message = _cosigned_text(text, timestamp_s)
        verify(signature[_TIME_BYTES:], message)
    except (InvalidSignature, ValueError) as error:
        raise NoteError(f"the cosignature of {key.name} does not verify") from error
    return timestamp_s


def subtree_message(cosigner: str, timestamp_s: int, checkpoint: Checkpoint) -> bytes:
    """Return what ML-DSA-44 signs for a checkpoint. Raises: NoteError where a name is too long."""
    return b"".join(
        (
            b"subtree/v1\n\x00",
            _with_length(cosigner, "cosigner"),
            encode_time(timestamp_s),
            _with_length(checkpoint.origin, "origin"),
            (0).to_bytes(8, "big"),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )


def encode_time(timestamp_s: int) -> bytes:
    """Return a time in Unix seconds as 8 bytes. Raises: NoteError."""
    if not 0 <= timestamp_s <= MAX_TIMESTAMP:
        raise NoteError(f"a cosignature cannot state the time {timestamp_s}")
    return timestamp_s.to_bytes(_TIME_BYTES, "big")


def _cosigned_text(text: str, timestamp_s: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp_s}\n{text}".encode()


def _with_length(text: str, what: str) -> bytes:
    data = text.encode("utf-8")
    if not 1 <= len(data) <= 255:
        raise NoteError(f"the {what}'s name has {len(data)} bytes; ML-DSA-44 signs 1 to 255")
    return bytes([len(data)]) + data

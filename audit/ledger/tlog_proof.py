"""A proof of inclusion in one file: index, path and checkpoint (C2SP tlog-proof, v1).

Read strictly; nothing is verified here. The checkpoint is kept as its bytes, for `open_note`.
"""

import base64
import re
from dataclasses import dataclass

from audit.errors import VerificationError
from audit.ledger.merkle import HASH_BYTES, MAX_SIZE

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = 1_100_000
#: No tree of fewer than 2**63 leaves is higher.
MAX_HASHES = 63


class TlogProofError(VerificationError):
    """A file is not a well-formed tlog-proof."""


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A proof as written; `hashes` from the leaf's sibling upwards, `extra` vouched for by none."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None


def format_tlog_proof(proof: TlogProof) -> bytes:
    """Return a proof's file. Raises: TlogProofError where it could not be read back."""
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(f"extra {_encode(proof.extra)}")
    lines += [f"index {proof.index}", *map(_encode, proof.hashes), "", ""]
    data = "\n".join(lines).encode("ascii") + proof.checkpoint
    parse_tlog_proof(data)
    return data


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Return what a proof's file says. Raises: TlogProofError."""
    if len(data) > MAX_PROOF_BYTES:
        raise TlogProofError(f"the proof has {len(data)} bytes; at most {MAX_PROOF_BYTES} are read")
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank:
        raise TlogProofError("the proof has no empty line before its checkpoint")
    if not checkpoint:
        raise TlogProofError("the proof has no checkpoint after its empty line")
    if not head.isascii():
        raise TlogProofError("the proof's lines are not ASCII")
    lines = head.decode("ascii").split("\n")
    if lines.pop(0) != HEADER:
        raise TlogProofError(f"the proof's first line is not {HEADER!r}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = _decode(lines.pop(0).removeprefix("extra "), "the proof's extra data")
    if not lines or not lines[0].startswith("index "):
        raise TlogProofError("the proof has no line with its index")
    index = _parse_index(lines.pop(0).removeprefix("index "))
    if len(lines) > MAX_HASHES:
        raise TlogProofError(f"the proof has {len(lines)} hashes; no tree needs over {MAX_HASHES}")
    return TlogProof(index, tuple(map(_parse_hash, lines)), checkpoint, extra)


def _parse_index(text: str) -> int:
    if not re.fullmatch("0|[1-9][0-9]{0,18}", text) or int(text) >= MAX_SIZE:
        raise TlogProofError(f"the proof's index {text[:40]!r} is not a number below 2**63 - 1")
    return int(text)


def _parse_hash(line: str) -> bytes:
    value = _decode(line, "a hash of the proof")
    if len(value) != HASH_BYTES:
        raise TlogProofError(f"a hash of the proof has {len(value)} bytes instead of {HASH_BYTES}")
    return value


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise TlogProofError(f"{what} is not base64") from error
    if _encode(data) != text:
        raise TlogProofError(f"{what} is not written in canonical base64")
    return data

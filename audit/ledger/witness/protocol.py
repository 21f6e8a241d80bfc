"""The messages of C2SP tlog-witness `add-checkpoint`, read strictly and written exactly.

Request: `old <size>`, up to 63 lines of base64 hashes, an empty line, the checkpoint as a signed
note. Answer: signature lines, or with status 409 the size that the witness has.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from audit.errors import VerificationError

PATH = "/add-checkpoint"
REQUEST_TYPE = "text/plain; charset=utf-8"
SIZE_TYPE = "text/x.tlog.size"

#: A proof between two trees of up to 2**63 leaves has no more hashes.
MAX_PROOF_LINES = 63
#: Old size, proof and a note with dozens of signature lines, post-quantum ones among them.
MAX_REQUEST_BYTES = 131_072

_HASH_BYTES = 32
_MAX_SIZE = 2**63 - 1
_DECIMAL = re.compile(rb"0|[1-9][0-9]{0,18}")


class MalformedRequest(VerificationError):
    """A body is not what the witness protocol says; the text names the part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheckpoint:
    """A request to cosign; `proof` leads from the tree of `old_size` to the checkpoint's."""

    old_size: int
    proof: tuple[bytes, ...]
    """Hashes of 32 bytes."""
    note: bytes


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Return the request in a body; the note in it is not looked at.

    Raises: MalformedRequest. Source: C2SP tlog-witness, add-checkpoint.
    """
    if len(body) > MAX_REQUEST_BYTES:
        raise MalformedRequest(f"the request is longer than {MAX_REQUEST_BYTES} bytes")
    head, blank, note = body.partition(b"\n\n")
    if not blank:
        raise MalformedRequest("no empty line ends the proof: put one before the checkpoint")
    if not note:
        raise MalformedRequest("no checkpoint follows the empty line")
    first, *lines = head.split(b"\n")
    if not first.startswith(b"old "):
        raise MalformedRequest("the first line is not `old <size>`")
    if len(lines) > MAX_PROOF_LINES:
        raise MalformedRequest(f"more than {MAX_PROOF_LINES} proof lines: {len(lines)}")
    return AddCheckpoint(
        old_size=_parse_size(first.removeprefix(b"old "), "the old size"),
        proof=tuple(_parse_hash(line, number) for number, line in enumerate(lines, start=1)),
        note=note,
    )


def format_add_checkpoint(request: AddCheckpoint) -> bytes:
    """Return the body of a request."""
    hashes = b"".join(base64.b64encode(value) + b"\n" for value in request.proof)
    return b"old %d\n%s\n%s" % (request.old_size, hashes, request.note)


def parse_size(body: bytes) -> int:
    """Return the size that a witness names with status 409. Raises: MalformedRequest."""
    if not body.endswith(b"\n"):
        raise MalformedRequest("the witness' size does not end in a newline")
    return _parse_size(body[:-1], "the witness' size")


def format_size(size: int) -> bytes:
    """Return the body that goes with status 409."""
    return b"%d\n" % size


def _parse_size(text: bytes, what: str) -> int:
    if not _DECIMAL.fullmatch(text):
        raise MalformedRequest(f"{what} is not a decimal number without leading zeroes")
    size = int(text)
    if size > _MAX_SIZE:
        raise MalformedRequest(f"{what} is larger than any tree: {size}")
    return size


def _parse_hash(line: bytes, number: int) -> bytes:
    try:
        value = base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise MalformedRequest(f"proof line {number} is not base64") from error
    # Python's decoder passes stray bits in the last character; one hash has one spelling here
    if base64.b64encode(value) != line:
        raise MalformedRequest(f"proof line {number} is not canonical base64")
    if len(value) != _HASH_BYTES:
        raise MalformedRequest(f"proof line {number} holds {len(value)} bytes instead of 32")
    return value

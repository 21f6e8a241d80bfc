"""The text of a checkpoint: origin, size and root, one a line (C2SP tlog-checkpoint 1.0.0).

Read strictly: there is one text for each checkpoint, so that all who sign or compare it mean the
same bytes. Extension lines are refused: ML-DSA cosignatures do not cover them, and witnesses of the
public network do not take them.
"""

import base64
import re
from dataclasses import dataclass

from audit.errors import VerificationError

MAX_SIZE = 2**63 - 1
_ROOT_BYTES = 32
_MAX_ORIGIN_BYTES = 255


class CheckpointTextError(VerificationError):
    """A text is not a well-formed checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A log's statement of its tree; `root` is 32 bytes."""

    origin: str
    size: int
    root: bytes


def format_checkpoint_body(checkpoint: Checkpoint) -> str:
    """Return the text that is signed. Raises: CheckpointTextError where it cannot be stated."""
    _require_origin(checkpoint.origin)
    if not 0 <= checkpoint.size <= MAX_SIZE:
        raise CheckpointTextError(f"a checkpoint cannot state the size {checkpoint.size}")
    if len(checkpoint.root) != _ROOT_BYTES:
        raise CheckpointTextError(_wrong_root_length(checkpoint.root))
    root = base64.b64encode(checkpoint.root).decode("ascii")
    return f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n"


def parse_checkpoint_body(text: str) -> Checkpoint:
    """Return what a checkpoint's text states. Raises: CheckpointTextError."""
    if text.startswith("\n"):
        raise CheckpointTextError(
            "the checkpoint begins with an empty line: its first is the origin"
        )
    if not text.endswith("\n"):
        raise CheckpointTextError("the checkpoint's last line does not end with a newline")
    lines = text.split("\n")[:-1]
    if len(lines) < 3:
        raise CheckpointTextError(f"the checkpoint has {len(lines)} lines instead of 3")
    if "" in lines:
        raise CheckpointTextError("the checkpoint has an empty line")
    if len(lines) > 3:
        raise CheckpointTextError(
            f"the checkpoint has {len(lines) - 3} extension lines: they are not taken, since not "
            "all signatures cover them"
        )
    origin, size, root = lines
    _require_origin(origin)
    return Checkpoint(origin=origin, size=_parse_size(size), root=_parse_root(root))


def _require_origin(origin: str) -> None:
    if not origin:
        raise CheckpointTextError("the checkpoint's origin is empty")
    if any(character.isspace() or ord(character) < 0x20 for character in origin):
        raise CheckpointTextError(f"the checkpoint's origin {origin[:80]!r} has a space or control")
    if "+" in origin:
        raise CheckpointTextError(f"the checkpoint's origin {origin[:80]!r} has a plus sign")
    if len(origin.encode("utf-8", "replace")) > _MAX_ORIGIN_BYTES:
        raise CheckpointTextError(
            f"the checkpoint's origin is longer than {_MAX_ORIGIN_BYTES} bytes"
        )


def _parse_size(text: str) -> int:
    shown = repr(text[:40])
    # Python's int() takes all of these; a reader in another language would see another number
    if text[0] in "+-":
        raise CheckpointTextError(f"the checkpoint's size {shown} has a sign")
    if any(character.isspace() for character in text):
        raise CheckpointTextError(f"the checkpoint's size {shown} has a space")
    if "_" in text:
        raise CheckpointTextError(f"the checkpoint's size {shown} has an underscore")
    if not text.isascii():
        raise CheckpointTextError(f"the checkpoint's size {shown} has digits that are not ASCII")
    if not re.fullmatch("[0-9]+", text):
        raise CheckpointTextError(f"the checkpoint's size {shown} is not a decimal number")
    if text[0] == "0" and text != "0":
        raise CheckpointTextError(f"the checkpoint's size {shown} has a leading zero")
    if len(text) > 19 or int(text) > MAX_SIZE:
        raise CheckpointTextError(f"the checkpoint's size {shown} is above 2**63 - 1")
    return int(text)


def _parse_root(text: str) -> bytes:
    if any(character.isspace() for character in text):
        raise CheckpointTextError("the checkpoint's root has a space within its base64")
    try:
        root = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise CheckpointTextError(f"the checkpoint's root {text[:80]!r} is not base64") from error
    if base64.b64encode(root).decode("ascii") != text:
        raise CheckpointTextError("the checkpoint's root is not written in canonical base64")
    if len(root) != _ROOT_BYTES:
        raise CheckpointTextError(_wrong_root_length(root))
    return root


def _wrong_root_length(root: bytes) -> str:
    return f"the checkpoint's root has {len(root)} bytes instead of {_ROOT_BYTES}"

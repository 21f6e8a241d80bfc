"""Asks one witness to cosign a checkpoint, and believes its answer only once it verifies.

A witness that has seen another size than we thought says so (409); then it is asked once more, with
a proof from the size that it names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from audit.errors import AuditError, VerificationError
from audit.ledger.checkpoints import Checkpoint, parse_checkpoint_body
from audit.ledger.http_post import Answer, PostFailed, post
from audit.ledger.notes import (
    NoteError,
    NoteKey,
    NoteSignature,
    SignedNote,
    UntrustedNote,
    open_note,
    parse_note,
)
from audit.ledger.witness.protocol import (
    PATH,
    REQUEST_TYPE,
    SIZE_TYPE,
    AddCheckpoint,
    format_add_checkpoint,
    parse_size,
)

DEFAULT_TIMEOUT_S = 1.0
_MAX_ANSWER_BYTES = 65_536
_SHOWN_CHARACTERS = 200

#: (old size, new size) -> consistency proof; never asked for old size 0.
Prove = Callable[[int, int], Sequence[bytes]]


class WitnessUnavailable(AuditError):
    """A witness could not be asked, or cannot answer now; asking again later may help."""


class WitnessRefused(AuditError):
    """A witness answered, but not with a good cosignature; `status` is that of HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


class WitnessAhead(WitnessRefused):
    """A witness has seen a larger tree of this log than the checkpoint's; `size` is its size.

    Either a newer checkpoint was published meanwhile, or this log was set back to an older copy.
    """

    def __init__(self, size: int, reason: str) -> None:
        self.size = size
        super().__init__(HTTPStatus.CONFLICT, reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosignature:
    """A verified signature line, and the time (Unix seconds) that it states."""

    line: NoteSignature
    timestamp_s: int


def ask_witness(
    url: str,
    key: NoteKey,
    note: bytes,
    *,
    old_size: int,
    prove: Prove,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Cosignature:
    """Return the cosignature of a checkpoint by the witness that has this key.

    `url` is the witness' submission prefix; `old_size` the size that it is thought to have seen.
    Raises: WitnessUnavailable, WitnessRefused (WitnessAhead), VerificationError for a note that is
    no checkpoint, ConfigurationError, and what `prove` raises. Source: C2SP tlog-witness.
    """
    parsed = parse_note(note)
    checkpoint = parse_checkpoint_body(parsed.text)
    if old_size > checkpoint.size:
        # the size that we remember is of a newer checkpoint: let the witness say which it has
        old_size = 0
    answer = _ask(url, note, checkpoint, old_size, prove, timeout_s)
    if answer.status == HTTPStatus.CONFLICT:
        named = _named_size(url, answer)
        if named > checkpoint.size:
            raise WitnessAhead(
                named,
                f"{url} has seen {named} entries of this log, the checkpoint has "
                f"{checkpoint.size}: if no newer one was published, the log was set back to an "
                "older copy and must not go on",
            )
        if named != old_size:
            answer = _ask(url, note, checkpoint, named, prove, timeout_s)
    if answer.status != HTTPStatus.OK:
        raise _refusal(url, answer)
    return _open(url, answer.body, parsed, key)


def _ask(
    url: str, note: bytes, checkpoint: Checkpoint, old_size: int, prove: Prove, timeout_s: float
) -> Answer:
    proof = prove(old_size, checkpoint.size) if 0 < old_size < checkpoint.size else ()
    request = AddCheckpoint(old_size=old_size, proof=tuple(proof), note=note)
    try:
        return post(
            url.rstrip("/") + PATH,
            format_add_checkpoint(request),
            content_type=REQUEST_TYPE,
            timeout_s=timeout_s,
            max_answer_bytes=_MAX_ANSWER_BYTES,
        )
    except PostFailed as error:
        raise WitnessUnavailable(str(error)) from error


def _named_size(url: str, answer: Answer) -> int:
    if answer.content_type != SIZE_TYPE:
        raise WitnessRefused(
            answer.status, f"{url} answered 409 with {answer.content_type} instead of {SIZE_TYPE}"
        )
    try:
        return parse_size(answer.body)
    except VerificationError as error:
        raise WitnessRefused(answer.status, f"{url} answered 409, but {error}") from error


def _refusal(url: str, answer: Answer) -> WitnessRefused | WitnessUnavailable:
    # the text is a stranger's: shown short and quoted, so that it cannot pass for ours
    said = answer.body.decode("utf-8", "replace").strip()[:_SHOWN_CHARACTERS]
    reason = f"{url} answered {answer.status}: {said!r}"
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return WitnessUnavailable(reason)
    return WitnessRefused(answer.status, reason)


def _open(url: str, body: bytes, note: SignedNote, key: NoteKey) -> Cosignature:
    """Return the first line of the key; lines of others are ignored. Raises: WitnessRefused."""
    try:
        lines = parse_note(note.text.encode() + b"\n" + body)
        if lines.text != note.text:
            raise NoteError("an empty line among signature lines")
        verified = open_note(lines, [key]).verified[0]
    except UntrustedNote as error:
        raise WitnessRefused(
            HTTPStatus.OK,
            f"{url} answered with no good cosignature of {key.name}+{key.id} ({error}): see that "
            "the policy has the witness' present key",
        ) from error
    except VerificationError as error:
        raise WitnessRefused(
            HTTPStatus.OK, f"{url} answered with malformed lines: {error}"
        ) from error
    if not verified.timestamp_s:
        raise WitnessRefused(HTTPStatus.OK, f"{url} cosigned without stating a time")
    line = next(
        line for line in lines.signatures if (line.name, line.key_hash) == (key.name, key.key_hash)
    )
    return Cosignature(line=line, timestamp_s=verified.timestamp_s)

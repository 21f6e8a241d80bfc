"""A witness' decision: cosign a checkpoint that continues the largest tree seen, and no other.

The checks and their answers, in the order of C2SP tlog-witness (commit 5ba5ee8); the first that
fails is the answer:

1. 400: the request, its note or its checkpoint is malformed. Extension lines count as malformed: a
   cosignature would cover them, and a witness cannot know whether they are true.
2. 404: no log of this origin is known.
3. 403: no trusted key of that log has signed, or a trusted key's line does not verify.
4. 400: the old size is above the checkpoint's.
5. 409, with the size last cosigned: the old size is another one.
6. 422: size 0 without the root of the empty tree; a proof for old size 0; another root of the same
   size; a proof that does not verify.
7. 503: the tree cannot be stored, or the clock runs behind the last cosignature.

Lines of unknown keys, our own among them, are never looked at: they can change no decision.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from audit.errors import AuditError, ConfigurationError, StorageError, VerificationError
from audit.ledger.checkpoints import Checkpoint, parse_checkpoint_body
from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.merkle import EMPTY_ROOT, ProofError, verify_consistency
from audit.ledger.notes import Algorithm, NoteKey, SignedNote, UntrustedNote, open_note, parse_note
from audit.ledger.witness.protocol import (
    SIZE_TYPE,
    AddCheckpoint,
    format_size,
    parse_add_checkpoint,
)
from audit.ledger.witness.state import Cosigned, WitnessState

TEXT_TYPE = "text/plain; charset=utf-8"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a witness answers."""

    status: HTTPStatus
    content_type: str
    body: bytes


class NotCosigned(AuditError):
    """A checkpoint is not cosigned; `size` is the size last cosigned where the answer names it."""

    def __init__(self, status: HTTPStatus, reason: str, size: int | None = None) -> None:
        self.status = status
        self.size = size
        super().__init__(reason)


class Witness:
    """Cosigns checkpoints of the logs it knows; for any number of threads at once.

    `clock_s` tells Unix seconds.
    """

    def __init__(
        self,
        signer: WitnessSigner,
        logs: Sequence[NoteKey],
        state: WitnessState,
        clock_s: Callable[[], int],
    ) -> None:
        """Take over keys and state. Raises: ConfigurationError for keys that cannot be used."""
        self._signer = signer
        self._state = state
        self._clock_s = clock_s
        self._logs: dict[str, list[NoteKey]] = {}
        for key in dict.fromkeys(logs):
            _require_log_key(key, signer.key)
            self._logs.setdefault(key.name, []).append(key)

    def add_checkpoint(self, body: bytes) -> Reply:
        """Answer the body of a request; a tree is stored before its cosignature is returned."""
        try:
            line = self._cosign(body)
        except NotCosigned as refused:
            if refused.size is not None:
                return Reply(
                    status=refused.status, content_type=SIZE_TYPE, body=format_size(refused.size)
                )
            return _text(refused.status, str(refused))
        except StorageError as error:
            _log.error("nothing was cosigned: %s", error)
            # the file's name is nobody's business outside
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, "the witness cannot store its state")
        return _text(HTTPStatus.OK, line.removesuffix("\n"))

    def _cosign(self, body: bytes) -> str:
        request, note, checkpoint = _parse(body)
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            raise NotCosigned(HTTPStatus.NOT_FOUND, f"no log {checkpoint.origin!r} is known here")
        try:
            open_note(note, keys)
        except UntrustedNote as error:
            raise NotCosigned(HTTPStatus.FORBIDDEN, str(error)) from error

        def successor(seen: Cosigned | None) -> Cosigned:
            require_continuation(request, checkpoint, seen)
            now_s = _forward(self._clock_s(), seen)
            return Cosigned(size=checkpoint.size, root=checkpoint.root, cosigned_at_s=now_s)

        stored = self._state.advance(checkpoint.origin, successor)
        return self._signer.cosign(note.text, stored.cosigned_at_s)


def require_continuation(
    request: AddCheckpoint, checkpoint: Checkpoint, seen: Cosigned | None
) -> None:
    """Pass where a checkpoint continues what was seen (steps 4 to 6). Raises: NotCosigned."""
    if request.old_size > checkpoint.size:
        raise NotCosigned(
            HTTPStatus.BAD_REQUEST,
            f"the old size {request.old_size} is above the checkpoint's, {checkpoint.size}",
        )
    seen_size = 0 if seen is None else seen.size
    if request.old_size != seen_size:
        raise NotCosigned(
            HTTPStatus.CONFLICT, f"the size last cosigned is {seen_size}", size=seen_size
        )
    try:
        _require_consistent(request, checkpoint, seen)
    except ProofError as error:
        _log.warning(
            "%s, size %d after %d: %s", checkpoint.origin, checkpoint.size, seen_size, error
        )
        raise NotCosigned(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error


def _require_consistent(
    request: AddCheckpoint, checkpoint: Checkpoint, seen: Cosigned | None
) -> None:
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise ProofError("a checkpoint of size 0 has the root of another tree than the empty one")
    if request.old_size == 0 or seen is None:
        # every tree continues the empty one; the Merkle verifier refuses to say so
        if request.proof:
            raise ProofError("a proof for old size 0 must be empty")
        return
    if checkpoint.size == seen.size and checkpoint.root != seen.root:
        raise ProofError(f"another tree of size {seen.size} was cosigned before: the log is forked")
    verify_consistency(
        old_size=seen.size,
        new_size=checkpoint.size,
        old_root=seen.root,
        new_root=checkpoint.root,
        proof=request.proof,
    )


def _parse(body: bytes) -> tuple[AddCheckpoint, SignedNote, Checkpoint]:
    try:
        request = parse_add_checkpoint(body)
        note = parse_note(request.note)
        return request, note, parse_checkpoint_body(note.text)
    except VerificationError as error:
        raise NotCosigned(HTTPStatus.BAD_REQUEST, str(error)) from error


def _forward(now_s: int, seen: Cosigned | None) -> int:
    # A cosignature says "the largest tree by now": two that disagree in time would contradict.
    if now_s <= 0 or (seen is not None and now_s < seen.cosigned_at_s):
        _log.error("the clock (%d) runs behind the last cosignature: set it right", now_s)
        raise NotCosigned(
            HTTPStatus.SERVICE_UNAVAILABLE, "the witness' clock runs behind its last cosignature"
        )
    return now_s


def _require_log_key(key: NoteKey, own: NoteKey) -> None:
    if key.algorithm not in (Algorithm.ED25519, Algorithm.ML_DSA_44):
        raise ConfigurationError(
            f"the key {key.name}+{key.id} is of type {key.algorithm.name}: a log signs with "
            "Ed25519 or ML-DSA-44; name the vkey that its operator publishes"
        )
    if key.public == own.public:
        raise ConfigurationError(
            f"the log {key.name} has the witness' own key: one key must not have two roles"
        )


def _text(status: HTTPStatus, text: str) -> Reply:
    return Reply(status=status, content_type=TEXT_TYPE, body=f"{text}\n".encode())

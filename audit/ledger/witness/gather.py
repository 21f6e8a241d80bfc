"""Asks all witnesses of a policy at once, and says whether enough of them have cosigned.

Whatever one witness does - silence, nonsense, a false signature - the others are asked, and their
lines kept.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus

from audit.errors import AuditError
from audit.ledger.checkpoints import parse_checkpoint_body
from audit.ledger.notes import (
    NoteSignature,
    SignedNote,
    UntrustedNote,
    format_note,
    parse_note,
    verify_line,
)
from audit.ledger.witness.client import (
    DEFAULT_TIMEOUT_S,
    Cosignature,
    Prove,
    WitnessAhead,
    WitnessRefused,
    ask_witness,
)
from audit.ledger.witness_policy import PolicyWitness, WitnessPolicy
from audit.log_records import StoredCheckpoint

_MAX_THREADS = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A checkpoint with its witnesses' lines; names are the policy's."""

    note: bytes
    is_met: bool
    """Whether those that have cosigned are the policy's quorum."""
    cosigned: Mapping[str, int]
    """When each witness cosigned this tree, in Unix seconds."""
    failures: Mapping[str, AuditError]
    """Why a witness gave no line now; an older line of it may still be in the note."""

    @property
    def ahead(self) -> int | None:
        """The largest size that a witness has seen of this log, where it is above the note's."""
        sizes = [error.size for error in self.failures.values() if isinstance(error, WitnessAhead)]
        return max(sizes, default=None)


def contradicting(gathered: Gathered, held_size: int) -> dict[str, AuditError]:
    """Return the witnesses that speak of another history than a log of `held_size` entries.

    They have seen more of it than there is, or do not accept that the checkpoint continues what
    they have seen, although the proof is from the log's own tree.
    """
    return {
        name: error
        for name, error in gathered.failures.items()
        if (isinstance(error, WitnessAhead) and error.size > held_size)
        or (isinstance(error, WitnessRefused) and error.status == HTTPStatus.UNPROCESSABLE_ENTITY)
    }


def gather(
    note: bytes,
    policy: WitnessPolicy,
    *,
    prove: Prove,
    old_sizes: Mapping[str, int] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Gathered:
    """Return a checkpoint's note with a line of each witness that cosigned it.

    Lines that the note has already are kept where they verify, until a fresh one replaces them.
    `old_sizes` has by the policy's names what each witness is thought to have seen, 0 where absent;
    `prove` is called from several threads at once. Witnesses without a URL are not asked.
    Raises: VerificationError for a note that is no checkpoint.
    """
    parsed = parse_note(note)
    parse_checkpoint_body(parsed.text)
    known = old_sizes or {}
    asked = [witness for witness in policy.witnesses if witness.url is not None]
    bare = _without_lines(parsed, policy)
    fresh: dict[str, Cosignature] = {}
    failures: dict[str, AuditError] = {}
    with ThreadPoolExecutor(max_workers=max(1, min(len(asked), _MAX_THREADS))) as pool:
        futures: dict[str, Future[Cosignature]] = {
            witness.name: pool.submit(
                ask_witness,
                witness.url or "",
                witness.key,
                format_note(bare),
                old_size=known.get(witness.name, 0),
                prove=prove,
                timeout_s=timeout_s,
            )
            for witness in asked
        }
        for name, future in futures.items():
            try:
                fresh[name] = future.result()
            except AuditError as error:
                failures[name] = error
    return _merge(bare, _held_lines(parsed, policy) | fresh, policy, failures)


@dataclass(slots=True)
class Gatherer:
    """Asks the witnesses of one log again and again, and remembers which sizes they have seen.

    Used by one thread at a time.
    """

    policy: WitnessPolicy
    prove: Prove
    timeout_s: float = DEFAULT_TIMEOUT_S
    _sizes: dict[str, int] = field(default_factory=dict)

    def witness(self, checkpoint: StoredCheckpoint) -> tuple[bytes, bool]:
        """Return the note with the witnesses' lines, and whether the quorum is met.

        Raises: VerificationError.
        """
        gathered = self.gather(checkpoint.note)
        return gathered.note, gathered.is_met

    def gather(self, note: bytes) -> Gathered:
        """Return what `gather` does. Raises: VerificationError."""
        gathered = gather(
            note,
            self.policy,
            prove=self.prove,
            old_sizes=self._sizes,
            timeout_s=self.timeout_s,
        )
        size = parse_checkpoint_body(parse_note(note).text).size
        for name, error in gathered.failures.items():
            _log.warning("witness %s: %s", name, error)
            if isinstance(error, WitnessAhead):
                self._sizes[name] = error.size
        for name in gathered.cosigned.keys() - gathered.failures.keys():
            self._sizes[name] = size
        return gathered


def _without_lines(note: SignedNote, policy: WitnessPolicy) -> SignedNote:
    keys = {(witness.key.name, witness.key.key_hash) for witness in policy.witnesses}
    kept = tuple(line for line in note.signatures if (line.name, line.key_hash) not in keys)
    return SignedNote(note.text, kept)


def _held_lines(note: SignedNote, policy: WitnessPolicy) -> dict[str, Cosignature]:
    held: dict[str, Cosignature] = {}
    for witness in policy.witnesses:
        for line in note.signatures:
            timestamp_s = _time_of(witness, note.text, line)
            if timestamp_s:
                held[witness.name] = Cosignature(line=line, timestamp_s=timestamp_s)
    return held


def _time_of(witness: PolicyWitness, text: str, line: NoteSignature) -> int | None:
    if (line.name, line.key_hash) != (witness.key.name, witness.key.key_hash):
        return None
    try:
        return verify_line(witness.key, text, line)
    except UntrustedNote as error:
        _log.warning("a line of witness %s was dropped: %s", witness.name, error)
        return None


def _merge(
    bare: SignedNote,
    cosignatures: Mapping[str, Cosignature],
    policy: WitnessPolicy,
    failures: Mapping[str, AuditError],
) -> Gathered:
    names = [witness.name for witness in policy.witnesses if witness.name in cosignatures]
    lines = tuple(cosignatures[name].line for name in names)
    note = SignedNote(bare.text, (*bare.signatures, *lines))
    return Gathered(
        note=format_note(note),
        is_met=policy.is_met(names),
        cosigned={name: cosignatures[name].timestamp_s for name in names},
        failures=failures,
    )

"""Says which log a report is about: its checkpoints, verified, with who else signed them."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from audit.errors import VerificationError
from audit.ledger.checkpoints import parse_checkpoint_body
from audit.ledger.merkle import verify_consistency
from audit.ledger.note_keys import Algorithm
from audit.ledger.notes import NoteKey, format_vkey, open_note, parse_note
from audit.ledger.timestamps import TimestampError, verify_timestamp
from audit.ledger.witness_policy import NONE, WitnessPolicy
from audit.log_records import StoredCheckpoint, StoredTimestamp
from audit.reports.keyring import KeyRing, Sighting
from audit.reports.records import (
    CheckpointLine,
    LogIdentity,
    SightingLine,
    TimestampLine,
    WitnessLine,
)
from audit.reports.source import EntrySource
from audit.reports.trust import Trust, read_trust

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class _Opened:
    """A verified checkpoint."""

    log_key: NoteKey
    cosigned: dict[str, datetime]
    """By the policy's name of the witness."""


def identify(source: EntrySource, first_index: int) -> tuple[LogIdentity, KeyRing]:
    """Return which log this is, and the keys whose entries count in it.

    Raises: VerificationError where a checkpoint is not this log's, or contradicts another.
    """
    trust = read_trust(source.trust_root)
    last, first = source.checkpoint, source.first_checkpoint(first_index)
    seen_last, seen_first = _open(last, trust.policy), _open(first, trust.policy)
    if seen_first.log_key.name != seen_last.log_key.name:
        raise VerificationError("the two checkpoints of the report are of different logs")
    proof = _proof(source, first)
    found = _before_compromises(source, trust)
    sightings = [
        _sighting(*pair, trust.policy) for pair in ((first, seen_first), (last, seen_last))
    ]
    sightings += [seen for _, seen in found.values()]
    identity = LogIdentity(
        origin=seen_last.log_key.name,
        vkey=format_vkey(seen_last.log_key),
        trust_root_digest=_digest(source.trust_root),
        first=_line(first),
        last=_line(last),
        consistency=tuple(node.hex() for node in proof),
        witnesses=tuple(
            WitnessLine(name=witness.name, cosigned_at=_shown(seen_last.cosigned.get(witness.name)))
            for witness in trust.policy.witnesses
        ),
        quorum=_rule(trust.policy),
        is_quorum_met=trust.policy.quorum != NONE
        and trust.policy.is_met(frozenset(seen_last.cosigned)),
        timestamps=tuple(_stamp(stamp, last, trust) for stamp in source.timestamps()),
        sightings=tuple(
            SightingLine(
                key_id=key_id,
                cosigned_at=seen.cosigned_at.strftime(_TIME),
                checkpoint=_line(checkpoint),
                consistency=tuple(node.hex() for node in _proof(source, checkpoint)),
            )
            for key_id, (checkpoint, seen) in sorted(found.items())
        ),
    )
    return identity, KeyRing(trust.keys, [seen for seen in sightings if seen is not None])


def require_quorum(source: EntrySource, trust: Trust) -> None:
    """Pass where the witnesses that the policy asks for cosigned. Raises: VerificationError."""
    cosigned = _open(source.checkpoint, trust.policy).cosigned
    if not trust.policy.is_met(frozenset(cosigned)):
        raise VerificationError(
            f"the last checkpoint has no quorum of witnesses ({_rule(trust.policy)}): cosigned by "
            f"{', '.join(sorted(cosigned)) or 'none of them'}"
        )


def _proof(source: EntrySource, earlier: StoredCheckpoint) -> tuple[bytes, ...]:
    """Return the proof that the last tree begins with an earlier one. Raises: VerificationError."""
    last = source.checkpoint
    proof: tuple[bytes, ...] = ()
    if earlier.size < last.size:
        proof = source.consistency(earlier.size, last.size)
    if earlier.size:
        verify_consistency(
            old_size=earlier.size,
            new_size=last.size,
            old_root=earlier.root,
            new_root=last.root,
            proof=proof,
        )
    return proof


def _before_compromises(
    source: EntrySource, trust: Trust
) -> dict[str, tuple[StoredCheckpoint, Sighting]]:
    """Return by key id the latest checkpoint that witnesses cosigned before its compromise.

    It shows of all that the key had signed by then that it is older; others add nothing.
    """
    limits = {
        key.key_id: key.compromised_at.replace(microsecond=0)
        for key in trust.keys
        if key.compromised_at is not None
    }
    found: dict[str, tuple[StoredCheckpoint, Sighting]] = {}
    for checkpoint in source.witnessed_checkpoints() if limits else ():
        try:
            seen = _sighting(checkpoint, _open(checkpoint, trust.policy), trust.policy)
        except VerificationError:
            # what does not verify under this trust root shows nothing
            continue
        if seen is None or not seen.size:
            continue
        found |= {
            key_id: (checkpoint, seen)
            for key_id, limit in limits.items()
            if seen.cosigned_at < limit
        }
        # Later trees are seen later: the rest of a long log need not be read.
        if seen.cosigned_at >= max(limits.values()):
            break
    return found


def _open(checkpoint: StoredCheckpoint, policy: WitnessPolicy) -> _Opened:
    place = f"the checkpoint of {checkpoint.size} entries"
    names = {witness.key: witness.name for witness in policy.witnesses}
    log_keys = [log.key for log in policy.logs]
    note = open_note(checkpoint.note, [*log_keys, *names])
    stated = parse_checkpoint_body(note.text)
    if (stated.size, stated.root) != (checkpoint.size, checkpoint.root):
        raise VerificationError(f"the note of {place} names another tree")
    by_log = [
        found.key
        for found in note.verified
        if found.key in log_keys and found.key.name == stated.origin
    ]
    if not by_log:
        raise VerificationError(f"{place} of {stated.origin!r} is not signed by a log key we trust")
    cosigned = {
        names[found.key]: datetime.fromtimestamp(found.timestamp_s or 0, UTC)
        for found in note.verified
        if found.key in names
    }
    ed25519 = [key for key in by_log if key.algorithm is Algorithm.ED25519]
    return _Opened((ed25519 or by_log)[0], cosigned)


def _stamp(stamp: StoredTimestamp, checkpoint: StoredCheckpoint, trust: Trust) -> TimestampLine:
    """Return a time-stamp with its time, if an authority of the trust root vouches for it."""
    text, stamped_at = parse_note(checkpoint.note).text, None
    for chain in trust.authorities:
        try:
            stamped_at = verify_timestamp(stamp.response, text, [chain])
        except TimestampError:
            # it may be another authority's
            continue
        break
    return TimestampLine(
        size=stamp.size,
        authority=stamp.authority,
        response_digest=_digest(stamp.response),
        stamped_at=_shown(stamped_at),
    )


def _sighting(
    checkpoint: StoredCheckpoint, opened: _Opened, policy: WitnessPolicy
) -> Sighting | None:
    if policy.quorum == NONE or not policy.is_met(frozenset(opened.cosigned)):
        return None
    return Sighting(size=checkpoint.size, cosigned_at=min(opened.cosigned.values()))


def _rule(policy: WitnessPolicy) -> str:
    groups = {group.name: group for group in policy.groups}

    def said(name: str) -> str:
        group = groups.get(name)
        if group is None:
            return name
        members = ", ".join(said(member) for member in group.members)
        return f"{group.threshold} of ({members})"

    return "no witnesses are asked for" if policy.quorum == NONE else said(policy.quorum)


def _line(checkpoint: StoredCheckpoint) -> CheckpointLine:
    return CheckpointLine(
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        note=checkpoint.note.decode("utf-8"),
    )


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _shown(time: datetime | None) -> str | None:
    return None if time is None else time.strftime(_TIME)

"""Holds what the service says of its log against signatures and proofs.

Stands between the client and whoever shows its answers: nothing passes that does not add up. With
the log's key, every checkpoint must bear its signature; without it, answers are only held against
each other. Whether a verdict's key counts, and whether witnesses agreed, is for `inference-audit
verify` with a trust root.
"""

import base64
import json
from dataclasses import dataclass

from audit.client.log_client import LogClient
from audit.errors import VerificationError
from audit.ledger.checkpoints import Checkpoint, parse_checkpoint_body
from audit.ledger.leaf_check import check_leaf
from audit.ledger.merkle import (
    HASH_BYTES,
    leaf_hash,
    root_at,
    verify_consistency,
    verify_inclusion,
)
from audit.ledger.notes import NoteKey, open_note, parse_note
from audit.ledger.tiles import WIDTH, hash_reader
from audit.ledger.trust_root import load_trust_root
from audit.ledger.witness_policy import parse_policy
from audit.log_records import EntryKind, LogEntry, StoredCheckpoint

#: What the statement of each kind of entry calls itself.
_STATEMENTS = {
    EntryKind.INTENT: "audit-intent",
    EntryKind.VERDICT: "inference-verdict",
    EntryKind.POLICY: "audit-policy",
    EntryKind.CALIBRATION: "audit-calibration",
    EntryKind.KEY_EVENT: "key-event",
    EntryKind.SWEEP_COMMITMENT: "sweep-commitment",
    EntryKind.REPORT: "audit-report",
    EntryKind.ERASURE: "erasure",
    EntryKind.BILLING: "billing-finding",
    EntryKind.SWEEP_RESULT: "sweep-result",
}


@dataclass(frozen=True, slots=True)
class LogCheck:
    """Checks answers about one log; without a key, no signature is asked for."""

    key: NoteKey | None = None

    def note(self, note: bytes) -> Checkpoint:
        """Return what a checkpoint's note states. Raises: VerificationError."""
        text = parse_note(note).text if self.key is None else open_note(note, [self.key]).text
        stated = parse_checkpoint_body(text)
        if self.key is not None and stated.origin != self.key.name:
            raise VerificationError(
                f"the checkpoint is of the log {stated.origin!r}, but the key is of "
                f"{self.key.name!r}: give the key of the log that you ask"
            )
        return stated

    def checkpoint(self, stored: StoredCheckpoint) -> Checkpoint:
        """Return what a checkpoint states, beside its note and in it. Raises: VerificationError."""
        stated = self.note(stored.note)
        if (stated.size, stated.root) != (stored.size, stored.root):
            raise VerificationError(
                "the service states another size or root than its checkpoint: do not rely on it"
            )
        return stated

    def entry(self, entry: LogEntry) -> None:
        """Pass where leaf, hash, digest and envelope agree. Raises: VerificationError."""
        if leaf_hash(entry.leaf_body) != entry.leaf_hash:
            raise VerificationError(f"entry {entry.log_index}: its leaf has another hash")
        try:
            check_leaf(entry.leaf_body, entry.envelope, entry.entry_digest)
            if entry.envelope is not None:
                _check_frame(entry, entry.envelope)
        except VerificationError as error:
            raise VerificationError(f"entry {entry.log_index}: {error}") from error

    def inclusion(self, entry: LogEntry, hashes: tuple[bytes, ...], tree: Checkpoint) -> None:
        """Pass where an entry is in a checkpoint's tree. Raises: VerificationError."""
        verify_inclusion(
            leaf=leaf_hash(entry.leaf_body),
            index=entry.log_index,
            size=tree.size,
            proof=hashes,
            root=tree.root,
        )

    def consistency(self, old: Checkpoint, new: Checkpoint, hashes: tuple[bytes, ...]) -> None:
        """Pass where the old tree is the beginning of the new one. Raises: VerificationError."""
        if old.origin != new.origin:
            raise VerificationError(
                f"the checkpoints are of two logs, {old.origin!r} and {new.origin!r}"
            )
        if old.size > new.size:
            raise VerificationError(
                f"the log has {new.size} entries, and once stated {old.size}: it was cut back, or "
                "restored from a backup; keep both checkpoints as evidence"
            )
        verify_consistency(
            old_size=old.size,
            new_size=new.size,
            old_root=old.root,
            new_root=new.root,
            proof=hashes,
        )

    def bundle(self, bundle: bytes, entry: LogEntry) -> None:
        """Pass where a Sigstore bundle proves an entry. Raises: VerificationError."""
        try:
            document = json.loads(bundle)
            (log_entry,) = document["verificationMaterial"]["tlogEntries"]
            proof = log_entry["inclusionProof"]
            body = base64.b64decode(log_entry["canonicalizedBody"], validate=True)
            hashes = tuple(base64.b64decode(text, validate=True) for text in proof["hashes"])
            note = proof["checkpoint"]["envelope"].encode("utf-8")
            index = int(log_entry["logIndex"])
            is_same = document["dsseEnvelope"] == json.loads(entry.envelope or b"null")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise VerificationError("the service's bundle is not a Sigstore bundle") from error
        if (body, index) != (entry.leaf_body, entry.log_index) or not is_same:
            raise VerificationError(f"the service's bundle is not that of entry {entry.log_index}")
        self.inclusion(entry, hashes, self.note(note))

    def trust_root(self, data: bytes) -> NoteKey:
        """Return the log key that a trust root names, ours if we have one.

        Raises: VerificationError where it is malformed or names another log.
        """
        named = [log.key for log in parse_policy(load_trust_root(data).policy).logs]
        if self.key is None:
            return named[0]
        if self.key not in named:
            raise VerificationError(
                "the service's trust root does not name the given log key: do not rely on it"
            )
        return self.key


def _check_frame(entry: LogEntry, envelope: bytes) -> None:
    """Pass where the log says of an entry what its signed statement says of itself."""
    try:
        statement = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
        predicate = statement["predicate"]
        signed = (statement["predicateType"], predicate["chain"]["tenant"])
        sequence, audit_id = predicate["chain"]["sequence"], predicate.get("auditId")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VerificationError("its statement does not say whose entry it is") from error
    kind = f"https://inference-audit.dev/{_STATEMENTS[entry.kind]}/v0.1"
    if (*signed, sequence) != (kind, entry.tenant, entry.tenant_sequence):
        raise VerificationError("its statement is of another kind, tenant or place than the entry")
    if entry.kind in (EntryKind.INTENT, EntryKind.VERDICT) and (
        audit_id != entry.audit_id or entry.entry_key != f"{entry.kind.value}:{audit_id}"
    ):
        raise VerificationError("its statement is of another audit than the entry")


def signing_key_id(envelope: bytes) -> str:
    """Return the id of the key that a checked envelope names. Raises: VerificationError."""
    try:
        key_id = json.loads(envelope)["signatures"][0]["keyid"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise VerificationError(
            "the envelope names no key: its bundle would be of no use"
        ) from error
    return str(key_id)


def computed_tree(client: LogClient, origin: str, size: int) -> Checkpoint:
    """Return the tree of a size, its root computed from the service's tiles.

    It is the service's word until a proof ties it to a checkpoint. Raises: EntryNotFound.
    """

    def read_tile(level: int, index: int) -> bytes:
        return client.tile(level, index, min(WIDTH, size // WIDTH**level - index * WIDTH))

    def read_leaf_hashes(first: int, end: int) -> tuple[bytes, ...]:
        tile = client.tile(0, first // WIDTH, end - first)
        return tuple(tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES))

    root = root_at(size, hash_reader(size, read_tile, read_leaf_hashes))
    return Checkpoint(origin=origin, size=size, root=root)

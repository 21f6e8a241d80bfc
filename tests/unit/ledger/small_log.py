"""A log of 300 leaves in memory, with a verdict in it, witnesses and a post-quantum line.

What a service would have logged, made anew in each test run from fixed keys.
"""

import hashlib
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from audit.ledger.bundle import build_bundle
from audit.ledger.checkpoints import Checkpoint, format_checkpoint_body
from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.entries import KeyAction, KeyEvent, intent_statement, key_event_statement
from audit.ledger.keys import SigningKey
from audit.ledger.merkle import inclusion_proof, leaf_hash, node_hash, root_at
from audit.ledger.note_keys import format_vkey
from audit.ledger.notes import Ed25519NoteSigner, MlDsa44NoteSigner, sign_note
from audit.ledger.seal import seal
from audit.ledger.trust_root import TrustRoot, VerdictKey, dump_trust_root
from audit.log_records import ChainLink, EntryKind, LogEntry, Receipt, SealedEntry
from tests.golden.ledger.examples import (
    KEY,
    VERIFIED_AT,
    VERSION,
    example_entry,
    example_job,
    passed,
)

ORIGIN = "log2026-1.verdicts.example.org"
SIZE = 300
INTENT_INDEX, VERDICT_INDEX = 40, 257
WITNESSED_AT = 1_767_323_400
"""2026-01-02T03:10:00Z."""

LOG_SIGNER = Ed25519NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"L" * 32))
PQ_SIGNER = MlDsa44NoteSigner(ORIGIN, MLDSA44PrivateKey.from_seed_bytes(b"M" * 32))
WITNESSES = tuple(
    WitnessSigner(f"witness-{n}.example.net", Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32))
    for n in (1, 2, 3)
)
POLICY = (
    f"log {format_vkey(LOG_SIGNER.key)}\n"
    + "".join(f"witness w{n} {format_vkey(w.key)}\n" for n, w in enumerate(WITNESSES, start=1))
    + "group two 2 w1 w2 w3\nquorum two\n"
)
TRUST_ROOT = TrustRoot(
    policy=POLICY,
    verdict_keys=(
        VerdictKey(
            key_id=KEY.key_id,
            public_key_pem=KEY.public_key_pem.decode("ascii"),
            verifier_id="inference-audit",
            from_index=0,
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class SmallLog:
    """The entries that were sealed, by index, and all leaf hashes."""

    sealed: dict[int, SealedEntry]
    leaf_hashes: tuple[bytes, ...]

    def read(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree, derived from the leaves."""
        if level == 0:
            return self.leaf_hashes[index]
        return node_hash(self.read(level - 1, 2 * index), self.read(level - 1, 2 * index + 1))

    @property
    def root(self) -> bytes:
        """The root of all leaves."""
        return root_at(len(self.leaf_hashes), self.read)

    def body(self) -> str:
        """Return the checkpoint's text."""
        size = len(self.leaf_hashes)
        return format_checkpoint_body(Checkpoint(origin=ORIGIN, size=size, root=self.root))

    def note(self, witnesses: tuple[WitnessSigner, ...] = WITNESSES[:2]) -> bytes:
        """Return the checkpoint with lines of the log, its ML-DSA key and the witnesses."""
        lines = [witness.cosign(self.body(), WITNESSED_AT) for witness in witnesses]
        return sign_note(self.body(), [LOG_SIGNER, PQ_SIGNER]) + "".join(lines).encode()

    def entry(self, index: int) -> LogEntry:
        """Return a sealed entry as it would be read back."""
        sealed = self.sealed[index]
        return LogEntry(
            log_index=index,
            kind=sealed.kind,
            tenant=sealed.tenant,
            tenant_sequence=sealed.tenant_sequence,
            entry_key=sealed.entry_key,
            audit_id=sealed.audit_id,
            entry_digest=sealed.entry_digest,
            leaf_body=sealed.leaf_body,
            leaf_hash=sealed.leaf_hash,
            envelope=sealed.envelope,
            recorded_at=VERIFIED_AT,
            erased_at=None,
        )

    def bundle(self, index: int = VERDICT_INDEX, note: bytes | None = None) -> bytes:
        """Return the evidence of an entry."""
        entry = self.entry(index)
        size = len(self.leaf_hashes)
        proof = inclusion_proof(index, size, self.read)
        note = self.note() if note is None else note
        return build_bundle(
            entry.envelope, KEY.key_id, entry, size, self.root, proof, note, LOG_SIGNER.key
        )


@cache
def small_log() -> SmallLog:
    """Return the log: a key event, an intent, the verdict on it, and 297 leaves of others."""
    introduced = key_event(KEY, KeyAction.INTRODUCED, None)
    intent = _intent(introduced)
    receipt = Receipt(log_index=INTENT_INDEX, entry_digest=intent.entry_digest)
    link = ChainLink(tenant="default", sequence=3, previous_digest=intent.entry_digest)
    verdict = example_entry(passed(), chain=link, intent=receipt)
    sealed = {0: introduced, INTENT_INDEX: intent, VERDICT_INDEX: verdict}
    leaves = [
        sealed[i].leaf_hash if i in sealed else leaf_hash(hashlib.sha256(b"%d" % i).digest())
        for i in range(SIZE)
    ]
    return SmallLog(sealed=sealed, leaf_hashes=tuple(leaves))


@cache
def bundle() -> bytes:
    """Return the evidence of the verdict."""
    return small_log().bundle()


@cache
def trust_root() -> bytes:
    """Return the file that the verdict verifies under."""
    return dump_trust_root(TRUST_ROOT)


def key_event(
    key: SigningKey,
    action: KeyAction,
    previous: SealedEntry | None,
    *,
    signer: SigningKey = KEY,
    below_index: int | None = None,
    compromised_at: str | None = None,
) -> SealedEntry:
    """Return a key event."""
    event = KeyEvent(
        action=action,
        key_id=key.key_id,
        public_key_pem=key.public_key_pem,
        below_index=below_index,
        compromised_at=compromised_at,
    )
    link = ChainLink(
        tenant="default",
        sequence=1 if previous is None else previous.tenant_sequence + 1,
        previous_digest=None if previous is None else previous.entry_digest,
    )
    statement = key_event_statement(
        event, logged_at=VERIFIED_AT, verifier_version=VERSION, chain=link
    )
    return seal(
        statement,
        signer,
        kind=EntryKind.KEY_EVENT,
        chain=link,
        entry_key=f"key:{key.key_id}:{action}",
        audit_id=None,
    )


def _intent(previous: SealedEntry) -> SealedEntry:
    link = ChainLink(tenant="default", sequence=2, previous_digest=previous.entry_digest)
    statement = intent_statement(
        example_job(),
        policy_id="policy-1",
        calibration_id="tiny-bf16-2026-01",
        announced_at=VERIFIED_AT,
        verifier_version=VERSION,
        chain=link,
    )
    return seal(
        statement,
        KEY,
        kind=EntryKind.INTENT,
        chain=link,
        entry_key="intent:audit-1",
        audit_id="audit-1",
    )

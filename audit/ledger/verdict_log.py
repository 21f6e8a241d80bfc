"""The log as its readers use it: entries and proofs, verdict bundles, and what they rely on."""

import json
from dataclasses import dataclass

from audit.ledger.bundle import build_bundle
from audit.ledger.key_history import verdict_keys_of
from audit.ledger.note_keys import NoteKey, format_vkey
from audit.ledger.reader import LogReader
from audit.ledger.trust_root import TrustRoot, VerdictKey, dump_trust_root
from audit.log_records import EntryKind, LogEntry, StoredCheckpoint
from audit.ports import LogStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Who vouches for a log besides its verdict keys, which the log itself names."""

    log_key: NoteKey
    witness_policy: str | None = None
    """Text of a C2SP tlog-policy without a line for the log; None asks no witness."""
    timestamp_authorities: tuple[str, ...] = ()
    """PEM chains of RFC 3161 authorities."""

    def policy_text(self) -> str:
        """Return the tlog-policy that verifiers are given."""
        witnesses = self.witness_policy or "quorum none\n"
        return f"log {format_vkey(self.log_key)}\n{witnesses}"


class VerdictLog(LogReader):
    """Reads one log; safe to call from several threads."""

    def __init__(self, store: LogStore, trust: Trust) -> None:
        super().__init__(store)
        self._trust = trust

    @property
    def trust(self) -> Trust:
        """Who vouches for the log."""
        return self._trust

    def bundle(self, audit_id: str) -> bytes:
        """Return the Sigstore bundle of an audit's verdict, witnessed where that is possible.

        Raises: EntryNotFound.
        """
        return self.bundle_of(self.find(f"{EntryKind.VERDICT}:{audit_id}"))

    def bundle_of(self, entry: LogEntry) -> bytes:
        """Return the Sigstore bundle of any entry. Raises: EntryNotFound where it was erased."""
        checkpoint = self._covering(entry.log_index)
        return build_bundle(
            entry.envelope,
            _stated_key_id(entry),
            entry,
            checkpoint.size,
            checkpoint.root,
            self.inclusion(entry.log_index, checkpoint.size),
            checkpoint.note,
            self._trust.log_key,
        )

    def verdict_keys(self) -> tuple[VerdictKey, ...]:
        """Return the verdict keys that the log names. Raises: VerificationError."""
        return verdict_keys_of(self.of_kind(EntryKind.KEY_EVENT))

    def trust_root(self) -> bytes:
        """Return the trust root file. Raises: VerificationError for contradicting key events."""
        return dump_trust_root(
            TrustRoot(
                policy=self._trust.policy_text(),
                verdict_keys=self.verdict_keys(),
                timestamp_authorities=self._trust.timestamp_authorities,
            )
        )

    def _covering(self, index: int) -> StoredCheckpoint:
        """Return the oldest witnessed checkpoint over an entry, or else the newest one.

        The oldest shows how early witnesses saw the entry, which counts if its key is compromised.
        """
        if self._trust.witness_policy is not None:
            for checkpoint in self.checkpoints(above_size=index):
                if checkpoint.is_witnessed:
                    return checkpoint
        return self.checkpoint()


def _stated_key_id(entry: LogEntry) -> str:
    if entry.envelope is None:
        return ""
    key_id: str = json.loads(entry.envelope)["signatures"][0].get("keyid", "")
    return key_id

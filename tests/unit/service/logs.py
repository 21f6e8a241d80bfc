"""A real verdict log behind the service: audited exchanges, policies, signed checkpoints."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.ledger.bundle import build_bundle
from audit.ledger.notes import format_vkey
from audit.ledger.reader import LogReader
from audit.ledger.trust_root import TrustRoot, VerdictKey, dump_trust_root
from audit.log_records import StoredCheckpoint
from audit.ports import LogStore
from audit.records import Examination
from storage.memory import InMemoryAuditStore
from tests.support import logs
from tests.unit.service.examples import PASS, request_of
from tests.unit.storage.builders import CountingIds, StepClock

VKEY = format_vkey(logs.log_signer().key)


class ServedLog(LogReader):
    """A log with the evidence of its verdicts, as the service is given it."""

    def __init__(self, store: LogStore) -> None:
        super().__init__(store)
        self.vkey = VKEY

    def bundle(self, audit_id: str) -> bytes:
        entry, tree = self.find(f"verdict:{audit_id}"), self.checkpoint()
        proof = self.inclusion(entry.log_index, tree.size)
        assert entry.envelope is not None
        key_id = json.loads(entry.envelope)["signatures"][0]["keyid"]
        log_key = logs.log_signer().key
        return build_bundle(
            entry.envelope, key_id, entry, tree.size, tree.root, proof, tree.note, log_key
        )

    def trust_root(self) -> bytes:
        key = logs.verdict_key()
        verdict_key = VerdictKey(
            key_id=key.key_id,
            public_key_pem=key.public_key_pem.decode("ascii"),
            verifier_id="inference-audit",
            from_index=0,
        )
        return dump_trust_root(
            TrustRoot(policy=f"log {self.vkey}\nquorum none\n", verdict_keys=(verdict_key,))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Audits, their log, and what the service shows of it."""

    audits: InMemoryAuditStore
    log: logs.Log
    served: ServedLog

    def audit(self, request_id: str) -> str:
        """Announce and conclude an audit: two entries. Return its id."""
        self.audits.submit(request_of(request_id), "sha256:" + "00" * 32)
        job = self.audits.claim()
        assert job is not None
        intent = self.log.recorder.announce(job)
        self.log.recorder.conclude(job, Examination(verdict=PASS), None, intent)
        return job.audit_id

    def policies(self, first: int, end: int) -> None:
        """Log policies: one entry each."""
        for number in range(first, end):
            self.log.recorder.log_policy(f"policy-{number}", b"name = 'p'")

    def witness(self) -> StoredCheckpoint:
        """Mark the latest checkpoint as witnessed, with a line that our keys do not know."""
        latest = self.served.checkpoint()
        line = "\u2014 witness.test.example AAAAAAAAAAAAAAAA\n"
        witnessed = StoredCheckpoint(
            size=latest.size,
            root=latest.root,
            note=latest.note + line.encode(),
            issued_at=latest.issued_at,
            is_witnessed=True,
        )
        self.log.store.save_checkpoint(witnessed)
        return witnessed


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Yield an empty log with its sequencer running."""
    clock = StepClock()
    audits = InMemoryAuditStore(clock=clock, new_id=CountingIds())
    with logs.running(audits.log, folder, clock) as log:
        yield Scene(audits=audits, log=log, served=ServedLog(audits.log))

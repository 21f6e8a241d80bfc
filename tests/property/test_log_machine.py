"""The verdict log as a state machine: whatever fails in whatever order, its promises hold.

The model is a list of the receipts that were given, and every checkpoint that anybody saw. Steps
fail lost or kept (`tests.support.faults`), processes are given up and reopened, a second sequencer
appends to the same store, a witness follows, and yesterday's database is put back.
"""

import copy
import itertools
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from audit.errors import AuditError, LogForked, StorageError
from audit.ledger.checkpoints import parse_checkpoint_body
from audit.ledger.cosignatures import WitnessSigner
from audit.ledger.entries import sweep_commitment_statement
from audit.ledger.fsck import check_log
from audit.ledger.issuer import CheckpointIssuer, LogIdentity
from audit.ledger.merkle import verify_consistency, verify_inclusion
from audit.ledger.notes import open_note
from audit.ledger.reader import LogReader
from audit.ledger.seal import seal
from audit.ledger.sequencer import Draft, Sequencer
from audit.ledger.witness.protocol import AddCheckpoint, format_add_checkpoint, parse_size
from audit.ledger.witness.state import WitnessState
from audit.ledger.witness.witness import Witness
from audit.log_records import ChainLink, EntryKind, Receipt, SealedEntry
from storage.memory import InMemoryAuditStore
from tests.support.faults import Fault, FaultyLogStore, Step, faulty_anchor
from tests.support.logs import ORIGIN, RECEIPT_TIMEOUT_S, build_log, log_signer, verdict_key
from tests.unit.storage.builders import CountingIds, StepClock

TENANTS = ("default", "acme")


def draft(tenant: str, number: int) -> Draft:
    """Return an entry of its own."""

    def sealed(link: ChainLink) -> SealedEntry:
        statement = sweep_commitment_statement(
            f"sweep-{number}",
            f"sha256:{number:064x}",
            logged_at="2026-01-31T12:00:00Z",
            verifier_version="0",
            chain=link,
        )
        return seal(
            statement,
            verdict_key(),
            kind=EntryKind.SWEEP_COMMITMENT,
            chain=link,
            entry_key=f"sweep:{number}",
            audit_id=None,
        )

    return Draft(
        kind=EntryKind.SWEEP_COMMITMENT, tenant=tenant, entry_key=f"sweep:{number}", seal=sealed
    )


class Process:
    """One process's sequencer on the shared store; its anchor file is shared too."""

    def __init__(self, store: InMemoryAuditStore, folder: Path, clock: StepClock) -> None:
        self.fault = Fault()
        faulty = FaultyLogStore(store.log, self.fault)
        identity = LogIdentity(origin=ORIGIN, signers=(log_signer(),))
        anchor = faulty_anchor(build_log(faulty, folder, clock).anchor, self.fault)
        issuer = CheckpointIssuer(faulty, identity, anchor, clock)
        self.sequencer = Sequencer(faulty, issuer, clock)

    def start(self) -> None:
        self.sequencer.start()

    def append(self, drafts: list[Draft]) -> list["Future[Receipt]"]:
        return [self.sequencer.append(one) for one in drafts]


class LogMachine(RuleBasedStateMachine):
    """Two sequencers, one store, one anchor."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.clock = StepClock()
        self.store = InMemoryAuditStore(clock=self.clock, new_id=CountingIds())
        self.numbers = itertools.count()
        self.receipts: dict[str, Receipt] = {}
        self.unanswered: list[Draft] = []
        self.notes: dict[int, bytes] = {}
        self.witnessed_size = 0
        self.cosigner = Witness(
            WitnessSigner("witness.test.example", Ed25519PrivateKey.from_private_bytes(bytes(32))),
            [log_signer().key],
            WitnessState(self.folder / "witness.db", may_create=True),
            itertools.count(1_790_000_000).__next__,
        )
        self.max_size = 0
        self.backup: object | None = None
        self.processes: list[Process] = []

    @initialize()
    def begin(self) -> None:
        self.processes = [self._opened(), self._opened()]

    def _opened(self) -> Process:
        process = Process(self.store, self.folder, self.clock)
        process.start()
        return process

    def _answer(self, drafts: list[Draft], futures: list["Future[Receipt]"]) -> None:
        for one, future in zip(drafts, futures, strict=True):
            try:
                receipt = future.result(RECEIPT_TIMEOUT_S)
            except StorageError:
                self.unanswered.append(one)
            else:
                earlier = self.receipts.setdefault(one.entry_key, receipt)
                assert earlier == receipt, "one key got two places"

    @rule(
        which=st.sampled_from([0, 1]),
        tenants=st.lists(st.sampled_from(TENANTS), min_size=1, max_size=6),
    )
    def append(self, which: int, tenants: list[str]) -> None:
        drafts = [draft(tenant, next(self.numbers)) for tenant in tenants]
        self._answer(drafts, self.processes[which].append(drafts))

    @rule(num_each=st.integers(1, 4))
    def append_at_once(self, num_each: int) -> None:
        """Both sequencers at the same time."""
        drafts = [[draft("default", next(self.numbers)) for _ in range(num_each)] for _ in "ab"]
        futures = [p.append(d) for p, d in zip(self.processes, drafts, strict=True)]
        for these, futures_of_these in zip(drafts, futures, strict=True):
            self._answer(these, futures_of_these)

    @rule(
        which=st.sampled_from([0, 1]),
        step=st.sampled_from(list(Step)),
        is_kept=st.booleans(),
        num_entries=st.integers(1, 3),
    )
    def append_and_fail(self, which: int, step: Step, is_kept: bool, num_entries: int) -> None:
        process = self.processes[which]
        process.fault.step, process.fault.is_kept = step, is_kept
        self.append(which, ["default"] * num_entries)
        process.fault.step = None

    @precondition(lambda self: self.unanswered)
    @rule(which=st.sampled_from([0, 1]))
    def hand_over_again(self, which: int) -> None:
        drafts, self.unanswered = self.unanswered, []
        self._answer(drafts, self.processes[which].append(drafts))

    @rule(which=st.sampled_from([0, 1]))
    def crash_and_reload(self, which: int) -> None:
        """Forget everything that the process remembered."""
        self.processes[which].sequencer.stop()
        self.processes[which] = self._opened()

    @rule()
    def witness(self) -> None:
        """A real witness follows: it cosigns each newest checkpoint, from the size it saw last."""
        latest = self.store.log.latest_checkpoint()
        assert latest is not None
        old_size, reader = self.witnessed_size, self._reader()
        proof = reader.consistency(old_size, latest.size) if 0 < old_size < latest.size else ()
        asked = AddCheckpoint(old_size=old_size, proof=proof, note=latest.note)
        reply = self.cosigner.add_checkpoint(format_add_checkpoint(asked))
        assert reply.status == HTTPStatus.OK, reply.body
        self.witnessed_size = latest.size

    @rule()
    def back_up(self) -> None:
        self.backup = copy.deepcopy(self.store.log.__getstate__())

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore_the_backup(self) -> None:
        """Yesterday's database must be refused, by running processes and by new ones."""
        newest = copy.deepcopy(self.store.log.__getstate__())
        size = self.store.log.read_head().size
        self.store.log.__setstate__(copy.deepcopy(self.backup))
        if self.store.log.read_head().size < self._anchored_size():
            assert _refuses(self._opened)
            self._witness_refuses_what_it_has_seen_more_of()
            lone = draft("default", next(self.numbers))
            for process in self.processes:
                answer = process.append([lone])[0].result
                assert _refuses(partial(answer, RECEIPT_TIMEOUT_S))
        self.store.log.__setstate__(newest)
        assert self.store.log.read_head().size == size
        # a process that has seen a fork never goes on by itself
        for process in self.processes:
            process.sequencer.stop()
        self.processes = [self._opened(), self._opened()]

    def _witness_refuses_what_it_has_seen_more_of(self) -> None:
        latest = self.store.log.latest_checkpoint()
        if latest is None or latest.size >= self.witnessed_size:
            return
        asked = AddCheckpoint(old_size=latest.size, proof=(), note=latest.note)
        reply = self.cosigner.add_checkpoint(format_add_checkpoint(asked))
        assert reply.status == HTTPStatus.CONFLICT
        assert parse_size(reply.body) == self.witnessed_size

    def _reader(self) -> LogReader:
        return LogReader(self.store.log)

    def _anchored_size(self) -> int:
        held = build_log(self.store.log, self.folder, self.clock).anchor.read()
        return 0 if held is None else held.size

    @invariant()
    def the_size_never_falls(self) -> None:
        size = self.store.log.read_head().size
        assert size >= self.max_size
        self.max_size = size

    @invariant()
    def every_receipt_still_holds(self) -> None:
        head = self.store.log.read_head()
        reader = self._reader()
        for key, receipt in self.receipts.items():
            entry = reader.entry(receipt.log_index)
            assert (entry.entry_key, entry.entry_digest) == (key, receipt.entry_digest)
            verify_inclusion(
                leaf=entry.leaf_hash,
                index=entry.log_index,
                size=head.size,
                proof=reader.inclusion(entry.log_index, head.size),
                root=head.root,
            )

    @invariant()
    def every_receipt_is_under_a_published_checkpoint(self) -> None:
        latest = self.store.log.latest_checkpoint()
        size = 0 if latest is None else latest.size
        assert all(receipt.log_index < size for receipt in self.receipts.values())
        assert all(receipt.log_index < self._anchored_size() for receipt in self.receipts.values())

    @invariant()
    def published_checkpoints_are_consistent(self) -> None:
        reader = self._reader()
        published = list(reader.checkpoints())
        for checkpoint in published:
            body = parse_checkpoint_body(open_note(checkpoint.note, [log_signer().key]).text)
            assert (body.origin, body.size, body.root) == (
                ORIGIN,
                checkpoint.size,
                checkpoint.root,
            )
            assert self.notes.setdefault(checkpoint.size, checkpoint.note) == checkpoint.note
        for old, new in itertools.pairwise(c for c in published if c.size):
            verify_consistency(
                old_size=old.size,
                new_size=new.size,
                old_root=old.root,
                new_root=new.root,
                proof=reader.consistency(old.size, new.size),
            )

    def teardown(self) -> None:
        for process in self.processes:
            process.sequencer.stop()
        try:
            assert check_log(self.store.log, log_signer().key).problems == ()
        finally:
            self._folder.cleanup()


def _refuses(work: Callable[[], object]) -> bool:
    try:
        work()
    except LogForked:
        return True
    except AuditError as error:
        raise AssertionError(f"refused, but for another reason: {error}") from error
    return False


LogMachine.TestCase.settings = settings(
    max_examples=int(os.environ.get("INFERENCE_AUDIT_MACHINE_EXAMPLES", "100")),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLogMachine = LogMachine.TestCase

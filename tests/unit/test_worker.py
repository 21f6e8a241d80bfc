"""The worker's loop: what it completes, what it tries again, and when it gives up."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from audit.errors import CorruptState, LogForked, StorageError, StreamMoved
from audit.findings import StreamKey
from audit.log_records import Receipt
from audit.ports import Accumulator, AuditStore, Ledger
from audit.records import (
    AuditRecord,
    AuditRequest,
    AuditState,
    Examination,
    Job,
    Outcome,
    Reason,
    SignedVerdict,
    StoredStream,
    Verdict,
)
from audit.worker import MAX_MOVES, Worker
from storage.memory import InMemoryAuditStore
from storage.store import SqlAuditStore, open_store
from tests.unit.service.examples import (
    PASS,
    CountingAccumulator,
    PlainLedger,
    judged,
    memory_store,
    request_of,
    sign,
)
from tests.unit.storage.builders import CountingIds, StepClock, a_key, a_stream, complete

Examine = Callable[[AuditRequest], Examination]

PRIVATE_PROMPT = "what ails me"


class Examiner:
    """Fails as often as told, then passes."""

    def __init__(self, num_failures: int) -> None:
        self.num_failures = num_failures
        self.num_calls = 0

    def __call__(self, request: AuditRequest) -> Examination:
        self.num_calls += 1
        if self.num_calls <= self.num_failures:
            raise RuntimeError(f"cannot read {PRIVATE_PROMPT}")
        return judged(request)


class FlakyStore(InMemoryAuditStore):
    """Refuses the first calls of each writing method."""

    def __init__(self, num_refusals: int) -> None:
        ids = iter(range(100))
        super().__init__(clock=lambda: "2026-01-31T12:00:00Z", new_id=lambda: f"audit-{next(ids)}")
        self.refusals = {
            name: iter(range(num_refusals))
            for name in ("claim", "announce", "complete", "release", "read_stream")
        }

    def maybe_refuse(self, name: str) -> None:
        if next(self.refusals[name], None) is not None:
            raise StorageError(f"cannot {name}")

    def claim(self) -> Job | None:
        self.maybe_refuse("claim")
        return super().claim()

    def release(self, job: Job, *, uncounted: bool = False) -> None:
        self.maybe_refuse("release")
        super().release(job, uncounted=uncounted)

    def read_stream(self, key: StreamKey) -> StoredStream | None:
        self.maybe_refuse("read_stream")
        return super().read_stream(key)


class FlakyLedger(PlainLedger):
    """Refuses where its store says so."""

    def __init__(self, store: FlakyStore) -> None:
        super().__init__(store)
        self.flaky = store
        self.num_announced = 0

    def announce(self, job: Job) -> Receipt:
        self.flaky.maybe_refuse("announce")
        self.num_announced += 1
        return super().announce(job)

    def conclude(
        self, job: Job, examination: Examination, stream: StoredStream | None, intent: Receipt
    ) -> Receipt:
        self.flaky.maybe_refuse("complete")
        return super().conclude(job, examination, stream, intent)


class ContendedLedger(PlainLedger):
    """Lets another worker be faster at the first conclusions."""

    def __init__(self, store: InMemoryAuditStore, num_moves: int) -> None:
        super().__init__(store)
        self._memory = store
        self._moves = iter(range(num_moves))

    def conclude(
        self, job: Job, examination: Examination, stream: StoredStream | None, intent: Receipt
    ) -> Receipt:
        move = next(self._moves, None)
        if move is not None:
            rival, _ = self._memory.submit(request_of(f"rival-{move}"), "sha256:0")
            rival_job = replace(job, audit_id=rival.audit_id)
            signed = sign(rival_job, PASS)
            complete(self.store, rival_job, signed, a_stream(move + 1, a_key("small")))
        return super().conclude(job, examination, stream, intent)


def ledger_of(store: AuditStore) -> Ledger:
    """Return the ledger that goes with a store."""
    if isinstance(store, FlakyStore):
        return FlakyLedger(store)
    assert isinstance(store, InMemoryAuditStore | SqlAuditStore)
    return PlainLedger(store)


@contextmanager
def working(
    store: AuditStore,
    examine: Examine,
    *,
    accumulate: Accumulator | None = None,
    idle_wait_s: float = 0.005,
    ledger: Ledger | None = None,
) -> Iterator[Worker]:
    ledger = ledger or ledger_of(store)
    worker = Worker(store, examine, ledger, accumulate=accumulate, idle_wait_s=idle_wait_s)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(5)
        assert not thread.is_alive(), "the worker did not stop"


def adding_worker(store: AuditStore) -> Worker:
    adding = CountingAccumulator()
    return Worker(store, judged, ledger_of(store), accumulate=adding, idle_wait_s=0.005)


def submit(store: AuditStore, request_id: str = "request-1") -> str:
    return store.submit(request_of(request_id), "sha256:0")[0].audit_id


def finished(store: AuditStore, audit_id: str) -> AuditRecord:
    for _ in range(500):
        record = store.get(audit_id)
        if record.state is AuditState.DONE:
            return record
        threading.Event().wait(0.01)
    raise AssertionError(f"audit {audit_id} is still {record.state}")


def verdict_of(record: AuditRecord) -> Verdict:
    assert record.signed is not None
    return record.signed.verdict


def test_audits_are_examined_signed_and_completed_in_order() -> None:
    store, order = memory_store(), []
    ids = [submit(store, f"request-{number}") for number in range(3)]

    def examine(request: AuditRequest) -> Examination:
        order.append(request.request_id)
        return judged(request)

    with working(store, examine):
        records = [finished(store, audit_id) for audit_id in ids]
    assert order == ["request-0", "request-1", "request-2"]
    assert [record.signed for record in records] == [
        SignedVerdict(verdict=PASS, envelope=audit_id.encode(), key_id="test-key")
        for audit_id in ids
    ]


def test_a_wake_is_heard_at_once() -> None:
    store = memory_store()
    with working(store, Examiner(0), idle_wait_s=60) as worker:
        audit_id = submit(store)
        worker.wake()
        finished(store, audit_id)


def test_an_idle_worker_stops_promptly() -> None:
    with working(memory_store(), Examiner(0), idle_wait_s=60):
        pass


def test_a_failed_replay_is_tried_again() -> None:
    store, examiner = memory_store(), Examiner(2)
    audit_id = submit(store)
    with working(store, examiner):
        assert verdict_of(finished(store, audit_id)) == PASS
    assert examiner.num_calls == 3


def test_after_the_last_attempt_the_audit_ends_inconclusive_and_the_next_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, examiner = memory_store(), Examiner(3)
    bad, good = submit(store, "request-1"), submit(store, "request-2")
    with working(store, examiner):
        verdict = verdict_of(finished(store, bad))
        assert verdict_of(finished(store, good)) == PASS
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reasons == (Reason.REPLAY_FAILED,)
    assert "3 times" in verdict.details[0]
    assert "RuntimeError" in verdict.details[0]
    assert "failed with RuntimeError" in caplog.text
    assert PRIVATE_PROMPT not in caplog.text + " ".join(verdict.details)


def test_an_audit_that_killed_the_process_thrice_is_not_tried_again() -> None:
    store, examiner = memory_store(), Examiner(0)
    audit_id = submit(store)
    for _ in range(3):
        store.claim()
        store.requeue_unfinished()
    with working(store, examiner):
        verdict = verdict_of(finished(store, audit_id))
    assert verdict.reasons == (Reason.REPLAY_FAILED,)
    assert "process ended" in verdict.details[0]
    assert examiner.num_calls == 0


def test_a_refusing_database_costs_no_replay() -> None:
    store, examiner = FlakyStore(3), Examiner(0)
    audit_id = submit(store)
    with working(store, examiner):
        assert verdict_of(finished(store, audit_id)) == PASS
    assert examiner.num_calls == 1


def test_a_failed_audit_is_put_back_once_the_database_answers() -> None:
    store, examiner = FlakyStore(3), Examiner(1)
    audit_id = submit(store)
    with working(store, examiner):
        assert verdict_of(finished(store, audit_id)) == PASS
    assert examiner.num_calls == 2


def test_a_signature_that_fails_is_never_skipped() -> None:
    store = memory_store()
    audit_id, num_failures = submit(store), iter(range(5))

    class FlakySigner(PlainLedger):
        def sign(self, job: Job, verdict: Verdict) -> SignedVerdict:
            if next(num_failures, None) is not None:
                raise OSError("key unreadable")
            return super().sign(job, verdict)

    with working(store, Examiner(0), ledger=FlakySigner(store)):
        record = finished(store, audit_id)
    assert verdict_of(record).reasons == (Reason.REPLAY_FAILED,)


def test_stopping_while_the_database_is_down_leaves_the_audit_for_the_next_start() -> None:
    store = FlakyStore(10_000)
    store.refusals["claim"] = store.refusals["announce"] = iter(())
    audit_id = submit(store)
    examined = threading.Event()

    def examine(request: AuditRequest) -> Examination:
        examined.set()
        return judged(request)

    with working(store, examine):
        assert examined.wait(5)
    assert store.get(audit_id).state is AuditState.RUNNING
    assert store.requeue_unfinished() == 1


def small(count: int) -> StoredStream:
    """Return the evidence about the claimed model of `request_of`."""
    return a_stream(count, a_key("small"))


def test_each_exchange_adds_to_its_providers_evidence_and_is_signed_with_it() -> None:
    store = memory_store()
    ids = [submit(store, f"request-{number}") for number in range(3)]
    with working(store, judged, accumulate=CountingAccumulator()):
        verdicts = [verdict_of(finished(store, audit_id)) for audit_id in ids]
    assert verdicts == [replace(PASS, provider=small(count).finding) for count in (1, 2, 3)]
    assert store.read_stream(a_key("small")) == small(3)


def test_an_exchange_that_adds_nothing_leaves_the_evidence_alone() -> None:
    store = memory_store()
    unjudged = submit(store, "unjudged")
    keyless, _ = store.submit(request_of("keyless", model=None), "sha256:0")

    def examine(request: AuditRequest) -> Examination:
        is_judged = request.request_id != "unjudged"
        return judged(request) if is_judged else Examination(verdict=PASS)

    with working(store, examine, accumulate=CountingAccumulator()):
        for audit_id in (unjudged, keyless.audit_id):
            assert verdict_of(finished(store, audit_id)) == PASS
    assert store.list_streams(page_size=1, cursor=None).streams == ()


def test_a_worker_that_was_too_late_folds_and_signs_anew_without_a_replay() -> None:
    store, examiner = memory_store(), Examiner(0)
    audit_id = submit(store)
    contended = ContendedLedger(store, 3)
    with working(store, examiner, accumulate=CountingAccumulator(), ledger=contended):
        verdict = verdict_of(finished(store, audit_id))
    assert verdict.provider == small(4).finding
    assert store.read_stream(a_key("small")) == small(4)
    assert examiner.num_calls == 1


def test_workers_of_one_provider_count_every_exchange_once() -> None:
    store = memory_store()
    ids = [submit(store, f"request-{number}") for number in range(12)]
    adding = CountingAccumulator()
    with working(store, judged, accumulate=adding), working(store, judged, accumulate=adding):
        verdicts = [verdict_of(finished(store, audit_id)) for audit_id in ids]
    counts = [verdict.provider.num_exchanges for verdict in verdicts if verdict.provider]
    assert sorted(counts) == list(range(1, 13))
    assert store.read_stream(a_key("small")) == small(12)


def test_the_evidence_goes_on_where_a_stopped_process_left_it(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        ids = CountingIds(f"start-{count}")
        store = open_store(f"sqlite:///{tmp_path}/audit.db", clock=StepClock(), new_id=ids)
        store.requeue_unfinished()
        audit_id = submit(store, f"request-{count}")
        with working(store, judged, accumulate=CountingAccumulator()):
            assert verdict_of(finished(store, audit_id)).provider == small(2 * count - 1).finding
        submit(store, f"unfinished-{count}")
        assert store.claim() is not None
        store.close()


def test_a_database_that_refuses_the_evidence_costs_no_replay() -> None:
    store, examiner = FlakyStore(3), Examiner(0)
    audit_id = submit(store)
    with working(store, examiner, accumulate=CountingAccumulator()):
        assert verdict_of(finished(store, audit_id)).provider == small(1).finding
    assert examiner.num_calls == 1
    assert store.read_stream(a_key("small")) == small(1)


def test_a_worker_that_is_always_too_late_puts_the_audit_back() -> None:
    class AlwaysMoved(PlainLedger):
        num_moves = 0

        def conclude(
            self, job: Job, examination: Examination, stream: StoredStream | None, intent: Receipt
        ) -> Receipt:
            self.num_moves += 1
            if self.num_moves <= MAX_MOVES:
                raise StreamMoved("again")
            return super().conclude(job, examination, stream, intent)

    store, examiner = memory_store(), Examiner(0)
    audit_id, ledger = submit(store), AlwaysMoved(store)
    with working(store, examiner, accumulate=CountingAccumulator(), ledger=ledger):
        assert verdict_of(finished(store, audit_id)).provider == small(1).finding
    assert (examiner.num_calls, ledger.num_moves) == (2, MAX_MOVES + 1)


def spoiled(store: InMemoryAuditStore) -> None:
    """Store evidence of one exchange whose state the accumulator cannot read."""
    submit(store, "earlier")
    job = store.claim()
    assert job is not None
    complete(store, job, sign(job, PASS), replace(small(1), state_json="{"))


@pytest.mark.parametrize("num_refusals", [0, 2], ids=["at-once", "after-refusals"])
def test_corrupt_evidence_stops_the_worker_and_costs_the_audit_no_attempt(
    num_refusals: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = FlakyStore(0)
    spoiled(store)
    audit_id, waiting = submit(store, "request-1"), submit(store, "request-2")
    for _ in range(5):
        store.refusals["release"] = iter(range(num_refusals))
        worker = Worker(
            store, judged, ledger_of(store), accumulate=CountingAccumulator(), idle_wait_s=0.005
        )
        with pytest.raises(CorruptState, match="DELETE FROM provider_streams"):
            worker.run()
        assert store.get(audit_id).state is AuditState.QUEUED
        assert store.get(waiting).state is AuditState.QUEUED
    assert "Restore the database" in caplog.text
    job = store.claim()
    assert job is not None
    assert (job.audit_id, job.attempt) == (audit_id, 1)
    assert store.read_stream(a_key("small")) == replace(small(1), state_json="{")


def test_corrupt_evidence_stops_the_worker_even_where_the_audit_cannot_be_put_back() -> None:
    store = FlakyStore(0)
    spoiled(store)
    audit_id = submit(store)
    store.refusals["release"] = iter(range(100))
    worker = Worker(
        store, judged, ledger_of(store), accumulate=CountingAccumulator(), idle_wait_s=0.005
    )
    with pytest.raises(CorruptState):
        worker.run()
    assert store.get(audit_id).state is AuditState.RUNNING
    assert store.requeue_unfinished() == 1


def test_the_intent_is_logged_once_before_the_examination_however_often_the_log_refuses() -> None:
    store, examiner = FlakyStore(3), Examiner(0)
    audit_id, ledger = submit(store), FlakyLedger(store)
    announced_before: list[int] = []

    def examine(request: AuditRequest) -> Examination:
        announced_before.append(ledger.num_announced)
        return examiner(request)

    with working(store, examine, ledger=ledger):
        finished(store, audit_id)
    assert announced_before == [1]
    assert (ledger.num_announced, examiner.num_calls) == (1, 1)


def test_a_forked_log_stops_the_worker_and_puts_the_audit_back() -> None:
    class Forked(PlainLedger):
        def announce(self, job: Job) -> Receipt:
            raise LogForked("two histories")

    store = memory_store()
    audit_id = submit(store)
    worker = Worker(store, judged, Forked(store), accumulate=None, idle_wait_s=0.005)
    with pytest.raises(LogForked, match="two histories"):
        worker.run()
    assert store.get(audit_id).state is AuditState.QUEUED

"""The worker's loop: what it completes, what it tries again, and when it gives up."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from audit.errors import StorageError
from audit.records import (
    AuditRecord,
    AuditRequest,
    AuditState,
    Job,
    Outcome,
    Reason,
    SignedVerdict,
    Verdict,
)
from audit.worker import Worker
from storage.memory import InMemoryAuditStore
from tests.unit.service.examples import PASS, memory_store, request_of, sign

Examine = Callable[[AuditRequest], Verdict]

PRIVATE_PROMPT = "what ails me"


class Examiner:
    """Fails as often as told, then passes."""

    def __init__(self, num_failures: int) -> None:
        self.num_failures = num_failures
        self.num_calls = 0

    def __call__(self, request: AuditRequest) -> Verdict:
        self.num_calls += 1
        if self.num_calls <= self.num_failures:
            raise RuntimeError(f"cannot read {PRIVATE_PROMPT}")
        return PASS


class FlakyStore(InMemoryAuditStore):
    """Refuses the first calls of each writing method."""

    def __init__(self, num_refusals: int) -> None:
        ids = iter(range(100))
        super().__init__(clock=lambda: "2026-01-31T12:00:00Z", new_id=lambda: f"audit-{next(ids)}")
        self._refusals = {
            name: iter(range(num_refusals)) for name in ("claim", "complete", "release")
        }

    def _maybe_refuse(self, name: str) -> None:
        if next(self._refusals[name], None) is not None:
            raise StorageError(f"cannot {name}")

    def claim(self) -> Job | None:
        self._maybe_refuse("claim")
        return super().claim()

    def complete(self, job: Job, signed: SignedVerdict) -> None:
        self._maybe_refuse("complete")
        super().complete(job, signed)

    def release(self, job: Job) -> None:
        self._maybe_refuse("release")
        super().release(job)


@contextmanager
def working(store: InMemoryAuditStore, examine: Examine, **options: float) -> Iterator[Worker]:
    worker = Worker(store, examine, sign, idle_wait_s=options.get("idle_wait_s", 0.005))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(5)
        assert not thread.is_alive(), "the worker did not stop"


def submit(store: InMemoryAuditStore, request_id: str = "request-1") -> str:
    return store.submit(request_of(request_id), "sha256:0")[0].audit_id


def finished(store: InMemoryAuditStore, audit_id: str) -> AuditRecord:
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

    def examine(request: AuditRequest) -> Verdict:
        order.append(request.request_id)
        return PASS

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

    def flaky_sign(job: Job, verdict: Verdict) -> SignedVerdict:
        if next(num_failures, None) is not None:
            raise OSError("key unreadable")
        return sign(job, verdict)

    worker = Worker(store, Examiner(0), flaky_sign, idle_wait_s=0.005)
    thread = threading.Thread(target=worker.run)
    thread.start()
    record = finished(store, audit_id)
    worker.stop()
    thread.join(5)
    assert verdict_of(record).reasons == (Reason.REPLAY_FAILED,)


def test_stopping_while_the_database_is_down_leaves_the_audit_for_the_next_start() -> None:
    store = FlakyStore(10_000)
    store._refusals["claim"] = iter(())
    audit_id = submit(store)
    examined = threading.Event()

    def examine(request: AuditRequest) -> Verdict:
        examined.set()
        return PASS

    with working(store, examine):
        assert examined.wait(5)
    assert store.get(audit_id).state is AuditState.RUNNING
    assert store.requeue_unfinished() == 1

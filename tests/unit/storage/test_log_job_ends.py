"""A batch ends its jobs in the same transaction: all of them, with their evidence, or none."""

from collections.abc import Sequence

import pytest

from audit.errors import AuditError, AuditNotFound, CorruptState, JobEndRefused, StreamMoved
from audit.ledger.merkle import EMPTY_HEAD
from audit.log_records import Artifact, JobEnd
from audit.records import AuditState, Job, Outcome, StoredStream
from storage.memory import InMemoryAuditStore
from storage.store import open_store
from tests.unit.storage.builders import (
    CountingIds,
    LoggedStore,
    StepClock,
    a_batch,
    a_digest,
    a_job,
    a_key,
    a_request,
    a_signed,
    a_stream,
    a_verdict_draft,
    complete,
)

WHEN = "2026-01-02T03:04:06.000000Z"


def _jobs(store: LoggedStore, *names: str) -> list[Job]:
    for name in names:
        store.submit(a_request(name), a_digest(name))
    jobs = [job for job in [store.claim() for _ in names] if job is not None]
    assert len(jobs) == len(names)
    return jobs


def _commit(store: LoggedStore, ends: Sequence[JobEnd]) -> None:
    drafts = [a_verdict_draft(end.job) for end in ends]
    store.log.commit(a_batch(store.log, *drafts, ends=ends), recorded_at=WHEN)


def _is_untouched(store: LoggedStore, jobs: Sequence[Job]) -> bool:
    records = [store.get(job.audit_id) for job in jobs]
    return store.log.read_head() == EMPTY_HEAD and all(
        (record.state, record.signed, record.finished_at) == (AuditState.RUNNING, None, None)
        for record in records
    )


def test_a_batch_ends_all_its_jobs(store: LoggedStore) -> None:
    jobs = _jobs(store, "one", "two", "three")
    outcomes = (Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE)
    ends = [
        JobEnd(job=job, signed=a_signed(outcome, mark=job.audit_id), stream=stream)
        for job, outcome, stream in zip(
            jobs, outcomes, (a_stream(1), None, a_stream(1, a_key("other"))), strict=True
        )
    ]
    _commit(store, ends)
    for end in ends:
        record = store.get(end.job.audit_id)
        assert (record.state, record.signed) == (AuditState.DONE, end.signed)
        assert record.finished_at == WHEN
    assert store.read_stream(a_key()) == a_stream(1)
    assert store.read_stream(a_key("other")) == a_stream(1, a_key("other"))
    assert store.log.read_head().size == 3


def test_one_batch_may_carry_evidence_of_one_provider_on_twice(store: LoggedStore) -> None:
    jobs = _jobs(store, "one", "two")
    _commit(
        store,
        [JobEnd(job=job, signed=a_signed(), stream=a_stream(i)) for i, job in enumerate(jobs, 1)],
    )
    assert store.read_stream(a_key()) == a_stream(2)


def test_a_job_that_ended_before_keeps_its_verdict_and_counts_as_ended(store: LoggedStore) -> None:
    earlier, fresh = _jobs(store, "one", "two")
    complete(store, earlier, a_signed(mark="first"), a_stream(1))
    before = store.get(earlier.audit_id)
    again = JobEnd(job=earlier, signed=a_signed(Outcome.FAIL, mark="second"), stream=a_stream(7))
    # Under a key of its own: an audit may have ended before there was a log.
    drafts = [a_verdict_draft(fresh)]
    ends = [again, JobEnd(job=fresh, signed=a_signed(), stream=a_stream(2))]
    store.log.commit(a_batch(store.log, *drafts, ends=ends), recorded_at=WHEN)
    assert store.get(earlier.audit_id) == before
    assert store.get(fresh.audit_id).state is AuditState.DONE
    assert store.read_stream(a_key()) == a_stream(2)


def test_a_job_that_ends_twice_in_one_batch_ends_with_the_first(store: LoggedStore) -> None:
    (job,) = _jobs(store, "one")
    ends = [
        JobEnd(job=job, signed=a_signed(mark=mark), stream=a_stream(i))
        for i, mark in enumerate(("first", "second"), 1)
    ]
    batch = a_batch(store.log, a_verdict_draft(job), ends=ends)
    store.log.commit(batch, recorded_at=WHEN)
    assert store.get(job.audit_id).signed == a_signed(mark="first")
    assert store.read_stream(a_key()) == a_stream(1)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_unknown_audit_is_named_and_keeps_the_batch_out(store: LoggedStore, place: int) -> None:
    jobs = _jobs(store, "one", "two")
    ends = [JobEnd(job=job, signed=a_signed()) for job in jobs]
    ends.insert(place, JobEnd(job=a_job("nowhere"), signed=a_signed()))
    with pytest.raises(JobEndRefused, match="audit nowhere cannot end: no audit") as caught:
        _commit(store, ends)
    assert caught.value.audit_id == "nowhere"
    assert isinstance(caught.value.cause, AuditNotFound)
    assert _is_untouched(store, jobs)


_ELSEWHERE = a_key(endpoint="https://elsewhere.example")


@pytest.mark.parametrize(
    ("second", "third", "cause"),
    [
        (None, a_stream(2), StreamMoved),
        (a_stream(1), a_stream(1), StreamMoved),
        # The same stream id as the second's, under another key.
        (a_stream(1), a_stream(1, _ELSEWHERE), CorruptState),
    ],
    ids=["ahead", "stale", "another-key"],
)
def test_evidence_that_does_not_fit_is_named_and_keeps_the_batch_out(
    store: LoggedStore,
    second: StoredStream | None,
    third: StoredStream,
    cause: type[AuditError],
) -> None:
    jobs = _jobs(store, "one", "two", "three")
    streams = (a_stream(1, a_key("other")), second, third)
    ends = [
        JobEnd(job=job, signed=a_signed(), stream=stream)
        for job, stream in zip(jobs, streams, strict=True)
    ]
    with pytest.raises(JobEndRefused) as caught:
        _commit(store, ends)
    assert caught.value.audit_id == jobs[2].audit_id
    assert isinstance(caught.value.cause, cause)
    assert _is_untouched(store, jobs)
    assert store.read_stream(a_key()) is None
    assert store.read_stream(a_key("other")) is None
    _commit(store, ends[:2])
    assert store.log.read_head().size == 2


def test_of_several_that_cannot_end_the_first_is_named(store: LoggedStore) -> None:
    (job,) = _jobs(store, "one")
    moved = JobEnd(job=job, signed=a_signed(), stream=a_stream(5))
    unknown = [JobEnd(job=a_job(name), signed=a_signed()) for name in ("lost", "gone")]
    for ends in ([moved, *unknown], [*unknown, moved], [unknown[1], moved, unknown[0]]):
        with pytest.raises(JobEndRefused) as caught:
            _commit(store, ends)
        assert caught.value.audit_id == ends[0].job.audit_id


def test_artifacts_are_stored_once_with_the_jobs_that_name_them(store: LoggedStore) -> None:
    jobs = _jobs(store, "one", "two")
    shared = Artifact(digest="sha256:aa", media_type="text/plain", content=b"shared \0\xff")
    own = Artifact(digest="sha256:bb", media_type="application/json", content=b"{}")
    complete(store, jobs[0], a_signed(), artifacts=[shared])
    complete(store, jobs[1], a_signed(), artifacts=[shared, own, own])
    assert store.log.read_artifact("sha256:aa") == shared
    assert store.log.read_artifact("sha256:bb") == own
    assert store.log.read_artifact("sha256:cc") is None


def test_a_refused_batch_stores_no_artifact(store: LoggedStore) -> None:
    (job,) = _jobs(store, "one")
    artifact = Artifact(digest="sha256:aa", media_type="text/plain", content=b"x")
    with pytest.raises(StreamMoved):
        complete(store, job, a_signed(), a_stream(3), [artifact])
    assert store.log.read_artifact("sha256:aa") is None


def test_jobs_carry_the_tenant_of_the_store_that_took_them(any_url: str) -> None:
    with_tenant = open_store(any_url, clock=StepClock(), new_id=CountingIds("a"), tenant="acme")
    plain = open_store(any_url, clock=StepClock(), new_id=CountingIds("b"))
    with_tenant.submit(a_request("one"), a_digest("one"))
    plain.submit(a_request("two"), a_digest("two"))
    tenants = [job.tenant for job in (plain.claim(), with_tenant.claim()) if job is not None]
    plain.close()
    with_tenant.close()
    assert tenants == ["acme", "default"]


def test_the_twin_gives_its_jobs_the_tenant_too() -> None:
    store = InMemoryAuditStore(clock=StepClock(), new_id=CountingIds(), tenant="acme")
    assert _jobs(store, "one")[0].tenant == "acme"

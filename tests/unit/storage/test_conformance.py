"""What every AuditStore promises, held against memory, SQLite and PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from audit.errors import AuditNotFound, InvalidRequest, RequestConflict
from audit.records import AuditFilter, AuditState, Outcome
from tests.unit.storage.builders import (
    LoggedStore,
    a_digest,
    a_job,
    a_request,
    a_signed,
    complete,
)

ALL = AuditFilter()


def _submit(store: LoggedStore, name: str, *, model: str | None = "tiny") -> str:
    record, is_new = store.submit(a_request(name, model=model), a_digest(name))
    assert is_new
    return record.audit_id


def test_a_new_audit_is_queued_and_can_be_read_back(store: LoggedStore) -> None:
    record, is_new = store.submit(a_request("one"), a_digest("one"))
    assert is_new
    assert record.state is AuditState.QUEUED
    assert record.request == a_request("one")
    assert record.request_digest == a_digest("one")
    assert record.submitted_at.endswith("Z")
    assert (record.finished_at, record.signed) == (None, None)
    assert store.get(record.audit_id) == record


def test_repeating_a_submission_returns_the_earlier_audit(store: LoggedStore) -> None:
    first, _ = store.submit(a_request("one"), a_digest("one"))
    again, is_new = store.submit(a_request("one"), a_digest("one"))
    assert not is_new
    assert again == first


def test_repeating_a_submission_after_the_verdict_returns_it(store: LoggedStore) -> None:
    _submit(store, "one")
    job = store.claim()
    assert job is not None
    complete(store, job, a_signed())
    again, is_new = store.submit(a_request("one"), a_digest("one"))
    assert not is_new
    assert again.signed == a_signed()


def test_a_request_id_cannot_be_reused_for_another_exchange(store: LoggedStore) -> None:
    audit_id = _submit(store, "one")
    with pytest.raises(RequestConflict, match="choose a new request_id"):
        store.submit(a_request("one"), a_digest("other"))
    assert [a.audit_id for a in store.list(ALL, page_size=9, cursor=None).audits] == [audit_id]


def test_an_unknown_audit_is_not_found(store: LoggedStore) -> None:
    with pytest.raises(AuditNotFound, match="'nowhere'"):
        store.get("nowhere")


def test_claim_takes_the_oldest_first_and_each_once(store: LoggedStore) -> None:
    ids = [_submit(store, name) for name in ("one", "two")]
    jobs = [store.claim(), store.claim()]
    assert [job and job.audit_id for job in jobs] == ids
    assert store.claim() is None
    assert store.get(ids[0]).state is AuditState.RUNNING


def test_a_claimed_job_carries_the_request_and_its_digest(store: LoggedStore) -> None:
    _submit(store, "one")
    job = store.claim()
    assert job is not None
    assert (job.request, job.request_digest, job.attempt) == (a_request("one"), a_digest("one"), 1)


def test_complete_stores_the_verdict_and_ends_the_job(store: LoggedStore) -> None:
    audit_id = _submit(store, "one")
    job = store.claim()
    assert job is not None
    complete(store, job, a_signed(Outcome.FAIL))
    record = store.get(audit_id)
    assert record.state is AuditState.DONE
    assert record.signed == a_signed(Outcome.FAIL)
    assert record.finished_at is not None
    assert record.finished_at > record.submitted_at
    assert store.claim() is None


def test_completing_twice_keeps_the_first_verdict(store: LoggedStore) -> None:
    audit_id = _submit(store, "one")
    job = store.claim()
    assert job is not None
    complete(store, job, a_signed(mark="first"))
    after_first = store.get(audit_id)
    complete(store, job, a_signed(Outcome.FAIL, mark="second"))
    assert store.get(audit_id) == after_first


def test_completing_an_unknown_audit_is_refused(store: LoggedStore) -> None:
    with pytest.raises(AuditNotFound):
        complete(store, a_job("nowhere"), a_signed())


def test_requeueing_brings_back_only_unfinished_audits(store: LoggedStore) -> None:
    done, running, queued = (_submit(store, name) for name in ("one", "two", "three"))
    first = store.claim()
    assert first is not None
    complete(store, first, a_signed())
    store.claim()
    assert store.requeue_unfinished() == 1
    states = [store.get(audit_id).state for audit_id in (done, running, queued)]
    assert states == [AuditState.DONE, AuditState.QUEUED, AuditState.QUEUED]
    assert store.requeue_unfinished() == 0


def test_a_requeued_audit_is_claimed_again_with_a_higher_attempt(store: LoggedStore) -> None:
    audit_id = _submit(store, "one")
    _submit(store, "two")
    store.claim()
    store.requeue_unfinished()
    again = store.claim()
    assert again is not None
    assert (again.audit_id, again.attempt) == (audit_id, 2)


def test_a_released_audit_is_claimed_again(store: LoggedStore) -> None:
    audit_id = _submit(store, "one")
    job = store.claim()
    assert job is not None
    store.release(job)
    assert store.get(audit_id).state is AuditState.QUEUED
    again = store.claim()
    assert again is not None
    assert (again.audit_id, again.attempt) == (audit_id, 2)


def test_releasing_a_finished_audit_changes_nothing(store: LoggedStore) -> None:
    audit_id = _submit(store, "one")
    job = store.claim()
    assert job is not None
    complete(store, job, a_signed())
    store.release(job)
    assert store.get(audit_id).state is AuditState.DONE


def test_a_worker_cannot_release_a_later_claim_than_its_own(store: LoggedStore) -> None:
    audit_id = _submit(store, "one")
    stale = store.claim()
    assert stale is not None
    store.requeue_unfinished()
    store.claim()
    store.release(stale)
    assert store.get(audit_id).state is AuditState.RUNNING


def test_releasing_an_unknown_audit_changes_nothing(store: LoggedStore) -> None:
    store.release(a_job("nowhere"))
    assert store.list(ALL, page_size=1, cursor=None).audits == ()


def test_a_late_completion_of_a_requeued_job_counts(store: LoggedStore) -> None:
    audit_id = _submit(store, "one")
    job = store.claim()
    assert job is not None
    store.requeue_unfinished()
    complete(store, job, a_signed())
    assert store.get(audit_id).state is AuditState.DONE
    assert store.claim() is None


def test_pages_run_newest_first_without_gap_or_repeat(store: LoggedStore) -> None:
    ids = [_submit(store, f"r{number}") for number in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    for expected_size in (3, 3, 1):
        page = store.list(ALL, page_size=3, cursor=cursor)
        assert len(page.audits) == expected_size
        seen += [audit.audit_id for audit in page.audits]
        cursor = page.next_cursor
    assert cursor is None
    assert seen == ids[::-1]


def test_a_full_last_page_has_no_next_cursor(store: LoggedStore) -> None:
    for number in range(2):
        _submit(store, f"r{number}")
    assert store.list(ALL, page_size=2, cursor=None).next_cursor is None


def test_submissions_during_paging_do_not_shift_the_pages(store: LoggedStore) -> None:
    ids = [_submit(store, f"r{number}") for number in range(4)]
    first = store.list(ALL, page_size=2, cursor=None)
    _submit(store, "late")
    second = store.list(ALL, page_size=2, cursor=first.next_cursor)
    assert [audit.audit_id for audit in second.audits] == [ids[1], ids[0]]


def test_filters_select_by_outcome_state_and_model(store: LoggedStore) -> None:
    passed, failed, queued = (
        _submit(store, name, model=model)
        for name, model in (("one", "tiny"), ("two", "big"), ("three", "tiny"))
    )
    for outcome in (Outcome.PASS, Outcome.FAIL):
        job = store.claim()
        assert job is not None
        complete(store, job, a_signed(outcome))

    def matching(where: AuditFilter) -> list[str]:
        return [audit.audit_id for audit in store.list(where, page_size=9, cursor=None).audits]

    assert matching(AuditFilter(outcome=Outcome.FAIL)) == [failed]
    assert matching(AuditFilter(outcome=Outcome.INCONCLUSIVE)) == []
    assert matching(AuditFilter(state=AuditState.QUEUED)) == [queued]
    assert matching(AuditFilter(model="tiny")) == [queued, passed]
    assert matching(AuditFilter(model="tiny", outcome=Outcome.PASS)) == [passed]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "not a cursor", "é", "AAAA", "A" * 32, "A" * 400, "=" * 32],
)
def test_a_malformed_cursor_names_the_page_token(store: LoggedStore, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        store.list(ALL, page_size=1, cursor=cursor)
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


def test_a_cursor_of_another_filter_is_refused(store: LoggedStore) -> None:
    for number in range(2):
        _submit(store, f"r{number}")
    cursor = store.list(ALL, page_size=1, cursor=None).next_cursor
    with pytest.raises(InvalidRequest, match="another filter"):
        store.list(AuditFilter(model="tiny"), page_size=1, cursor=cursor)


@pytest.mark.parametrize("page_size", [0, -1])
def test_a_page_without_room_is_refused(store: LoggedStore, page_size: int) -> None:
    with pytest.raises(InvalidRequest, match="page_size"):
        store.list(ALL, page_size=page_size, cursor=None)


def test_concurrent_submissions_of_one_request_give_one_audit(store: LoggedStore) -> None:
    start = threading.Barrier(8)

    def submit(_worker: int) -> tuple[str, bool]:
        start.wait()
        record, is_new = store.submit(a_request("one"), a_digest("one"))
        return record.audit_id, is_new

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(submit, range(8)))
    assert len({audit_id for audit_id, _ in answers}) == 1
    assert sorted(is_new for _, is_new in answers) == [False] * 7 + [True]


def test_concurrent_workers_never_share_a_job(store: LoggedStore) -> None:
    ids = [_submit(store, f"r{number}") for number in range(12)]

    def drain(_worker: int) -> list[str]:
        taken = []
        while (job := store.claim()) is not None:
            taken.append(job.audit_id)
            complete(store, job, a_signed())
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [audit_id for part in pool.map(drain, range(4)) for audit_id in part]
    assert sorted(taken) == sorted(ids)

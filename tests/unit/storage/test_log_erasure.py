"""What an erasure takes away, what it leaves, and that it was counted right before."""

from pathlib import Path

import pytest

from audit.errors import AuditNotFound, InvalidRequest
from audit.log_records import Artifact, EntryKind, Erasure, JobEnd, LogEntry
from audit.records import AuditFilter, AuditState, Job
from storage.store import open_store
from tests.unit.storage.builders import (
    CountingIds,
    Draft,
    LoggedStore,
    StepClock,
    a_batch,
    a_digest,
    a_request,
    a_signed,
    a_verdict_draft,
)

#: The stores' clocks stay within one second of this.
START = "2026-01-02T03:04:05.000000Z"
ERASED_AT = "2026-09-09T00:00:00.000000Z"


def _day(number: int) -> str:
    return f"2026-02-{number:02d}T00:00:00.000000Z"


def _announced(store: LoggedStore, name: str, *, day: int) -> Job:
    store.submit(a_request(name), a_digest(name))
    job = store.claim()
    assert job is not None
    draft = a_verdict_draft(job, kind=EntryKind.INTENT)
    store.log.commit(a_batch(store.log, draft), recorded_at=_day(day))
    return job


def _concluded(store: LoggedStore, job: Job, *, day: int, artifacts: tuple[str, ...] = ()) -> None:
    kept = tuple(Artifact(digest=d, media_type="text/plain", content=b"x") for d in artifacts)
    end = JobEnd(job=job, signed=a_signed(), artifacts=kept)
    batch = a_batch(store.log, a_verdict_draft(job), ends=[end])
    store.log.commit(batch, recorded_at=_day(day))


def _erase(store: LoggedStore, erasure: Erasure) -> list[LogEntry]:
    """Erase, check that just as much was counted, and return the entries erased."""
    before = {entry.log_index for entry in _entries(store) if entry.envelope is None}
    count = store.log.count_erasable(erasure)
    name = f"{erasure.tenant}:{erasure.before}:{store.log.read_head().size}"
    draft = Draft(name=name, kind=EntryKind.ERASURE, tenant=erasure.tenant)
    batch = a_batch(store.log, draft, erasures=[erasure])
    store.log.commit(batch, recorded_at=ERASED_AT)
    erased = [
        entry
        for entry in _entries(store)
        if entry.envelope is None and entry.log_index not in before
    ]
    assert len(erased) == count
    assert store.log.count_erasable(erasure) == 0
    return erased


def _entries(store: LoggedStore) -> tuple[LogEntry, ...]:
    return store.log.read_entries(0, 10**6)


def _erasure(store: LoggedStore, *, day: int, below: int | None = None) -> Erasure:
    size = store.log.read_head().size if below is None else below
    return Erasure(tenant="default", before=_day(day), below_index=size)


def test_an_old_audit_goes_as_a_whole_and_its_leaves_stay(store: LoggedStore) -> None:
    job = _announced(store, "one", day=1)
    _concluded(store, job, day=2, artifacts=("sha256:aa",))
    before = _entries(store)
    erased = _erase(store, _erasure(store, day=3))
    assert [entry.kind for entry in erased] == [EntryKind.INTENT, EntryKind.VERDICT]
    for old, new in zip(before, _entries(store)[:2], strict=True):
        assert (new.envelope, new.erased_at) == (None, ERASED_AT)
        assert (new.leaf_body, new.leaf_hash, new.entry_digest, new.recorded_at) == (
            old.leaf_body,
            old.leaf_hash,
            old.entry_digest,
            old.recorded_at,
        )
    with pytest.raises(AuditNotFound):
        store.get(job.audit_id)
    assert store.log.read_artifact("sha256:aa") is None
    assert store.list(AuditFilter(), page_size=9, cursor=None).audits == ()
    # Its key stays taken.
    assert store.log.snapshot([f"verdict:{job.audit_id}"], []).known


def test_a_request_may_come_again_after_its_erasure(store: LoggedStore) -> None:
    job = _announced(store, "one", day=1)
    _concluded(store, job, day=2)
    _erase(store, _erasure(store, day=3))
    record, is_new = store.submit(a_request("one"), a_digest("other"))
    assert is_new
    assert record.audit_id != job.audit_id
    assert record.state is AuditState.QUEUED


def test_time_and_index_both_bound_what_is_erased(store: LoggedStore) -> None:
    for number in (1, 2, 3):
        _concluded(store, _announced(store, f"r{number}", day=number), day=number)
    by_index = _erase(store, _erasure(store, day=28, below=2))
    assert [entry.log_index for entry in by_index] == [0, 1]
    assert len(store.list(AuditFilter(), page_size=9, cursor=None).audits) == 2
    # The verdict of entry 3 is just below the bound, that of entry 5 just above it.
    by_index = _erase(store, _erasure(store, day=28, below=5))
    assert [entry.log_index for entry in by_index] == [2, 3]
    assert _erase(store, _erasure(store, day=3)) == []
    by_time = _erase(store, _erasure(store, day=4))
    assert [entry.log_index for entry in by_time] == [4, 5]


def test_an_audit_that_still_runs_keeps_its_intent(store: LoggedStore) -> None:
    job = _announced(store, "one", day=1)
    assert _erase(store, _erasure(store, day=20)) == []
    assert store.get(job.audit_id).state is AuditState.RUNNING
    _concluded(store, job, day=10)
    assert _erase(store, _erasure(store, day=5)) == []
    assert len(_erase(store, _erasure(store, day=20))) == 2


def test_an_audit_that_runs_in_spite_of_a_verdict_is_left_alone(store: LoggedStore) -> None:
    job = _announced(store, "one", day=1)
    store.log.commit(a_batch(store.log, a_verdict_draft(job)), recorded_at=_day(1))
    assert _erase(store, _erasure(store, day=20)) == []
    assert store.get(job.audit_id).state is AuditState.RUNNING


def test_other_kinds_and_other_tenants_are_left_alone(store: LoggedStore) -> None:
    others = [
        Draft(name="it", kind=kind) for kind in EntryKind if kind not in ("intent", "verdict")
    ]
    elsewhere = Draft(name="x", kind=EntryKind.VERDICT, tenant="acme", audit_id="x")
    store.log.commit(a_batch(store.log, *others, elsewhere), recorded_at=_day(1))
    assert _erase(store, _erasure(store, day=20)) == []
    assert all(entry.envelope is not None for entry in _entries(store))


def test_a_tenants_erasure_takes_only_its_own_audits(any_url: str) -> None:
    stores = {
        tenant: open_store(any_url, clock=StepClock(), new_id=CountingIds(tenant), tenant=tenant)
        for tenant in ("default", "acme")
    }
    for tenant, store in stores.items():
        _concluded(store, _announced(store, tenant, day=1), day=1)
        # And one that ended without a logged verdict.
        end = JobEnd(job=_announced(store, f"{tenant} 2", day=1), signed=a_signed())
        batch = a_batch(store.log, Draft(name=tenant, tenant=tenant), ends=[end])
        store.log.commit(batch, recorded_at=_day(1))
    store = stores["default"]
    erased = _erase(store, _erasure(store, day=20))
    assert [entry.tenant for entry in erased] == ["default"] * 3
    kept = store.list(AuditFilter(), page_size=9, cursor=None).audits
    assert [audit.request.request_id for audit in kept] == ["acme 2", "acme"]
    for each in stores.values():
        each.close()


def test_an_artifact_stays_as_long_as_an_audit_names_it(store: LoggedStore) -> None:
    _concluded(store, _announced(store, "one", day=1), day=1, artifacts=("sha256:aa", "sha256:bb"))
    _concluded(store, _announced(store, "two", day=2), day=9, artifacts=("sha256:bb",))
    _erase(store, _erasure(store, day=5))
    assert store.log.read_artifact("sha256:aa") is None
    assert store.log.read_artifact("sha256:bb") is not None
    _erase(store, _erasure(store, day=20))
    assert store.log.read_artifact("sha256:bb") is None


def test_an_audit_that_ended_without_a_logged_verdict_goes_by_its_end(store: LoggedStore) -> None:
    job = _announced(store, "one", day=1)
    draft = Draft(name="any")
    ends = [JobEnd(job=job, signed=a_signed())]
    store.log.commit(a_batch(store.log, draft, ends=ends), recorded_at=_day(2))
    assert _erase(store, _erasure(store, day=2)) == []
    assert store.get(job.audit_id).state is AuditState.DONE
    assert [entry.kind for entry in _erase(store, _erasure(store, day=3))] == [EntryKind.INTENT]
    with pytest.raises(AuditNotFound):
        store.get(job.audit_id)


@pytest.mark.parametrize(
    "before",
    ["2026-02-02T00:00:00Z", "2026-02-02T01:00:00+01:00", "2026-02-01T23:59:59.999999Z"],
)
def test_times_are_compared_as_times_however_they_are_written(
    store: LoggedStore, before: str
) -> None:
    _concluded(store, _announced(store, "one", day=1), day=1)
    _concluded(store, _announced(store, "two", day=1), day=2)
    erased = _erase(store, Erasure(tenant="default", before=before, below_index=99))
    assert [entry.log_index for entry in erased] == [0, 1]


@pytest.mark.parametrize("before", ["", "yesterday", "2026-02-02", "2026-02-02T00:00:00"])
def test_a_time_that_is_none_is_refused(store: LoggedStore, before: str) -> None:
    erasure = Erasure(tenant="default", before=before, below_index=1)
    with pytest.raises(InvalidRequest, match="before: must be a time with its zone"):
        store.log.count_erasable(erasure)
    batch = a_batch(store.log, Draft(name="one"), erasures=[erasure])
    with pytest.raises(InvalidRequest, match="before"):
        store.log.commit(batch, recorded_at=ERASED_AT)
    assert store.log.read_head().size == 0


def test_nothing_of_an_erased_exchange_is_left_in_the_files_of_sqlite(tmp_path: Path) -> None:
    private = "a very private model name"
    store = open_store(f"sqlite:///{tmp_path}/audit.db", clock=StepClock(), new_id=CountingIds())
    for number in range(40):
        store.submit(a_request(f"r{number}", model=private), a_digest(f"r{number}"))
        job = store.claim()
        assert job is not None
        end = JobEnd(job=job, signed=a_signed(mark=private))
        draft = Draft(
            name=job.audit_id,
            kind=EntryKind.VERDICT,
            audit_id=job.audit_id,
            envelope=private.encode() * 50,
        )
        store.log.commit(a_batch(store.log, draft, ends=[end]), recorded_at=_day(1))
    assert private.encode() in _files(tmp_path)
    assert len(_erase(store, _erasure(store, day=2))) == 40
    assert private.encode() not in _files(tmp_path)
    store.close()


def _files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())

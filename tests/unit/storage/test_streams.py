"""What every AuditStore promises of provider evidence, and what only SQL can get wrong."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from audit.errors import CorruptState, InvalidRequest, StorageError, StreamMoved
from audit.records import AuditFilter, AuditState, Job
from storage.engine import WRITES, open_engine
from storage.memory import InMemoryAuditStore
from storage.store import SqlAuditStore, open_store
from tests.unit.storage.builders import (
    CountingIds,
    LoggedStore,
    StepClock,
    a_digest,
    a_key,
    a_request,
    a_signed,
    a_stream,
    complete,
)


def _sql(url: str) -> SqlAuditStore:
    return open_store(url, clock=StepClock(), new_id=CountingIds())


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/audit.db"


@pytest.fixture
def sql(url: str) -> Iterator[SqlAuditStore]:
    made = _sql(url)
    yield made
    made.close()


def _job(store: LoggedStore, name: str = "one") -> Job:
    store.submit(a_request(name), a_digest(name))
    job = store.claim()
    assert job is not None
    return job


def _execute(url: str, statement: str) -> None:
    engine = open_engine(url)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        # Damage does not keep to the rules.
        connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_before_the_first_exchange_there_is_no_evidence(store: LoggedStore) -> None:
    assert store.read_stream(a_key()) is None
    page = store.list_streams(page_size=1, cursor=None)
    assert (page.streams, page.next_cursor) == ((), None)


def test_evidence_is_stored_with_the_verdict_and_read_by_its_key(store: LoggedStore) -> None:
    for version in (1, 2, 3):
        job = _job(store, f"r{version}")
        complete(store, job, a_signed(), a_stream(version))
        assert store.get(job.audit_id).state is AuditState.DONE
        assert store.read_stream(a_key()) == a_stream(version)
    assert store.read_stream(a_key("other")) is None
    assert store.read_stream(a_key(endpoint="https://elsewhere.example")) is None


def test_a_completion_without_evidence_leaves_it_alone(store: LoggedStore) -> None:
    complete(store, _job(store, "one"), a_signed(), a_stream(1))
    complete(store, _job(store, "two"), a_signed())
    assert store.read_stream(a_key()) == a_stream(1)


@pytest.mark.parametrize("version", [1, 2, 4, 9], ids=["anew", "stale", "ahead", "far-ahead"])
def test_an_update_of_another_version_stores_nothing(store: LoggedStore, version: int) -> None:
    for number in (1, 2):
        complete(store, _job(store, f"r{number}"), a_signed(), a_stream(number))
    job = _job(store)
    with pytest.raises(StreamMoved, match="read it again"):
        complete(store, job, a_signed(), a_stream(version))
    record = store.get(job.audit_id)
    assert (record.state, record.signed, record.finished_at) == (AuditState.RUNNING, None, None)
    assert store.read_stream(a_key()) == a_stream(2)
    complete(store, job, a_signed(), a_stream(3))
    assert store.read_stream(a_key()) == a_stream(3)


def test_an_update_of_unknown_evidence_stores_nothing(store: LoggedStore) -> None:
    job = _job(store)
    with pytest.raises(StreamMoved):
        complete(store, job, a_signed(), a_stream(2))
    assert store.read_stream(a_key()) is None
    assert store.get(job.audit_id).state is AuditState.RUNNING


def test_completing_twice_counts_the_exchange_once(store: LoggedStore) -> None:
    job = _job(store)
    complete(store, job, a_signed(), a_stream(1))
    for version in (1, 2):
        complete(store, job, a_signed(mark="second"), a_stream(version))
    assert store.read_stream(a_key()) == a_stream(1)
    assert store.get(job.audit_id).signed == a_signed()


def test_of_concurrent_writers_each_counts_once(store: LoggedStore) -> None:
    num_writers, num_rounds = 4, 6
    names = [f"r{number}" for number in range(num_writers * num_rounds)]
    jobs = [_job(store, name) for name in names]
    start = threading.Barrier(num_writers)

    def write(writer: int) -> int:
        num_moves = 0
        start.wait()
        for job in jobs[writer::num_writers]:
            while True:
                stored = store.read_stream(a_key())
                try:
                    version = 1 if stored is None else stored.version + 1
                    complete(store, job, a_signed(), a_stream(version))
                    break
                except StreamMoved:
                    num_moves += 1
        return num_moves

    with ThreadPoolExecutor(num_writers) as pool:
        list(pool.map(write, range(num_writers)))
    assert store.read_stream(a_key()) == a_stream(len(jobs))


def test_evidence_under_the_id_of_another_key_is_corrupt(store: LoggedStore) -> None:
    complete(store, _job(store, "one"), a_signed(), a_stream(1))
    job = _job(store, "two")
    elsewhere = a_key(endpoint="https://elsewhere.example")
    with pytest.raises(CorruptState, match="another key"):
        complete(store, job, a_signed(), a_stream(1, elsewhere))
    assert store.get(job.audit_id).state is AuditState.RUNNING
    assert store.read_stream(a_key()) == a_stream(1)


def _update(store: LoggedStore, provider: str) -> None:
    previous = store.read_stream(a_key(provider))
    version = 1 if previous is None else previous.version + 1
    job = _job(store, f"{provider}-{version}")
    complete(store, job, a_signed(), a_stream(version, a_key(provider)))


def test_pages_run_from_the_latest_update_without_gap_or_repeat(store: LoggedStore) -> None:
    for provider in ("a", "b", "c", "d", "e", "b"):
        _update(store, provider)
    seen: list[str] = []
    cursor: str | None = None
    for expected_size in (2, 2, 1):
        page = store.list_streams(page_size=2, cursor=cursor)
        assert len(page.streams) == expected_size
        seen += [stream.key.provider for stream in page.streams]
        cursor = page.next_cursor
    assert cursor is None
    assert seen == ["b", "e", "d", "c", "a"]


def test_providers_updated_at_the_same_moment_are_all_listed() -> None:
    store = InMemoryAuditStore(clock=lambda: "2026-01-02T03:04:05Z", new_id=CountingIds())
    for provider in ("a", "b", "c"):
        _update(store, provider)
    first = store.list_streams(page_size=2, cursor=None)
    second = store.list_streams(page_size=2, cursor=first.next_cursor)
    providers = [stream.key.provider for page in (first, second) for stream in page.streams]
    assert providers == ["c", "b", "a"]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "not a cursor", "é", "AAAA", "A" * 32, "c3RyZWFtIA==", "c3RyZWFtIACAYiBj", "=" * 32],
)
def test_a_malformed_cursor_names_the_page_token(store: LoggedStore, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        store.list_streams(page_size=1, cursor=cursor)
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


def test_cursors_of_audits_and_providers_are_told_apart(store: LoggedStore) -> None:
    for provider in ("a", "b"):
        _update(store, provider)
    of_audits = store.list(AuditFilter(), page_size=1, cursor=None).next_cursor
    of_providers = store.list_streams(page_size=1, cursor=None).next_cursor
    with pytest.raises(InvalidRequest, match="page_token"):
        store.list_streams(page_size=1, cursor=of_audits)
    with pytest.raises(InvalidRequest, match="page_token"):
        store.list(AuditFilter(), page_size=1, cursor=of_providers)


@pytest.mark.parametrize("page_size", [0, -1])
def test_a_page_without_room_is_refused(store: LoggedStore, page_size: int) -> None:
    with pytest.raises(InvalidRequest, match="page_size"):
        store.list_streams(page_size=page_size, cursor=None)


def test_an_uncounted_release_gives_the_attempt_back(store: LoggedStore) -> None:
    for _ in range(5):
        job = _job(store)
        assert job.attempt == 1
        store.release(job, uncounted=True)
    stale = _job(store)
    store.requeue_unfinished()
    later = store.claim()
    assert later is not None
    store.release(stale, uncounted=True)
    assert (store.get(later.audit_id).state, later.attempt) == (AuditState.RUNNING, 2)


def test_evidence_outlives_the_store(url: str, sql: SqlAuditStore) -> None:
    complete(sql, _job(sql), a_signed(), a_stream(1))
    sql.close()
    reopened = open_store(url, clock=StepClock(), new_id=CountingIds("later"))
    assert reopened.read_stream(a_key()) == a_stream(1)
    complete(reopened, _job(reopened, "two"), a_signed(), a_stream(2))
    assert reopened.list_streams(page_size=9, cursor=None).streams == (a_stream(2),)
    reopened.close()


def test_a_failed_update_leaves_job_and_evidence_as_they_were(url: str, sql: SqlAuditStore) -> None:
    complete(sql, _job(sql, "one"), a_signed(), a_stream(1))
    job = _job(sql, "two")
    full = "BEGIN SELECT RAISE(ABORT, 'full'); END"
    _execute(url, f"CREATE TRIGGER disk_full BEFORE UPDATE ON provider_streams {full}")
    with pytest.raises(StorageError, match="appending to the log: full"):
        complete(sql, job, a_signed(), a_stream(2))
    record = sql.get(job.audit_id)
    assert (record.state, record.signed) == (AuditState.RUNNING, None)
    assert sql.read_stream(a_key()) == a_stream(1)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("finding_json = ''", "finding is damaged"),
        ("finding_json = '{}'", "lacks the key"),
        ("finding_json = '{\"half'", "finding is damaged"),
        (
            "finding_json = replace(finding_json, '\"num_tokens\":20', '\"num_tokens\":true')",
            "integer",
        ),
        ("outcome = 'FAIL'", "outcome and its finding"),
        ("outcome = 'PERHAPS'", "outcome and its finding"),
        ("log10_e_value = 5.0", "log10_e_value and its finding"),
        ("version = 0", "of the wrong kind"),
        ("version = 'two'", "of the wrong kind"),
        ("state_json = x'00'", "of the wrong kind"),
    ],
)
def test_a_damaged_row_names_its_stream_and_the_remedy_and_is_kept(
    url: str, sql: SqlAuditStore, damage: str, says: str
) -> None:
    for version in (1, 2):
        complete(sql, _job(sql, f"r{version}"), a_signed(), a_stream(version))
    _execute(url, f"UPDATE provider_streams SET {damage}")  # noqa: S608
    before = _rows(url)
    for read in (
        lambda: sql.read_stream(a_key()),
        lambda: sql.list_streams(page_size=1, cursor=None),
    ):
        with pytest.raises(CorruptState, match=says) as caught:
            read()
        assert "sha256:acme" in str(caught.value)
        assert "Restore the database" in str(caught.value)
    assert _rows(url) == before


@pytest.mark.parametrize("damage", ["provider = 'x'", "endpoint = ''", "policy_id = 'p'"])
def test_a_row_whose_key_is_damaged_is_neither_found_nor_replaced(
    url: str, sql: SqlAuditStore, damage: str
) -> None:
    complete(sql, _job(sql, "one"), a_signed(), a_stream(1))
    _execute(url, f"UPDATE provider_streams SET {damage}")  # noqa: S608
    before, job = _rows(url), _job(sql, "two")
    assert sql.read_stream(a_key()) is None
    with pytest.raises(CorruptState, match="another key"):
        complete(sql, job, a_signed(), a_stream(1))
    assert _rows(url) == before


def test_two_rows_of_one_key_are_corrupt(url: str, sql: SqlAuditStore) -> None:
    complete(sql, _job(sql, "one"), a_signed(), a_stream(1))
    complete(sql, _job(sql, "two"), a_signed(), a_stream(1, a_key("b")))
    _execute(url, "UPDATE provider_streams SET provider = 'acme'")
    with pytest.raises(CorruptState, match="has the same key"):
        sql.read_stream(a_key())


def test_evidence_that_json_cannot_carry_is_refused(sql: SqlAuditStore) -> None:
    job, stream = _job(sql), a_stream(1)
    endless = replace(stream, finding=replace(stream.finding, log10_e_value=float("inf")))
    with pytest.raises(StorageError, match="report this as a bug"):
        complete(sql, job, a_signed(), endless)
    assert sql.get(job.audit_id).state is AuditState.RUNNING


def test_a_lost_table_is_a_storage_error(url: str, sql: SqlAuditStore) -> None:
    job = _job(sql)
    _execute(url, "DROP TABLE provider_streams")
    for call in (
        lambda: sql.read_stream(a_key()),
        lambda: sql.list_streams(page_size=1, cursor=None),
        lambda: complete(sql, job, a_signed(), a_stream(1)),
    ):
        with pytest.raises(StorageError, match="no such table"):
            call()
    assert sql.get(job.audit_id).state is AuditState.RUNNING


def _rows(url: str) -> list[tuple[object, ...]]:
    engine = open_engine(url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text("SELECT * FROM provider_streams"))]
    engine.dispose()
    return rows

"""What only the SQL store can get wrong: restarts, foreign keys, damaged rows, a lost database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from audit.errors import StorageError
from audit.records import AuditState
from storage.engine import WRITES, open_engine
from storage.store import SqlAuditStore, open_store
from tests.unit.storage.builders import (
    CountingIds,
    StepClock,
    a_digest,
    a_request,
    a_signed,
    complete,
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/audit.db"


@pytest.fixture
def store(url: str) -> Iterator[SqlAuditStore]:
    made = open_store(url, clock=StepClock(), new_id=CountingIds())
    yield made
    made.close()


def _execute(url: str, statement: str) -> None:
    engine = open_engine(url)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_audits_outlive_the_store(url: str, store: SqlAuditStore) -> None:
    record, _ = store.submit(a_request("one"), a_digest("one"))
    store.close()
    reopened = open_store(url, clock=StepClock(), new_id=CountingIds())
    assert reopened.get(record.audit_id) == record
    reopened.close()


def test_two_stores_on_one_file_share_the_queue(url: str, store: SqlAuditStore) -> None:
    other = open_store(url, clock=StepClock(), new_id=CountingIds("other"))
    store.submit(a_request("one"), a_digest("one"))
    _, is_new = other.submit(a_request("one"), a_digest("one"))
    assert not is_new
    assert other.claim() is not None
    assert store.claim() is None
    other.close()


def test_the_envelope_comes_back_byte_for_byte(store: SqlAuditStore) -> None:
    store.submit(a_request("one"), a_digest("one"))
    job = store.claim()
    assert job is not None
    complete(store, job, a_signed())
    signed = store.get(job.audit_id).signed
    assert signed is not None
    assert signed.envelope == b"first \x00\xff"


def test_a_failed_completion_leaves_the_job_unfinished(url: str, store: SqlAuditStore) -> None:
    store.submit(a_request("one"), a_digest("one"))
    job = store.claim()
    assert job is not None
    _execute(
        url,
        "CREATE TRIGGER disk_full BEFORE INSERT ON verdicts BEGIN SELECT RAISE(ABORT, 'full'); END",
    )
    with pytest.raises(StorageError, match="appending to the log: full"):
        complete(store, job, a_signed())
    record = store.get(job.audit_id)
    assert (record.state, record.finished_at) == (AuditState.RUNNING, None)
    _execute(url, "DROP TRIGGER disk_full")
    complete(store, job, a_signed())
    assert store.get(job.audit_id).state is AuditState.DONE


def test_a_verdict_needs_its_audit(url: str, store: SqlAuditStore) -> None:
    engine = open_engine(url)
    orphan = "INSERT INTO verdicts VALUES ('nowhere', 'PASS', '{}', x'00', 'k', 't')"
    with pytest.raises(Exception, match="FOREIGN KEY"), engine.begin() as connection:
        connection.execute(text(orphan))
    engine.dispose()


def test_a_damaged_row_is_a_storage_error(url: str, store: SqlAuditStore) -> None:
    record, _ = store.submit(a_request("one"), a_digest("one"))
    _execute(url, "UPDATE audits SET request_json = '{}'")
    with pytest.raises(StorageError, match="restore the database"):
        store.get(record.audit_id)


def test_every_method_maps_database_failures(url: str, store: SqlAuditStore) -> None:
    store.submit(a_request("one"), a_digest("one"))
    job = store.claim()
    assert job is not None
    _execute(url, "DROP TABLE verdicts")
    _execute(url, "ALTER TABLE audits RENAME TO gone")
    for call in (
        lambda: store.submit(a_request("two"), a_digest("two")),
        lambda: store.get("audit-1"),
        store.claim,
        lambda: complete(store, job, a_signed()),
        lambda: store.release(job),
        store.requeue_unfinished,
    ):
        with pytest.raises(StorageError, match="no such table"):
            call()

"""What only a SQL log can get wrong: triggers, one moment, damage, a server that crashes."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from audit.errors import StorageError
from audit.log_records import Artifact, EntryKind, Erasure, JobEnd, Tile
from audit.records import AuditState
from storage.engine import WRITES, open_engine
from storage.store import SqlAuditStore, open_store
from tests.support.postgres import running_cluster
from tests.unit.storage.builders import (
    CountingIds,
    Draft,
    StepClock,
    a_batch,
    a_digest,
    a_key,
    a_request,
    a_signed,
    a_stream,
    a_verdict_draft,
    complete,
)

WHEN = "2026-01-02T03:04:06.000000Z"
AN_ARTIFACT = Artifact(digest="sha256:aa", media_type="text/plain", content=b"x")


@pytest.fixture
def engine(any_url: str, any_sql: SqlAuditStore) -> Iterator[Engine]:
    """The store's own database, from another side."""
    draft = Draft(name="audit", kind=EntryKind.VERDICT, audit_id="audit")
    any_sql.log.commit(a_batch(any_sql.log, Draft(name="one"), draft), recorded_at=WHEN)
    made = open_engine(any_url)
    yield made
    made.dispose()


def _write(engine: Engine, statement: str) -> None:
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_entries SET leaf_hash = leaf_body",
        "UPDATE log_entries SET log_index = 7 WHERE log_index = 1",
        "UPDATE log_entries SET recorded_at = recorded_at",
        "DELETE FROM log_entries",
        "DELETE FROM log_entries WHERE log_index = 1",
    ],
)
def test_entries_can_be_neither_changed_nor_deleted(
    engine: Engine, any_sql: SqlAuditStore, statement: str
) -> None:
    before = any_sql.log.read_entries(0, 9)
    with pytest.raises(DBAPIError, match="the verdict log is append-only"):
        _write(engine, statement)
    assert any_sql.log.read_entries(0, 9) == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_contents SET envelope = CAST('other' AS {bytes})",
        "UPDATE log_contents SET entry_digest = 'x', envelope = NULL, erased_at = 'now'",
        "UPDATE log_contents SET erased_at = 'now'",
        "DELETE FROM log_contents",
    ],
)
def test_content_can_only_be_erased(engine: Engine, any_sql: SqlAuditStore, statement: str) -> None:
    before = any_sql.log.read_entries(0, 9)
    kind = "bytea" if engine.dialect.name == "postgresql" else "blob"
    with pytest.raises(DBAPIError, match="content of the verdict log can only be erased"):
        _write(engine, statement.format(bytes=kind))
    assert any_sql.log.read_entries(0, 9) == before


def test_content_cannot_be_erased_without_saying_when(engine: Engine) -> None:
    with pytest.raises(DBAPIError, match="ck_log_contents_erased"):
        _write(engine, "UPDATE log_contents SET envelope = NULL")


def test_what_was_erased_stays_erased(engine: Engine, any_sql: SqlAuditStore) -> None:
    erasure = Erasure(tenant="default", before="2027-01-01T00:00:00Z", below_index=9)
    batch = a_batch(any_sql.log, Draft(name="gone"), erasures=[erasure])
    any_sql.log.commit(batch, recorded_at=WHEN)
    with pytest.raises(DBAPIError, match="can only be erased"):
        _write(engine, "UPDATE log_contents SET erased_at = 'now' WHERE envelope IS NULL")
    with pytest.raises(DBAPIError, match="can only be erased"):
        _write(engine, "UPDATE log_contents SET envelope = '', erased_at = NULL")


def test_truncation_is_refused_too(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    for tables in ("log_entries", "log_contents, log_entries"):
        with pytest.raises(DBAPIError, match="verdict log"):
            _write(engine, f"TRUNCATE {tables}")
    engine.dispose()


def test_there_is_one_tree(engine: Engine) -> None:
    for number in (1, 2):
        with pytest.raises(DBAPIError, match="log_tree"):
            _write(engine, f"INSERT INTO log_tree SELECT {number}, 0, root, root FROM log_tree")  # noqa: S608


def test_an_unknown_kind_of_entry_is_a_storage_error(
    engine: Engine, any_sql: SqlAuditStore
) -> None:
    newer = (
        "INSERT INTO log_entries SELECT 9, 'horoscope', tenant, 9, 'x', NULL, entry_digest, "
        "leaf_body, leaf_hash, recorded_at FROM log_entries WHERE log_index = 0"
    )
    _write(engine, newer)
    with pytest.raises(StorageError, match="entry 9 of the log is of the unknown kind 'horoscope'"):
        any_sql.log.read_entries(0, 99)


def test_an_entry_needs_its_content(engine: Engine) -> None:
    orphan = (
        "INSERT INTO log_entries SELECT 9, kind, tenant, 9, 'x', NULL, 'sha256:none', "
        "leaf_body, leaf_hash, recorded_at FROM log_entries WHERE log_index = 0"
    )
    with pytest.raises(DBAPIError, match=r"(?i)foreign key"):
        _write(engine, orphan)


#: Every table that a batch writes to.
TABLES = (
    "log_contents",
    "log_entries",
    "log_tenants",
    "log_tiles",
    "log_artifacts",
    "log_artifact_uses",
    "verdicts",
    "provider_streams",
)


@pytest.mark.parametrize("table", TABLES)
def test_a_failure_at_any_statement_leaves_nothing(
    engine: Engine, any_sql: SqlAuditStore, table: str
) -> None:
    any_sql.submit(a_request("one"), a_digest("one"))
    job = any_sql.claim()
    assert job is not None
    end = JobEnd(job=job, signed=a_signed(), stream=a_stream(1), artifacts=(AN_ARTIFACT,))
    tile = Tile(level=1, index=0, hashes=bytes(32))
    batch = a_batch(any_sql.log, a_verdict_draft(job), ends=[end], tiles=[tile])
    before = any_sql.log.snapshot([f"verdict:{job.audit_id}"], ["default"])
    _write(engine, _full(engine, table))
    with pytest.raises(StorageError, match="appending to the log: full"):
        any_sql.log.commit(batch, recorded_at=WHEN)
    assert any_sql.log.snapshot([f"verdict:{job.audit_id}"], ["default"]) == before
    assert any_sql.log.read_tile(1, 0) is None
    assert any_sql.log.read_artifact(AN_ARTIFACT.digest) is None
    assert any_sql.get(job.audit_id).state is AuditState.RUNNING
    assert any_sql.read_stream(a_key()) is None
    _write(engine, _not_full(engine, table))
    any_sql.log.commit(batch, recorded_at=WHEN)
    assert any_sql.get(job.audit_id).state is AuditState.DONE
    assert any_sql.log.read_head() == batch.head


def _full(engine: Engine, table: str) -> str:
    does = (
        "FOR EACH ROW EXECUTE FUNCTION inference_audit_refuse('full')"
        if engine.dialect.name == "postgresql"
        else "BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    return f"CREATE TRIGGER disk_full BEFORE INSERT ON {table} {does}"


def _not_full(engine: Engine, table: str) -> str:
    where = f" ON {table}" if engine.dialect.name == "postgresql" else ""
    return f"DROP TRIGGER disk_full{where}"


def test_an_erasure_that_fails_is_undone_with_its_entry(
    engine: Engine, any_sql: SqlAuditStore
) -> None:
    erasure = Erasure(tenant="default", before="2027-01-01T00:00:00Z", below_index=9)
    batch = a_batch(any_sql.log, Draft(name="gone"), erasures=[erasure])
    before = any_sql.log.read_entries(0, 9)
    _write(engine, _full(engine, "log_contents").replace("INSERT", "UPDATE"))
    with pytest.raises(StorageError, match="appending to the log: full"):
        any_sql.log.commit(batch, recorded_at=WHEN)
    assert any_sql.log.read_entries(0, 9) == before
    assert any_sql.log.count_erasable(erasure) == 1


def test_a_snapshot_is_of_one_moment(any_sql: SqlAuditStore) -> None:
    """While another thread appends, head, tenant and known keys always fit each other."""
    is_over = threading.Event()
    names = [f"policy:{number}" for number in range(60)]

    def append() -> None:
        for number in range(60):
            batch = a_batch(any_sql.log, Draft(name=str(number)))
            any_sql.log.commit(batch, recorded_at=WHEN)
        is_over.set()

    thread = threading.Thread(target=append)
    thread.start()
    sizes = set()
    while not is_over.is_set():
        snapshot = any_sql.log.snapshot(names, ["default"])
        size = snapshot.head.size
        assert len(snapshot.known) == size
        assert [tenant.sequence for tenant in snapshot.tenants] == ([size] if size else [])
        sizes.add(size)
    thread.join()
    assert len(sizes) > 1


def test_a_server_that_would_answer_before_it_has_written_is_told_not_to(
    postgres_url: str,
) -> None:
    for asked, held in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        engine = open_engine(f"{postgres_url}&options=-csynchronous_commit%3D{asked}")
        with engine.connect() as connection:
            for _ in range(2):
                shown = connection.execute(text("SHOW synchronous_commit")).scalar_one()
                assert shown == held
                connection.rollback()
        engine.dispose()


def test_what_was_committed_outlives_a_crash_of_the_server() -> None:
    with running_cluster() as cluster:
        url = cluster.new_database()
        store = open_store(url, clock=StepClock(), new_id=CountingIds())
        for number in range(1, 4):
            store.submit(a_request(f"r{number}"), a_digest(f"r{number}"))
            job = store.claim()
            assert job is not None
            complete(store, job, a_signed(), a_stream(number))
            head, entries = store.log.read_head(), store.log.read_entries(0, 99)
            cluster.stop("immediate")
            with pytest.raises(StorageError, match="check that it is reachable"):
                store.log.read_head()
            cluster.start()
            assert store.log.read_head() == head
            assert store.log.read_entries(0, 99) == entries
            assert store.get(job.audit_id).state is AuditState.DONE
            assert store.read_stream(a_key()) == a_stream(number)
        store.close()

"""The migrated schema is the models' schema, and starting twice or at once is safe."""

import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, text

from audit.errors import StorageError
from audit.ledger.merkle import EMPTY_HEAD
from storage.engine import WRITES, open_engine
from storage.models import Base
from storage.serialise import to_json
from storage.store import open_store
from storage.upgrade import migration_config, upgrade
from tests.unit.storage.builders import (
    CountingIds,
    Draft,
    StepClock,
    a_batch,
    a_key,
    a_request,
    a_signed,
    a_stream,
    complete,
)

#: A row as the first schema stored it.
INSERT_OLD_AUDIT = (
    "INSERT INTO audits VALUES (1, 'old', 'one', 'sha256:0', :request, 'tiny', 'QUEUED', 0, "
    "'2026-01-02T03:04:05.000000Z', NULL, NULL)"
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path}/audit.db")
    yield made
    made.dispose()


@pytest.fixture
def any_engine(empty_url: str) -> Iterator[Engine]:
    made = open_engine(empty_url)
    yield made
    made.dispose()


def _schema_sql(engine: Engine) -> list[str]:
    # Triggers are the migration's alone.
    query = text(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name != :version "
        "AND type IN ('table', 'index')"
    )
    with engine.connect() as connection:
        rows = connection.execute(query, {"version": "alembic_version"}).scalars().all()
    return sorted(str(row) for row in rows)


def _downgrade(engine: Engine, revision: str) -> None:
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        command.downgrade(migration_config(connection), revision)


def test_the_migrated_schema_equals_the_models(any_engine: Engine) -> None:
    upgrade(any_engine)
    with any_engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_checks_and_sequences_equal_the_models_too(engine: Engine, tmp_path: Path) -> None:
    # Alembic compares neither CHECK constraints nor AUTOINCREMENT; the database's text has both.
    upgrade(engine)
    modelled = create_engine(f"sqlite:///{tmp_path}/modelled.db")
    Base.metadata.create_all(modelled)
    migrated_lines, modelled_lines = _lines(engine), _lines(modelled)
    modelled.dispose()
    assert migrated_lines == modelled_lines


def _lines(engine: Engine) -> list[list[str]]:
    # The order of columns and constraints inside a table does not matter, and is not the same. A
    # column that was added stands on the line of the one before.
    return [
        sorted(line.strip(" \t,") for line in re.split(r"\n|, (?=tenant VARCHAR)", sql))
        for sql in _schema_sql(engine)
    ]


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    upgrade(engine)
    before = _schema_sql(engine)
    upgrade(engine)
    assert _schema_sql(engine) == before


def _tables(engine: Engine) -> dict[str, list[str]]:
    found = inspect(engine)
    return {
        table: sorted(str(column["name"]) for column in found.get_columns(table))
        for table in found.get_table_names()
    }


def test_down_removes_every_table_and_up_brings_them_back(any_engine: Engine) -> None:
    upgrade(any_engine)
    before = _tables(any_engine)
    _downgrade(any_engine, "base")
    assert list(_tables(any_engine)) == ["alembic_version"]
    upgrade(any_engine)
    assert _tables(any_engine) == before


def test_down_and_up_give_the_same_schema_to_the_letter(engine: Engine) -> None:
    upgrade(engine)
    before = _schema_sql(engine)
    _downgrade(engine, "base")
    upgrade(engine)
    assert _schema_sql(engine) == before


def test_the_log_comes_to_a_database_with_audits_and_goes_again(empty_url: str) -> None:
    engine = open_engine(empty_url)
    upgrade(engine, "0002")
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(text(INSERT_OLD_AUDIT), {"request": to_json(a_request("one"))})
    for tenant in ("default", "default"):
        store = open_store(empty_url, clock=StepClock(), new_id=CountingIds(), tenant="acme")
        assert store.log.read_head() == EMPTY_HEAD
        job = store.claim()
        assert job is not None
        assert (job.audit_id, job.tenant) == ("old", tenant)
        store.release(job)
        store.log.commit(a_batch(store.log, Draft(name="one")), recorded_at="2026")
        assert store.log.read_head().size == 1
        store.close()
        _downgrade(engine, "0002")
        assert "tenant" not in _tables(engine)["audits"]
        assert not [table for table in _tables(engine) if table.startswith("log_")]
    engine.dispose()


def test_audits_live_through_the_coming_and_going_of_provider_evidence(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    engine = open_engine(url)
    upgrade(engine, "0001")
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(text(INSERT_OLD_AUDIT), {"request": to_json(a_request("one"))})
    store = open_store(url, clock=StepClock(), new_id=CountingIds())
    job = store.claim()
    assert job is not None
    complete(store, job, a_signed(), a_stream(1))
    before = store.get("old")
    store.close()
    _downgrade(engine, "0001")
    assert set(inspect(engine).get_table_names()) == {"alembic_version", "audits", "verdicts"}
    store = open_store(url, clock=StepClock(), new_id=CountingIds())
    assert store.get("old") == before
    assert store.read_stream(a_key()) is None
    store.close()
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused(engine: Engine) -> None:
    upgrade(engine)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StorageError, match="upgrade inference-audit"):
        upgrade(engine)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "audit.db").write_bytes(b"this is no database at all, " * 100)
    engine = open_engine(f"sqlite:///{tmp_path}/audit.db")
    with pytest.raises(StorageError, match="file is not a database"):
        upgrade(engine)
    engine.dispose()


def start(url: str) -> None:
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()


def test_several_processes_may_start_at_once(empty_url: str) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["storage.store"])
    for _ in range(3):
        starters = [processes.Process(target=start, args=(empty_url,)) for _ in range(4)]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join()
        assert [starter.exitcode for starter in starters] == [0] * 4
        engine = open_engine(empty_url)
        assert {"verdicts", "log_entries"} <= set(inspect(engine).get_table_names())
        _downgrade(engine, "base")
        engine.dispose()

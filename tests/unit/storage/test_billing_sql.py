"""What only the SQL store of billing evidence can get wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from audit.billing_records import FoldedRequest, StoredAccount
from audit.errors import CorruptState, StorageError
from storage.billing import SqlBillingStore
from storage.engine import WRITES, open_engine
from storage.upgrade import upgrade
from tests.unit.storage.billing_builders import a_billing_key, a_folded, an_account
from tests.unit.storage.builders import StepClock

KEY = a_billing_key()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/audit.db"


@pytest.fixture
def sql(url: str) -> Iterator[SqlBillingStore]:
    engine = open_engine(url)
    upgrade(engine)
    yield SqlBillingStore(engine, clock=StepClock())
    engine.dispose()


def _execute(url: str, statement: str) -> None:
    engine = open_engine(url)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        # Damage does not keep to the rules.
        connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
        connection.exec_driver_sql(statement)
    engine.dispose()


def _rows(url: str) -> list[tuple[object, ...]]:
    engine = open_engine(url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text("SELECT * FROM billing_accounts"))]
    engine.dispose()
    return rows


def _find(store: SqlBillingStore, request_id: str) -> FoldedRequest | None:
    return store.find_request(KEY.tenant, KEY.account, KEY.provider, request_id)


def test_evidence_outlives_the_store(url: str, sql: SqlBillingStore) -> None:
    sql.advance_account(an_account(1), [a_folded("r-1")])
    engine = open_engine(url)
    reopened = SqlBillingStore(engine, clock=StepClock(9))
    assert reopened.read_account(KEY) == an_account(1)
    assert reopened.find_request(KEY.tenant, KEY.account, KEY.provider, "r-1") is not None
    reopened.advance_account(an_account(2), [a_folded("r-2")])
    engine.dispose()
    assert sql.list_accounts(None, page_size=9, cursor=None).accounts == (an_account(2),)


@pytest.mark.parametrize("table", ["billing_accounts", "billing_requests"])
def test_a_failed_step_leaves_evidence_and_requests_as_they_were(
    url: str, sql: SqlBillingStore, table: str
) -> None:
    sql.advance_account(an_account(1), [a_folded("r-1")])
    event = "UPDATE" if table == "billing_accounts" else "INSERT"
    full = "BEGIN SELECT RAISE(ABORT, 'full'); END"
    _execute(url, f"CREATE TRIGGER disk_full BEFORE {event} ON {table} {full}")
    with pytest.raises(StorageError, match="storing billing evidence: full"):
        sql.advance_account(an_account(2), [a_folded("r-2")])
    assert (sql.read_account(KEY), _find(sql, "r-2")) == (an_account(1), None)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("finding_json = ''", "finding is damaged"),
        ("finding_json = '{}'", "lacks the key"),
        (
            "finding_json = replace(finding_json, '\"num_requests\":2', '\"num_requests\":true')",
            "integer",
        ),
        ("outcome = 'AGREES'", "outcome and its finding"),
        ("outcome = 'PERHAPS'", "outcome and its finding"),
        ("provider = 'x'", "its key and the digest"),
        ("model = ''", "its key and the digest"),
        ("version = 0", "of the wrong kind"),
        ("version = 'two'", "of the wrong kind"),
        ("state_json = x'00'", "of the wrong kind"),
    ],
)
def test_a_damaged_row_names_its_account_and_the_remedy_and_is_kept(
    url: str, sql: SqlBillingStore, damage: str, says: str
) -> None:
    sql.advance_account(an_account(2), [a_folded("r-1"), a_folded("r-2")])
    _execute(url, f"UPDATE billing_accounts SET {damage}")  # noqa: S608
    before = _rows(url)
    for read in (
        lambda: sql.read_account(KEY),
        lambda: sql.read_account_by_id(KEY.tenant, "sha256:acme"),
        lambda: sql.list_accounts(None, page_size=1, cursor=None),
    ):
        with pytest.raises(CorruptState, match=says) as caught:
            read()
        assert "sha256:acme" in str(caught.value)
        assert "Restore the database" in str(caught.value)
    assert _rows(url) == before


def test_a_lost_table_is_a_storage_error(url: str, sql: SqlBillingStore) -> None:
    _execute(url, "DROP TABLE billing_requests")
    _execute(url, "DROP TABLE billing_accounts")
    made: StoredAccount = an_account(1)
    for call in (
        lambda: sql.read_account(KEY),
        lambda: _find(sql, "r-1"),
        lambda: sql.list_accounts(None, page_size=1, cursor=None),
        lambda: sql.advance_account(made, [a_folded("r-1")]),
    ):
        with pytest.raises(StorageError, match="no such table"):
            call()

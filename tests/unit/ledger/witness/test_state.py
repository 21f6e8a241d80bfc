import sqlite3
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from audit.errors import ConfigurationError, StorageError
from audit.ledger.witness.state import Cosigned, WitnessState

TREE = Cosigned(size=5, root=b"r" * 32, cosigned_at_s=1_800_000_000)


def test_each_origin_has_its_own_latest_tree(tmp_path: Path) -> None:
    state = WitnessState(tmp_path / "state.db", may_create=True)
    other = replace(TREE, size=9)
    assert state.latest("a") is None
    state.advance("a", lambda seen: TREE)
    state.advance("b", lambda seen: other)
    reopened = WitnessState(tmp_path / "state.db")
    assert (reopened.latest("a"), reopened.latest("b"), reopened.latest("c")) == (TREE, other, None)


def test_the_successor_sees_what_is_stored(tmp_path: Path) -> None:
    state = WitnessState(tmp_path / "state.db", may_create=True)
    seen: list[Cosigned | None] = []

    def successor(latest: Cosigned | None) -> Cosigned:
        seen.append(latest)
        return TREE

    state.advance("a", successor)
    state.advance("a", successor)
    assert seen == [None, TREE]


def test_an_error_stores_nothing_and_frees_the_file(tmp_path: Path) -> None:
    state = WitnessState(tmp_path / "state.db", may_create=True)

    def successor(latest: Cosigned | None) -> Cosigned:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        state.advance("a", successor)
    assert state.latest("a") is None
    assert state.advance("a", lambda seen: TREE) == TREE


def test_two_processes_advance_one_after_the_other(tmp_path: Path) -> None:
    """The second one waits until the first has stored, and then sees what it stored."""
    path = tmp_path / "state.db"
    first, second = WitnessState(path, may_create=True), WitnessState(path)
    seen: list[Cosigned | None] = []
    began = Event()

    def after_first(latest: Cosigned | None) -> Cosigned:
        seen.append(latest)
        return replace(TREE, size=6)

    def go() -> Cosigned:
        began.set()
        return second.advance("a", after_first)

    with ThreadPoolExecutor(max_workers=1) as pool:

        def while_second_waits(latest: Cosigned | None) -> Cosigned:
            waiting.append(pool.submit(go))
            began.wait()
            time.sleep(0.2)
            return TREE

        waiting: list[Future[Cosigned]] = []
        first.advance("a", while_second_waits)
        assert waiting[0].result().size == 6
    assert seen == [TREE]


def test_everything_is_in_one_file(tmp_path: Path) -> None:
    state = WitnessState(tmp_path / "new" / "state.db", may_create=True)
    state.advance("a", lambda seen: TREE)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["state.db"]


def test_each_commit_is_on_disk_before_it_returns(tmp_path: Path) -> None:
    state = WitnessState(tmp_path / "state.db", may_create=True)
    with state._transaction() as connection:
        (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
        (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    assert (synchronous, journal) == (3, "delete")


def test_a_missing_file_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Never put an older copy in its place"):
        WitnessState(tmp_path / "state.db")
    assert not (tmp_path / "state.db").exists()


def test_a_file_that_vanishes_is_not_begun_anew(tmp_path: Path) -> None:
    state = WitnessState(tmp_path / "state.db", may_create=True)
    state.advance("a", lambda seen: TREE)
    (tmp_path / "state.db").unlink()
    with pytest.raises(StorageError, match="unable to open"):
        state.advance("a", lambda seen: TREE)
    with pytest.raises(StorageError, match="unable to open"):
        state.latest("a")
    assert not (tmp_path / "state.db").exists()


@pytest.mark.parametrize("may_create", [True, False])
def test_another_programs_database_is_left_alone(tmp_path: Path, may_create: bool) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="it is no state of such a witness"):
        WitnessState(path, may_create=may_create)
    assert path.read_bytes() == before


def test_an_empty_file_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch()
    with pytest.raises(ConfigurationError, match="it is no state of such a witness"):
        WitnessState(tmp_path / "state.db")


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    WitnessState(path, may_create=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigurationError, match="it is no state of such a witness"):
        WitnessState(path)


def test_garbage_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError, match="not a database"):
        WitnessState(tmp_path / "state.db", may_create=True)


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="that this user can write"):
        WitnessState(tmp_path / "file" / "state.db", may_create=True)


def test_a_file_that_stays_locked_is_told(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = WitnessState(path, may_create=True, busy_timeout_s=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="locked"):
            state.advance("a", lambda seen: TREE)

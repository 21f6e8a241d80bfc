"""The engine's settings let a commit survive a crash, and other databases are refused."""

import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from audit.errors import ConfigurationError
from storage.engine import BUSY_TIMEOUT_MS, WRITES, open_engine


def _url(path: Path) -> str:
    return f"sqlite:///{path}"


def _pragma(engine: Engine, name: str) -> object:
    with engine.connect() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar_one()


def test_sqlite_is_set_up_for_durability(tmp_path: Path) -> None:
    engine = open_engine(_url(tmp_path / "audit.db"))
    settings = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    found = {name: _pragma(engine, name) for name in settings}
    engine.dispose()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": BUSY_TIMEOUT_MS,
    }


def test_the_database_files_are_private_and_the_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "audit.db"
    engine = open_engine(_url(path))
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
        modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in path.parent.iterdir()}
    engine.dispose()
    assert modes == {"audit.db": 0o600, "audit.db-wal": 0o600, "audit.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_writing_transaction_holds_the_write_lock_from_its_begin(tmp_path: Path) -> None:
    engine = open_engine(_url(tmp_path / "audit.db"))
    writer = engine.execution_options(**{WRITES: True})
    second_began = threading.Event()

    def begin_second() -> None:
        with writer.begin():
            second_began.set()

    thread = threading.Thread(target=begin_second)
    with writer.begin():
        thread.start()
        assert not second_began.wait(0.1)
        with engine.connect() as reader:
            assert reader.execute(text("SELECT 1")).scalar_one() == 1
    thread.join()
    engine.dispose()
    assert second_began.is_set()


def test_a_reading_transaction_sees_one_moment(tmp_path: Path) -> None:
    engine = open_engine(_url(tmp_path / "audit.db"))
    writer = engine.execution_options(**{WRITES: True})
    count = text("SELECT count(*) FROM t")
    with writer.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    with engine.connect() as reader:
        assert reader.execute(count).scalar_one() == 0
        with writer.begin() as connection:
            connection.execute(text("INSERT INTO t VALUES (1)"))
        assert reader.execute(count).scalar_one() == 0
    with engine.connect() as reader:
        assert reader.execute(count).scalar_one() == 1
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/db",
        "oracle://host/db",
        "nosuchdatabase://host/db",
        "sqlite+aiosqlite:///audit.db",
        "audit.db",
        "",
    ],
)
def test_other_databases_are_refused_with_what_to_use_instead(url: str) -> None:
    with pytest.raises(ConfigurationError, match="use sqlite:////absolute/path/"):
        open_engine(url)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:audit.db?mode=memory&uri=true"]
)
def test_sqlite_without_a_plain_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="must survive a restart"):
        open_engine(url)


def test_a_password_in_a_refused_url_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_engine("mysql://user:hunter2@host/db")
    assert "hunter2" not in str(caught.value)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a file"):
        open_engine(_url(tmp_path))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="choose a writable folder"):
        open_engine(_url(tmp_path / "file" / "folder" / "audit.db"))

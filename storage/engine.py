"""Open the database by URL, with settings under which a commit survives a crash.

`storage.store.open_store` calls this before the migrations. No table is created and no query is run
here.
"""

import contextlib
import os
import sqlite3
from pathlib import Path

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry

from audit.errors import ConfigurationError

#: How long a writer waits for another writer of the same SQLite file.
BUSY_TIMEOUT_MS = 30_000

#: Execution option of a connection that will write; SQLite then takes its write lock at BEGIN.
WRITES = "inference_audit_writes"

_HOW = "use sqlite:////absolute/path/audit.db or postgresql+psycopg://user@host/database"


def open_engine(url: str) -> Engine:
    """Return an engine for the database; an SQLite file is created with mode 0600, and its folder.

    Raises: ConfigurationError for other databases, for SQLite in memory and for a read-only folder.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    try:
        engine = create_engine(parsed, pool_pre_ping=True)
    except ImportError as error:
        raise ConfigurationError(
            f"the PostgreSQL driver is missing ({error}): pip install 'psycopg[binary]', and write "
            "the URL as postgresql+psycopg://..."
        ) from error
    event.listen(engine, "connect", _configure_postgresql)
    return engine


def insert_into(
    table: type[DeclarativeBase], dialect: Dialect
) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that knows ON CONFLICT, for which each dialect has a class of its own."""
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)


def clear_journal(engine: Engine) -> None:
    """Empty SQLite's write-ahead log, where overwritten pages live on, unless it is being read."""
    if engine.dialect.name != "sqlite":
        return
    connection = engine.raw_connection()
    # Nothing depends on it: what was committed stays committed.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connection):
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend, driver = parsed.get_backend_name(), parsed.get_driver_name()
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationError(f"the database URL is not understood: {_HOW}") from error
    if backend not in ("sqlite", "postgresql"):
        raise ConfigurationError(f"databases of kind {backend!r} are not supported: {_HOW}")
    if backend == "sqlite" and driver != "pysqlite":
        raise ConfigurationError(f"the SQLite driver {driver!r} is not supported: {_HOW}")
    return parsed


def _open_sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or url.query:
        raise ConfigurationError(
            "an accepted audit must survive a restart, so SQLite needs a plain file, no options: "
            "use sqlite:////absolute/path/audit.db"
        )
    _create_private_file(Path(url.database))
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _create_private_file(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only ever a new file: closing a second descriptor of an open database drops its locks.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise ConfigurationError(f"{path} is not a file: choose another path") from None
    except OSError as error:
        raise ConfigurationError(
            f"the database file {path} cannot be made ({error.strerror}): choose a writable folder"
        ) from error


def _configure_sqlite(connection: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
    # The driver's own implicit BEGIN comes too late for a consistent read and is always deferred.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        # What is erased is overwritten, not only freed.
        "secure_delete=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _configure_postgresql(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # A receipt is a promise, so a server that answers before it has written must not apply here;
    # stronger settings than `on` stay.
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
        )
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns to writing fails at once if another one wrote meanwhile.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

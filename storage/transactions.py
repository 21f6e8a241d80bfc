"""One transaction of the SQL stores: how it is opened, and what it holds against other writers.

Both `storage.store` and `storage.log` run everything through here.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from storage.engine import WRITES
from storage.errors import storage_errors

#: Key of the PostgreSQL advisory lock; any constant that all our processes share will do.
_LOG_LOCK = 0x696E6C67


@contextmanager
def transaction(
    engine: Engine, doing: str, *, writes: bool = False, is_one_moment: bool = False
) -> Iterator[Session]:
    """Open a transaction; it is committed at the end, or undone by any exception.

    All statements of a transaction that `is_one_moment` see the same state. Raises: StorageError.
    """
    options: dict[str, object] = {WRITES: writes}
    # On SQLite every transaction sees one moment; PostgreSQL takes a new look at each statement.
    if is_one_moment and engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"
    chosen = engine.execution_options(**options)
    with storage_errors(doing), Session(chosen) as session, session.begin():
        yield session


def lock_log(connection: Connection) -> None:
    """Let one transaction at a time append, until it ends; SQLite's write lock does so already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOG_LOCK})

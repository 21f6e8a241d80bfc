"""What a witness must never forget: the largest tree that it has cosigned, of each log.

One small SQLite file. The check against the stored tree and the storing of the next are one
transaction under the file's write lock, on disk before it returns: two requests at once, in threads
or processes, cannot both go on from the same tree.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.errors import ConfigurationError, StorageError

_APPLICATION_ID = 0x494157  # "IAW": tells another program's SQLite file from ours
_SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE cosigned (origin TEXT PRIMARY KEY, size INTEGER NOT NULL,"
    " root BLOB NOT NULL, cosigned_at_s INTEGER NOT NULL) WITHOUT ROWID"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigned:
    """The latest tree of a log that was cosigned, and when, in Unix seconds."""

    size: int
    root: bytes
    cosigned_at_s: int


#: Returns what to store after what is stored; raises where there must be no successor.
Successor = Callable[[Cosigned | None], Cosigned]


class WitnessState:
    """The latest cosigned tree per origin; for any number of threads and processes."""

    def __init__(
        self, path: Path, *, may_create: bool = False, busy_timeout_s: float = 5.0
    ) -> None:
        """Open the file, or make it where that is allowed.

        A witness that has cosigned before must not start with a new file: it would take any tree.
        Raises: ConfigurationError.
        """
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        # Spares threads of one process SQLite's polling for the write lock.
        self._lock = threading.Lock()
        try:
            if may_create:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._transaction(mode="rwc" if may_create else "rw") as connection:
                self._require_ours(connection, may_create=may_create)
        except OSError as error:
            raise ConfigurationError(_unusable(path, error.strerror)) from error
        except sqlite3.Error as error:
            raise ConfigurationError(_unusable(path, str(error))) from error

    def latest(self, origin: str) -> Cosigned | None:
        """Return the latest cosigned tree; None before the first. Raises: StorageError."""
        try:
            with self._transaction() as connection:
                return _read(connection, origin)
        except sqlite3.Error as error:
            raise StorageError(_unusable(self._path, str(error))) from error

    def advance(self, origin: str, successor: Successor) -> Cosigned:
        """Ask for the successor of the stored tree, store it durably and return it.

        What `successor` raises goes through, and nothing is stored. Raises: StorageError.
        """
        try:
            with self._transaction() as connection:
                new = successor(_read(connection, origin))
                connection.execute(
                    "INSERT OR REPLACE INTO cosigned VALUES (?, ?, ?, ?)",
                    (origin, new.size, new.root, new.cosigned_at_s),
                )
            return new
        except sqlite3.Error as error:
            raise StorageError(_unusable(self._path, str(error))) from error

    @contextmanager
    def _transaction(self, mode: str = "rw") -> Iterator[sqlite3.Connection]:
        uri = f"{self._path.absolute().as_uri()}?mode={mode}"
        # A connection each time costs less than the commit, and is safe across fork and threads.
        with (
            self._lock,
            closing(
                sqlite3.connect(uri, uri=True, timeout=self._busy_timeout_s, isolation_level=None)
            ) as connection,
        ):
            # A rollback journal keeps all in one file; EXTRA also syncs the folder that held the
            # journal, without which a power failure could bring back the tree before.
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _require_ours(self, connection: sqlite3.Connection, *, may_create: bool) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (num_tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if may_create and (application, version, num_tables) == (0, 0, 0):
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        elif (application, version) != (_APPLICATION_ID, _SCHEMA_VERSION):
            raise ConfigurationError(_unusable(self._path, "it is no state of such a witness"))


def _read(connection: sqlite3.Connection, origin: str) -> Cosigned | None:
    row = connection.execute(
        "SELECT size, root, cosigned_at_s FROM cosigned WHERE origin = ?", (origin,)
    ).fetchone()
    return None if row is None else Cosigned(size=row[0], root=row[1], cosigned_at_s=row[2])


def _unusable(path: Path, problem: str | None) -> str:
    return (
        f"the witness' state {path} cannot be used ({problem}): name a file on a local disk that "
        "this user can write. Never put an older copy in its place: the witness would cosign a fork"
    )

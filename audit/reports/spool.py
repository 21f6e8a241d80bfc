"""A file beside the report for what grows with the number of verdicts.

SQLite, written once in log order while the log is read and then asked for sums; it is deleted with
its folder. Nothing that grows with the verdicts is held in memory.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from audit.reports.columns import COLUMNS, ColumnType
from audit.reports.lines_codec import NAMES, Cell, from_row, to_row
from audit.reports.records import VerdictLine

FILE_NAME = "spool.sqlite"

_SQL_TYPES = {ColumnType.INTEGER: "INTEGER", ColumnType.NUMBER: "REAL"}
_LINE_COLUMNS = ", ".join(
    f"{column.name} {_SQL_TYPES.get(column.type, 'TEXT')}"
    + (" PRIMARY KEY" if column.name == "log_index" else "")
    for column in COLUMNS
)
_SCHEMA = (
    f"CREATE TABLE lines ({_LINE_COLUMNS})",
    # one row per intent in the index window; verdict_index is filled in as verdicts answer
    "CREATE TABLE intents (log_index INTEGER PRIMARY KEY, entry_digest TEXT, audit_id TEXT, "
    "tenant TEXT, exchange_digest TEXT, announced_at TEXT, in_scope INTEGER, "
    "verdict_index INTEGER)",
    "CREATE TABLE gone (log_index INTEGER PRIMARY KEY, entry_digest TEXT, tenant TEXT, key TEXT)",
    "CREATE TABLE streams (stream_id TEXT PRIMARY KEY, log_index INTEGER, statement TEXT)",
)
#: After the last line: what the sums ask for in another order than the log's.
_INDEXES = (
    "CREATE INDEX points ON lines (stream_id, log_index, verified_at, verdict, stream_verdict, "
    "stream_log10_e_value, stream_num_exchanges)",
)
_INSERT_LINE = f"INSERT INTO lines VALUES ({', '.join('?' * len(NAMES))})"  # noqa: S608
_SELECT_LINES = f"SELECT {', '.join(NAMES)} FROM lines"  # noqa: S608
_ANNOUNCED_AT = NAMES.index("intent_announced_at")
_CACHE_KIB = 16_384
_ROWS_PER_FETCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRow:
    """An intent as spooled."""

    log_index: int
    entry_digest: str
    audit_id: str
    tenant: str
    exchange_digest: str
    announced_at: str
    is_in_scope: bool


@dataclass(slots=True)
class Spool:
    """An open spool; closing it leaves the file to its folder's owner."""

    folder: Path
    _database: sqlite3.Connection = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the file. Raises: FileExistsError where the folder holds one already."""
        path = self.folder / FILE_NAME
        path.touch(exist_ok=False)
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # A spool that a crash leaves behind is thrown away: it needs no journal.
        for setting in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        for statement in _SCHEMA:
            self._database.execute(statement)
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        """Return the spool, closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add_line(self, line: VerdictLine, announced_at: str | None) -> None:
        """Add a verdict in scope, and when its intent was announced."""
        cells = list(to_row(line))
        # a copy of the line with one more field would take longer than the whole insertion
        cells[_ANNOUNCED_AT] = announced_at
        self._database.execute(_INSERT_LINE, cells)

    def add_intent(self, intent: IntentRow) -> None:
        """Add an intent, as yet without a verdict."""
        self._database.execute(
            "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                intent.log_index,
                intent.entry_digest,
                intent.audit_id,
                intent.tenant,
                intent.exchange_digest,
                intent.announced_at,
                int(intent.is_in_scope),
            ),
        )

    def add_gone(self, log_index: int, entry_digest: str, tenant: str, key: str) -> None:
        """Add an entry without content."""
        row = (log_index, entry_digest, tenant, key)
        self._database.execute("INSERT INTO gone VALUES (?, ?, ?, ?)", row)

    def set_stream(self, stream_id: str, log_index: int, statement: str) -> None:
        """Keep what the latest verdict of a provider's stream says of it."""
        row = (stream_id, log_index, statement)
        self._database.execute("INSERT OR REPLACE INTO streams VALUES (?, ?, ?)", row)

    def find_intent(self, log_index: int) -> tuple[IntentRow, int | None] | None:
        """Return an intent and the index of the verdict that answered it."""
        row = self._database.execute(
            "SELECT * FROM intents WHERE log_index = ?", (log_index,)
        ).fetchone()
        if row is None:
            return None
        index, digest, audit_id, tenant, exchange, announced_at, in_scope, verdict_index = row
        intent = IntentRow(
            log_index=index,
            entry_digest=digest,
            audit_id=audit_id,
            tenant=tenant,
            exchange_digest=exchange,
            announced_at=announced_at,
            is_in_scope=bool(in_scope),
        )
        return intent, verdict_index

    def answer_intent(self, log_index: int, verdict_index: int) -> None:
        """Note which verdict answers an intent."""
        self._database.execute(
            "UPDATE intents SET verdict_index = ? WHERE log_index = ?", (verdict_index, log_index)
        )

    def is_gone(self, log_index: int, entry_digest: str | None) -> bool:
        """Return whether an entry of this digest stands at an index without content."""
        sql = "SELECT 1 FROM gone WHERE log_index = ? AND entry_digest = ?"
        return self._database.execute(sql, (log_index, entry_digest)).fetchone() is not None

    def finish(self) -> None:
        """Make what was added fit for sums; nothing is added afterwards."""
        for statement in _INDEXES:
            self._database.execute(statement)
        self._database.execute("COMMIT")

    def lines(self) -> Iterator[VerdictLine]:
        """Yield the verdicts in log order; several passes may run at once."""
        for row in self.query(f"{_SELECT_LINES} ORDER BY log_index"):
            yield from_row(row)

    def find_line(self, audit_id: str) -> VerdictLine | None:
        """Return the first verdict of an audit; None where there is none in scope."""
        sql = f"{_SELECT_LINES} WHERE audit_id = ? ORDER BY log_index LIMIT 1"
        found = next(iter(self.query(sql, (audit_id,))), None)
        return None if found is None else from_row(found)

    def query(self, sql: str, values: Sequence[Cell] = ()) -> Iterable[tuple[Cell, ...]]:
        """Yield the rows of a query, few at a time."""
        cursor = self._database.execute(sql, values)
        while rows := cursor.fetchmany(_ROWS_PER_FETCH):
            yield from rows

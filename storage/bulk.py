"""Inserts many rows of one table at once, the fastest way that each database has.

PostgreSQL takes them by COPY, without parsing and planning each; it fires the same triggers and
checks the same constraints as INSERT.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing

from sqlalchemy import BigInteger, ColumnElement, Connection, LargeBinary, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase


def bulk_insert(
    connection: Connection, model: type[DeclarativeBase], rows: Sequence[Mapping[str, object]]
) -> None:
    """Insert rows that all have the same columns. Raises: DBAPIError."""
    if not rows:
        return
    if connection.dialect.name != "postgresql":
        connection.execute(insert(model), list(rows))
        return
    columns, driver = model.__table__.columns, connection.dialect.loaded_dbapi
    names = list(rows[0])
    statement = f"COPY {model.__tablename__} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)"
    try:
        with closing(connection.connection.cursor()) as cursor, cursor.copy(statement) as copy:
            copy.set_types([_binary_type(columns[name]) for name in names])
            for row in rows:
                copy.write_row([row[name] for name in names])
    except driver.Error as error:
        raise DBAPIError(statement, None, error) from error


def _binary_type(column: ColumnElement[object]) -> str:
    """Return PostgreSQL's name for a column's type: the binary format converts nothing."""
    if isinstance(column.type, LargeBinary):
        return "bytea"
    return "int8" if isinstance(column.type, BigInteger) else "text"

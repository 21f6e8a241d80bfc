"""The one boundary where the database library's exceptions become ours.

Every transaction and every migration runs inside `storage_errors`; nothing else in this package
catches a failure of the database. It does not retry: the caller knows whether that is safe.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from audit.errors import StorageError


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn database failures into StorageError, with what was being done and what to do next.

    Raises: StorageError.
    """
    try:
        yield
    except DBAPIError as error:
        # PostgreSQL's further lines may quote the refused row, and with it a prompt
        cause = next(iter(str(error.orig).splitlines()), type(error).__name__)
        raise StorageError(
            f"the database failed while {doing}: {cause}; check that it is reachable, "
            "writable and not full, then retry: the same step twice does no harm"
        ) from error
    except PoolTimeoutError as error:
        raise StorageError(
            f"no database connection became free while {doing}; retry, or use fewer workers"
        ) from error

"""Where a database lies, for those who must not make a new one by mistake."""

from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError


def sqlite_path(url: str) -> Path | None:
    """Return the file of an SQLite URL; None for other databases and malformed URLs."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return Path(parsed.database)

"""What every part of the composition shares: version, clock, ids."""

import uuid
from datetime import UTC, datetime
from importlib.metadata import version

VERSION = version("inference-audit")


def utc_now() -> str:
    """Return the current time, RFC 3339 in UTC with microseconds and `Z`."""
    return to_text(datetime.now(UTC))


def to_text(time: datetime) -> str:
    """Return a time in UTC as RFC 3339 with microseconds and `Z`."""
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def new_id() -> str:
    """Return a fresh random id."""
    return str(uuid.uuid4())

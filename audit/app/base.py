"""What every part of the composition shares: version, clock, ids."""

import uuid
from datetime import UTC, datetime
from importlib.metadata import version

VERSION = version("inference-audit")


def utc_now() -> str:
    """Return the current time, RFC 3339 in UTC with microseconds and `Z`."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def new_id() -> str:
    """Return a fresh random id."""
    return str(uuid.uuid4())

"""Times, from RFC 3339 text to messages and back.

Stands below the other wire modules. Records hold times as text in UTC with microseconds; a message
that is finer than that, or out of the years 1 to 9999, is refused and never rounded.
"""

import re
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from audit.errors import InvalidRequest

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_MIN_SECONDS, _MAX_SECONDS = -62_135_596_800, 253_402_300_799


def time_to_wire(text: str) -> Timestamp:
    """Return the message for a time of our own."""
    timestamp = Timestamp()
    timestamp.FromJsonString(text)
    return timestamp


def time_from_wire(message: Timestamp) -> str:
    """Return the time of a message from our own service, RFC 3339 UTC with microseconds."""
    return _text(message.ToDatetime(tzinfo=UTC))


def checked_time_to_wire(field: str, text: str) -> Timestamp:
    """Return the message for a user's RFC 3339 time. Raises: InvalidRequest naming the field."""
    timestamp = Timestamp()
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError(text)
        timestamp.FromDatetime(datetime.fromisoformat(text.upper()))
    except (ValueError, OverflowError):
        raise InvalidRequest.of(
            field,
            "is no RFC 3339 time of at most microseconds; write it like 2026-01-31T12:00:00Z",
        ) from None
    return timestamp


def checked_time_from_wire(field: str, message: Timestamp) -> str:
    """Return a client's time as text of ours. Raises: InvalidRequest naming the field."""
    if not _MIN_SECONDS <= message.seconds <= _MAX_SECONDS:
        raise InvalidRequest.of(field, "lies outside the years 1 to 9999")
    if not 0 <= message.nanos < 1_000_000_000:
        raise InvalidRequest.of(f"{field}.nanos", "must be 0 to 999999999")
    if message.nanos % 1000:
        raise InvalidRequest.of(f"{field}.nanos", "is finer than a microsecond; round it")
    return time_from_wire(message)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

"""Page cursors: opaque to clients, bound to the list and filter that they were made for.

`AuditStore.list` and `list_streams` hand one out with each page but the last and take it back for
the next. A cursor is not a secret and grants nothing: it only names the place where the next page
starts.
"""

import base64
import binascii
import hashlib
import json
import struct

from audit.errors import InvalidRequest
from audit.records import AuditFilter

#: Largest ordinal that both databases can store.
_MAX_ORDINAL = 2**63 - 1
_LAYOUT = struct.Struct(">Q16s")
_STREAM_MARK = b"stream "
_NOT_OURS = "is not one of ours; send it back unchanged, or leave it out"


def encode_cursor(ordinal: int, where: AuditFilter) -> str:
    """Return the cursor for the page that follows the audit with this ordinal."""
    packed = _LAYOUT.pack(ordinal, _filter_digest(where))
    return base64.urlsafe_b64encode(packed).decode("ascii")


def decode_cursor(cursor: str, where: AuditFilter) -> int:
    """Return the ordinal that the next page must stay below.

    Raises: InvalidRequest naming page_token.
    """
    try:
        packed = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        ordinal, digest = _LAYOUT.unpack(packed)
    except (UnicodeEncodeError, binascii.Error, struct.error):
        raise _refused(_NOT_OURS) from None
    assert isinstance(ordinal, int)  # noqa: S101  narrows the type; ">Q" unpacks to int
    if digest != _filter_digest(where):
        raise _refused("belongs to another filter; keep the filter, or start without a token")
    if not 0 < ordinal <= _MAX_ORDINAL:
        raise _refused(_NOT_OURS)
    return ordinal


def encode_stream_cursor(updated_at: str, stream_id: str) -> str:
    """Return the cursor for the page that follows the provider updated then."""
    packed = _STREAM_MARK + f"{updated_at} {stream_id}".encode("ascii")
    return base64.urlsafe_b64encode(packed).decode("ascii")


def decode_stream_cursor(cursor: str) -> tuple[str, str]:
    """Return update time and stream id that the next page must stay below.

    Raises: InvalidRequest naming page_token.
    """
    try:
        packed = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        place = packed.removeprefix(_STREAM_MARK).decode("ascii").split(" ")
    except (UnicodeError, binascii.Error):
        raise _refused(_NOT_OURS) from None
    # PostgreSQL takes no NUL in a text, and a cursor of ours holds none.
    is_printable = all(part.isprintable() for part in place)
    if not packed.startswith(_STREAM_MARK) or len(place) != 2 or not is_printable:
        raise _refused(_NOT_OURS)
    return place[0], place[1]


def check_page_size(page_size: int) -> None:
    """Raise InvalidRequest unless at least one entry fits a page."""
    if page_size < 1:
        raise InvalidRequest.of("page_size", "must be at least 1")


def _refused(problem: str) -> InvalidRequest:
    return InvalidRequest.of("page_token", problem)


def _filter_digest(where: AuditFilter) -> bytes:
    text = json.dumps([where.outcome, where.state, where.model])
    return hashlib.sha256(text.encode("ascii")).digest()[:16]

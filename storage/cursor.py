"""Page cursors: opaque to clients, bound to the filter that they were made for.

`AuditStore.list` hands one out with each page but the last and takes it back for the next. A cursor
is not a secret and grants nothing: it only names the place where the next page starts.
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
        raise _refused("is not one of ours; send it back unchanged, or leave it out") from None
    assert isinstance(ordinal, int)  # noqa: S101  narrows the type; ">Q" unpacks to int
    if digest != _filter_digest(where):
        raise _refused("belongs to another filter; keep the filter, or start without a token")
    if not 0 < ordinal <= _MAX_ORDINAL:
        raise _refused("is not one of ours; send it back unchanged, or leave it out")
    return ordinal


def check_page_size(page_size: int) -> None:
    """Raise InvalidRequest unless at least one audit fits a page."""
    if page_size < 1:
        raise InvalidRequest.of("page_size", "must be at least 1")


def _refused(problem: str) -> InvalidRequest:
    return InvalidRequest.of("page_token", problem)


def _filter_digest(where: AuditFilter) -> bytes:
    text = json.dumps([where.outcome, where.state, where.model])
    return hashlib.sha256(text.encode("ascii")).digest()[:16]

"""Names an exchange and its claim, or a provider's evidence, by a digest.

Stands behind `check_request`: idempotent submission and the signed verdict both rest on this. It
neither checks a request nor keeps the prompt secret: a short prompt can be guessed from its digest.
"""

import hashlib
from dataclasses import fields, is_dataclass

import rfc8785

from audit.findings import StreamKey
from audit.records import AuditRequest

#: Integers beyond it are not exact in JSON readers that use doubles (RFC 7493, section 2.2).
_MAX_JSON_INT = 2**53 - 1

#: The JSON values that the records turn into; dictionaries and lists hold more of the same.
Json = bool | int | float | str | None | list["Json"] | dict[str, "Json"]


def request_digest(request: AuditRequest) -> str:
    """Return `sha256:<hex>` over the canonical JSON (RFC 8785) of exchange and claim.

    The request_id is left out, and integers beyond 2^53 - 1 are written as strings. The request
    must have passed `check_request`.
    """
    content: Json = {"exchange": _plain(request.exchange), "claim": _plain(request.claim)}
    return _digest(content)


def stream_id(key: StreamKey) -> str:
    """Return `sha256:<hex>` over the canonical JSON of a provider stream's key: its id."""
    return _digest(_plain(key))


def _digest(content: Json) -> str:
    return f"sha256:{hashlib.sha256(rfc8785.dumps(content)).hexdigest()}"


def _plain(value: object) -> Json:
    if is_dataclass(value):
        # Absent fields are left out: an optional field added later must not change old digests.
        named = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: _plain(item) for name, item in named if item is not None}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, int) and abs(value) > _MAX_JSON_INT:
        return str(value)
    if isinstance(value, (int, float, str)):
        return value
    raise TypeError(f"no JSON form for {type(value).__name__}")

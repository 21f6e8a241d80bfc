"""Between the billing tables and the auditor's records; no query is run here.

Rows never leave this package. Where the in-memory twin makes the same promise, it calls the same
check.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence

from audit.billing_records import AccountKey, BillingFinding, FoldedRequest, StoredAccount
from audit.errors import CorruptState, InvalidRequest, RequestConflict, StorageError, StreamMoved
from storage.billing_models import BillingAccountRow
from storage.serialise import from_json

_CURSOR_MARK = b"account "
_NO_CURSOR = "is not one of ours; send it back unchanged, or leave it out"


def key_digest(key: AccountKey) -> str:
    """Return the digest that stands for a key in indexes."""
    return _digest(
        key.tenant,
        key.account,
        key.provider,
        key.model,
        key.effort,
        key.domain,
        key.calibration_id,
    )


def request_key(tenant: str, account: str, provider: str, request_id: str) -> str:
    """Return the digest of what a request id is unique within, and of the id."""
    return _digest(tenant, account, provider, request_id)


def _digest(*parts: str) -> str:
    # ASCII JSON takes any text, lone surrogates too, and keeps the parts apart
    return "sha256:" + hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()


def to_account_key(row: BillingAccountRow) -> AccountKey:
    """Return whose evidence a row holds."""
    return AccountKey(
        tenant=row.tenant,
        account=row.account,
        provider=row.provider,
        model=row.model,
        effort=row.effort,
        domain=row.domain,
        calibration_id=row.calibration_id,
    )


def to_account(row: BillingAccountRow) -> StoredAccount:
    """Return the evidence of a row. Raises: CorruptState for a damaged row."""
    key = to_account_key(row)
    if row.key_digest != key_digest(key):
        raise account_corrupt(row.finding_id, "its key and the digest contradict each other")
    try:
        finding = from_json(BillingFinding, row.finding_json)
    except StorageError as error:
        raise account_corrupt(
            row.finding_id, f"its finding is damaged: {error.__cause__}"
        ) from error
    for name, column, found in (
        ("finding_id", row.finding_id, finding.finding_id),
        ("outcome", row.outcome, finding.outcome),
    ):
        if column != found:
            raise account_corrupt(row.finding_id, f"{name} and its finding contradict each other")
    # SQLite keeps what is written, of whatever type.
    if not isinstance(row.version, int) or row.version < 1 or not isinstance(row.state_json, str):
        raise account_corrupt(row.finding_id, "its version or its state is of the wrong kind")
    return StoredAccount(key=key, version=row.version, state_json=row.state_json, finding=finding)


def require_countable(account: StoredAccount, requests: Sequence[FoldedRequest]) -> None:
    """Raise InvalidRequest unless the version can be that after these requests, each named once."""
    if not requests:
        raise InvalidRequest.of("requests", "at least one request must be folded in")
    if len({request.request_id for request in requests}) != len(requests):
        raise InvalidRequest.of("requests", "each request may be folded in once")
    if account.version < len(requests):
        raise InvalidRequest.of("version", "counts all requests, and is below their number")


def require_same_requests(
    known: Sequence[FoldedRequest], requests: Sequence[FoldedRequest]
) -> None:
    """Raise RequestConflict where a request that is known carries another digest."""
    digests = {request.request_id: request.request_digest for request in known}
    for request in requests:
        if digests.get(request.request_id, request.request_digest) != request.request_digest:
            raise RequestConflict(
                f"request_id {request.request_id!r} was used for another billed request: "
                "send the same request again, or choose a new request_id"
            )


def account_moved(finding_id: str) -> StreamMoved:
    """Return the error for an update from another version, or with a request that is known."""
    return StreamMoved(
        f"the billing evidence {finding_id} was updated meanwhile, or holds one of the requests "
        "already; nothing was stored: read both again and repeat the step"
    )


def account_corrupt(finding_id: str, problem: str) -> CorruptState:
    """Return the error for evidence that cannot be used, with the remedies."""
    return CorruptState(
        f"the billing evidence {finding_id} cannot be used: {problem}; it was left as it is. "
        "Restore the database from a backup, or upgrade inference-audit if a newer version wrote it"
    )


def encode_account_cursor(updated_at: str, finding_id: str, tenant: str | None) -> str:
    """Return the cursor for the page that follows an account, in the same tenant's list."""
    place = f"{updated_at} {finding_id} {_filter_digest(tenant)}"
    return base64.urlsafe_b64encode(_CURSOR_MARK + place.encode("ascii")).decode("ascii")


def decode_account_cursor(cursor: str, tenant: str | None) -> tuple[str, str]:
    """Return update time and finding id that the next page must stay below.

    Raises: InvalidRequest naming page_token.
    """
    try:
        packed = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        place = packed.removeprefix(_CURSOR_MARK).decode("ascii").split(" ")
    except (UnicodeError, binascii.Error):
        raise InvalidRequest.of("page_token", _NO_CURSOR) from None
    # PostgreSQL takes no NUL in a text, and a cursor of ours holds none.
    is_printable = all(part.isprintable() for part in place)
    if not packed.startswith(_CURSOR_MARK) or len(place) != 3 or not is_printable:
        raise InvalidRequest.of("page_token", _NO_CURSOR)
    if place[2] != _filter_digest(tenant):
        raise InvalidRequest.of(
            "page_token", "belongs to another tenant's list; start without a token"
        )
    return place[0], place[1]


def _filter_digest(tenant: str | None) -> str:
    return hashlib.sha256(json.dumps(tenant).encode("ascii")).hexdigest()[:16]

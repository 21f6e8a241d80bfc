"""The in-memory twin of `storage.billing`: the same port in plain Python, to specify and to test.

One conformance suite runs over both. Nothing survives the process, so the service never uses it.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from audit.billing_records import AccountKey, AccountPage, FoldedRequest, StoredAccount
from audit.ports import Clock
from storage.billing_rows import (
    account_corrupt,
    account_moved,
    decode_account_cursor,
    encode_account_cursor,
    request_key,
    require_countable,
    require_same_requests,
)
from storage.cursor import check_page_size
from storage.serialise import to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """An account's evidence and when it was updated."""

    updated_at: str
    account: StoredAccount

    @property
    def place(self) -> tuple[str, str]:
        """What lists are ordered by."""
        return self.updated_at, self.account.finding.finding_id


class InMemoryBillingStore:
    """Keeps billing evidence in dictionaries; safe to call from several threads."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._requests: dict[str, FoldedRequest] = {}

    def read_account(self, key: AccountKey) -> StoredAccount | None:
        """Return an account's evidence; None before its first request."""
        with self._lock:
            return self._find(key)

    def read_account_by_id(self, tenant: str, finding_id: str) -> StoredAccount | None:
        """Return the evidence of a finding; None where the tenant has no such finding."""
        with self._lock:
            entry = self._entries.get(finding_id)
        is_theirs = entry is not None and entry.account.key.tenant == tenant
        return entry.account if entry is not None and is_theirs else None

    def find_request(
        self, tenant: str, account: str, provider: str, request_id: str
    ) -> FoldedRequest | None:
        """Return a request that was folded in; None where it is new."""
        with self._lock:
            return self._requests.get(request_key(tenant, account, provider, request_id))

    def advance_account(self, account: StoredAccount, requests: Sequence[FoldedRequest]) -> None:
        """Replace an account's evidence by that with these requests; all of it or nothing.

        Raises: RequestConflict, StreamMoved, CorruptState, InvalidRequest and StorageError where
        the SQL store does.
        """
        require_countable(account, requests)
        key, finding_id = account.key, account.finding.finding_id
        by_key = {
            request_key(key.tenant, key.account, key.provider, request.request_id): request
            for request in requests
        }
        # what JSON cannot carry is refused here as well
        to_json(account.finding)
        with self._lock:
            known = [self._requests[name] for name in by_key if name in self._requests]
            require_same_requests(known, requests)
            stored = self._find(key)
            if stored is not None and stored.finding.finding_id != finding_id:
                raise account_corrupt(stored.finding.finding_id, f"{finding_id} has the same key")
            if stored is None and finding_id in self._entries:
                raise account_corrupt(finding_id, "it is stored under another key")
            version = 0 if stored is None else stored.version
            if known or version != account.version - len(requests):
                raise account_moved(finding_id)
            self._requests.update(by_key)
            self._entries[finding_id] = _Entry(updated_at=self._clock(), account=account)

    def list_accounts(
        self, tenant: str | None, *, page_size: int, cursor: str | None
    ) -> AccountPage:
        """Return one page, most recently updated first; of all tenants where none is named.

        Raises: InvalidRequest for a bad cursor or size.
        """
        check_page_size(page_size)
        below = None if cursor is None else decode_account_cursor(cursor, tenant)
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda entry: entry.place, reverse=True)
        found = [
            entry
            for entry in entries
            if tenant in (None, entry.account.key.tenant) and (below is None or entry.place < below)
        ]
        page, has_more = found[:page_size], len(found) > page_size
        return AccountPage(
            accounts=tuple(entry.account for entry in page),
            next_cursor=encode_account_cursor(*page[-1].place, tenant) if has_more else None,
        )

    def _find(self, key: AccountKey) -> StoredAccount | None:
        accounts = (entry.account for entry in self._entries.values())
        return next((account for account in accounts if account.key == key), None)

"""Takes billed requests, adds them to their account's evidence, and signs what is found.

    submit: check -> fold -> store (compare-and-swap) -> sign where the finding changed

A request counts once, however often it is sent. What is stored and not yet signed, after a crash in
between, is signed when it is next asked for: the log takes each version of a finding once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from audit.billing_records import (
    AccountKey,
    BilledRequest,
    FoldedRequest,
    Money,
    RequestCheck,
    StoredAccount,
)
from audit.errors import AuditNotFound, EntryNotFound, RequestConflict, StorageError, StreamMoved
from audit.hidden_tokens.account.fold import fold
from audit.hidden_tokens.account.rules import BillingRules
from audit.hidden_tokens.account.state_file import finding_id_of
from audit.hidden_tokens.check import MeterChecker
from audit.hidden_tokens.submission import request_digest
from audit.log_records import EntryKind, LogEntry, Receipt
from audit.ports import BillingStore
from audit.service.billing_desk import BillingAck, SignedFinding, SignedFindingPage

#: Each loss means that another process has stored something for the same account.
MAX_TRIES = 100

FindEntry = Callable[[str], LogEntry]
"""Returns the log's entry of a key; raises EntryNotFound."""

PriceOf = Callable[[str, str], Money | None]
"""Returns the price of a million output tokens of a model at a time, where it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterDesk:
    """Keeps the evidence of all accounts; safe to call from several threads."""

    store: BillingStore
    checker: MeterChecker
    rules: BillingRules
    sign: Callable[[StoredAccount], Receipt]
    find_entry: FindEntry
    price_of: PriceOf

    def submit(self, tenant: str, request: BilledRequest) -> BillingAck:
        """Check a request, add it to its account's evidence, and return once that is stored.

        Raises: RequestConflict, InvalidRequest, StorageError, ConfigurationError.
        """
        folded = FoldedRequest(
            request_id=request.request_id, request_digest=request_digest(request)
        )
        check = self.checker.check(request)
        key = self.checker.key_of(tenant, request)
        for _ in range(MAX_TRIES):
            if self._is_known(tenant, request, folded):
                return _acknowledged(key, check, was_known=True)
            previous = self.store.read_account(key)
            price = self.price_of(request.model, request.observed_at)
            account = fold(previous, key, [check], self.rules, price)
            try:
                self.store.advance_account(account, [folded])
            except StreamMoved:
                continue
            if _is_news(previous, account):
                self.sign(account)
            return _acknowledged(key, check, was_known=False)
        raise StorageError(
            "others always stored evidence of this account first: submit the request again"
        )

    def find(self, tenant: str, finding_id: str, *, sign: bool = False) -> SignedFinding:
        """Return the finding of an id as it stands, signed as such if so asked.

        Raises: AuditNotFound, StorageError.
        """
        account = self.store.read_account_by_id(tenant, finding_id)
        if account is None:
            raise AuditNotFound(f"there is no billing finding {finding_id!r}")
        if sign:
            self.sign(account)
        return self._with_entry(account)

    def find_by_key(self, key: AccountKey) -> SignedFinding:
        """Return the finding about a key, signed; an empty calibration_id is the one in use.

        Raises: AuditNotFound.
        """
        return self.find(key.tenant, finding_id_of(self._in_use(key)), sign=True)

    def list(self, tenant: str, *, page_size: int, cursor: str | None) -> SignedFindingPage:
        """Return one page of findings, most recently updated first; nothing is signed for it.

        Raises: InvalidRequest for a bad cursor.
        """
        page = self.store.list_accounts(tenant, page_size=page_size, cursor=cursor)
        return SignedFindingPage(
            findings=tuple(self._with_entry(account) for account in page.accounts),
            next_cursor=page.next_cursor,
        )

    def _is_known(self, tenant: str, request: BilledRequest, folded: FoldedRequest) -> bool:
        known = self.store.find_request(
            tenant, request.account, request.provider, request.request_id
        )
        if known is not None and known.request_digest != folded.request_digest:
            raise RequestConflict(
                f"the request_id {request.request_id!r} names another request of this account: "
                "give each request an id of its own"
            )
        return known is not None

    def _in_use(self, key: AccountKey) -> AccountKey:
        if key.calibration_id:
            return key
        return replace(key, calibration_id=self.checker.calibration.calibration_id)

    def _with_entry(self, account: StoredAccount) -> SignedFinding:
        entry = self._entry_of(account)
        return SignedFinding(
            account=account,
            envelope=None if entry is None else entry.envelope,
            log_index=None if entry is None else entry.log_index,
            signed_version=None if entry is None else account.version,
        )

    def _entry_of(self, account: StoredAccount) -> LogEntry | None:
        name = f"{EntryKind.BILLING}:{account.finding.finding_id}:{account.version}"
        try:
            return self.find_entry(name)
        except EntryNotFound:
            return None


def _is_news(previous: StoredAccount | None, account: StoredAccount) -> bool:
    """Return whether a finding is signed at once: the first, and each that says something else."""
    if previous is None:
        return True
    old, new = previous.finding, account.finding
    is_first_violation = not old.num_violations and bool(new.num_violations)
    return is_first_violation or (old.outcome, old.direction) != (new.outcome, new.direction)


def _acknowledged(key: AccountKey, check: RequestCheck, *, was_known: bool) -> BillingAck:
    return BillingAck(
        request_id=check.request.request_id,
        finding_id=finding_id_of(key),
        violations=check.violations,
        was_known=was_known,
    )

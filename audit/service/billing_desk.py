"""What BillingService needs of whoever takes billed requests and keeps the evidence.

Stands between the servicer and `audit.app`, which hands the desk over. Every method may block, and
is called from several threads at once.
"""

from dataclasses import dataclass
from typing import Protocol

from audit.billing_records import AccountKey, BilledRequest, StoredAccount
from audit.codec.wire_billing_finding import BillingAck

__all__ = ["BillingAck", "BillingDesk", "SignedFinding", "SignedFindingPage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedFinding:
    """An account's evidence, with its latest signed statement where there is one."""

    account: StoredAccount
    envelope: bytes | None
    """DSSE in JSON."""
    log_index: int | None
    """Place of the envelope in the log."""
    signed_version: int | None
    """The account's version that the envelope is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedFindingPage:
    """A page of findings, most recently updated first."""

    findings: tuple[SignedFinding, ...]
    next_cursor: str | None


class BillingDesk(Protocol):
    """Takes billed requests and tells what is found; safe to call from several threads."""

    def submit(self, tenant: str, request: BilledRequest) -> BillingAck:
        """Check a request, add it to its account's evidence, and return once that is stored.

        A request that was taken before is acknowledged and not counted again. Raises:
        RequestConflict where its id was another request's, InvalidRequest, StorageError.
        """
        ...

    def find(self, tenant: str, finding_id: str, *, sign: bool = False) -> SignedFinding:
        """Return the finding of an id as it stands, signed as such if so asked.

        Raises: AuditNotFound.
        """
        ...

    def find_by_key(self, key: AccountKey) -> SignedFinding:
        """Return the finding about a key, signed; an empty calibration_id is the one in use.

        Raises: AuditNotFound.
        """
        ...

    def list(self, tenant: str, *, page_size: int, cursor: str | None) -> SignedFindingPage:
        """Return one page of findings. Raises: InvalidRequest for a bad cursor."""
        ...

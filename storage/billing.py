"""The SQL adapter of the `BillingStore` port: evidence about billed accounts, and its requests.

Each method is one transaction. The evidence itself is the account ledger's: nothing is added up or
retried here. Accounts are written before their requests, and requests in the order of their keys,
so that two writers never wait for each other.
"""

from collections.abc import Sequence

from sqlalchemy import Engine, select, tuple_, update
from sqlalchemy.orm import Session

from audit.billing_records import AccountKey, AccountPage, FoldedRequest, StoredAccount
from audit.ports import Clock
from storage.billing_models import BillingAccountRow, BillingRequestRow
from storage.billing_rows import (
    account_corrupt,
    account_moved,
    decode_account_cursor,
    encode_account_cursor,
    key_digest,
    request_key,
    require_countable,
    require_same_requests,
    to_account,
    to_account_key,
)
from storage.cursor import check_page_size
from storage.engine import insert_into
from storage.serialise import to_json
from storage.transactions import transaction

#: Keys in one query; SQLite takes 32,766 parameters, PostgreSQL twice as many.
_KEYS_PER_QUERY = 1_000


class SqlBillingStore:
    """Keeps billing evidence in SQLite or PostgreSQL; safe from several threads and processes.

    The engine is the caller's, with the schema up to date.
    """

    def __init__(self, engine: Engine, *, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def read_account(self, key: AccountKey) -> StoredAccount | None:
        """Return an account's evidence; None before its first request.

        Raises: CorruptState, StorageError.
        """
        query = select(BillingAccountRow).where(BillingAccountRow.key_digest == key_digest(key))
        with transaction(self._engine, "reading billing evidence") as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else to_account(row)

    def read_account_by_id(self, tenant: str, finding_id: str) -> StoredAccount | None:
        """Return the evidence of a finding; None where the tenant has no such finding.

        Raises: CorruptState, StorageError.
        """
        query = select(BillingAccountRow).where(
            BillingAccountRow.finding_id == finding_id, BillingAccountRow.tenant == tenant
        )
        with transaction(self._engine, "reading billing evidence") as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else to_account(row)

    def find_request(
        self, tenant: str, account: str, provider: str, request_id: str
    ) -> FoldedRequest | None:
        """Return a request that was folded in; None where it is new. Raises: StorageError."""
        key = request_key(tenant, account, provider, request_id)
        with transaction(self._engine, "looking for a billed request") as session:
            found = _known(session, [key])
            return found[0] if found else None

    def advance_account(self, account: StoredAccount, requests: Sequence[FoldedRequest]) -> None:
        """Replace an account's evidence by that with these requests; all of it or nothing.

        Raises: RequestConflict where a request_id was folded in with another digest; StreamMoved
        where one was with the same digest, or unless `account.version` less the number of requests
        is the stored version; CorruptState, InvalidRequest, StorageError.
        """
        require_countable(account, requests)
        now = self._clock()
        by_key = {_request_key(account.key, request): request for request in requests}
        with transaction(self._engine, "storing billing evidence", writes=True) as session:
            is_stored = _store(session, account, len(requests), now)
            if is_stored and _insert_requests(session, account, by_key, now):
                return
            require_same_requests(_known(session, sorted(by_key)), requests)
            _require_own_row(session, account)
            raise account_moved(account.finding.finding_id)

    def list_accounts(
        self, tenant: str | None, *, page_size: int, cursor: str | None
    ) -> AccountPage:
        """Return one page, most recently updated first; of all tenants where none is named.

        Raises: InvalidRequest for a bad cursor or size; CorruptState, StorageError.
        """
        check_page_size(page_size)
        place = tuple_(BillingAccountRow.updated_at, BillingAccountRow.finding_id)
        query = select(BillingAccountRow).order_by(
            BillingAccountRow.updated_at.desc(), BillingAccountRow.finding_id.desc()
        )
        if tenant is not None:
            query = query.where(BillingAccountRow.tenant == tenant)
        if cursor is not None:
            query = query.where(place < decode_account_cursor(cursor, tenant))
        with transaction(self._engine, "listing billing evidence") as session:
            rows = session.scalars(query.limit(page_size + 1)).all()
            page, has_more = rows[:page_size], len(rows) > page_size
            return AccountPage(
                accounts=tuple(to_account(row) for row in page),
                next_cursor=encode_account_cursor(page[-1].updated_at, page[-1].finding_id, tenant)
                if has_more
                else None,
            )


def _request_key(key: AccountKey, request: FoldedRequest) -> str:
    return request_key(key.tenant, key.account, key.provider, request.request_id)


def _store(session: Session, account: StoredAccount, num_requests: int, now: str) -> bool:
    """Return whether the version before was the stored one, and this one took its place."""
    content: dict[str, object] = {
        "version": account.version,
        "state_json": account.state_json,
        "finding_json": to_json(account.finding),
        "outcome": account.finding.outcome,
        "updated_at": now,
    }
    if account.version == num_requests:
        return _insert(session, account, content)
    replace = (
        update(BillingAccountRow)
        .where(
            BillingAccountRow.finding_id == account.finding.finding_id,
            BillingAccountRow.key_digest == key_digest(account.key),
            BillingAccountRow.version == account.version - num_requests,
        )
        .values(**content)
        .returning(BillingAccountRow.finding_id)
        .execution_options(synchronize_session=False)
    )
    return session.execute(replace).scalar_one_or_none() is not None


def _insert(session: Session, account: StoredAccount, content: dict[str, object]) -> bool:
    key = account.key
    insert = (
        insert_into(BillingAccountRow, session.get_bind().dialect)
        .values(
            finding_id=account.finding.finding_id,
            key_digest=key_digest(key),
            tenant=key.tenant,
            account=key.account,
            provider=key.provider,
            model=key.model,
            effort=key.effort,
            domain=key.domain,
            calibration_id=key.calibration_id,
            **content,
        )
        # without a target: either of the two unique columns may be taken
        .on_conflict_do_nothing()
        .returning(BillingAccountRow.finding_id)
    )
    return session.execute(insert).scalar_one_or_none() is not None


def _insert_requests(
    session: Session, account: StoredAccount, by_key: dict[str, FoldedRequest], now: str
) -> bool:
    """Return whether all requests were new; those that were are inserted."""
    rows = [
        {
            "request_key": key,
            "request_id": request.request_id,
            "request_digest": request.request_digest,
            "finding_id": account.finding.finding_id,
            "recorded_at": now,
        }
        for key, request in sorted(by_key.items())
    ]
    insert = (
        insert_into(BillingRequestRow, session.get_bind().dialect)
        .on_conflict_do_nothing(index_elements=["request_key"])
        .returning(BillingRequestRow.request_key)
    )
    return len(session.execute(insert, rows).all()) == len(rows)


def _known(session: Session, keys: Sequence[str]) -> list[FoldedRequest]:
    found: list[FoldedRequest] = []
    for first in range(0, len(keys), _KEYS_PER_QUERY):
        some = keys[first : first + _KEYS_PER_QUERY]
        query = select(BillingRequestRow).where(BillingRequestRow.request_key.in_(some))
        found += [
            FoldedRequest(request_id=row.request_id, request_digest=row.request_digest)
            for row in session.scalars(query)
        ]
    return found


def _require_own_row(session: Session, account: StoredAccount) -> None:
    """Raise CorruptState where the finding's row is another key's, or the key's another finding's.

    To read again and try again would never end there.
    """
    finding_id = account.finding.finding_id
    by_id = select(BillingAccountRow).where(BillingAccountRow.finding_id == finding_id)
    row = session.scalars(by_id).one_or_none()
    if row is not None and to_account_key(row) != account.key:
        raise account_corrupt(finding_id, "it is stored under another key")
    by_key = select(BillingAccountRow.finding_id).where(
        BillingAccountRow.key_digest == key_digest(account.key)
    )
    stored_id = session.scalars(by_key).one_or_none()
    if stored_id is not None and stored_id != finding_id:
        raise account_corrupt(stored_id, f"{finding_id} has the same key")

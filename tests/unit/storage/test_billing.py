"""What every BillingStore promises, and what only SQL can get wrong."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete

from audit.billing_records import (
    Adversary,
    ChannelStanding,
    Controller,
    FoldedRequest,
    Money,
    Tier,
    Violation,
)
from audit.errors import CorruptState, InvalidRequest, RequestConflict, StorageError, StreamMoved
from audit.ports import BillingStore
from storage.billing import SqlBillingStore
from storage.billing_models import BillingAccountRow, BillingRequestRow
from storage.cursor import encode_stream_cursor
from storage.engine import WRITES, open_engine
from storage.memory_billing import InMemoryBillingStore
from storage.upgrade import upgrade
from tests.unit.storage.billing_builders import a_billing_key, a_folded, an_account
from tests.unit.storage.builders import StepClock
from tests.unit.storage.conftest import DATABASES

KEY = a_billing_key()


@pytest.fixture(params=("memory", *DATABASES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BillingStore]:
    if request.param == "memory":
        yield InMemoryBillingStore(clock=StepClock())
        return
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/audit.db" if is_sqlite else request.getfixturevalue("shared_url")
    engine = open_engine(str(url))
    upgrade(engine)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        connection.execute(delete(BillingRequestRow))
        connection.execute(delete(BillingAccountRow))
    yield SqlBillingStore(engine, clock=StepClock())
    engine.dispose()


def _find(store: BillingStore, request_id: str) -> FoldedRequest | None:
    return store.find_request(KEY.tenant, KEY.account, KEY.provider, request_id)


def test_before_the_first_request_there_is_no_evidence(store: BillingStore) -> None:
    assert store.read_account(KEY) is None
    assert store.read_account_by_id(KEY.tenant, "sha256:acme") is None
    assert _find(store, "r-1") is None
    page = store.list_accounts(None, page_size=1, cursor=None)
    assert (page.accounts, page.next_cursor) == ((), None)


def test_evidence_is_stored_with_its_requests_and_read_by_key_and_id(store: BillingStore) -> None:
    store.advance_account(an_account(1), [a_folded("r-1")])
    store.advance_account(an_account(4), [a_folded(f"r-{number}") for number in (4, 3, 2)])
    assert store.read_account(KEY) == an_account(4)
    assert store.read_account_by_id(KEY.tenant, "sha256:acme") == an_account(4)
    assert [_find(store, f"r-{number}") for number in (1, 2, 5)] == [
        a_folded("r-1"),
        a_folded("r-2"),
        None,
    ]


@pytest.mark.parametrize(
    "part", ["tenant", "account", "provider", "model", "effort", "domain", "calibration_id"]
)
def test_every_part_of_the_key_counts(store: BillingStore, part: str) -> None:
    store.advance_account(an_account(1), [a_folded("r-1")])
    other = replace(KEY, **{part: "other"})
    assert store.read_account(other) is None
    store.advance_account(an_account(1, other, finding_id="sha256:other"), [a_folded("r-2")])
    assert store.read_account(KEY) == an_account(1)
    assert store.read_account(other) == an_account(1, other, finding_id="sha256:other")


def test_another_tenant_does_not_see_a_finding(store: BillingStore) -> None:
    store.advance_account(an_account(1), [a_folded("r-1")])
    assert store.read_account_by_id("other", "sha256:acme") is None
    assert store.list_accounts("other", page_size=9, cursor=None).accounts == ()


def test_everything_in_a_finding_comes_back(store: BillingStore) -> None:
    violation = Violation(identity="lattice", statement="650 is no multiple of 64 “é”")
    standing = ChannelStanding(
        tier=Tier.TIMING,
        controller=Controller.CLIENT,
        stops=Adversary.INFLATING_RESELLER,
        num_requests=1,
        log10_e_over=0.25,
        log10_e_under=-1e-9,
        ratio_low=None,
        ratio_high=1.5,
    )
    made = an_account(1)
    finding = replace(
        made.finding,
        violations=(violation, replace(violation, excess_tokens=-3, tier=Tier.RECOUNT)),
        channels=(standing,),
        tier=Tier.TIMING,
        controller=Controller.CLIENT,
        stops=Adversary.INFLATING_RESELLER,
        overcharge_money_low=Money(amount="0.000000001", currency="USD"),
        not_checked=("palace",),
    )
    account = replace(made, finding=finding)
    store.advance_account(account, [a_folded("r-1")])
    assert store.read_account(KEY) == account


@pytest.mark.parametrize("version", [1, 2, 4, 9], ids=["anew", "stale", "ahead", "far-ahead"])
def test_an_update_of_another_version_stores_nothing(store: BillingStore, version: int) -> None:
    for number in (1, 2):
        store.advance_account(an_account(number), [a_folded(f"r-{number}")])
    with pytest.raises(StreamMoved, match="read both again"):
        store.advance_account(an_account(version), [a_folded("r-3")])
    assert (store.read_account(KEY), _find(store, "r-3")) == (an_account(2), None)
    store.advance_account(an_account(3), [a_folded("r-3")])
    assert store.read_account(KEY) == an_account(3)


def test_an_update_of_unknown_evidence_stores_nothing(store: BillingStore) -> None:
    with pytest.raises(StreamMoved):
        store.advance_account(an_account(2), [a_folded("r-2")])
    assert (store.read_account(KEY), _find(store, "r-2")) == (None, None)


def test_a_request_that_is_known_is_not_counted_again(store: BillingStore) -> None:
    store.advance_account(an_account(1), [a_folded("r-1")])
    with pytest.raises(StreamMoved, match="holds one of the requests"):
        store.advance_account(an_account(3), [a_folded("r-2"), a_folded("r-1")])
    assert (store.read_account(KEY), _find(store, "r-2")) == (an_account(1), None)


def test_a_request_id_of_another_request_is_a_conflict(store: BillingStore) -> None:
    store.advance_account(an_account(1), [a_folded("r-1")])
    for version in (3, 7):
        with pytest.raises(RequestConflict, match="'r-1' was used for another billed request"):
            store.advance_account(
                an_account(version), [a_folded("r-2"), a_folded("r-1", content="changed")]
            )
    assert (store.read_account(KEY), _find(store, "r-2")) == (an_account(1), None)
    assert _find(store, "r-1") == a_folded("r-1")


def test_an_id_is_unique_within_tenant_account_and_provider_whatever_the_model(
    store: BillingStore,
) -> None:
    store.advance_account(an_account(1), [a_folded("r-1")])
    elsewhere = replace(KEY, model="o1", domain="code", effort="low")
    with pytest.raises(RequestConflict):
        store.advance_account(
            an_account(1, elsewhere, finding_id="sha256:o1"), [a_folded("r-1", content="o1")]
        )
    for part in ("tenant", "account", "provider"):
        other = replace(KEY, **{part: "other"})
        store.advance_account(
            an_account(1, other, finding_id=f"sha256:{part}"), [a_folded("r-1", content=part)]
        )
    assert store.read_account(elsewhere) is None
    assert _find(store, "r-1") == a_folded("r-1")


@pytest.mark.parametrize(
    "version, ids, problem",
    [
        (1, [], "requests: at least one request must be folded in"),
        (2, ["r-1", "r-1"], "requests: each request may be folded in once"),
        (1, ["r-1", "r-2"], "version: counts all requests"),
    ],
)
def test_steps_that_cannot_be_are_refused(
    store: BillingStore, version: int, ids: list[str], problem: str
) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        store.advance_account(an_account(version), [a_folded(name) for name in ids])
    assert store.read_account(KEY) is None


def test_evidence_under_the_id_of_another_key_is_corrupt(store: BillingStore) -> None:
    store.advance_account(an_account(1), [a_folded("r-1")])
    with pytest.raises(CorruptState, match="stored under another key"):
        store.advance_account(an_account(1, a_billing_key(model="o1")), [a_folded("r-2")])
    with pytest.raises(CorruptState, match="has the same key"):
        store.advance_account(an_account(1, finding_id="sha256:new"), [a_folded("r-2")])
    with pytest.raises(CorruptState, match="has the same key"):
        store.advance_account(an_account(2, finding_id="sha256:new"), [a_folded("r-2")])
    assert (store.read_account(KEY), _find(store, "r-2")) == (an_account(1), None)


def test_many_requests_fit_one_step(store: BillingStore) -> None:
    requests = [a_folded(f"r-{number}") for number in range(2_500)]
    store.advance_account(an_account(2_500), requests)
    assert _find(store, "r-2499") == requests[-1]
    with pytest.raises(RequestConflict, match="r-2499"):
        store.advance_account(
            an_account(5_000), [*requests[:-1], a_folded("r-2499", content="changed")]
        )


def test_names_of_any_length_and_script_are_kept(store: BillingStore) -> None:
    long = a_billing_key(account="ñ" * 5_000, provider="プロ" * 3_000, domain="d" * 9_000)
    account = an_account(1, long)
    store.advance_account(account, [a_folded("й" * 4_000)])
    assert store.read_account(long) == account
    assert store.find_request(long.tenant, long.account, long.provider, "й" * 4_000) is not None


def test_of_concurrent_writers_each_request_counts_once(store: BillingStore) -> None:
    """Every writer sends every request, in pairs and in an order of its own."""
    num_writers, num_requests = 4, 12
    names = [f"r-{number:02}" for number in range(num_requests)]
    start = threading.Barrier(num_writers)

    def write(writer: int) -> None:
        start.wait()
        own = names[writer * 3 :] + names[: writer * 3]
        for pair in (own[at : at + 2] for at in range(0, num_requests, 2)):
            while new := [name for name in pair if _find(store, name) is None]:
                stored = store.read_account(KEY)
                version = 0 if stored is None else stored.version
                try:
                    store.advance_account(
                        an_account(version + len(new)), [a_folded(name) for name in new]
                    )
                except StreamMoved:
                    continue

    with ThreadPoolExecutor(num_writers) as pool:
        list(pool.map(write, range(num_writers)))
    assert store.read_account(KEY) == an_account(num_requests)


def test_of_two_accounts_with_the_same_new_requests_one_gets_them(store: BillingStore) -> None:
    keys = [KEY, a_billing_key(model="o1")]
    requests = [a_folded(f"r-{number}") for number in range(20)]
    start = threading.Barrier(2)

    def write(writer: int) -> bool:
        account = an_account(20, keys[writer], finding_id=f"sha256:{writer}")
        start.wait()
        try:
            store.advance_account(account, requests[:: 1 - 2 * writer])
        except StreamMoved:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(write, range(2)))
    assert sorted(won) == [False, True]
    assert [store.read_account(key) is not None for key in keys] == won


def _update(store: BillingStore, model: str, tenant: str = "acme") -> None:
    key = a_billing_key(model=model, tenant=tenant)
    previous = store.read_account(key)
    version = 1 if previous is None else previous.version + 1
    account = an_account(version, key, finding_id=f"sha256:{tenant}-{model}")
    store.advance_account(account, [a_folded(f"{model}-{version}")])


def _models(store: BillingStore, tenant: str | None, page_size: int) -> list[list[str]]:
    pages: list[list[str]] = []
    cursor: str | None = None
    while cursor is not None or not pages:
        page = store.list_accounts(tenant, page_size=page_size, cursor=cursor)
        pages.append([account.key.model for account in page.accounts])
        cursor = page.next_cursor
    return pages


def test_pages_run_from_the_latest_update_without_gap_or_repeat(store: BillingStore) -> None:
    for model in ("a", "b", "c", "d", "e", "b"):
        _update(store, model)
    _update(store, "f", tenant="other")
    assert _models(store, "acme", 2) == [["b", "e"], ["d", "c"], ["a"]]
    assert _models(store, None, 3) == [["f", "b", "e"], ["d", "c", "a"]]
    assert _models(store, "other", 9) == [["f"]]


def test_accounts_updated_at_the_same_moment_are_all_listed() -> None:
    store = InMemoryBillingStore(clock=lambda: "2026-01-02T03:04:05Z")
    for model in ("a", "b", "c"):
        _update(store, model)
    assert _models(store, "acme", 2) == [["c", "b"], ["a"]]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "not a cursor", "é", "AAAA", "YWNjb3VudCA=", "YWNjb3VudCBhIABiIGM=", "=" * 32],
)
def test_a_malformed_cursor_names_the_page_token(store: BillingStore, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="page_token: is not one of ours"):
        store.list_accounts("acme", page_size=1, cursor=cursor)


def test_cursors_of_other_lists_are_refused(store: BillingStore) -> None:
    for model in ("a", "b"):
        _update(store, model)
    cursor = store.list_accounts("acme", page_size=1, cursor=None).next_cursor
    for tenant in (None, "other"):
        with pytest.raises(InvalidRequest, match="belongs to another tenant's list"):
            store.list_accounts(tenant, page_size=1, cursor=cursor)
    of_streams = encode_stream_cursor("2026", "sha256:a")
    with pytest.raises(InvalidRequest, match="is not one of ours"):
        store.list_accounts("acme", page_size=1, cursor=of_streams)


@pytest.mark.parametrize("page_size", [0, -1])
def test_a_page_without_room_is_refused(store: BillingStore, page_size: int) -> None:
    with pytest.raises(InvalidRequest, match="page_size"):
        store.list_accounts(None, page_size=page_size, cursor=None)


def test_evidence_that_json_cannot_carry_is_refused(store: BillingStore) -> None:
    account = an_account(1)
    endless = replace(account, finding=replace(account.finding, log10_e_over=float("inf")))
    with pytest.raises(StorageError, match="report this as a bug"):
        store.advance_account(endless, [a_folded("r-1")])
    assert (store.read_account(KEY), _find(store, "r-1")) == (None, None)

"""The desk counts each request once, signs what is news, and loses nothing to a crash."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from audit.app import new_id, utc_now
from audit.billing_records import (
    BilledRequest,
    BilledUsage,
    MeterOutcome,
    StoredAccount,
    UsageSchema,
)
from audit.desk import MeterDesk
from audit.errors import AuditNotFound, OtherRules, RequestConflict, StorageError
from audit.hidden_tokens.account.rules import load_billing_rules
from audit.hidden_tokens.calibration_file import BillingCalibration
from audit.hidden_tokens.check import MeterChecker
from audit.hidden_tokens.facts import load_facts
from audit.ledger.verify import verify_envelope
from audit.log_records import EntryKind, Receipt
from storage.store import open_store
from tests.support.logs import Log, running, verdict_key

#: Ten runs of the same prompt on the auditor's reference.
COUNTS = (900, 950, 980, 1000, 1010, 1020, 1050, 1075, 1100, 1150)


def request(number: int, billed: int = 1030, **changes: object) -> BilledRequest:
    made = BilledRequest(
        request_id=f"r{number}",
        account="team-a",
        provider="https://gateway.example/v1",
        model="open-reasoner",
        domain="planning",
        usage=BilledUsage(
            schema=UsageSchema.VLLM,
            output_tokens=billed + 20,
            reasoning_tokens=billed,
        ),
        observed_at="2026-11-01T00:00:00Z",
        reference_counts=COUNTS,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@dataclass
class Signing:
    """Signs through the real log, unless it is to fail once."""

    log: Log
    fails: bool = False
    versions: list[int] = field(default_factory=list)

    def __call__(self, account: StoredAccount) -> Receipt:
        if self.fails:
            self.fails = False
            raise StorageError("the database is away")
        self.versions.append(account.version)
        return self.log.recorder.log_billing(account)


@dataclass
class World:
    desk: MeterDesk
    signing: Signing
    log: Log


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = open_store(f"sqlite:///{tmp_path}/audit.db", clock=utc_now, new_id=new_id)
    with running(store.log, tmp_path, utc_now) as log:
        signing = Signing(log)
        desk = MeterDesk(
            store=store.billing,
            checker=MeterChecker(facts=load_facts(), calibration=BillingCalibration()),
            rules=load_billing_rules(),
            sign=signing,
            find_entry=log.reader.find,
            price_of=lambda _model, _at: None,
        )
        yield World(desk, signing, log)
    store.close()


def test_a_request_counts_once_however_often_it_is_sent(world: World) -> None:
    first = world.desk.submit("default", request(1))
    again = world.desk.submit("default", request(1))
    assert (first.was_known, again.was_known) == (False, True)
    assert first.finding_id == again.finding_id
    found = world.desk.find("default", first.finding_id)
    assert found.account.finding.num_requests == 1


def test_an_id_is_not_given_twice(world: World) -> None:
    world.desk.submit("default", request(1))
    with pytest.raises(RequestConflict, match="'r1' names another request"):
        world.desk.submit("default", request(1, billed=2000))


def test_many_threads_lose_no_request_and_count_none_twice(world: World) -> None:
    sent = [request(number // 2) for number in range(60)]
    with ThreadPoolExecutor(6) as pool:
        acks = list(pool.map(lambda one: world.desk.submit("default", one), sent))
    assert sum(not ack.was_known for ack in acks) == 30
    found = world.desk.find("default", acks[0].finding_id)
    assert found.account.version == found.account.finding.num_requests == 30


def test_what_is_news_is_signed_at_once_and_nothing_else(world: World) -> None:
    finding_id = ""
    for number in range(60):
        finding_id = world.desk.submit("default", request(number, billed=1500)).finding_id
    found = world.desk.find("default", finding_id)
    assert found.account.finding.outcome is MeterOutcome.DISAGREES
    disagreed_at = found.account.finding.disagreed_at_request
    assert world.signing.versions == [1, disagreed_at]
    assert found.signed_version is None, "the standing of request 60 is stored, not signed"


def test_a_finding_is_signed_as_it_stands_where_that_is_asked_for(world: World) -> None:
    for number in range(3):
        finding_id = world.desk.submit("default", request(number)).finding_id
    found = world.desk.find("default", finding_id, sign=True)
    assert found.signed_version == 3
    assert found.envelope is not None
    statement: Any = verify_envelope(found.envelope, verdict_key().public_key_pem)
    assert statement["predicate"]["numRequests"] == 3
    again = world.desk.find("default", finding_id, sign=True)
    assert again.log_index == found.log_index, "a version goes into the log once"


def test_what_a_crash_left_unsigned_is_signed_when_it_is_asked_for(world: World) -> None:
    world.signing.fails = True
    with pytest.raises(StorageError):
        world.desk.submit("default", request(1))
    again = world.desk.submit("default", request(1))
    assert again.was_known, "it was stored before the signing failed"
    found = world.desk.find("default", again.finding_id, sign=True)
    assert found.log_index is not None


def test_a_key_finds_its_finding_under_the_calibration_in_use(world: World) -> None:
    ack = world.desk.submit("default", request(1))
    key = replace(world.desk.checker.key_of("default", request(1)), calibration_id="")
    assert world.desk.find_by_key(key).account.finding.finding_id == ack.finding_id


def test_tenants_do_not_see_each_other(world: World) -> None:
    ack = world.desk.submit("one", request(1))
    with pytest.raises(AuditNotFound, match="no billing finding"):
        world.desk.find("two", ack.finding_id)
    assert world.desk.list("two", page_size=10, cursor=None).findings == ()
    assert not world.desk.submit("two", request(1)).was_known


def test_pages_list_every_account(world: World) -> None:
    for number in range(5):
        world.desk.submit("default", request(number, account=f"team-{number}"))
    first = world.desk.list("default", page_size=3, cursor=None)
    rest = world.desk.list("default", page_size=3, cursor=first.next_cursor)
    names = [one.account.key.account for one in (*first.findings, *rest.findings)]
    assert sorted(names) == [f"team-{number}" for number in range(5)]
    assert rest.next_cursor is None


def test_other_rules_are_told_as_such(world: World) -> None:
    world.desk.submit("default", request(1))
    others = replace(world.desk.rules, version=world.desk.rules.version + 1)
    desk = replace(world.desk, rules=others)
    with pytest.raises(OtherRules, match="was gathered under the rules"):
        desk.submit("default", request(2))


def test_findings_are_entries_of_the_log(world: World) -> None:
    world.desk.submit("default", request(1))
    (entry,) = world.log.reader.of_kind(EntryKind.BILLING)
    assert entry.tenant == "default"
    assert entry.audit_id is None

"""The client of billing audits against a real service."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from audit.billing_records import BilledRequest
from audit.client.billing_client import MAX_UNACKNOWLEDGED, BillingClient
from audit.errors import (
    AuditNotFound,
    ConfigurationError,
    InvalidRequest,
    RequestConflict,
    StorageError,
    VerificationError,
)
from tests.unit.hidden_tokens.wire_examples import (
    A_REQUEST,
    A_VIOLATION,
    MemoryDesk,
    a_finding,
    a_key,
    finding_id_of,
    running_billing,
)

FINDING_ID = finding_id_of(a_key())


@pytest.fixture
def desk() -> MemoryDesk:
    return MemoryDesk()


@pytest.fixture
def client(desk: MemoryDesk) -> Iterator[BillingClient]:
    with running_billing(desk) as service, BillingClient(service.address) as client:
        yield client


def numbered(*numbers: int) -> list[BilledRequest]:
    return [replace(A_REQUEST, request_id=f"r-{number}") for number in numbers]


def test_requests_arrive_whole_and_in_order(client: BillingClient, desk: MemoryDesk) -> None:
    requests = numbered(*range(100))
    acks = list(client.submit(requests))
    assert [ack.request_id for ack in acks] == [request.request_id for request in requests]
    assert desk.taken == requests
    assert {ack.finding_id for ack in acks} == {FINDING_ID}


def test_a_violation_and_a_repetition_are_told(client: BillingClient) -> None:
    bad = replace(A_REQUEST, usage=replace(A_REQUEST.usage, reasoning_tokens=1_409))
    first, second = client.submit([bad, bad])
    assert first.violations == second.violations == (A_VIOLATION,)
    assert (first.was_known, second.was_known) == (False, True)


def test_no_requests_are_no_acknowledgements(client: BillingClient) -> None:
    assert list(client.submit([])) == []


def test_an_endless_source_is_read_as_fast_as_the_service_takes_it(
    client: BillingClient, desk: MemoryDesk
) -> None:
    num_read = 0

    def endless() -> Iterator[BilledRequest]:
        nonlocal num_read
        for num_read in itertools.count(1):
            # here and not below: a client that reads on for ever would never get there
            assert num_read <= 50 + MAX_UNACKNOWLEDGED
            yield from numbered(num_read)

    acks = client.submit(endless())
    for number in range(1, 51):
        assert next(acks).request_id == f"r-{number}"
    acks.close()  # type: ignore[attr-defined]
    assert len(desk.taken) <= 50 + MAX_UNACKNOWLEDGED


def test_those_before_a_bad_request_are_acknowledged_first(
    client: BillingClient, desk: MemoryDesk
) -> None:
    bad = replace(A_REQUEST, account="")
    acks = client.submit([*numbered(1, 2), bad, *numbered(3)])
    assert [next(acks).request_id, next(acks).request_id] == ["r-1", "r-2"]
    with pytest.raises(InvalidRequest, match=r"request\.account: is missing"):
        next(acks)
    assert desk.taken == numbered(1, 2)


def test_an_error_of_the_source_comes_after_the_acknowledgements(client: BillingClient) -> None:
    def source() -> Iterator[BilledRequest]:
        yield from numbered(1)
        raise InvalidRequest.of("line 2: request.usage", "is missing")

    acks = client.submit(source())
    assert next(acks).request_id == "r-1"
    with pytest.raises(InvalidRequest, match=r"line 2: request\.usage: is missing"):
        next(acks)


def test_what_the_service_refuses_is_our_error(client: BillingClient, desk: MemoryDesk) -> None:
    list(client.submit(numbered(1)))
    other = replace(A_REQUEST, request_id="r-1", answer="Go south.")
    acks = client.submit([*numbered(2), other, *numbered(3)])
    assert next(acks).request_id == "r-2"
    with pytest.raises(RequestConflict, match="r-1 was another one before"):
        next(acks)
    desk.error = StorageError("disk")
    with pytest.raises(StorageError, match="database is not available"):
        list(client.submit(numbered(4)))


def test_a_request_too_large_is_refused_before_sending(client: BillingClient) -> None:
    half = "x" * (3 * 1024 * 1024)
    with pytest.raises(InvalidRequest, match=r"request: has 629\d{4} bytes, the limit is 4194304"):
        list(client.submit([replace(A_REQUEST, prompt=half, answer=half)]))


def test_a_finding_is_read_by_id_and_by_key(client: BillingClient, desk: MemoryDesk) -> None:
    list(client.submit([A_REQUEST]))
    desk.sign(FINDING_ID)
    found = client.get(FINDING_ID)
    assert found.key == a_key()
    assert found.finding == a_finding(a_key(), num_requests=1)
    assert (found.version, found.envelope, found.log_index) == (1, b"signed 1", 17)
    assert client.get_by_key(a_key(tenant="not sent")) == found
    assert client.get_by_key(a_key(calibration_id="")) == found


def test_what_does_not_exist_is_not_found(client: BillingClient) -> None:
    with pytest.raises(AuditNotFound, match="no finding has the id"):
        client.get(FINDING_ID)
    with pytest.raises(AuditNotFound):
        next(client.watch(FINDING_ID))


def test_an_answer_about_something_else_is_not_believed(
    client: BillingClient, desk: MemoryDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(client.submit([A_REQUEST]))
    other = desk.find("default", FINDING_ID)
    monkeypatch.setattr(desk, "find", lambda *_, **__: other)
    with pytest.raises(VerificationError, match="not the one asked for"):
        client.get("sha256:" + "0" * 64)
    with pytest.raises(VerificationError, match="not the one asked for"):
        client.get_by_key(a_key(account="another"))
    with pytest.raises(VerificationError, match="not the one asked for"):
        next(client.watch("sha256:" + "0" * 64))


def test_an_acknowledgement_of_something_else_is_not_believed(
    client: BillingClient, desk: MemoryDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ack,) = client.submit(numbered(1))
    monkeypatch.setattr(desk, "submit", lambda *_: ack)
    with pytest.raises(VerificationError, match="not the one asked for"):
        list(client.submit(numbered(2)))


def test_all_pages_are_listed(client: BillingClient) -> None:
    requests = [replace(A_REQUEST, account=f"a-{number}") for number in range(7)]
    list(client.submit(requests))
    accounts = [found.key.account for found in client.list(page_size=2)]
    assert sorted(accounts) == [f"a-{number}" for number in range(7)]


def test_a_watch_goes_on_until_it_is_left(client: BillingClient, desk: MemoryDesk) -> None:
    list(client.submit(numbered(1)))
    watching = client.watch(FINDING_ID)
    assert next(watching).version == 1
    list(client.submit(numbered(2)))
    assert next(watching).version == 2
    desk.sign(FINDING_ID)
    assert next(watching).signed_version == 2
    watching.close()  # type: ignore[attr-defined]


def test_bad_questions_are_refused_before_sending() -> None:
    with BillingClient("127.0.0.1:1") as client:
        with pytest.raises(InvalidRequest, match="finding_id"):
            client.get("mine")
        with pytest.raises(InvalidRequest, match="finding_id"):
            next(client.watch(""))
        with pytest.raises(InvalidRequest, match=r"key\.account"):
            client.get_by_key(a_key(account=""))
        with pytest.raises(InvalidRequest, match="page_size"):
            next(client.list(page_size=-1))
        with pytest.raises(ConfigurationError, match="inference-audit serve"):
            list(client.submit([A_REQUEST]))

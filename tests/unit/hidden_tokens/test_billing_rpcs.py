"""BillingService, as any gRPC client sees it: streams, findings, watches, refusals, shutdown."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest
from inference_audit.v1 import billing_pb2
from inference_audit.v1 import billing_service_pb2 as pb
from inference_audit.v1.billing_service_pb2_grpc import BillingServiceStub

from audit.codec.wire_billing import billed_request_to_wire
from audit.codec.wire_billing_finding import key_to_wire
from audit.errors import AuditError, StorageError
from audit.service.billing_servicer import SERVICE_NAME
from tests.unit.hidden_tokens.wire_examples import (
    A_REQUEST,
    MemoryDesk,
    a_key,
    finding_id_of,
    running_billing,
)
from tests.unit.service.test_rpcs import refusal

FINDING_ID = finding_id_of(a_key())
Refusal = tuple[grpc.StatusCode, str, list[str]]
NO_SUCH_ID = "sha256:" + "0" * 64


@pytest.fixture
def desk() -> MemoryDesk:
    return MemoryDesk()


@pytest.fixture
def stub(desk: MemoryDesk) -> Iterator[BillingServiceStub]:
    with running_billing(desk) as service, grpc.insecure_channel(service.address) as channel:
        yield BillingServiceStub(channel)


def submission(number: int = 1, *, reasoning_tokens: int = 1_408) -> pb.SubmitUsageRequest:
    usage = replace(A_REQUEST.usage, reasoning_tokens=reasoning_tokens)
    request = replace(A_REQUEST, request_id=f"r-{number}", usage=usage)
    return pb.SubmitUsageRequest(request=billed_request_to_wire(request))


def submit(stub: BillingServiceStub, *messages: pb.SubmitUsageRequest) -> list[str]:
    return [ack.request_id for ack in stub.SubmitUsage(iter(messages), timeout=10)]


def get(stub: BillingServiceStub, finding_id: str = FINDING_ID) -> billing_pb2.BillingAccount:
    request = pb.GetBillingFindingRequest(finding_id=finding_id)
    return stub.GetBillingFinding(request, timeout=5).account


def refused(call: Callable[[], object]) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return refusal(caught.value)


def test_every_submission_is_acknowledged_in_order(
    stub: BillingServiceStub, desk: MemoryDesk
) -> None:
    numbers = range(1, 51)
    assert submit(stub, *map(submission, numbers)) == [f"r-{n}" for n in numbers]
    assert [request.request_id for request in desk.taken] == [f"r-{n}" for n in numbers]
    assert desk.taken[0] == A_REQUEST
    assert get(stub).finding.num_requests == 50


def test_an_acknowledgement_comes_before_the_next_submission(stub: BillingServiceStub) -> None:
    outgoing: queue.SimpleQueue[pb.SubmitUsageRequest | None] = queue.SimpleQueue()
    answers = stub.SubmitUsage(iter(outgoing.get, None), timeout=10)
    for number in (1, 2, 3):
        outgoing.put(submission(number))
        assert next(answers).request_id == f"r-{number}"
    outgoing.put(None)
    assert list(answers) == []


def test_a_stream_without_submissions_ends_well(stub: BillingServiceStub) -> None:
    assert submit(stub) == []


def test_an_impossible_bill_is_no_error(stub: BillingServiceStub) -> None:
    (ack,) = stub.SubmitUsage(iter([submission(reasoning_tokens=1_409)]), timeout=5)
    (violation,) = ack.violations
    assert (violation.identity, violation.excess_tokens) == ("lattice", -3)
    assert violation.tier == billing_pb2.TIER_ACCOUNTING
    assert ack.finding_id == FINDING_ID


def test_submitting_again_counts_once(stub: BillingServiceStub) -> None:
    acks = list(stub.SubmitUsage(iter([submission(), submission()]), timeout=5))
    assert [ack.was_known for ack in acks] == [False, True]
    assert get(stub).finding.num_requests == 1


def test_the_same_id_with_another_bill_is_a_conflict(stub: BillingServiceStub) -> None:
    submit(stub, submission())
    assert refused(lambda: submit(stub, submission(reasoning_tokens=64))) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_CONFLICT",
        [],
    )


def test_the_stream_ends_at_the_first_bad_submission(
    stub: BillingServiceStub, desk: MemoryDesk
) -> None:
    bad = submission(3)
    bad.request.usage.reasoning_tokens = -1
    bad.request.account = ""
    answers = stub.SubmitUsage(iter([submission(1), submission(2), bad, submission(4)]), timeout=5)
    assert [next(answers).request_id, next(answers).request_id] == ["r-1", "r-2"]
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert refusal(caught.value) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        ["request.account", "request.usage.reasoning_tokens"],
    )
    assert isinstance(caught.value, grpc.Call)
    assert "is -1; give 0 to 10000000 (submission 3 of the stream)" in str(caught.value.details())
    assert [request.request_id for request in desk.taken] == ["r-1", "r-2"]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.SubmitUsageRequest(), "request"),
        (pb.SubmitUsageRequest(request=billing_pb2.BilledRequest()), "request.usage"),
        (
            pb.SubmitUsageRequest(
                request=billing_pb2.BilledRequest(usage=billing_pb2.BilledUsage(output_tokens=3))
            ),
            "request.usage.schema",
        ),
    ],
    ids=["empty", "no-usage", "no-schema"],
)
def test_what_no_submission_can_lack_is_named(
    stub: BillingServiceStub, message: pb.SubmitUsageRequest, field: str
) -> None:
    assert refused(lambda: submit(stub, message)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        [field],
    )


def test_broken_bytes_within_a_stream_are_refused_by_name(desk: MemoryDesk) -> None:
    with running_billing(desk) as service, grpc.insecure_channel(service.address) as channel:
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{SERVICE_NAME}/SubmitUsage"
        )
        raws = [submission().SerializeToString(), b"\xff\xff"]
        answers = call(iter(raws), timeout=5)
        assert next(answers)
        assert refused(lambda: next(answers)) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
            ["request"],
        )


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (StorageError("disk"), grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE"),
        (AuditError("bug"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
def test_a_desk_that_fails_answers_with_its_error(
    stub: BillingServiceStub,
    desk: MemoryDesk,
    error: AuditError,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    desk.error = error
    listing = pb.ListBillingFindingsRequest()
    assert refused(lambda: submit(stub, submission())) == (code, reason, [])
    assert refused(lambda: get(stub)) == (code, reason, [])
    assert refused(lambda: stub.ListBillingFindings(listing, timeout=5)) == (code, reason, [])


def test_a_slow_desk_holds_back_nobody_else(stub: BillingServiceStub, desk: MemoryDesk) -> None:
    submit(stub, submission(1))
    desk.may_go_on.clear()
    desk.entered.clear()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(submit, stub, submission(2))
        assert desk.entered.wait(5)
        assert get(stub).version == 1
        assert not waiting.done()
        desk.may_go_on.set()
        assert waiting.result(5) == ["r-2"]


def test_a_question_that_takes_long_holds_back_nobody_else(
    stub: BillingServiceStub, desk: MemoryDesk
) -> None:
    submit(stub, submission(1))
    desk.may_read.clear()
    watching = stub.WatchAccount(pb.WatchAccountRequest(finding_id=FINDING_ID), timeout=10)
    by_id = pb.GetBillingFindingRequest(finding_id=FINDING_ID)
    getting = stub.GetBillingFinding.future(by_id, timeout=10)
    listing = stub.ListBillingFindings.future(pb.ListBillingFindingsRequest(), timeout=10)
    assert submit(stub, submission(2)) == ["r-2"]
    assert not getting.done()
    assert not listing.done()
    desk.may_read.set()
    assert getting.result().account.version == 2
    assert len(listing.result().accounts) == 1
    assert next(watching).account.version == 2
    watching.cancel()


def test_a_client_faster_than_the_desk_is_held_back(
    stub: BillingServiceStub, desk: MemoryDesk
) -> None:
    num_sent = 0

    def endless() -> Iterator[pb.SubmitUsageRequest]:
        nonlocal num_sent
        while True:
            message = submission(num_sent)
            message.request.prompt = "x" * 200_000
            num_sent += 1
            yield message

    desk.may_go_on.clear()
    answers = stub.SubmitUsage(endless(), timeout=30)
    seen, steady_since = -1, time.monotonic()
    while time.monotonic() - steady_since < 0.5:
        if num_sent != seen:
            seen, steady_since = num_sent, time.monotonic()
        assert num_sent < 200, "submissions pile up"
        time.sleep(0.02)
    answers.cancel()
    desk.may_go_on.set()
    assert len(desk.taken) <= 1


def test_a_client_that_leaves_is_forgotten(stub: BillingServiceStub, desk: MemoryDesk) -> None:
    stays_open = threading.Event()

    def endless() -> Iterator[pb.SubmitUsageRequest]:
        yield submission(1)
        stays_open.wait(10)

    answers = stub.SubmitUsage(endless())
    assert next(answers).request_id == "r-1"
    answers.cancel()
    assert submit(stub, submission(2)) == ["r-2"]
    stays_open.set()


def test_a_finding_is_found_by_id_and_by_key(stub: BillingServiceStub, desk: MemoryDesk) -> None:
    submit(stub, submission())
    desk.sign(FINDING_ID)
    account = get(stub)
    assert account.tenant == "default"
    assert account.finding.outcome == billing_pb2.METER_OUTCOME_DISAGREES
    assert (account.version, account.signed_version, account.log_index) == (1, 1, 17)
    assert account.envelope == b"signed 1"
    for key in (a_key(), a_key(calibration_id="")):
        request = pb.GetBillingFindingRequest(key=key_to_wire(key))
        assert stub.GetBillingFinding(request, timeout=5).account == account


def test_what_is_not_signed_yet_has_no_envelope(stub: BillingServiceStub) -> None:
    submit(stub, submission())
    account = get(stub)
    for field in ("envelope", "log_index", "signed_version"):
        assert not account.HasField(field)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GetBillingFindingRequest(), "by"),
        (pb.GetBillingFindingRequest(finding_id=""), "finding_id"),
        (pb.GetBillingFindingRequest(finding_id="sha256:" + "F" * 64), "finding_id"),
        (pb.GetBillingFindingRequest(key=key_to_wire(a_key(model="a|b"))), "key.model"),
        (pb.GetBillingFindingRequest(key=key_to_wire(a_key(domain=""))), "key.domain"),
    ],
)
def test_a_bad_question_names_its_field(
    stub: BillingServiceStub, request_: pb.GetBillingFindingRequest, field: str
) -> None:
    assert refused(lambda: stub.GetBillingFinding(request_, timeout=5)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        [field],
    )


def test_what_does_not_exist_is_not_found(stub: BillingServiceStub) -> None:
    expected: Refusal = (grpc.StatusCode.NOT_FOUND, "AUDIT_NOT_FOUND", [])
    watching = pb.WatchAccountRequest(finding_id=NO_SUCH_ID)
    assert refused(lambda: get(stub, NO_SUCH_ID)) == expected
    assert refused(lambda: next(stub.WatchAccount(watching, timeout=5))) == expected


def test_findings_are_listed_page_by_page(stub: BillingServiceStub) -> None:
    messages = []
    for number in range(1, 8):
        message = submission(number)
        message.request.account = f"account-{number}"
        messages.append(message)
    submit(stub, *messages)
    request, accounts, sizes = pb.ListBillingFindingsRequest(page_size=3), [], []
    while True:
        page = stub.ListBillingFindings(request, timeout=5)
        accounts += [account.key.account for account in page.accounts]
        sizes.append(len(page.accounts))
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert sizes == [3, 3, 1]
    assert sorted(accounts) == [f"account-{number}" for number in range(1, 8)]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListBillingFindingsRequest(page_size=-1), "page_size"),
        (pb.ListBillingFindingsRequest(page_token="mine"), "page_token"),  # noqa: S106
    ],
)
def test_a_bad_page_is_refused(
    stub: BillingServiceStub, request_: pb.ListBillingFindingsRequest, field: str
) -> None:
    assert refused(lambda: stub.ListBillingFindings(request_, timeout=5))[2] == [field]

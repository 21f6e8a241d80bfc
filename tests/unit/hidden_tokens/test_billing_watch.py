"""Watches of accounts, and what becomes of them and of open streams at the shutdown."""

import queue
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from inference_audit.v1 import billing_service_pb2 as pb
from inference_audit.v1.billing_service_pb2_grpc import BillingServiceStub

from tests.unit.hidden_tokens.test_billing_rpcs import (
    FINDING_ID,
    Refusal,
    refused,
    submission,
    submit,
)
from tests.unit.hidden_tokens.wire_examples import MemoryDesk, running_billing


@pytest.fixture
def desk() -> MemoryDesk:
    return MemoryDesk()


@pytest.fixture
def stub(desk: MemoryDesk) -> Iterator[BillingServiceStub]:
    with running_billing(desk) as service, grpc.insecure_channel(service.address) as channel:
        yield BillingServiceStub(channel)


def test_a_watch_tells_of_requests_and_of_signatures(
    stub: BillingServiceStub, desk: MemoryDesk
) -> None:
    submit(stub, submission(1))
    answers = stub.WatchAccount(pb.WatchAccountRequest(finding_id=FINDING_ID), timeout=10)
    first = next(answers).account
    assert (first.version, first.HasField("envelope")) == (1, False)
    submit(stub, submission(2))
    assert next(answers).account.version == 2
    desk.sign(FINDING_ID)
    signed = next(answers).account
    assert (signed.version, signed.envelope) == (2, b"signed 2")
    submit(stub, submission(3))
    last = next(answers).account
    assert (last.version, last.signed_version) == (3, 2)
    answers.cancel()


def test_a_watch_is_silent_where_nothing_changes(stub: BillingServiceStub) -> None:
    submit(stub, submission())
    watching = pb.WatchAccountRequest(finding_id=FINDING_ID)
    answers = stub.WatchAccount(watching, timeout=20)
    assert next(answers).account.version == 1
    threading.Timer(0.3, answers.cancel).start()
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() == grpc.StatusCode.CANCELLED


def test_many_watches_hold_no_thread(desk: MemoryDesk) -> None:
    with (
        running_billing(desk, num_threads=1) as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        stub = BillingServiceStub(channel)
        submit(stub, submission(1))
        watching = pb.WatchAccountRequest(finding_id=FINDING_ID)
        watches = [stub.WatchAccount(watching, timeout=10) for _ in range(8)]
        assert {next(answers).account.version for answers in watches} == {1}
        started = time.monotonic()
        submit(stub, submission(2))
        assert {next(answers).account.version for answers in watches} == {2}
        assert time.monotonic() - started < 5
        for answers in watches:
            answers.cancel()


def test_stopping_ends_watches_and_open_streams(desk: MemoryDesk) -> None:
    expected: Refusal = (grpc.StatusCode.UNAVAILABLE, "SERVICE_STOPPING", [])
    outgoing: queue.SimpleQueue[pb.SubmitUsageRequest | None] = queue.SimpleQueue()
    with running_billing(desk) as service, grpc.insecure_channel(service.address) as channel:
        stub = BillingServiceStub(channel)
        acks = stub.SubmitUsage(iter(outgoing.get, None), timeout=20)
        outgoing.put(submission(1))
        assert next(acks).request_id == "r-1"
        answers = stub.WatchAccount(pb.WatchAccountRequest(finding_id=FINDING_ID), timeout=20)
        assert next(answers).account.version == 1
        started = time.monotonic()
        service.stop()
        assert time.monotonic() - started < 4, "an idle stream held up the shutdown"
        assert refused(lambda: next(answers)) == expected
        assert refused(lambda: next(acks)) == expected
        outgoing.put(None)

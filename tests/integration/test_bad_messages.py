"""What no recording can hold: messages that only another client would send."""

from dataclasses import replace

import grpc
import pytest
from inference_audit.v1.audit_service_pb2_grpc import AuditServiceStub

from audit.client.client import AuditClient
from audit.codec.limits import MAX_MESSAGE_BYTES
from audit.codec.wire import request_to_wire
from audit.errors import InvalidRequest
from audit.records import AuditRequest, Outcome
from tests.integration.bad_traffic import HONEST_FILE
from tests.integration.processes import ServeProcess
from tests.integration.traffic import renamed, requests_of

SUBMIT = "/inference_audit.v1.AuditService/SubmitAudit"


def honest(request_id: str) -> AuditRequest:
    """Return the honest exchange as a submission of its own."""
    return renamed(requests_of(HONEST_FILE)[0], request_id)


def with_output_text(request: AuditRequest, text: str) -> AuditRequest:
    """Return the exchange with another text beside its token ids."""
    output = replace(request.exchange.output, text=text)
    return replace(request, exchange=replace(request.exchange, output=output))


@pytest.fixture(autouse=True)
def still_answers_afterwards(service: ServeProcess, request: pytest.FixtureRequest) -> object:
    """After each bad message the service answers an honest exchange."""
    yield
    with AuditClient(service.address) as client:
        audit = client.submit(honest(f"after-{request.node.name}"[:128]))
        *_, last = client.watch(audit.audit_id)
    assert last.signed is not None
    assert last.signed.verdict.outcome is Outcome.PASS
    assert "Traceback" not in service.stderr


def submit_raw(service: ServeProcess, request: AuditRequest) -> grpc.RpcError:
    """Submit past the client's own checks and return the refusal."""
    with grpc.insecure_channel(service.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            AuditServiceStub(channel).SubmitAudit(request_to_wire(request), timeout=20)
    return caught.value


def status_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Return code and text of a refusal."""
    assert isinstance(error, grpc.Call)
    return error.code(), error.details() or ""


def test_a_nan_temperature_is_refused_with_its_field(service: ServeProcess) -> None:
    request = honest("nan")
    sampling = replace(request.exchange.sampling, temperature=float("nan"))
    bad = replace(request, exchange=replace(request.exchange, sampling=sampling))
    code, text = status_of(submit_raw(service, bad))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "exchange.sampling.temperature: is nan; give a finite number" in text


def test_a_message_over_the_limit_is_refused_before_it_is_sent(client: AuditClient) -> None:
    with pytest.raises(InvalidRequest, match=f"limit is {MAX_MESSAGE_BYTES}"):
        client.submit(with_output_text(honest("large-1"), "x" * (MAX_MESSAGE_BYTES - 100)))


def test_a_message_over_the_limit_is_refused_by_the_service(service: ServeProcess) -> None:
    large = with_output_text(honest("large-2"), "x" * (MAX_MESSAGE_BYTES - 100))
    with AuditClient(service.address, max_message_bytes=1 << 30) as client:
        with pytest.raises(InvalidRequest, match="too large for the service"):
            client.submit(large)


def submit_bytes(service: ServeProcess, message: bytes) -> tuple[grpc.StatusCode, str]:
    """Send bytes as a submission and return how they are refused."""
    with grpc.insecure_channel(service.address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SUBMIT)
        with pytest.raises(grpc.RpcError) as caught:
            call(message, timeout=20)
    return status_of(caught.value)


def test_bytes_that_are_no_message_are_refused(service: ServeProcess) -> None:
    code, text = submit_bytes(service, b"\xff" * 64)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "is not a message of this RPC" in text


def test_an_empty_message_is_refused_with_every_field(service: ServeProcess) -> None:
    code, text = submit_bytes(service, b"")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "request_id: has 0 characters" in text
    assert "exchange.prompt: has 0 forms" in text

"""The RPCs, as any gRPC client sees them."""

from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status
from inference_audit.v1 import audit_pb2, verdict_pb2
from inference_audit.v1 import audit_service_pb2 as pb
from inference_audit.v1.audit_service_pb2_grpc import AuditServiceStub

from audit.codec.wire import request_to_wire
from audit.errors import CorruptState, StorageError
from storage.memory import InMemoryAuditStore
from tests.unit.service.examples import PASS, BrokenStore, memory_store, request_of, sign
from tests.unit.service.running import running
from tests.unit.storage.builders import a_key, a_stream, complete


@pytest.fixture
def store() -> InMemoryAuditStore:
    return memory_store()


@pytest.fixture
def wakes() -> list[str]:
    return []


@pytest.fixture
def stub(store: InMemoryAuditStore, wakes: list[str]) -> Iterator[AuditServiceStub]:
    with (
        running(store, wake=lambda: wakes.append("wake")) as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        yield AuditServiceStub(channel)


def submit(stub: AuditServiceStub, request_id: str, *, model: str = "small") -> audit_pb2.Audit:
    message = request_to_wire(request_of(request_id, model=model))
    return stub.SubmitAudit(message, timeout=5).audit


def refusal(error: grpc.RpcError) -> tuple[grpc.StatusCode, str, list[str]]:
    """Return the code, the ErrorInfo's reason and the fields of the BadRequest."""
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None, error
    infos = [d for d in status.details if d.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1, "exactly one ErrorInfo"
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    infos[0].Unpack(info)
    assert info.domain == "inference-audit.dev"
    for detail in status.details:
        detail.Unpack(bad)
    return error.code(), info.reason, [violation.field for violation in bad.field_violations]


def test_a_submitted_audit_is_queued_and_wakes_the_worker(
    stub: AuditServiceStub, wakes: list[str]
) -> None:
    audit = submit(stub, "request-1")
    assert audit.state == audit_pb2.AUDIT_STATE_QUEUED
    assert audit.request_id == "request-1"
    assert audit.request_digest.startswith("sha256:")
    assert wakes == ["wake"]


def test_submitting_again_returns_the_same_audit_and_wakes_nobody(
    stub: AuditServiceStub, wakes: list[str]
) -> None:
    assert submit(stub, "request-1") == submit(stub, "request-1")
    assert wakes == ["wake"]


def test_the_same_request_id_with_another_claim_is_a_conflict(stub: AuditServiceStub) -> None:
    submit(stub, "request-1")
    with pytest.raises(grpc.RpcError) as caught:
        submit(stub, "request-1", model="another")
    assert refusal(caught.value) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_CONFLICT", [])


def test_an_unknown_audit_is_not_found(stub: AuditServiceStub) -> None:
    for call in (
        lambda: stub.GetAudit(pb.GetAuditRequest(audit_id="none"), timeout=5),
        lambda: list(stub.WatchAudit(pb.WatchAuditRequest(audit_id="none"), timeout=5)),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert refusal(caught.value) == (grpc.StatusCode.NOT_FOUND, "AUDIT_NOT_FOUND", [])


def test_every_violation_arrives_in_the_details(stub: AuditServiceStub) -> None:
    message = pb.SubmitAuditRequest(request_id="")
    message.exchange.sampling.temperature = float("nan")
    with pytest.raises(grpc.RpcError) as caught:
        stub.SubmitAudit(message, timeout=5)
    code, reason, fields = refusal(caught.value)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert fields == [
        "request_id",
        "exchange.prompt",
        "exchange.output",
        "exchange.sampling.temperature",
    ]


def test_a_thousand_violations_still_fit_the_answer(stub: AuditServiceStub) -> None:
    message = request_to_wire(request_of())
    for _ in range(1000):
        message.exchange.prompt.messages.messages.add(role="\n", content="")
    with pytest.raises(grpc.RpcError) as caught:
        stub.SubmitAudit(message, timeout=5)
    code, _, fields = refusal(caught.value)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert fields[0] == "exchange.prompt.messages.messages[0].role"
    assert fields[-1] == "request"


@pytest.mark.parametrize("raw", [b"\xff\xff", b"\x0a\x02\xff\xfe"], ids=["garbage", "not-utf8"])
def test_broken_bytes_are_an_invalid_argument(raw: bytes) -> None:
    with running(memory_store()) as service, grpc.insecure_channel(service.address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/inference_audit.v1.AuditService/SubmitAudit"
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(raw, timeout=5)
    assert refusal(caught.value) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        ["request"],
    )


def test_a_watch_sends_the_state_at_once_and_ends_with_the_verdict(
    stub: AuditServiceStub, store: InMemoryAuditStore
) -> None:
    audit_id = submit(stub, "request-1").audit_id
    states = []
    for answer in stub.WatchAudit(pb.WatchAuditRequest(audit_id=audit_id), timeout=5):
        states.append(answer.audit.state)
        if answer.audit.state == audit_pb2.AUDIT_STATE_QUEUED:
            job = store.claim()
        if answer.audit.state == audit_pb2.AUDIT_STATE_RUNNING:
            assert job is not None
            complete(store, job, sign(job, PASS))
    assert states == [
        audit_pb2.AUDIT_STATE_QUEUED,
        audit_pb2.AUDIT_STATE_RUNNING,
        audit_pb2.AUDIT_STATE_DONE,
    ]
    assert answer.audit.verdict.outcome == verdict_pb2.OUTCOME_PASS
    assert answer.audit.envelope == audit_id.encode()


def test_lists_are_paged_and_filtered(stub: AuditServiceStub) -> None:
    for number in range(5):
        submit(stub, f"request-{number}", model="even" if number % 2 == 0 else "odd")
    request = pb.ListAuditsRequest(page_size=2, filter=pb.AuditFilter(model="even"))
    first = stub.ListAudits(request, timeout=5)
    request.page_token = first.next_page_token
    second = stub.ListAudits(request, timeout=5)
    found = [audit.request_id for page in (first, second) for audit in page.audits]
    assert found == ["request-4", "request-2", "request-0"]
    assert not second.next_page_token


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListAuditsRequest(page_size=-1), "page_size"),
        (pb.ListAuditsRequest(page_token="mine"), "page_token"),  # noqa: S106
        (pb.ListAuditsRequest(filter=pb.AuditFilter(model="\n")), "filter.model"),
        (pb.ListAuditsRequest(filter=pb.AuditFilter(outcome=99)), "filter"),  # type: ignore[arg-type]
    ],
    ids=["negative-size", "foreign-token", "control-character", "unknown-outcome"],
)
def test_a_bad_list_request_names_its_field(
    stub: AuditServiceStub, request_: pb.ListAuditsRequest, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ListAudits(request_, timeout=5)
    assert refusal(caught.value) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        [field],
    )


def test_providers_are_paged_from_the_latest_update(
    stub: AuditServiceStub, store: InMemoryAuditStore
) -> None:
    for number, provider in enumerate(("a", "b", "c")):
        submit(stub, f"request-{number}")
        job = store.claim()
        assert job is not None
        complete(store, job, sign(job, PASS), a_stream(1, a_key(provider)))
    request = pb.ListProvidersRequest(page_size=2)
    first = stub.ListProviders(request, timeout=5)
    request.page_token = first.next_page_token
    second = stub.ListProviders(request, timeout=5)
    found = [provider.provider for page in (first, second) for provider in page.providers]
    assert found == ["c", "b", "a"]
    assert not second.next_page_token
    assert first.providers[0].finding.num_exchanges == 1


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListProvidersRequest(page_size=-1), "page_size"),
        (pb.ListProvidersRequest(page_token="mine"), "page_token"),  # noqa: S106
    ],
    ids=["negative-size", "foreign-token"],
)
def test_a_bad_request_for_providers_names_its_field(
    stub: AuditServiceStub, request_: pb.ListProvidersRequest, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ListProviders(request_, timeout=5)
    assert refusal(caught.value) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        [field],
    )


def test_corrupt_evidence_is_told_from_a_database_that_is_down() -> None:
    with (
        running(BrokenStore(CorruptState.of("sha256:0", "damaged"))) as service,
        grpc.insecure_channel(service.address) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        AuditServiceStub(channel).ListProviders(pb.ListProvidersRequest(), timeout=5)
    assert refusal(caught.value) == (
        grpc.StatusCode.DATA_LOSS,
        "PROVIDER_EVIDENCE_CORRUPT",
        [],
    )


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (StorageError("secret"), grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE"),
        (KeyError("secret"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
    ids=["database-down", "fault-of-ours"],
)
def test_a_failure_behind_the_service_tells_nothing_of_its_cause(
    error: Exception, code: grpc.StatusCode, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running(BrokenStore(error)) as service,
        grpc.insecure_channel(service.address) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        AuditServiceStub(channel).GetAudit(pb.GetAuditRequest(audit_id="a"), timeout=5)
    assert refusal(caught.value)[:2] == (code, reason)
    assert "secret" not in str(caught.value)
    assert "secret" not in caplog.text

"""The client against a real service."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2_grpc

from audit.client import AuditClient
from audit.codec.wire import AuditView
from audit.codec.wire_provider import ProviderView
from audit.errors import (
    AuditError,
    AuditNotFound,
    ConfigurationError,
    CorruptState,
    FieldViolation,
    InvalidRequest,
    RequestConflict,
    StorageError,
)
from audit.records import AuditFilter, AuditState, Outcome
from audit.service.server import ServerOptions
from audit.worker import Worker
from storage.memory import InMemoryAuditStore
from tests.unit.service.examples import (
    PASS,
    BrokenStore,
    PlainLedger,
    judged,
    memory_store,
    request_of,
    sign,
)
from tests.unit.service.running import RunningService, running
from tests.unit.storage.builders import a_key, a_stream, complete


@pytest.fixture
def store() -> InMemoryAuditStore:
    return memory_store()


@pytest.fixture
def service(store: InMemoryAuditStore) -> Iterator[RunningService]:
    with running(store) as service:
        yield service


@pytest.fixture
def client(service: RunningService) -> Iterator[AuditClient]:
    with AuditClient(service.address, timeout_s=5) as client:
        yield client


def test_submit_and_get_return_the_same_audit(client: AuditClient) -> None:
    audit = client.submit(request_of())
    assert audit == AuditView(
        audit_id="audit-1",
        request_id="request-1",
        request_digest=audit.request_digest,
        claim=request_of().claim,
        state=AuditState.QUEUED,
        submitted_at="2026-01-31T12:00:00.000000Z",
    )
    assert client.submit(request_of()) == client.get("audit-1") == audit


def test_watch_follows_an_audit_to_its_signed_verdict(store: InMemoryAuditStore) -> None:
    worker = Worker(store, judged, PlainLedger(store), accumulate=None, idle_wait_s=5)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        with (
            running(store, wake=worker.wake) as service,
            AuditClient(service.address, timeout_s=5) as client,
        ):
            *_, last = client.watch(client.submit(request_of()).audit_id)
    finally:
        worker.stop()
        thread.join(5)
    assert last.state is AuditState.DONE
    assert last.signed is not None
    assert last.signed.verdict == PASS
    assert last.signed.envelope == b"audit-1"
    assert last.finished_at is not None


def test_a_watch_can_be_left_early(client: AuditClient) -> None:
    audit = client.submit(request_of())
    watch = client.watch(audit.audit_id)
    assert next(watch) == audit
    del watch


def test_list_walks_through_all_pages(client: AuditClient, store: InMemoryAuditStore) -> None:
    for number in range(5):
        client.submit(request_of(f"request-{number}"))
    job = store.claim()
    assert job is not None
    complete(store, job, sign(job, PASS))
    found = [audit.request_id for audit in client.list(page_size=2)]
    assert found == [f"request-{number}" for number in (4, 3, 2, 1, 0)]
    passed = client.list(AuditFilter(outcome=Outcome.PASS, model="small"))
    assert [audit.request_id for audit in passed] == ["request-0"]


def test_list_providers_walks_through_all_pages(
    client: AuditClient, store: InMemoryAuditStore
) -> None:
    for number in range(5):
        client.submit(request_of(f"request-{number}"))
        job = store.claim()
        assert job is not None
        complete(store, job, sign(job, PASS), a_stream(1, a_key(f"provider-{number}")))
    found = list(client.list_providers(page_size=2))
    streams = [a_stream(1, a_key(f"provider-{number}")) for number in (4, 3, 2, 1, 0)]
    assert found == [
        ProviderView(key=stream.key, finding=stream.finding, version=1) for stream in streams
    ]


def test_corrupt_evidence_names_its_stream_and_the_remedy() -> None:
    error = CorruptState.of("sha256:" + "ab" * 32, "its finding is damaged")
    with (
        running(BrokenStore(error)) as service,
        AuditClient(service.address, timeout_s=5) as client,
        pytest.raises(CorruptState) as caught,
    ):
        list(client.list_providers())
    assert str(caught.value) == str(error)


def test_an_invalid_request_names_every_field_without_a_service() -> None:
    request = request_of("", output_ids=(-1,))
    with AuditClient("127.0.0.1:1") as client, pytest.raises(InvalidRequest) as caught:
        client.submit(request)
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["request_id", "exchange.output.token_ids.ids[0]"]


def test_the_violations_found_by_the_service_come_back(
    client: AuditClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.client.client.check_request", lambda request: None)
    with pytest.raises(InvalidRequest) as caught:
        client.submit(request_of(""))
    assert caught.value.violations == (
        FieldViolation(field="request_id", description="has 0 characters; give 1 to 128"),
    )


def test_a_conflict_and_an_unknown_audit_are_our_errors(client: AuditClient) -> None:
    client.submit(request_of())
    with pytest.raises(RequestConflict, match="request-1"):
        client.submit(request_of(model="another"))
    with pytest.raises(AuditNotFound, match="none"):
        client.get("none")
    with pytest.raises(AuditNotFound):
        next(client.watch("none"))


def test_ids_and_filters_are_checked_before_sending() -> None:
    with AuditClient("127.0.0.1:1") as client:
        attempts: list[Callable[[], object]] = [
            lambda: client.get("\ud800"),
            lambda: next(client.watch("")),
            lambda: next(client.list(AuditFilter(model="\ud800"))),
            lambda: next(client.list(page_size=-1)),
            lambda: next(client.list_providers(page_size=-1)),
        ]
        for attempt in attempts:
            with pytest.raises(InvalidRequest):
                attempt()


def test_an_oversize_exchange_is_refused_before_sending() -> None:
    request = request_of(text="x" * 2000)
    with (
        AuditClient("127.0.0.1:1", max_message_bytes=1000) as client,
        pytest.raises(InvalidRequest, match=r"exchange: has 20\d\d bytes, the limit is 1000"),
    ):
        client.submit(request)


def test_an_oversize_exchange_for_the_service_is_an_invalid_request(
    store: InMemoryAuditStore,
) -> None:
    small = ServerOptions(listen="127.0.0.1:0", max_message_bytes=1000)
    with (
        running(store, options=small) as service,
        AuditClient(service.address, timeout_s=5) as client,
    ):
        with pytest.raises(InvalidRequest, match="too large for the service"):
            client.submit(request_of(text="x" * 2000))
        assert client.submit(request_of()).audit_id == "audit-1"


def test_an_unreachable_service_says_how_to_start_it() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with AuditClient(address, timeout_s=5) as client:
            with pytest.raises(ConfigurationError, match="inference-audit serve"):
                client.get("audit-1")
            with pytest.raises(ConfigurationError, match="inference-audit serve"):
                next(client.watch("audit-1"))


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (StorageError("disk full"), StorageError, "database is not available"),
        (KeyError("x"), AuditError, "incident incident-1"),
    ],
    ids=["database-down", "fault-of-the-service"],
)
def test_failures_of_the_service_are_our_errors(
    error: Exception, expected: type[AuditError], text: str
) -> None:
    with (
        running(BrokenStore(error)) as service,
        AuditClient(service.address, timeout_s=5) as client,
        pytest.raises(expected, match=text) as caught,
    ):
        client.get("audit-1")
    assert type(caught.value) is expected


def test_a_slow_service_is_told_from_a_missing_one(store: InMemoryAuditStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            AuditClient(address, timeout_s=0.2) as client,
            pytest.raises(StorageError, match="did not answer in time"),
        ):
            client.get("audit-1")


def test_another_grpc_service_is_told_from_ours() -> None:
    with ThreadPoolExecutor(1) as executor:
        other = grpc.server(executor)
        health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), other)
        address = f"127.0.0.1:{other.add_insecure_port('127.0.0.1:0')}"
        other.start()
        with (
            AuditClient(address, timeout_s=5) as client,
            pytest.raises(ConfigurationError, match="no audit service of this version"),
        ):
            client.get("audit-1")
        other.stop(None).wait()

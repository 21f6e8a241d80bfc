"""The server around the RPCs: addresses, size limit, health, reflection, shutdown."""

import asyncio
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from inference_audit.v1 import audit_service_pb2 as pb
from inference_audit.v1.audit_service_pb2_grpc import AuditServiceStub

from audit.codec.limits import MAX_MESSAGE_BYTES
from audit.codec.wire import request_to_wire
from audit.errors import ConfigurationError
from audit.service.server import (
    SERVICE_NAME,
    AuditServer,
    ServerOptions,
    check_listen_address,
)
from tests.unit.service.examples import memory_store, request_of
from tests.unit.service.running import running


def test_an_oversize_message_is_refused_and_the_service_stays_up() -> None:
    message = request_to_wire(request_of(text="x" * MAX_MESSAGE_BYTES))
    with running(memory_store()) as service, grpc.insecure_channel(service.address) as channel:
        stub = AuditServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.SubmitAudit(message, timeout=5)
        assert isinstance(caught.value, grpc.Call)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stub.SubmitAudit(request_to_wire(request_of()), timeout=5).audit.audit_id


@pytest.mark.parametrize("name", ["", SERVICE_NAME], ids=["server", "audit-service"])
def test_health_is_serving(name: str) -> None:
    with running(memory_store()) as service, grpc.insecure_channel(service.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_the_audit_service(version: str) -> None:
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    with running(memory_store()) as service, grpc.insecure_channel(service.address) as channel:
        reflect = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        (answer,) = reflect(iter([question]), timeout=5)
    assert SERVICE_NAME in [found.name for found in answer.list_services_response.service]


def test_stopping_ends_a_watch_with_unavailable() -> None:
    store = memory_store()
    with running(store) as service, grpc.insecure_channel(service.address) as channel:
        stub = AuditServiceStub(channel)
        audit = stub.SubmitAudit(request_to_wire(request_of()), timeout=5).audit
        answers = stub.WatchAudit(pb.WatchAuditRequest(audit_id=audit.audit_id), timeout=5)
        next(answers)
        stopper = threading.Thread(target=service.stop)
        stopper.start()
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        stopper.join()
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "shutting down" in str(caught.value.details())


def test_a_watcher_that_leaves_holds_up_nothing() -> None:
    store = memory_store()
    with running(store) as service, grpc.insecure_channel(service.address) as channel:
        stub = AuditServiceStub(channel)
        audit = stub.SubmitAudit(request_to_wire(request_of()), timeout=5).audit
        for _ in range(20):
            answers = stub.WatchAudit(pb.WatchAuditRequest(audit_id=audit.audit_id), timeout=5)
            next(answers)
            answers.cancel()
        assert stub.GetAudit(pb.GetAuditRequest(audit_id=audit.audit_id), timeout=5).audit == audit


def test_a_taken_port_is_a_configuration_error() -> None:
    async def second(address: str) -> None:
        options = ServerOptions(listen=address)
        await AuditServer(
            store=memory_store(), wake=lambda: None, new_id=lambda: "", options=options
        ).start()

    with (
        running(memory_store()) as service,
        pytest.raises(ConfigurationError, match="cannot listen"),
    ):
        asyncio.run(second(service.address))


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "localhost:0", "[::1]:50051"])
def test_loopback_addresses_need_no_permission(address: str) -> None:
    check_listen_address(address, allow_insecure=False)


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:50051", "audit.example:50051"])
def test_other_addresses_need_permission(address: str) -> None:
    with pytest.raises(ConfigurationError, match="not encrypted"):
        check_listen_address(address, allow_insecure=False)
    check_listen_address(address, allow_insecure=True)


@pytest.mark.parametrize("address", ["", "50051", "127.0.0.1", "127.0.0.1:http"])
def test_an_address_without_host_or_port_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="host:port"):
        check_listen_address(address, allow_insecure=True)

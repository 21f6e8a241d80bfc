"""The gRPC server: our services with health and reflection on one port.

Stands around the servicers: addresses, limits, start and stop. It knows neither the store's kind
nor the worker, nor where log and reports come from; `audit.app` hands all of them over.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from inference_audit.v1 import audit_service_pb2
from inference_audit.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from inference_audit.v1.billing_service_pb2_grpc import add_BillingServiceServicer_to_server
from inference_audit.v1.log_service_pb2_grpc import add_LogServiceServicer_to_server
from inference_audit.v1.report_service_pb2_grpc import add_ReportServiceServicer_to_server
from inference_audit.v1.sweep_service_pb2_grpc import add_SweepServiceServicer_to_server

from audit.codec.limits import MAX_MESSAGE_BYTES
from audit.errors import ConfigurationError
from audit.log_records import DEFAULT_TENANT
from audit.ports import AuditStore, NewId
from audit.service import billing_servicer, log_servicer, report_servicer, sweep_servicer
from audit.service.billing_desk import BillingDesk
from audit.service.billing_servicer import BillingServicer
from audit.service.errors import ErrorBoundary
from audit.service.log_servicer import LogApi, LogServicer
from audit.service.reflection import add_reflection
from audit.service.report_servicer import MAX_EXPORTS, ReportApi, ReportServicer
from audit.service.servicer import AuditServicer
from audit.service.sweep_desk import SweepDesk
from audit.service.sweep_servicer import SweepServicer

SERVICE_NAME = audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Where the server listens and what it bears; port 0 takes a free one."""

    listen: str = "127.0.0.1:50051"
    allow_insecure: bool = False
    """Listen beyond loopback, where anyone on the way can read prompts and change verdicts."""
    tenant: str = DEFAULT_TENANT
    """Whose billed requests these are."""
    max_message_bytes: int = MAX_MESSAGE_BYTES
    num_threads: int = 4
    watch_interval_s: float = 0.2
    grace_s: float = 5.0


class AuditServer:
    """Serves audits, and log, reports, billing and sweeps where there are any, until stopped.

    Use it from one event loop.
    """

    def __init__(
        self,
        *,
        store: AuditStore,
        wake: Callable[[], None],
        new_id: NewId,
        options: ServerOptions,
        log: LogApi | None = None,
        reports: ReportApi | None = None,
        billing: BillingDesk | None = None,
        sweeps: SweepDesk | None = None,
    ) -> None:
        check_listen_address(options.listen, allow_insecure=options.allow_insecure)
        self._options = options
        self._executor = ThreadPoolExecutor(options.num_threads, thread_name_prefix="audit-rpc")
        # Apart from the others: a report takes minutes, and audits must not wait for it.
        self._report_executor = ThreadPoolExecutor(MAX_EXPORTS, thread_name_prefix="audit-report")
        self._audits = AuditServicer(
            store=store,
            wake=wake,
            executor=self._executor,
            watch_interval_s=options.watch_interval_s,
        )
        names = [SERVICE_NAME]
        self._log: LogServicer | None = None
        if log is not None:
            names.append(log_servicer.SERVICE_NAME)
            self._log = LogServicer(
                log, executor=self._executor, watch_interval_s=options.watch_interval_s
            )
        self._reports: ReportServicer | None = None
        if reports is not None:
            names.append(report_servicer.SERVICE_NAME)
            self._reports = ReportServicer(reports, executor=self._report_executor)
        self._billing: BillingServicer | None = None
        if billing is not None:
            names.append(billing_servicer.SERVICE_NAME)
            self._billing = BillingServicer(
                billing,
                tenant=options.tenant,
                executor=self._executor,
                watch_interval_s=options.watch_interval_s,
            )
        self._sweeps: SweepServicer | None = None
        if sweeps is not None:
            names.append(sweep_servicer.SERVICE_NAME)
            self._sweeps = SweepServicer(
                sweeps,
                tenant=options.tenant,
                executor=self._executor,
                watch_interval_s=options.watch_interval_s,
            )
        self._service_names = tuple(names)
        self._health = health.aio.HealthServicer()
        self._boundary = ErrorBoundary(*self._service_names, new_id=new_id)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Start to serve and return the port. Raises: ConfigurationError if it cannot listen."""
        server = grpc.aio.server(
            interceptors=[self._boundary], options=_channel_options(self._options)
        )
        add_AuditServiceServicer_to_server(self._audits, server)
        if self._log is not None:
            add_LogServiceServicer_to_server(self._log, server)
        if self._reports is not None:
            add_ReportServiceServicer_to_server(self._reports, server)
        if self._billing is not None:
            add_BillingServiceServicer_to_server(self._billing, server)
        if self._sweeps is not None:
            add_SweepServiceServicer_to_server(self._sweeps, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        add_reflection(server, *self._service_names, health.SERVICE_NAME)
        try:
            port = server.add_insecure_port(self._options.listen)
        except RuntimeError:
            await server.stop(None)
            raise ConfigurationError(
                f"cannot listen on {self._options.listen}: is the port taken by another service?"
            ) from None
        await server.start()
        self._server = server
        for name in ("", *self._service_names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return port

    async def wait(self) -> None:
        """Return once the server has stopped."""
        if self._server is not None:
            await self._server.wait_for_termination()

    async def stop(self) -> None:
        """Turn health to NOT_SERVING, let RPCs end within the grace time, then stop."""
        await self._health.enter_graceful_shutdown()
        self._audits.stop_watching()
        if self._log is not None:
            self._log.stop_watching()
        if self._billing is not None:
            self._billing.stop_watching()
        if self._sweeps is not None:
            self._sweeps.stop_watching()
        if self._server is not None:
            await self._server.stop(self._options.grace_s)
        for executor in (self._executor, self._report_executor):
            await asyncio.to_thread(executor.shutdown)


def check_listen_address(address: str, *, allow_insecure: bool) -> None:
    """Pass `host:port` where plaintext is safe or allowed. Raises: ConfigurationError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigurationError(
            f"{address!r} is no address to listen on; give host:port, such as 127.0.0.1:50051"
        )
    if not allow_insecure and not _is_loopback(host.strip("[]")):
        raise ConfigurationError(
            f"{address} is reachable from other machines and the connection is not encrypted; "
            "listen on 127.0.0.1 behind a proxy that speaks TLS, or allow insecure listening"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _channel_options(options: ServerOptions) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_metadata_size", 16 * 1024),
        # Two services on one port would share its requests at random; refuse the second instead.
        ("grpc.so_reuseport", 0),
        # Finds dead watchers behind firewalls within 80 s, and lets clients ping as often.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    ]

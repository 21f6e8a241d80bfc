"""Runs the service: store, log, worker and server, started in this order and stopped in reverse."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from audit.app.base import new_id
from audit.app.billing import BillingTools, build_billing, build_desk
from audit.app.log import OpenLog, open_log, running_log
from audit.app.replay import build_accumulator, build_examiner
from audit.app.reports import build_report_maker
from audit.config import ReplaySettings, ServiceSettings
from audit.errors import AuditError, CorruptState, LogForked
from audit.service.server import AuditServer, ServerOptions
from audit.worker import Worker

if TYPE_CHECKING:
    # needs the extra [sweeps], which services without sweeps do without
    from audit.app.sweep_kit import KitBuilder

#: How long an idle worker sleeps between looks at the queue; a submission wakes it at once.
IDLE_WAIT_S = 1.0


@asynccontextmanager
async def running_service(
    replay: ReplaySettings, service: ServiceSettings, stop: asyncio.Event
) -> AsyncIterator[int]:
    """Start store, worker and server, yield the port; on leaving, stop them in the opposite order.

    Audits that a killed process left unfinished are queued again before the server accepts new
    ones. `stop` is set where the worker, or the log, cannot go on; why is raised on leaving.
    Raises: ConfigurationError, CalibrationError, StorageError, LogForked.
    """
    examiner, tools = build_examiner(replay), build_billing(service.billing)
    loop, forks = asyncio.get_running_loop(), list[LogForked]()

    def on_fork(error: LogForked) -> None:
        forks.append(error)
        loop.call_soon_threadsafe(stop.set)

    builder = _sweeps(replay, service)
    with open_log(service) as opened, running_log(opened, replay, on_fork=on_fork) as log:
        log.store.requeue_unfinished()
        worker = Worker(
            log.store,
            examiner,
            log.recorder,
            accumulate=build_accumulator(replay),
            idle_wait_s=IDLE_WAIT_S,
        )
        server = _build_server(log, worker, service, tools, builder)
        port = await server.start()
        async with _working(worker, stop), _scheduling(log, builder):
            try:
                yield port
            finally:
                await server.stop()
    for fork in forks:
        raise fork


def _sweeps(replay: ReplaySettings, service: ServiceSettings) -> "KitBuilder | None":
    if service.sweeps is None:
        return None
    from audit.app.sweeps import open_sweeps

    return open_sweeps(replay, service.sweeps)


@asynccontextmanager
async def _scheduling(log: OpenLog, builder: "KitBuilder | None") -> AsyncIterator[None]:
    """Run due sweeps in a thread of their own, where this service is to."""
    if builder is None or not builder.settings.schedulers:
        yield
        return
    from audit.app.sweeps import Scheduling

    scheduling = Scheduling(log, builder)
    scheduling.start()
    try:
        yield
    finally:
        await asyncio.to_thread(scheduling.stop)


def _build_server(
    log: OpenLog,
    worker: Worker,
    service: ServiceSettings,
    tools: BillingTools,
    builder: "KitBuilder | None",
) -> AuditServer:
    sweeps = None
    if builder is not None:
        from audit.app.sweeps import build_sweep_desk

        sweeps = build_sweep_desk(log, builder)
    return AuditServer(
        store=log.store,
        wake=worker.wake,
        new_id=new_id,
        options=ServerOptions(
            listen=service.listen,
            allow_insecure=service.allow_insecure,
            tenant=service.log.tenant,
        ),
        log=log.reader,
        reports=build_report_maker(log),
        billing=build_desk(log, tools),
        sweeps=sweeps,
    )


@asynccontextmanager
async def _working(worker: Worker, stop: asyncio.Event) -> AsyncIterator[None]:
    """Run the worker in a thread; where it cannot go on, set `stop` and raise why on leaving."""
    loop, failures = asyncio.get_running_loop(), list[AuditError]()

    def work() -> None:
        try:
            worker.run()
        except (CorruptState, LogForked) as error:
            failures.append(error)
            loop.call_soon_threadsafe(stop.set)

    thread = threading.Thread(target=work, name="audit-worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        await asyncio.to_thread(thread.join)
    for failure in failures:
        raise failure


@contextmanager
def background_service(replay: ReplaySettings, service: ServiceSettings) -> Iterator[int]:
    """Run the service on its own event loop in another thread; yields the port.

    Raises: as `running_service`, and on leaving CorruptState where its worker could not go on.
    """
    started: Future[int] = Future()
    failures: list[AuditError] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        async with running_service(replay, service, stop) as port:
            started.set_result(port)
            await stop.wait()

    def work() -> None:
        try:
            loop.run_until_complete(run())
        except AuditError as error:
            if started.done():
                failures.append(error)
            else:
                started.set_exception(error)
        finally:
            loop.close()

    thread = threading.Thread(target=work, name="audit-service")
    thread.start()
    try:
        yield started.result()
    finally:
        # A service that ended by itself has closed its loop.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)
        thread.join()
    for failure in failures:
        raise failure


async def serve_until_signal(
    replay: ReplaySettings, service: ServiceSettings, announce: Callable[[int], None]
) -> None:
    """Run the service until SIGINT or SIGTERM; `announce` gets the port once it accepts audits.

    Raises: as `running_service`, CorruptState where the worker could not go on.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running_service(replay, service, stop) as port:
        announce(port)
        await stop.wait()

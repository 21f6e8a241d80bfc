"""A real service on a free port of this machine, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from audit.ports import AuditStore
from audit.service.log_servicer import LogApi
from audit.service.report_servicer import ReportApi
from audit.service.server import AuditServer, ServerOptions

OPTIONS = ServerOptions(listen="127.0.0.1:0", watch_interval_s=0.01, grace_s=0.5)


class RunningService:
    """The thread that the service runs in; `address` is known once it has started."""

    def __init__(
        self,
        store: AuditStore,
        wake: Callable[[], None],
        options: ServerOptions,
        log: LogApi | None,
        reports: ReportApi | None,
    ) -> None:
        self.address = ""
        self._store, self._wake, self._options = store, wake, options
        self._log, self._reports = log, reports
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10), "the service did not start"

    def stop(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the service did not stop"

    async def _serve(self) -> None:
        self._loop, self._finish = asyncio.get_running_loop(), asyncio.Event()
        server = AuditServer(
            store=self._store,
            wake=self._wake,
            new_id=lambda: "incident-1",
            options=self._options,
            log=self._log,
            reports=self._reports,
        )
        self.address = f"127.0.0.1:{await server.start()}"
        self._started.set()
        await self._finish.wait()
        await server.stop()


@contextmanager
def running(
    store: AuditStore,
    *,
    wake: Callable[[], None] = lambda: None,
    options: ServerOptions = OPTIONS,
    log: LogApi | None = None,
    reports: ReportApi | None = None,
) -> Iterator[RunningService]:
    service = RunningService(store, wake, options, log, reports)
    service.start()
    try:
        yield service
    finally:
        service.stop()

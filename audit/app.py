"""The composition root: the only module that names concrete adapters."""

import asyncio
import signal
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from audit.config import ReplaySettings, ServiceSettings
from audit.errors import AuditError, ConfigurationError
from audit.examine import Examiner, Replayer
from audit.judge.calibration import Calibration, load_calibration
from audit.judge.verdict import DivergenceJudge
from audit.ledger.envelope import DsseSigner
from audit.ledger.keys import load_or_create_key
from audit.library import LocalLibrary
from audit.ports import Reference
from audit.service.server import AuditServer, ServerOptions
from audit.worker import Worker
from reference_runner.errors import RunnerError
from reference_runner.precision import normal_precision
from reference_runner.samplers.registry import self_test
from storage.store import open_store

VERSION = version("inference-audit")

#: How long an idle worker sleeps between looks at the queue; a submission wakes it at once.
IDLE_WAIT_S = 1.0


def utc_now() -> str:
    """Return the current time, RFC 3339 in UTC with microseconds and `Z`."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def new_id() -> str:
    """Return a fresh random id."""
    return str(uuid.uuid4())


def build_library(settings: ReplaySettings) -> LocalLibrary:
    """Return the reference models, once samplers and checkpoints have proved sound.

    Raises: ConfigurationError where a checkpoint cannot be loaded or a sampler draws other noise
    here.
    """
    from reference_runner.replay import load_reference

    def load(folder: Path, precision: str) -> Reference:
        return load_reference(folder, precision, num_threads=settings.num_threads)

    try:
        precision = settings.precision and normal_precision(settings.precision)
        library = LocalLibrary(settings.models, load, precision=precision)
        self_test()
        library.check()
    except RunnerError as error:
        raise ConfigurationError(str(error)) from error
    return library


def build_replayer(settings: ReplaySettings) -> Replayer:
    """Return the way from request to evidence. Raises: ConfigurationError."""
    return Replayer(library=build_library(settings), profile=settings.profile)


def build_examiner(settings: ReplaySettings) -> Examiner:
    """Return the way from request to verdict. Raises: ConfigurationError, CalibrationError."""
    calibration: Calibration | None = None
    if settings.calibration is not None:
        calibration = load_calibration(settings.calibration)
    return Examiner(
        replay=build_replayer(settings), judge=DivergenceJudge(calibration, version=VERSION)
    )


@asynccontextmanager
async def running_service(replay: ReplaySettings, service: ServiceSettings) -> AsyncIterator[int]:
    """Start store, worker and server, yield the port; on leaving, stop them in the opposite order.

    Audits that a killed process left unfinished are queued again before the server accepts new
    ones.
    Raises: ConfigurationError, CalibrationError, StorageError.
    """
    key = load_or_create_key(service.key_path)
    examiner = build_examiner(replay)
    store = open_store(service.database, clock=utc_now, new_id=new_id)
    try:
        store.requeue_unfinished()
        worker = Worker(
            store,
            lambda request: examiner(request).verdict,
            DsseSigner(key, utc_now, VERSION),
            idle_wait_s=IDLE_WAIT_S,
        )
        server = AuditServer(
            store=store,
            wake=worker.wake,
            new_id=new_id,
            options=ServerOptions(listen=service.listen, allow_insecure=service.allow_insecure),
        )
        thread = threading.Thread(target=worker.run, name="audit-worker", daemon=True)
        port = await server.start()
        thread.start()
        try:
            yield port
        finally:
            await server.stop()
            worker.stop()
            await asyncio.to_thread(thread.join)
    finally:
        store.close()


@contextmanager
def background_service(replay: ReplaySettings, service: ServiceSettings) -> Iterator[int]:
    """Run the service on its own event loop in another thread; yields the port."""
    started: Future[int] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        async with running_service(replay, service) as port:
            started.set_result(port)
            await stop.wait()

    def work() -> None:
        try:
            loop.run_until_complete(run())
        except AuditError as error:
            if started.done():
                raise
            started.set_exception(error)
        finally:
            loop.close()

    thread = threading.Thread(target=work, name="audit-service")
    thread.start()
    try:
        yield started.result()
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join()


async def serve_until_signal(
    replay: ReplaySettings, service: ServiceSettings, announce: Callable[[int], None]
) -> None:
    """Run the service until SIGINT or SIGTERM; `announce` gets the port once it accepts audits."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running_service(replay, service) as port:
        announce(port)
        await stop.wait()

"""The composition root: the only module that names concrete adapters."""

import asyncio
import signal
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from audit.cases import failed_case
from audit.config import ReplaySettings, ServiceSettings
from audit.diagnose import Diagnoser, build_diagnoser
from audit.errors import AuditError, ConfigurationError, CorruptState
from audit.examine import Examiner, Explain, Replayer
from audit.findings import Explanation
from audit.honest import HonestTraffic, numeric_variants
from audit.judge.accumulate import StreamAccumulator
from audit.judge.calibration import Calibration
from audit.judge.calibration_file import load_calibration
from audit.judge.policy import Policy, load_policy
from audit.judge.power import load_power, power_path
from audit.judge.verdict import ConditionalJudge, evidence_laws
from audit.ledger.envelope import DsseSigner
from audit.ledger.keys import load_or_create_key
from audit.library import LocalLibrary
from audit.ports import Reference
from audit.records import AuditRequest, Claim, Examination, Measurement
from audit.service.server import AuditServer, ServerOptions
from audit.worker import Worker
from reference_runner.errors import RunnerError
from reference_runner.precision import normal_precision
from reference_runner.records import GenerationRequest
from reference_runner.samplers.registry import self_test
from storage.store import open_store

if TYPE_CHECKING:
    # importing it loads torch, which most commands do without
    from reference_runner.replay import TorchReference

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
    policy, calibration = load_policy(settings.policy), _calibration(settings)
    power = None
    if calibration is not None and settings.calibration is not None:
        beside = power_path(settings.calibration)
        power = load_power(beside, calibration.calibration_id) if beside.exists() else None
    replay = build_replayer(settings)
    wants_causes = settings.diagnose and policy.diagnosis.is_enabled and calibration is not None
    return Examiner(
        replay=replay,
        judge=ConditionalJudge(calibration, policy, version=VERSION, power=power),
        tolerated_precisions=policy.tolerated_precisions,
        explain=_explainer(settings, replay) if wants_causes else None,
    )


def build_pooled_diagnoser(settings: ReplaySettings, system_prompts: Sequence[str]) -> Diagnoser:
    """Return what explains several FAILs together. Raises: ConfigurationError, CalibrationError."""
    policy, calibration = load_policy(settings.policy), _calibration(settings)
    if calibration is None:
        raise ConfigurationError("a diagnosis needs --calibration: what would honest tokens be?")
    return build_diagnoser(
        calibration,
        policy,
        evidence_laws(calibration, policy),
        siblings=_open_siblings(settings),
        system_prompts=system_prompts,
    )


def _explainer(settings: ReplaySettings, replay: Replayer) -> Explain:
    diagnose = build_pooled_diagnoser(settings, ())

    def explain(request: AuditRequest, examination: Examination) -> tuple[Explanation, ...]:
        case = failed_case(request, examination, replay.library, replay.profile)
        return () if case is None else diagnose([case])

    return explain


def _open_siblings(settings: ReplaySettings) -> dict[str, Reference]:
    found: dict[str, Reference] = {}
    for source in settings.siblings:
        if source.name is None or source.name in found:
            raise ConfigurationError(
                f"--sibling {source.folder} needs a name of its own; write it as NAME=DIR"
            )
        library = build_library(replace(settings, models=(source,)))
        found[source.name] = library.open(Claim(model=source.name))
    return found


def build_accumulator(settings: ReplaySettings) -> StreamAccumulator:
    """Return what adds exchanges to a provider's evidence. Raises: ConfigurationError."""
    return StreamAccumulator(load_policy(settings.policy))


def _calibration(settings: ReplaySettings) -> Calibration | None:
    return None if settings.calibration is None else load_calibration(settings.calibration)


def build_honest_traffic(
    settings: ReplaySettings,
    replay: Replayer,
    policy: Policy,
    *,
    profile_id: str,
    num_tokens: int,
    prompts: Sequence[str],
) -> Iterator[tuple[str, Measurement]]:
    """Yield honest exchanges that the reference itself makes, each with its variant's name.

    Raises: ConfigurationError, CannotJudge where the checkpoint cannot be loaded.
    """
    from reference_runner.generate import generate
    from reference_runner.replay import load_reference

    def open_variant(precision: str, attention: str) -> Reference:
        return load_reference(
            settings.models[0].folder,
            precision,
            num_threads=settings.num_threads,
            attention=attention,
        )

    def answer(
        reference: Reference, requests: Sequence[GenerationRequest], batch_size: int
    ) -> list[tuple[int, ...]]:
        return generate(cast("TorchReference", reference), requests, batch_size=batch_size)

    reference = replay.library.open(Claim())
    traffic = HonestTraffic(
        open_variant=open_variant,
        generate=answer,
        profile_id=profile_id,
        num_tokens=num_tokens,
    )
    for variant in numeric_variants(reference.info.precision, policy.tolerated_precisions):
        for measured in traffic.measure(reference, variant, prompts):
            yield variant.name, measured


@asynccontextmanager
async def running_service(
    replay: ReplaySettings, service: ServiceSettings, stop: asyncio.Event
) -> AsyncIterator[int]:
    """Start store, worker and server, yield the port; on leaving, stop them in the opposite order.

    Audits that a killed process left unfinished are queued again before the server accepts new
    ones. `stop` is set where the worker cannot go on; why is raised on leaving.
    Raises: ConfigurationError, CalibrationError, StorageError.
    """
    key = load_or_create_key(service.key_path)
    examiner = build_examiner(replay)
    store = open_store(service.database, clock=utc_now, new_id=new_id)
    try:
        store.requeue_unfinished()
        worker = Worker(
            store,
            examiner,
            DsseSigner(key, utc_now, VERSION),
            accumulate=build_accumulator(replay),
            idle_wait_s=IDLE_WAIT_S,
        )
        server = AuditServer(
            store=store,
            wake=worker.wake,
            new_id=new_id,
            options=ServerOptions(listen=service.listen, allow_insecure=service.allow_insecure),
        )
        port = await server.start()
        async with _working(worker, stop):
            try:
                yield port
            finally:
                await server.stop()
    finally:
        store.close()


@asynccontextmanager
async def _working(worker: Worker, stop: asyncio.Event) -> AsyncIterator[None]:
    """Run the worker in a thread; where it cannot go on, set `stop` and raise why on leaving."""
    loop, failures = asyncio.get_running_loop(), list[AuditError]()

    def work() -> None:
        try:
            worker.run()
        except CorruptState as error:
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

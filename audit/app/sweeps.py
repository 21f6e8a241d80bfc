"""Runs sweeps: schedulers beside the service, and single runs without one."""

import os
import random
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from audit.app.base import VERSION, new_id, utc_now
from audit.app.log import OpenLog, require_database
from audit.app.replay import build_library
from audit.app.sweep_access import check_access
from audit.app.sweep_kit import KitBuilder, open_builder
from audit.codec.sweep_json import result_from_json
from audit.config import ReplaySettings, SweepSettings, environment
from audit.errors import AuditError, ConfigurationError, EntryNotFound, InvalidRequest
from audit.library import LocalLibrary
from audit.log_records import EntryKind, Receipt
from audit.sweep_desk import WatchDesk
from audit.sweep_ports import SweepStore
from audit.sweep_records import (
    Budget,
    Endpoint,
    Sweep,
    SweepResult,
    SweepSpec,
    SweepState,
)
from audit.sweeps.pages.page import render_sweep, write_page
from audit.sweeps.plan_file import StoredPlan, plan_from_json
from audit.sweeps.policy import load_sweep_policy
from audit.sweeps.provider.client import ClientSettings, ProviderClient
from audit.sweeps.provider.recording import Recording, read_recording, write_recording
from audit.sweeps.provider.secrets import Keyring
from audit.sweeps.record import history_of, read_run, recording_of
from audit.sweeps.run import RunTools, SweepRunner
from audit.sweeps.schedule.cron import check_schedule
from audit.sweeps.schedule.lease import held
from audit.sweeps.schedule.scheduler import Scheduler, SchedulerSettings
from audit.sweeps.schedule.slots import manual_slot
from audit.sweeps.score import by_endpoint
from storage.memory_sweeps import InMemorySweepStore
from storage.store import open_store

#: A run without a service belongs to nobody else.
_LOCAL_TENANT = "local"
_LOCAL_LEASE_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRun:
    """A run without a service: what it concluded, and what anybody needs to score it again."""

    result: SweepResult
    plan: StoredPlan
    recording: Recording


def build_sweep_desk(log: OpenLog, builder: KitBuilder) -> WatchDesk:
    """Return the desk of a running log."""
    return WatchDesk(
        store=log.store.sweeps,
        check=checker(builder, is_clients=True),
        find_entry=log.reader.find,
        clock=utc_now,
        new_id=new_id,
    )


def checker(builder: KitBuilder, *, is_clients: bool) -> Callable[[SweepSpec], None]:
    """Return what refuses a sweep that could never run here, before it is kept.

    A client's sweep may only use the keys and hosts that this service gives to clients: it names
    both, and could have any secret sent to a host of its own.
    """

    def check(spec: SweepSpec) -> None:
        if is_clients:
            check_access(spec, builder.settings)
        if spec.schedule is not None:
            check_schedule(spec.schedule)
        try:
            builder.build(spec)
        except InvalidRequest:
            raise
        except AuditError as error:
            raise InvalidRequest.of("spec", f"cannot be run by this service: {error}") from error

    return check


class Scheduling:
    """Runs due sweeps in the background; a run that is going on is left half-way at the end.

    Whoever claims it next goes on with it.
    """

    def __init__(self, log: OpenLog, builder: KitBuilder) -> None:
        self._stop = threading.Event()
        recorder = log.recorder
        runner = SweepRunner(
            tools=_run_tools(
                log.store.sweeps,
                builder,
                log_commitment=lambda run_id, commitment, tenant: recorder.log_commitment(
                    run_id, commitment, tenant=tenant
                ),
                log_result=recorder.log_sweep_result,
                is_logged=lambda run_id: _is_logged(log, run_id),
            ),
            stopping=self._stop,
        )
        scheduler = Scheduler(
            log.store.sweeps,
            owner=f"{socket.gethostname()}:{os.getpid()}:{new_id()}",
            clock=utc_now,
            monotonic=monotonic,
            run=runner.run,
            give_up=runner.give_up,
            settings=SchedulerSettings(
                lease_s=builder.settings.lease_s, renew_s=builder.settings.lease_s / 3
            ),
        )
        self._thread = threading.Thread(
            target=scheduler.work, args=(self._stop,), name="sweeps", daemon=True
        )

    def start(self) -> None:
        """Look for due sweeps from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the run that is going on, and return once it is left."""
        self._stop.set()
        self._thread.join()


def open_sweeps(
    replay: ReplaySettings, settings: SweepSettings, library: LocalLibrary | None = None
) -> KitBuilder:
    """Return what sweeps are built from. Raises: ConfigurationError, CalibrationError."""
    _require_extra()
    return open_builder(library or build_library(replay), replay, settings)


def run_once(builder: KitBuilder, spec: SweepSpec) -> LocalRun:
    """Run a sweep now, without service, schedule or log; its budget and keys are the spec's.

    Raises: InvalidRequest, ConfigurationError, CalibrationError.
    """
    return next(run_series(builder, spec))


def run_series(builder: KitBuilder, spec: SweepSpec) -> Iterator[LocalRun]:
    """Yield run after run of a sweep, each told from those before. Raises: as `run_once`."""
    checker(builder, is_clients=False)(spec)
    store = InMemorySweepStore()
    sweep = Sweep(
        sweep_id=f"sweep-{new_id()}",
        tenant=_LOCAL_TENANT,
        spec=replace(spec, schedule=None),
        state=SweepState.ACTIVE,
        created_at=utc_now(),
    )
    store.create(sweep)
    runner = SweepRunner(
        tools=_run_tools(
            store,
            builder,
            log_commitment=_not_logged,
            log_result=_not_logged,
            is_logged=lambda run_id: False,
        )
    )
    while True:
        yield _run_next(store, sweep, runner)


def _run_next(store: InMemorySweepStore, sweep: Sweep, runner: SweepRunner) -> LocalRun:
    store.add_slots(sweep.sweep_id, [manual_slot(sweep, utc_now())])
    claimed = store.claim_slot(utc_now(), owner="local", lease_s=_LOCAL_LEASE_S)
    if claimed is None:
        raise ConfigurationError("the clock was set back while the sweep started; try again")
    slot = claimed.slot
    with held(
        store,
        slot,
        lease_s=_LOCAL_LEASE_S,
        renew_s=_LOCAL_LEASE_S / 3,
        clock=utc_now,
        monotonic=monotonic,
    ) as lease:
        end = runner.run(claimed, lease)
    store.finish(slot, state=end.state, result_json=end.result_json, log_index=None, now=utc_now())
    if end.result_json is None:
        raise ConfigurationError("the run ended without a result")
    result = result_from_json(end.result_json)
    text = store.read_plan(slot.run_id)
    if text is None:
        raise ConfigurationError(result.statement)
    return LocalRun(
        result=result,
        plan=plan_from_json(text),
        recording=export_recording(store, slot.run_id),
    )


def write_report(runs: Sequence[LocalRun], builder: KitBuilder, title: str, folder: Path) -> Path:
    """Write a page about a sweep's runs, with plots; return its path.

    Raises: ConfigurationError.
    """
    page = render_sweep(
        [run.result for run in runs],
        builder.policy,
        title=title,
        plans={run.result.run_id: run.plan for run in runs},
    )
    return write_page(page, folder)


def write_page_of(
    results: Sequence[SweepResult], policy: Path | None, title: str, folder: Path
) -> Path:
    """Write a page about results that a service gave; return its path.

    Raises: ConfigurationError.
    """
    return write_page(render_sweep(results, load_sweep_policy(policy), title=title), folder)


def save_recording(recording: Recording, path: Path) -> None:
    """Write what a run asked and was answered. Raises: ConfigurationError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_recording(recording, path)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error


def export_from_database(database: str, run_id: str, path: Path) -> None:
    """Write the recording of a service's run, from its database.

    Raises: AuditNotFound, InvalidRequest, ConfigurationError, StorageError.
    """
    require_database(database)
    store = open_store(database, clock=utc_now, new_id=new_id)
    try:
        save_recording(export_recording(store.sweeps, run_id), path)
    finally:
        store.close()


def export_recording(store: SweepStore, run_id: str) -> Recording:
    """Return the recording of a run that a service performed.

    Raises: AuditNotFound; InvalidRequest for a run that never began.
    """
    slot = store.get_slot(run_id)
    text = store.read_plan(run_id)
    if text is None:
        raise InvalidRequest.of("run_id", "names a run that never began: nothing was recorded")
    stored = plan_from_json(text)
    earlier = [
        result_from_json(other.result_json)
        for other in store.results(slot.sweep_id)
        if other.result_json is not None and other.run_id in stored.earlier_runs
    ]
    return recording_of(stored, history_of(earlier), store.read_answers(run_id))


def rescore(builder: KitBuilder, path: Path) -> SweepResult:
    """Return what a recording concludes, without asking anybody anything.

    Raises: InvalidRequest for a damaged recording; ConfigurationError, CalibrationError.
    """
    try:
        recorded = read_run(read_recording(path.read_bytes()))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    scorer = builder.scorer(recorded.stored.claim, recorded.stored.detectors)
    return scorer.score(
        recorded.stored,
        by_endpoint(recorded.answers),
        recorded.history,
        recording_digest=recorded.digest,
    )


def _run_tools(
    store: SweepStore,
    builder: KitBuilder,
    *,
    log_commitment: Callable[[str, str, str], Receipt],
    log_result: Callable[[SweepResult], Receipt],
    is_logged: Callable[[str], bool],
) -> RunTools:
    return RunTools(
        store=store,
        kit_of=builder.build,
        version=VERSION,
        open_client=open_client,
        log_commitment=log_commitment,
        log_result=log_result,
        is_logged=is_logged,
        new_secret=secrets.token_bytes,
        clock=utc_now,
    )


def open_client(
    endpoints: Sequence[Endpoint], budget: Budget
) -> AbstractAsyncContextManager[ProviderClient]:
    """Return what asks endpoints over HTTP. Raises: ConfigurationError, InvalidRequest."""
    settings = ClientSettings(
        clock=utc_now, monotonic=monotonic, uniform=random.SystemRandom().random
    )
    return ProviderClient(endpoints, budget, Keyring(environment()), settings)


def _is_logged(log: OpenLog, run_id: str) -> bool:
    try:
        log.reader.find(f"{EntryKind.SWEEP_RESULT}:{run_id}")
    except EntryNotFound:
        return False
    return True


def _not_logged(*_said: object) -> Receipt:
    return Receipt(log_index=0, entry_digest="")


def _require_extra() -> None:
    try:
        import cronsim  # noqa: F401
        import httpx2  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"sweeps need {error.name}: install inference-audit[sweeps]"
        ) from error

"""A sweep and its results for tests of the wire, a desk that keeps them, a service over it."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
from inference_audit.v1.sweep_service_pb2_grpc import add_SweepServiceServicer_to_server

from audit.billing_records import Money
from audit.codec.sweep_json import result_to_json
from audit.errors import AuditError, AuditNotFound, InvalidRequest, RequestConflict
from audit.records import Claim
from audit.service.errors import ErrorBoundary
from audit.service.sweep_desk import SweepDesk, SweepRunView
from audit.service.sweep_servicer import SERVICE_NAME, SweepServicer
from audit.sweep_ports import SlotPage, SweepPage
from audit.sweep_records import (
    Budget,
    Candidate,
    ChangeFinding,
    ChangeKind,
    Endpoint,
    EndpointFinding,
    EndpointRole,
    Misconfiguration,
    Opening,
    Reading,
    ReadingStatus,
    Schedule,
    Slot,
    SlotState,
    Spending,
    Sweep,
    SweepOutcome,
    SweepResult,
    SweepSpec,
    SweepState,
    Visible,
)

TENANT = "default"
KNOWN_DETECTORS = frozenset({"border-greedy/1", "preflight/1"})

A_SPEC = SweepSpec(
    name="two hosts",
    endpoints=(
        Endpoint(
            name="host-a",
            base_url="https://a.example/v1",
            model="m",
            key_ref="env:A_KEY",
            route_json='{"provider":{"only":["a"]}}',
        ),
        Endpoint(
            name="local",
            base_url="http://127.0.0.1:8000/v1",
            model="m",
            role=EndpointRole.NEGATIVE_CONTROL,
        ),
    ),
    claim=Claim(model="example/model", precision="bfloat16"),
    budget=Budget(max_requests=400, max_tokens=100_000),
    schedule=Schedule(cron="17 */6 * * *", timezone="Europe/Berlin"),
    detectors=("border-greedy/1",),
)

A_READING = Reading(
    detector="border-greedy/1",
    tier=1,
    status=ReadingStatus.READ,
    log_e_nats_N=(0.5, 2.5, 5.25),
    tells="011",
    honest_tell_rate=0.02,
    num_sent=4,
    num_used=3,
    statistics=(("share_of_first_choices", 0.25),),
    candidates=(Candidate(name="int4-g32", log_likelihood_nats=-1.5),),
    visible=Visible(
        power=0.9,
        smallest_share=0.05,
        needed=(("int8-g32", 4_000),),
        statement="5.0 % of diverted requests would mostly have been seen.",
    ),
    notes=("prompts were sent as token ids",),
)
A_PREFLIGHT = Reading(
    detector="preflight/1",
    tier=0,
    status=ReadingStatus.TOO_LITTLE,
    reason="2 of 32 answers came back.",
    misconfigurations=(
        Misconfiguration(
            check="max_tokens",
            is_decisive=False,
            detail="4 tokens were asked for and 9 came back.",
        ),
    ),
)
A_FINDING = EndpointFinding(
    endpoint="host-a",
    role=EndpointRole.TARGET,
    outcome=SweepOutcome.INCONSISTENT,
    statement="The answers are inconsistent with the claim.",
    readings=(A_READING, A_PREFLIGHT),
    log_e_nats=5.25,
    threshold_nats=4.6,
    decided_after=3,
    share_low=0.31,
    share_high=1.0,
    is_discovery=True,
    explanation="int4-g32",
    changes=(
        ChangeFinding(
            detector="border-greedy/1",
            kind=ChangeKind.STEP,
            log_e_nats=7.0,
            threshold_nats=4.6,
            epoch=2,
            since_run="run-3",
            since_low="run-2",
            since_high="run-4",
            statement="It answers otherwise since run-3.",
        ),
    ),
    spending=Spending(
        num_requests=400,
        num_answered=396,
        prompt_tokens=12_000,
        output_tokens=396,
        cost=Money(amount="0.0021", currency="USD"),
    ),
)
A_CONTROL = EndpointFinding(
    endpoint="local",
    role=EndpointRole.NEGATIVE_CONTROL,
    outcome=SweepOutcome.CONSISTENT,
    statement="Nothing was found.",
)


def a_result(run_id: str, sweep_id: str, **changes: object) -> SweepResult:
    result = SweepResult(
        run_id=run_id,
        sweep_id=sweep_id,
        tenant=TENANT,
        slot_at="2026-01-31T12:00:00.000000Z",
        outcome=SweepOutcome.INCONSISTENT,
        statement="1 of 1 target was found to differ from its claim.",
        findings=(A_FINDING, A_CONTROL),
        started_at="2026-01-31T12:00:01.000000Z",
        finished_at="2026-01-31T12:01:01.000000Z",
        commitment="sha256:" + "1" * 64,
        opening=Opening(
            seed="00ff",
            salt="aa",
            plan_digest="sha256:" + "2" * 64,
            policy_id="sha256:" + "3" * 64,
            bundle_id="sha256:" + "4" * 64,
            code_version="0.1.0",
        ),
        recording_digest="sha256:" + "5" * 64,
        policy_id="sha256:" + "3" * 64,
        bundle_id="sha256:" + "4" * 64,
        spec_digest="sha256:" + "6" * 64,
    )
    return replace(result, **changes)  # type: ignore[arg-type]


def a_time(minute: int) -> str:
    return f"2026-01-31T{12 + minute // 60:02}:{minute % 60:02}:00.000000Z"


class MemorySweepDesk:
    """Keeps sweeps and lets a test move their runs; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.sweeps: dict[str, Sweep] = {}
        self.views: dict[str, SweepRunView] = {}
        self._requests: dict[str, str] = {}
        self.num_listings = 0
        self.error: AuditError | None = None
        self.may_read = threading.Event()
        self.may_read.set()

    def create(self, tenant: str, request_id: str, spec: SweepSpec) -> Sweep:
        self._enter()
        with self._lock:
            if request_id in self._requests:
                known = self.sweeps[self._requests[request_id]]
                if known.spec != spec:
                    raise RequestConflict(f"request {request_id} created another sweep")
                return known
            if any(s.spec.name == spec.name and _is_kept(s) for s in self.sweeps.values()):
                raise RequestConflict(f"a sweep is called {spec.name!r} already")
            number = len(self.sweeps) + 1
            sweep = Sweep(
                sweep_id=f"sweep-{number}",
                tenant=tenant,
                spec=spec,
                state=SweepState.ACTIVE,
                created_at=a_time(number),
            )
            self._requests[request_id] = sweep.sweep_id
            self.sweeps[sweep.sweep_id] = sweep
            return sweep

    def find(self, tenant: str, sweep_id: str) -> Sweep:
        self._enter()
        sweep = self.sweeps.get(sweep_id)
        if sweep is None or sweep.tenant != tenant:
            raise AuditNotFound(f"no sweep has the id {sweep_id}")
        return sweep

    def list(
        self, tenant: str, *, page_size: int, cursor: str | None, with_deleted: bool
    ) -> SweepPage:
        self._enter()
        mine = [s for s in self.sweeps.values() if s.tenant == tenant]
        shown = [s for s in reversed(mine) if with_deleted or _is_kept(s)]
        first, last = _page(cursor, page_size)
        return SweepPage(
            sweeps=tuple(shown[first:last]), next_cursor=str(last) if last < len(shown) else None
        )

    def set_state(self, tenant: str, sweep_id: str, state: SweepState) -> Sweep:
        with self._lock:
            sweep = self.find(tenant, sweep_id)
            if sweep.state is state:
                return sweep
            if not _is_kept(sweep):
                raise InvalidRequest.of("sweep_id", "is of a deleted sweep; create another")
            changed = replace(sweep, state=state, version=sweep.version + 1)
            self.sweeps[sweep_id] = changed
            if state is not SweepState.ACTIVE:
                self.views = {
                    run_id: view
                    for run_id, view in self.views.items()
                    if view.slot.sweep_id != sweep_id or view.slot.state is not SlotState.PENDING
                }
            return changed

    def run_now(self, tenant: str, sweep_id: str, request_id: str) -> SweepRunView:
        with self._lock:
            sweep = self.find(tenant, sweep_id)
            if not _is_kept(sweep):
                raise InvalidRequest.of("sweep_id", "is of a deleted sweep; create another")
            run_id = f"run-{request_id}"
            if run_id not in self.views:
                self.add_run(sweep_id, run_id, minute=len(self.views), is_manual=True)
            return self.views[run_id]

    def list_slots(
        self, tenant: str, sweep_id: str, *, page_size: int, cursor: str | None
    ) -> SlotPage:
        self.find(tenant, sweep_id)
        with self._lock:
            self.num_listings += 1
            slots = [v.slot for v in self.views.values() if v.slot.sweep_id == sweep_id]
        slots.sort(key=lambda slot: (slot.slot_at, slot.run_id), reverse=True)
        first, last = _page(cursor, page_size)
        return SlotPage(
            slots=tuple(slots[first:last]), next_cursor=str(last) if last < len(slots) else None
        )

    def find_run(self, tenant: str, run_id: str) -> SweepRunView:
        self._enter()
        view = self.views.get(run_id)
        if view is None or view.slot.tenant != tenant:
            raise AuditNotFound(f"no run has the id {run_id}")
        return view

    def add_run(
        self, sweep_id: str, run_id: str, *, minute: int, is_manual: bool = False
    ) -> SweepRunView:
        """Put a PENDING run there."""
        slot = Slot(
            run_id=run_id,
            sweep_id=sweep_id,
            tenant=TENANT,
            slot_at=a_time(minute),
            start_at=a_time(minute),
            is_manual=is_manual,
        )
        with self._lock:
            return self.views.setdefault(run_id, SweepRunView(slot=slot))

    def move(self, run_id: str, state: SlotState, *, attempt: int = 1) -> None:
        """Begin a run, or begin it anew."""
        with self._lock:
            view = self.views[run_id]
            held = replace(
                view.slot, state=state, attempt=attempt, owner="host-1", lease_until=a_time(99)
            )
            self.views[run_id] = replace(view, slot=held)

    def finish(self, run_id: str, **changes: object) -> SweepResult:
        """End a run with a result, signed as entry 17."""
        with self._lock:
            slot = self.views[run_id].slot
            result = a_result(run_id, slot.sweep_id, slot_at=slot.slot_at, **changes)
            over = replace(
                slot,
                state=SlotState.DONE,
                finished_at=a_time(59),
                result_json=result_to_json(result),
                log_index=17,
                owner=None,
                lease_until=None,
            )
            self.views[run_id] = SweepRunView(
                slot=over, result=result, envelope=b'{"payload":""}', log_index=17
            )
            return result

    def _enter(self) -> None:
        assert self.may_read.wait(10), "the test forgot this desk"
        if self.error is not None:
            raise self.error


def _is_kept(sweep: Sweep) -> bool:
    return sweep.state is not SweepState.DELETED


def _page(cursor: str | None, page_size: int) -> tuple[int, int]:
    if cursor is not None and not cursor.isdecimal():
        raise InvalidRequest.of("page_token", "is not from an earlier page")
    first = int(cursor or 0)
    return first, first + page_size


def check_cron(schedule: Schedule) -> None:
    """Refuse what has not five fields; a real reader of cron is tested where it is."""
    if len(schedule.cron.split()) != 5:
        raise InvalidRequest.of("schedule.cron", "has not five fields")


class SweepServiceThread:
    """A server on a free port of this machine, in a thread of its own; `stop` may be early."""

    def __init__(self, desk: SweepDesk, num_threads: int) -> None:
        self.address = ""
        self._desk, self._num_threads = desk, num_threads
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
        boundary = ErrorBoundary(SERVICE_NAME, new_id=lambda: "incident-1")
        with ThreadPoolExecutor(self._num_threads) as executor:
            servicer = SweepServicer(
                self._desk,
                tenant=TENANT,
                executor=executor,
                watch_interval_s=0.01,
                check_schedule=check_cron,
                known_detectors=KNOWN_DETECTORS,
            )
            server = grpc.aio.server(interceptors=[boundary])
            add_SweepServiceServicer_to_server(servicer, server)
            self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            await server.start()
            self._started.set()
            await self._finish.wait()
            servicer.stop_watching()
            await server.stop(5.0)


@contextmanager
def running_sweeps(desk: SweepDesk, *, num_threads: int = 4) -> Iterator[SweepServiceThread]:
    service = SweepServiceThread(desk, num_threads)
    service.start()
    try:
        yield service
    finally:
        service.stop()

"""SweepService, as any gRPC client sees it: sweeps, runs, refusals."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import grpc
import pytest
from inference_audit.v1 import sweep_pb2
from inference_audit.v1 import sweep_service_pb2 as pb
from inference_audit.v1.sweep_service_pb2_grpc import SweepServiceStub

from audit.codec.wire_sweep_result import result_to_wire
from audit.codec.wire_sweep_spec import spec_to_wire
from audit.errors import AuditError, StorageError
from audit.service.sweep_servicer import SERVICE_NAME
from audit.sweep_records import SlotState
from tests.unit.service.test_rpcs import refusal
from tests.unit.sweeps.wire_examples import A_SPEC, MemorySweepDesk, running_sweeps

Refusal = tuple[grpc.StatusCode, str, list[str]]
NOT_FOUND: Refusal = (grpc.StatusCode.NOT_FOUND, "AUDIT_NOT_FOUND", [])
TAKEN: Refusal = (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_CONFLICT", [])


@pytest.fixture
def desk() -> MemorySweepDesk:
    return MemorySweepDesk()


@pytest.fixture
def stub(desk: MemorySweepDesk) -> Iterator[SweepServiceStub]:
    with running_sweeps(desk) as service, grpc.insecure_channel(service.address) as channel:
        yield SweepServiceStub(channel)


def refused(call: Callable[[], object]) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return refusal(caught.value)


def bad(*fields: str) -> Refusal:
    return grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", list(fields)


def create(
    stub: SweepServiceStub, request_id: str = "request-1", **changes: object
) -> sweep_pb2.Sweep:
    spec = spec_to_wire(replace(A_SPEC, **changes))  # type: ignore[arg-type]
    request = pb.CreateSweepRequest(request_id=request_id, spec=spec)
    return stub.CreateSweep(request, timeout=5).sweep


def test_a_created_sweep_is_active_and_found(stub: SweepServiceStub, desk: MemorySweepDesk) -> None:
    sweep = create(stub)
    assert (sweep.sweep_id, sweep.tenant, sweep.version) == ("sweep-1", "default", 1)
    assert sweep.state == sweep_pb2.SWEEP_STATE_ACTIVE
    assert desk.sweeps["sweep-1"].spec == A_SPEC
    assert stub.GetSweep(pb.GetSweepRequest(sweep_id="sweep-1"), timeout=5).sweep == sweep


def test_creating_again_returns_the_same_sweep(stub: SweepServiceStub) -> None:
    assert create(stub) == create(stub)
    assert len(stub.ListSweeps(pb.ListSweepsRequest(), timeout=5).sweeps) == 1


def test_an_id_or_a_name_that_is_taken_is_a_conflict(stub: SweepServiceStub) -> None:
    create(stub)
    assert refused(lambda: create(stub, name="another")) == TAKEN
    assert refused(lambda: create(stub, "request-2")) == TAKEN


def test_a_bad_spec_names_every_field(stub: SweepServiceStub, desk: MemorySweepDesk) -> None:
    spec = spec_to_wire(A_SPEC)
    spec.endpoints[0].base_url = "https://user:secret@a.example/v1"
    spec.endpoints[0].route = '{"model": "other"}'
    spec.endpoints[1].max_concurrency = 0
    spec.budget.max_requests = 0
    spec.schedule.cron = "daily"
    spec.detectors[:] = ["no-such/1"]
    request = pb.CreateSweepRequest(request_id="request-1", spec=spec)
    assert refused(lambda: stub.CreateSweep(request, timeout=5)) == bad(
        "spec.endpoints[0].base_url",
        "spec.endpoints[0].route.model",
        "spec.endpoints[1].max_concurrency",
        "spec.budget.max_requests",
        "spec.detectors[0]",
        "spec.schedule.cron",
    )
    assert desk.sweeps == {}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CreateSweepRequest(spec=spec_to_wire(A_SPEC)), "request_id"),
        (pb.CreateSweepRequest(request_id="r" * 129, spec=spec_to_wire(A_SPEC)), "request_id"),
        (pb.CreateSweepRequest(request_id="r"), "spec"),
    ],
    ids=["no-id", "long-id", "no-spec"],
)
def test_what_no_creation_can_lack_is_named(
    stub: SweepServiceStub, request_: pb.CreateSweepRequest, field: str
) -> None:
    assert refused(lambda: stub.CreateSweep(request_, timeout=5)) == bad(field)


def test_an_empty_spec_is_refused_and_no_more(stub: SweepServiceStub) -> None:
    request = pb.CreateSweepRequest(request_id="r", spec=sweep_pb2.SweepSpec())
    assert refused(lambda: stub.CreateSweep(request, timeout=5)) == bad(
        "spec.name",
        "spec.endpoints",
        "spec.claim.model",
        "spec.budget.max_requests",
        "spec.budget.max_tokens",
    )


def test_broken_bytes_are_refused_by_name(desk: MemorySweepDesk) -> None:
    with running_sweeps(desk) as service, grpc.insecure_channel(service.address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{SERVICE_NAME}/CreateSweep"
        )
        assert refused(lambda: call(b"\xff\xff", timeout=5)) == bad("request")


def test_a_sweep_is_paused_resumed_and_deleted(stub: SweepServiceStub) -> None:
    sweep_id = create(stub).sweep_id
    paused = [
        stub.PauseSweep(pb.PauseSweepRequest(sweep_id=sweep_id), timeout=5).sweep for _ in range(2)
    ]
    assert [(s.state, s.version) for s in paused] == [(sweep_pb2.SWEEP_STATE_PAUSED, 2)] * 2
    resumed = stub.ResumeSweep(pb.ResumeSweepRequest(sweep_id=sweep_id), timeout=5).sweep
    assert (resumed.state, resumed.version) == (sweep_pb2.SWEEP_STATE_ACTIVE, 3)
    deleted = stub.DeleteSweep(pb.DeleteSweepRequest(sweep_id=sweep_id), timeout=5).sweep
    assert deleted.state == sweep_pb2.SWEEP_STATE_DELETED
    assert stub.GetSweep(pb.GetSweepRequest(sweep_id=sweep_id), timeout=5).sweep == deleted
    resuming = pb.ResumeSweepRequest(sweep_id=sweep_id)
    assert refused(lambda: stub.ResumeSweep(resuming, timeout=5)) == bad("sweep_id")
    running = pb.RunSweepNowRequest(sweep_id=sweep_id, request_id="r")
    assert refused(lambda: stub.RunSweepNow(running, timeout=5)) == bad("sweep_id")


def test_deleted_sweeps_are_listed_only_if_asked_for(stub: SweepServiceStub) -> None:
    for number in range(1, 6):
        create(stub, f"request-{number}", name=f"sweep {number}")
    stub.DeleteSweep(pb.DeleteSweepRequest(sweep_id="sweep-2"), timeout=5)
    request, names = pb.ListSweepsRequest(page_size=2), []
    while True:
        page = stub.ListSweeps(request, timeout=5)
        names.append([sweep.spec.name for sweep in page.sweeps])
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert names == [["sweep 5", "sweep 4"], ["sweep 3", "sweep 1"]]
    every = stub.ListSweeps(pb.ListSweepsRequest(with_deleted=True), timeout=5)
    assert len(every.sweeps) == 5


def test_a_run_is_asked_for_once(stub: SweepServiceStub) -> None:
    sweep_id = create(stub).sweep_id
    request = pb.RunSweepNowRequest(sweep_id=sweep_id, request_id="r-1")
    run = stub.RunSweepNow(request, timeout=5).run
    assert (run.is_manual, run.state) == (True, sweep_pb2.SWEEP_RUN_STATE_PENDING)
    assert stub.RunSweepNow(request, timeout=5).run == run
    listed = stub.ListSweepRuns(pb.ListSweepRunsRequest(sweep_id=sweep_id), timeout=5)
    assert list(listed.runs) == [run]
    for field in ("outcome", "statement", "result", "envelope", "log_index", "finish_time"):
        assert not run.HasField(field)


def test_a_run_that_is_over_has_its_result_and_its_envelope(
    stub: SweepServiceStub, desk: MemorySweepDesk
) -> None:
    sweep_id = create(stub).sweep_id
    desk.add_run(sweep_id, "run-1", minute=1)
    desk.move("run-1", SlotState.RUNNING)
    result = desk.finish("run-1")
    run = stub.GetSweepRun(pb.GetSweepRunRequest(run_id="run-1"), timeout=5).run
    assert run.result == result_to_wire(result)
    assert (run.envelope, run.log_index, run.attempt) == (b'{"payload":""}', 17, 1)
    (listed,) = stub.ListSweepRuns(pb.ListSweepRunsRequest(sweep_id=sweep_id), timeout=5).runs
    assert not listed.HasField("result")
    assert not listed.HasField("envelope")
    assert listed.outcome == run.outcome == sweep_pb2.SWEEP_OUTCOME_INCONSISTENT
    assert (listed.statement, listed.log_index) == (result.statement, 17)


def test_runs_are_listed_latest_first_page_by_page(
    stub: SweepServiceStub, desk: MemorySweepDesk
) -> None:
    sweep_id = create(stub).sweep_id
    for minute in range(7):
        desk.add_run(sweep_id, f"run-{minute}", minute=minute)
    request, pages = pb.ListSweepRunsRequest(sweep_id=sweep_id, page_size=3), []
    while True:
        page = stub.ListSweepRuns(request, timeout=5)
        pages.append([run.run_id[-1] for run in page.runs])
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]


def test_what_does_not_exist_is_not_found(stub: SweepServiceStub) -> None:
    calls: list[Callable[[], object]] = [
        lambda: stub.GetSweep(pb.GetSweepRequest(sweep_id="s"), timeout=5),
        lambda: stub.PauseSweep(pb.PauseSweepRequest(sweep_id="s"), timeout=5),
        lambda: stub.ResumeSweep(pb.ResumeSweepRequest(sweep_id="s"), timeout=5),
        lambda: stub.DeleteSweep(pb.DeleteSweepRequest(sweep_id="s"), timeout=5),
        lambda: stub.RunSweepNow(pb.RunSweepNowRequest(sweep_id="s", request_id="r"), timeout=5),
        lambda: stub.ListSweepRuns(pb.ListSweepRunsRequest(sweep_id="s"), timeout=5),
        lambda: stub.GetSweepRun(pb.GetSweepRunRequest(run_id="r"), timeout=5),
        lambda: next(stub.WatchSweep(pb.WatchSweepRequest(sweep_id="s"), timeout=5)),
    ]
    assert [refused(call) for call in calls] == [NOT_FOUND] * len(calls)


def test_an_id_that_is_none_is_refused_by_name(stub: SweepServiceStub) -> None:
    calls: dict[str, Callable[[], object]] = {
        "a": lambda: stub.GetSweep(pb.GetSweepRequest(), timeout=5),
        "b": lambda: stub.PauseSweep(pb.PauseSweepRequest(sweep_id="\n"), timeout=5),
        "c": lambda: stub.ListSweepRuns(pb.ListSweepRunsRequest(), timeout=5),
        "d": lambda: next(stub.WatchSweep(pb.WatchSweepRequest(), timeout=5)),
    }
    assert [refused(call) for call in calls.values()] == [bad("sweep_id")] * len(calls)
    assert refused(lambda: stub.GetSweepRun(pb.GetSweepRunRequest(), timeout=5)) == bad("run_id")
    request = pb.RunSweepNowRequest(sweep_id="s")
    assert refused(lambda: stub.RunSweepNow(request, timeout=5)) == bad("request_id")


def test_a_bad_page_is_refused(stub: SweepServiceStub) -> None:
    sweep_id = create(stub).sweep_id
    size = pb.ListSweepsRequest(page_size=-1)
    token = pb.ListSweepRunsRequest(sweep_id=sweep_id, page_token="mine")  # noqa: S106
    assert refused(lambda: stub.ListSweeps(size, timeout=5)) == bad("page_size")
    assert refused(lambda: stub.ListSweepRuns(token, timeout=5)) == bad("page_token")


def test_a_stored_result_that_is_unreadable_is_the_services_fault(
    stub: SweepServiceStub, desk: MemorySweepDesk
) -> None:
    sweep_id = create(stub).sweep_id
    desk.add_run(sweep_id, "run-1", minute=1)
    desk.finish("run-1")
    view = desk.views["run-1"]
    desk.views["run-1"] = replace(view, slot=replace(view.slot, result_json="{"))
    listing = pb.ListSweepRunsRequest(sweep_id=sweep_id)
    code, _, fields = refused(lambda: stub.ListSweepRuns(listing, timeout=5))
    assert (code, fields) == (grpc.StatusCode.DATA_LOSS, [])


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (StorageError("disk"), grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE"),
        (AuditError("bug"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
def test_a_desk_that_fails_answers_with_its_error(
    stub: SweepServiceStub,
    desk: MemorySweepDesk,
    error: AuditError,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    desk.error = error
    watching = pb.WatchSweepRequest(sweep_id="sweep-1")
    assert refused(lambda: create(stub)) == (code, reason, [])
    assert refused(lambda: next(stub.WatchSweep(watching, timeout=5))) == (code, reason, [])


def test_a_slow_desk_holds_back_no_refusal_of_others(desk: MemorySweepDesk) -> None:
    with running_sweeps(desk) as service, grpc.insecure_channel(service.address) as channel:
        stub = SweepServiceStub(channel)
        create(stub)
        desk.may_read.clear()
        getting = stub.GetSweep.future(pb.GetSweepRequest(sweep_id="sweep-1"), timeout=10)
        assert refused(lambda: stub.GetSweep(pb.GetSweepRequest(), timeout=5)) == bad("sweep_id")
        assert not getting.done()
        desk.may_read.set()
        assert getting.result().sweep.sweep_id == "sweep-1"

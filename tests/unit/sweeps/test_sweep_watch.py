"""Watches of sweeps: every change of every run, once, whatever happens meanwhile."""

import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from inference_audit.v1 import sweep_pb2
from inference_audit.v1 import sweep_service_pb2 as pb
from inference_audit.v1.sweep_service_pb2_grpc import SweepServiceStub

from audit.errors import AuditNotFound
from audit.service.sweep_watch import PAGE_SIZE, RunWatch
from audit.sweep_records import SlotState, SweepState
from tests.unit.sweeps.test_sweep_rpcs import Refusal, create, refused
from tests.unit.sweeps.wire_examples import (
    A_SPEC,
    TENANT,
    MemorySweepDesk,
    running_sweeps,
)


@pytest.fixture
def desk() -> MemorySweepDesk:
    return MemorySweepDesk()


@pytest.fixture
def stub(desk: MemorySweepDesk) -> Iterator[SweepServiceStub]:
    with running_sweeps(desk) as service, grpc.insecure_channel(service.address) as channel:
        yield SweepServiceStub(channel)


def watched(desk: MemorySweepDesk) -> RunWatch:
    desk.create(TENANT, "request-1", A_SPEC)
    return RunWatch(desk, TENANT, "sweep-1")


def seen(watch: RunWatch) -> list[tuple[str, SlotState]]:
    return [(view.slot.run_id, view.slot.state) for view in watch.look().runs]


def test_a_watch_tells_of_every_state_with_the_result_at_the_end(
    stub: SweepServiceStub, desk: MemorySweepDesk
) -> None:
    sweep_id = create(stub).sweep_id
    desk.add_run(sweep_id, "run-1", minute=1)
    answers = stub.WatchSweep(pb.WatchSweepRequest(sweep_id=sweep_id), timeout=20)
    assert next(answers).run.state == sweep_pb2.SWEEP_RUN_STATE_PENDING
    desk.move("run-1", SlotState.RUNNING)
    assert next(answers).run.state == sweep_pb2.SWEEP_RUN_STATE_RUNNING
    desk.move("run-1", SlotState.RUNNING, attempt=2)
    assert next(answers).run.attempt == 2
    result = desk.finish("run-1")
    over = next(answers).run
    assert over.state == sweep_pb2.SWEEP_RUN_STATE_DONE
    assert (over.result.statement, over.envelope) == (result.statement, b'{"payload":""}')
    desk.add_run(sweep_id, "run-2", minute=2)
    assert next(answers).run.run_id == "run-2"
    answers.cancel()


def test_a_watch_begins_with_the_latest_runs_earliest_first(desk: MemorySweepDesk) -> None:
    watch = watched(desk)
    for minute in range(PAGE_SIZE + 5):
        desk.add_run("sweep-1", f"run-{minute:02}", minute=minute)
    expected = [f"run-{minute:02}" for minute in range(5, PAGE_SIZE + 5)]
    assert [run_id for run_id, _ in seen(watch)] == expected
    assert seen(watch) == []


def test_many_new_runs_are_all_told_of(desk: MemorySweepDesk) -> None:
    watch = watched(desk)
    for minute in range(PAGE_SIZE + 5):
        desk.add_run("sweep-1", f"run-{minute:03}", minute=minute)
    watch.look()
    many = range(PAGE_SIZE + 5, 10 * PAGE_SIZE)
    for minute in many:
        desk.add_run("sweep-1", f"run-{minute:03}", minute=minute)
    assert [run_id for run_id, _ in seen(watch)] == [f"run-{minute:03}" for minute in many]
    assert seen(watch) == []


def test_an_old_run_that_still_waits_is_followed_beyond_the_first_page(
    desk: MemorySweepDesk,
) -> None:
    watch = watched(desk)
    desk.add_run("sweep-1", "old", minute=0)
    desk.move("old", SlotState.RUNNING)
    assert seen(watch) == [("old", SlotState.RUNNING)]
    for minute in range(1, 3 * PAGE_SIZE):
        desk.add_run("sweep-1", f"run-{minute}", minute=minute)
        desk.finish(f"run-{minute}")
    assert len(seen(watch)) == 3 * PAGE_SIZE - 1
    desk.finish("old")
    assert seen(watch) == [("old", SlotState.DONE)]
    assert seen(watch) == []


def test_a_look_at_nothing_new_reads_one_page(desk: MemorySweepDesk) -> None:
    watch = watched(desk)
    for minute in range(5 * PAGE_SIZE):
        desk.add_run("sweep-1", f"run-{minute}", minute=minute)
        desk.finish(f"run-{minute}")
    watch.look()
    before = desk.num_listings
    assert seen(watch) == []
    assert desk.num_listings == before + 1


def test_a_withdrawn_run_is_forgotten_and_told_of_if_it_comes_back(desk: MemorySweepDesk) -> None:
    watch = watched(desk)
    desk.add_run("sweep-1", "run-1", minute=1)
    assert len(seen(watch)) == 1
    desk.set_state(TENANT, "sweep-1", SweepState.PAUSED)
    assert seen(watch) == []
    desk.set_state(TENANT, "sweep-1", SweepState.ACTIVE)
    desk.add_run("sweep-1", "run-1", minute=1)
    assert seen(watch) == [("run-1", SlotState.PENDING)]


def test_a_watch_is_over_once_a_deleted_sweep_is_at_rest(desk: MemorySweepDesk) -> None:
    watch = watched(desk)
    desk.add_run("sweep-1", "run-1", minute=1)
    desk.move("run-1", SlotState.RUNNING)
    assert not watch.look().is_over
    desk.set_state(TENANT, "sweep-1", SweepState.DELETED)
    assert not watch.look().is_over
    desk.finish("run-1")
    look = watch.look()
    assert [view.slot.state for view in look.runs] == [SlotState.DONE]
    assert look.is_over


def test_another_tenants_sweep_is_not_there(desk: MemorySweepDesk) -> None:
    watched(desk)
    with pytest.raises(AuditNotFound):
        RunWatch(desk, "somebody else", "sweep-1").look()


def test_the_stream_ends_with_the_sweep(stub: SweepServiceStub, desk: MemorySweepDesk) -> None:
    sweep_id = create(stub).sweep_id
    answers = stub.WatchSweep(pb.WatchSweepRequest(sweep_id=sweep_id), timeout=20)
    stub.DeleteSweep(pb.DeleteSweepRequest(sweep_id=sweep_id), timeout=5)
    assert list(answers) == []


def test_a_watch_is_silent_where_nothing_changes(
    stub: SweepServiceStub, desk: MemorySweepDesk
) -> None:
    sweep_id = create(stub).sweep_id
    desk.add_run(sweep_id, "run-1", minute=1)
    answers = stub.WatchSweep(pb.WatchSweepRequest(sweep_id=sweep_id), timeout=20)
    assert next(answers).run.run_id == "run-1"
    threading.Timer(0.3, answers.cancel).start()
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() == grpc.StatusCode.CANCELLED


def test_many_watches_hold_no_thread(desk: MemorySweepDesk) -> None:
    with (
        running_sweeps(desk, num_threads=1) as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        stub = SweepServiceStub(channel)
        sweep_id = create(stub).sweep_id
        desk.add_run(sweep_id, "run-1", minute=1)
        request = pb.WatchSweepRequest(sweep_id=sweep_id)
        watches = [stub.WatchSweep(request, timeout=10) for _ in range(8)]
        assert {next(answers).run.run_id for answers in watches} == {"run-1"}
        desk.add_run(sweep_id, "run-2", minute=2)
        assert {next(answers).run.run_id for answers in watches} == {"run-2"}
        for answers in watches:
            answers.cancel()


def test_stopping_ends_watches(desk: MemorySweepDesk) -> None:
    expected: Refusal = (grpc.StatusCode.UNAVAILABLE, "SERVICE_STOPPING", [])
    with running_sweeps(desk) as service, grpc.insecure_channel(service.address) as channel:
        stub = SweepServiceStub(channel)
        sweep_id = create(stub).sweep_id
        desk.add_run(sweep_id, "run-1", minute=1)
        answers = stub.WatchSweep(pb.WatchSweepRequest(sweep_id=sweep_id), timeout=20)
        next(answers)
        started = time.monotonic()
        service.stop()
        assert time.monotonic() - started < 4, "an idle watch held up the shutdown"
        assert refused(lambda: next(answers)) == expected

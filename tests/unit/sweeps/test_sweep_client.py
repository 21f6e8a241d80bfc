"""The client of sweeps against a real service."""

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from audit.client.sweep_client import SweepClient
from audit.errors import (
    AuditNotFound,
    ConfigurationError,
    CorruptState,
    InvalidRequest,
    RequestConflict,
    StorageError,
    VerificationError,
)
from audit.sweep_records import Budget, SlotState, SweepOutcome, SweepState
from tests.unit.service.examples import memory_store
from tests.unit.service.running import running
from tests.unit.sweeps.wire_examples import (
    A_SPEC,
    MemorySweepDesk,
    a_result,
    running_sweeps,
)


@pytest.fixture
def desk() -> MemorySweepDesk:
    return MemorySweepDesk()


@pytest.fixture
def client(desk: MemorySweepDesk) -> Iterator[SweepClient]:
    with running_sweeps(desk) as service, SweepClient(service.address) as client:
        yield client


def test_a_sweep_goes_through_its_life(client: SweepClient) -> None:
    sweep = client.create(A_SPEC, request_id="r-1")
    assert (sweep.spec, sweep.state, sweep.version) == (A_SPEC, SweepState.ACTIVE, 1)
    assert client.create(A_SPEC, request_id="r-1") == sweep
    assert client.get(sweep.sweep_id) == sweep
    assert client.pause(sweep.sweep_id).state is SweepState.PAUSED
    assert client.resume(sweep.sweep_id).state is SweepState.ACTIVE
    assert client.delete(sweep.sweep_id).state is SweepState.DELETED
    assert list(client.list()) == []
    assert [found.state for found in client.list(with_deleted=True)] == [SweepState.DELETED]


def test_sweeps_and_runs_are_listed_over_pages(client: SweepClient, desk: MemorySweepDesk) -> None:
    for number in range(7):
        client.create(replace(A_SPEC, name=f"sweep {number}"), request_id=f"r-{number}")
        desk.add_run("sweep-1", f"run-{number}", minute=number)
    names = [sweep.spec.name for sweep in client.list(page_size=3)]
    assert names == [f"sweep {number}" for number in reversed(range(7))]
    runs = [view.slot.run_id for view in client.list_runs("sweep-1", page_size=3)]
    assert runs == [f"run-{number}" for number in reversed(range(7))]


def test_a_run_comes_back_with_all_that_it_concludes(
    client: SweepClient, desk: MemorySweepDesk
) -> None:
    client.create(A_SPEC, request_id="r-1")
    asked = client.run_now("sweep-1", request_id="1")
    assert (asked.slot.state, asked.slot.is_manual) == (SlotState.PENDING, True)
    result = desk.finish("run-1")
    view = client.get_run("run-1")
    assert (view.result, view.envelope, view.log_index) == (result, b'{"payload":""}', 17)
    (listed,) = client.list_runs("sweep-1")
    assert (listed.result, listed.outcome) == (None, SweepOutcome.INCONSISTENT)


def test_a_watch_yields_each_change_until_the_sweep_is_deleted(
    client: SweepClient, desk: MemorySweepDesk
) -> None:
    client.create(A_SPEC, request_id="r-1")
    desk.add_run("sweep-1", "run-1", minute=1)
    views = client.watch("sweep-1")
    assert next(views).slot.state is SlotState.PENDING
    result = desk.finish("run-1")
    assert next(views).result == result
    client.delete("sweep-1")
    assert list(views) == []


def test_a_bad_spec_never_leaves(desk: MemorySweepDesk) -> None:
    spec = replace(A_SPEC, budget=Budget(max_requests=2**70, max_tokens=1))
    with (
        SweepClient("127.0.0.1:1") as client,
        pytest.raises(InvalidRequest, match=r"spec\.budget\.max_requests"),
    ):
        client.create(spec, request_id="r-1")


@pytest.mark.parametrize("value", ["", "\n"])
def test_a_bad_id_never_leaves(value: str) -> None:
    with SweepClient("127.0.0.1:1") as client:
        for ask in (client.get, client.pause, client.resume, client.delete):
            with pytest.raises(InvalidRequest, match="sweep_id"):
                ask(value)
        for follow in (client.watch, client.list_runs):
            with pytest.raises(InvalidRequest, match="sweep_id"):
                next(follow(value))
        with pytest.raises(InvalidRequest, match="run_id"):
            client.get_run(value)
        with pytest.raises(InvalidRequest, match="request_id"):
            client.run_now("s", request_id=value)


def test_what_only_the_service_knows_is_refused_there(client: SweepClient) -> None:
    with pytest.raises(InvalidRequest, match=r"spec\.detectors\[0\]: other/1 is not among"):
        client.create(replace(A_SPEC, detectors=("other/1",)), request_id="r-1")


def test_errors_of_the_service_come_back_as_they_were(
    client: SweepClient, desk: MemorySweepDesk
) -> None:
    client.create(A_SPEC, request_id="r-1")
    with pytest.raises(RequestConflict, match="is called 'two hosts' already"):
        client.create(A_SPEC, request_id="r-2")
    with pytest.raises(AuditNotFound, match="no sweep has the id sweep-9"):
        client.get("sweep-9")
    with pytest.raises(AuditNotFound, match="no run has the id run-9"):
        client.get_run("run-9")
    desk.error = StorageError("disk")
    with pytest.raises(StorageError, match="database is not available"):
        list(client.list())


def test_a_damaged_result_names_its_run(client: SweepClient, desk: MemorySweepDesk) -> None:
    client.create(A_SPEC, request_id="r-1")
    desk.add_run("sweep-1", "run-1", minute=1)
    desk.finish("run-1")
    view = desk.views["run-1"]
    desk.views["run-1"] = replace(view, slot=replace(view.slot, result_json="{}"))
    with pytest.raises(CorruptState, match="the stored result of run run-1 cannot be read"):
        list(client.list_runs("sweep-1"))


def test_another_runs_result_is_not_believed(client: SweepClient, desk: MemorySweepDesk) -> None:
    client.create(A_SPEC, request_id="r-1")
    desk.add_run("sweep-1", "run-1", minute=1)
    desk.finish("run-1")
    desk.views["run-1"] = replace(desk.views["run-1"], result=a_result("run-2", "sweep-1"))
    with pytest.raises(VerificationError, match="not the one asked for"):
        client.get_run("run-1")


def test_an_answer_about_another_sweep_is_not_believed(
    client: SweepClient, desk: MemorySweepDesk
) -> None:
    client.create(A_SPEC, request_id="r-1")
    desk.sweeps["sweep-1"] = replace(desk.sweeps["sweep-1"], sweep_id="sweep-2")
    with pytest.raises(VerificationError, match="not the one asked for"):
        client.get("sweep-1")


def test_where_nobody_answers_or_sweeps_are_missing_it_says_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        SweepClient(address) as client,
        pytest.raises(ConfigurationError, match="no audit service answers"),
    ):
        client.get("sweep-1")
    with (
        running(memory_store()) as service,
        SweepClient(service.address) as client,
        pytest.raises(ConfigurationError, match="started without this part"),
    ):
        client.get("sweep-1")

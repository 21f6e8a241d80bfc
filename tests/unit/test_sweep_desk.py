"""The desk keeps tenants apart, runs each request once, and tells what was signed."""

import itertools
from collections.abc import Iterator

import pytest

from audit.codec.sweep_json import result_to_json
from audit.errors import (
    AuditNotFound,
    CorruptState,
    EntryNotFound,
    InvalidRequest,
    RequestConflict,
)
from audit.log_records import LogEntry
from audit.sweep_desk import WatchDesk
from audit.sweep_records import SlotState, SweepSpec, SweepState
from storage.memory_sweeps import InMemorySweepStore
from tests.support.sweeps import example_result, example_spec
from tests.unit.storage.sweep_builders import at

TENANT = "acme"


def no_entry(key: str) -> LogEntry:
    raise EntryNotFound(key)


def accept(spec: SweepSpec) -> None:
    if spec.claim.model is None:
        raise InvalidRequest.of("claim.model", "must be named")


@pytest.fixture
def desk() -> WatchDesk:
    """A desk over a fresh store, whose clock advances a minute at each look."""
    minutes: Iterator[int] = itertools.count()
    ids = itertools.count(1)
    return WatchDesk(
        store=InMemorySweepStore(),
        check=accept,
        find_entry=no_entry,
        clock=lambda: at(next(minutes)),
        new_id=lambda: str(next(ids)),
    )


def test_a_request_sent_twice_makes_one_sweep(desk: WatchDesk) -> None:
    first = desk.create(TENANT, "request-1", example_spec())
    assert desk.create(TENANT, "request-1", example_spec()) == first
    assert desk.list(TENANT, page_size=10, cursor=None, with_deleted=False).sweeps == (first,)


def test_what_the_service_cannot_run_is_refused(desk: WatchDesk) -> None:
    from dataclasses import replace

    bare = replace(example_spec(), claim=replace(example_spec().claim, model=None))
    with pytest.raises(InvalidRequest, match=r"claim\.model"):
        desk.create(TENANT, "request-1", bare)


def test_anothers_sweep_and_run_are_not_there(desk: WatchDesk) -> None:
    sweep = desk.create(TENANT, "request-1", example_spec())
    run = desk.run_now(TENANT, sweep.sweep_id, "request-2").slot
    for look in (
        lambda: desk.find("other", sweep.sweep_id),
        lambda: desk.find_run("other", run.run_id),
        lambda: desk.run_now("other", sweep.sweep_id, "request-3"),
        lambda: desk.set_state("other", sweep.sweep_id, SweepState.PAUSED),
        lambda: desk.list_slots("other", sweep.sweep_id, page_size=5, cursor=None),
    ):
        with pytest.raises(AuditNotFound):
            look()


def test_a_run_is_asked_for_once_by_a_request(desk: WatchDesk) -> None:
    sweep = desk.create(TENANT, "request-1", example_spec())
    first = desk.run_now(TENANT, sweep.sweep_id, "request-2")
    assert desk.run_now(TENANT, sweep.sweep_id, "request-2").slot == first.slot
    assert first.slot.is_manual and first.slot.state is SlotState.PENDING
    other = desk.run_now(TENANT, sweep.sweep_id, "request-3")
    assert other.slot.run_id != first.slot.run_id


def test_a_request_id_of_another_sweeps_run_is_refused(desk: WatchDesk) -> None:
    from dataclasses import replace

    sweep = desk.create(TENANT, "request-1", example_spec())
    other = desk.create(TENANT, "request-2", replace(example_spec(), name="december"))
    desk.run_now(TENANT, sweep.sweep_id, "request-3")
    with pytest.raises(RequestConflict, match="another sweep"):
        desk.run_now(TENANT, other.sweep_id, "request-3")


def test_a_deleted_sweep_runs_no_more(desk: WatchDesk) -> None:
    sweep = desk.create(TENANT, "request-1", example_spec())
    assert desk.set_state(TENANT, sweep.sweep_id, SweepState.DELETED).state is SweepState.DELETED
    with pytest.raises(InvalidRequest, match="runs no more"):
        desk.run_now(TENANT, sweep.sweep_id, "request-2")


def test_pausing_twice_changes_nothing(desk: WatchDesk) -> None:
    sweep = desk.create(TENANT, "request-1", example_spec())
    paused = desk.set_state(TENANT, sweep.sweep_id, SweepState.PAUSED)
    assert desk.set_state(TENANT, sweep.sweep_id, SweepState.PAUSED) == paused
    assert paused.version == sweep.version + 1


def test_a_run_that_is_over_shows_its_result(desk: WatchDesk) -> None:
    sweep = desk.create(TENANT, "request-1", example_spec())
    run_id = desk.run_now(TENANT, sweep.sweep_id, "request-2").slot.run_id
    claimed = desk.store.claim_slot(at(60), owner="me", lease_s=60)
    assert claimed is not None and claimed.slot.run_id == run_id
    desk.store.finish(
        claimed.slot,
        state=SlotState.DONE,
        result_json=result_to_json(example_result()),
        log_index=7,
        now=at(61),
    )
    view = desk.find_run(TENANT, run_id)
    assert (view.result, view.log_index, view.envelope) == (example_result(), 7, None)


def test_a_damaged_result_is_named(desk: WatchDesk) -> None:
    sweep = desk.create(TENANT, "request-1", example_spec())
    desk.run_now(TENANT, sweep.sweep_id, "request-2")
    claimed = desk.store.claim_slot(at(60), owner="me", lease_s=60)
    assert claimed is not None
    desk.store.finish(claimed.slot, state=SlotState.DONE, result_json="{}", log_index=7, now=at(61))
    with pytest.raises(CorruptState, match=claimed.slot.run_id):
        desk.find_run(TENANT, claimed.slot.run_id)

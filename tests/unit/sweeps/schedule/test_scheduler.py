"""A scheduler writes down, claims, runs and ends; crashes and clock jumps repeat nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from audit.errors import ConfigurationError, StorageError
from audit.sweep_ports import ClaimedSlot, SweepStore
from audit.sweep_records import (
    CatchUpRule,
    OverlapRule,
    Schedule,
    Slot,
    SlotState,
    SweepState,
)
from audit.sweeps.schedule.lease import Lease
from audit.sweeps.schedule.scheduler import RunEnd, Scheduler, SchedulerSettings
from audit.sweeps.schedule.slots import manual_slot
from storage.engine import open_engine
from storage.memory_sweeps import InMemorySweepStore
from storage.sweeps import SqlSweepStore
from storage.upgrade import upgrade
from tests.unit.storage.sweep_builders import a_sweep, at

HOURLY = Schedule(cron="0 * * * *", max_lateness_s=600)
SETTINGS = SchedulerSettings(lease_s=60.0, renew_s=20.0, max_attempts=3, poll_s=0.001)


class Crash(BaseException):
    """Stands for a kill: nobody may catch it."""


@dataclass
class World:
    """A store, a clock that is set by hand, and what was run."""

    store: SweepStore
    minutes: float = 0.0
    ran: list[str] = field(default_factory=list)
    gave_up: list[tuple[str, str]] = field(default_factory=list)
    during: Callable[[ClaimedSlot], None] = lambda claimed: None

    def clock(self) -> str:
        return at(self.minutes)

    def scheduler(self, owner: str = "s1") -> Scheduler:
        return Scheduler(
            self.store,
            owner=owner,
            clock=self.clock,
            monotonic=time.monotonic,
            run=self.run,
            give_up=self.give_up,
            settings=SETTINGS,
        )

    def run(self, claimed: ClaimedSlot, lease: Lease) -> RunEnd:
        lease.check()
        self.store.save_plan(claimed.slot, "{}")
        self.during(claimed)
        self.ran.append(claimed.slot.slot_at)
        return RunEnd(state=SlotState.DONE, result_json='"ran"', log_index=len(self.ran))

    def give_up(self, claimed: ClaimedSlot, reason: str) -> RunEnd:
        self.gave_up.append((claimed.slot.slot_at, reason))
        return RunEnd(state=SlotState.NOT_PERFORMED, result_json=None)

    def at(self, minutes: float, scheduler: Scheduler | None = None) -> "World":
        """Let a scheduler work at this time until nothing is left to do."""
        self.minutes = minutes
        turning = scheduler or self.scheduler()
        while turning.turn():
            pass
        return self

    def slots(self) -> list[Slot]:
        page = self.store.list_slots("sweep-1", page_size=10_000, cursor=None)
        return sorted(page.slots, key=lambda slot: slot.slot_at)

    def states(self) -> list[tuple[str, SlotState]]:
        return [(slot.slot_at, slot.state) for slot in self.slots()]


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield World(InMemorySweepStore())
        return
    engine = open_engine(f"sqlite:///{tmp_path}/audit.db")
    upgrade(engine)
    yield World(SqlSweepStore(engine))
    engine.dispose()


def begin(world: World, schedule: Schedule = HOURLY) -> World:
    world.store.create(a_sweep(schedule=schedule))
    return world.at(0)


def test_each_slot_is_run_when_it_is_due(world: World) -> None:
    begin(world)
    assert world.states() == [(at(60), SlotState.PENDING)]
    world.at(59.99)
    assert world.ran == []
    world.at(60).at(61).at(120)
    assert world.ran == [at(60), at(120)]
    assert world.states()[-1] == (at(180), SlotState.PENDING)
    assert [slot.log_index for slot in world.store.results("sweep-1")] == [1, 2]


def test_missed_slots_are_given_up_one_by_one(world: World) -> None:
    begin(world).at(60).at(60 * 5 + 30)
    assert world.ran == [at(60)]
    assert [slot_at for slot_at, _ in world.gave_up] == [at(m) for m in (120, 180, 240, 300)]
    assert all("Nobody could start the run within 600 seconds" in why for _, why in world.gave_up)
    assert world.at(360).ran == [at(60), at(360)]


def test_the_latest_missed_slot_is_caught_up(world: World) -> None:
    begin(world, replace(HOURLY, catch_up=CatchUpRule.LATEST)).at(60 * 5 + 30)
    assert world.ran == [at(300)]
    assert [slot_at for slot_at, _ in world.gave_up] == [at(m) for m in (60, 120, 180, 240)]


def test_an_outage_longer_than_a_turn_writes_down_ends_the_same(world: World) -> None:
    often = Schedule(cron="*/5 * * * *", max_lateness_s=60, catch_up=CatchUpRule.LATEST)
    begin(world, often).at(5 * 130 + 4)
    assert world.ran == [at(5 * 130)]
    assert [slot_at for slot_at, _ in world.gave_up] == [at(5 * n) for n in range(1, 130)]


def test_a_slot_is_skipped_for_a_run_that_takes_too_long(world: World) -> None:
    begin(world)

    def slow(claimed: ClaimedSlot) -> None:
        world.minutes = 121.0
        # as the lease's thread does all the time
        world.store.renew(claimed.slot, at(121), lease_s=60)
        assert not world.scheduler("s2").turn()

    world.during = slow
    world.at(60)
    assert world.ran == [at(60)]
    run = world.slots()[0].run_id
    assert world.gave_up == [
        (at(120), f"The run {run} was still going on when this one was due."),
    ]


def test_a_slot_waits_for_a_run_that_takes_too_long(world: World) -> None:
    begin(world, replace(HOURLY, overlap=OverlapRule.WAIT))

    def slow(claimed: ClaimedSlot) -> None:
        world.minutes = max(world.minutes, 121.0)

    world.during = slow
    world.at(60)
    assert (world.ran, world.gave_up) == ([at(60), at(120)], [])


def test_a_crashed_run_is_taken_up_with_what_it_recorded(world: World) -> None:
    begin(world)
    seen: list[tuple[int, bool]] = []

    def crash(claimed: ClaimedSlot) -> None:
        seen.append((claimed.slot.attempt, claimed.has_begun))
        if len(seen) < 3:
            raise Crash

    world.during = crash
    world.minutes = 60
    for minutes in (60.0, 61.0):
        world.minutes = minutes
        with pytest.raises(Crash):
            world.scheduler(f"s-{minutes}").turn()
        assert not world.scheduler("waits").turn()
    # late by far, but begun in time
    world.at(100)
    assert seen == [(1, False), (2, True), (3, True)]
    assert (world.ran, world.gave_up) == ([at(60)], [])


def test_a_run_that_always_crashes_is_given_up(world: World) -> None:
    begin(world)

    def crash(claimed: ClaimedSlot) -> None:
        raise Crash

    world.during = crash
    for minutes in (60, 62, 64):
        world.minutes = minutes
        with pytest.raises(Crash):
            world.scheduler().turn()
    world.at(66)
    assert world.ran == []
    assert world.gave_up == [(at(60), "The run was begun 3 times and never came to an end.")]
    assert world.states()[0] == (at(60), SlotState.NOT_PERFORMED)


def test_a_slow_scheduler_cannot_end_what_another_took_over(world: World) -> None:
    begin(world)
    ended: list[bool] = []

    def asleep(claimed: ClaimedSlot) -> None:
        if not ended:
            ended.append(True)
            # as after a suspended machine: the lease ran out, and another one came
            world.at(65, world.scheduler("s2"))

    world.during = asleep
    world.at(60)
    # both ran, one was stored
    assert world.ran == [at(60), at(60)]
    assert [slot.log_index for slot in world.store.results("sweep-1")] == [1]
    assert world.slots()[0].attempt == 2


def test_a_clock_that_is_set_back_repeats_nothing(world: World) -> None:
    begin(world).at(60).at(120)
    world.at(30).at(60).at(119).at(120)
    assert world.ran == [at(60), at(120)]
    assert world.at(180).ran == [at(60), at(120), at(180)]


def test_a_clock_that_is_set_forward_and_back_runs_nothing_twice(world: World) -> None:
    begin(world, replace(HOURLY, catch_up=CatchUpRule.LATEST)).at(60)
    world.at(60 * 24)
    assert world.ran == [at(60), at(60 * 24)]
    # those hours are recorded as not performed, and are not run when they come
    for hour in range(2, 27):
        world.at(60 * hour)
    assert world.ran == [at(60), at(60 * 24), at(60 * 25), at(60 * 26)]
    assert [slot_at for slot_at, _ in world.gave_up] == [at(60 * n) for n in range(2, 24)]


def test_a_clock_far_ahead_fills_no_database(world: World) -> None:
    begin(world, Schedule(cron="* * * * *"))
    world.minutes = 60 * 24 * 3650
    world.scheduler().turn()
    assert len(world.slots()) <= 101


def test_a_paused_sweep_runs_nothing_and_catches_nothing_up(world: World) -> None:
    begin(world, replace(HOURLY, catch_up=CatchUpRule.LATEST)).at(60)
    world.store.set_state("sweep-1", SweepState.PAUSED, expected_version=1, now=at(70))
    world.at(500)
    world.store.set_state("sweep-1", SweepState.ACTIVE, expected_version=2, now=at(500))
    world.at(501).at(540)
    assert (world.ran, world.gave_up) == ([at(60), at(540)], [])


def test_a_slot_that_was_due_when_its_sweep_was_deleted_is_given_up(world: World) -> None:
    begin(world)
    world.store.set_state("sweep-1", SweepState.DELETED, expected_version=1, now=at(60))
    world.at(61).at(120)
    assert world.gave_up == [(at(60), "The sweep was deleted before the run could start.")]
    assert len(world.slots()) == 1


def test_a_run_by_hand_does_not_move_the_schedule(world: World) -> None:
    begin(world)
    sweep = world.store.get("sweep-1")
    world.store.add_slots("sweep-1", [manual_slot(sweep, at(30))])
    world.at(31).at(60)
    assert world.ran == [at(30), at(60)]


def test_a_sweep_that_cannot_be_scheduled_does_not_stop_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    bad = Schedule(cron="0 * * * *", timezone="Mars/Olympus")
    world.store.create(a_sweep("sweep-0", name="bad", schedule=bad))
    begin(world).at(60)
    scheduler = world.scheduler()
    world.at(61, scheduler).at(120, scheduler)
    assert world.ran == [at(60), at(120)]
    told = [each.getMessage() for each in caplog.records if "sweep-0" in each.getMessage()]
    assert "'Mars/Olympus' is no zone" in told[0]
    # once for each of the three schedulers, and not at each turn
    assert len(told) == 3


def test_an_end_whose_commit_was_not_acknowledged_is_stored_once(world: World) -> None:
    begin(world)
    finish = world.store.finish
    failed: list[Slot] = []

    def unacknowledged(slot: Slot, **end: object) -> Slot:
        ended = finish(slot, **end)  # type: ignore[arg-type]
        if not failed:
            failed.append(slot)
            raise StorageError("the connection was lost")
        return ended

    world.store.finish = unacknowledged  # type: ignore[method-assign]
    world.at(60)
    assert world.ran == [at(60)]
    assert world.states()[0] == (at(60), SlotState.DONE)


def test_work_goes_on_after_a_failed_run_until_it_is_told_to_stop(world: World) -> None:
    begin(world)
    stop = threading.Event()
    failed: list[str] = []

    def fails(claimed: ClaimedSlot) -> None:
        if not failed:
            failed.append(claimed.slot.run_id)
            world.minutes = 62
            raise ConfigurationError("the key is missing")
        stop.set()

    world.during = fails
    world.minutes = 60
    worker = threading.Thread(target=world.scheduler().work, args=(stop,))
    worker.start()
    worker.join(timeout=30)
    assert not worker.is_alive()
    assert world.ran == [at(60)]
    assert world.slots()[0].attempt == 2

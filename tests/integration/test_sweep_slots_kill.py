"""SIGKILL of schedulers at random moments: every slot ends exactly once, and none is lost.

Three scheduler processes share a store with sweeps whose slots are due over and over again. Each
run saves a plan, records a few answers one by one, and notes in a file when it was performed. The
parent kills one process after the other at random moments and starts another in its place. Each
third scheduler never renews a lease and is overtaken alive. Time runs fast: a ten minutes' slot
comes each second, and a lease lasts a third of it.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import text

from audit.sweep_ports import ClaimedSlot
from audit.sweep_records import OverlapRule, Schedule, Slot, SlotState
from audit.sweeps.schedule.lease import Lease
from audit.sweeps.schedule.scheduler import RunEnd, Scheduler, SchedulerSettings
from storage.engine import open_engine
from storage.sweeps import SqlSweepStore
from storage.upgrade import upgrade
from tests.support.postgres import running_cluster
from tests.unit.storage.sweep_builders import a_sweep, an_answer, at

NUM_SCHEDULERS = 3
NUM_SWEEPS = 4
NUM_SLOTS_PER_SWEEP = 20
NUM_KILLS = 25
NUM_ANSWERS = 5
MAX_ATTEMPTS = 1_000
#: One second of ours is so many of the schedulers'.
SPEED = 600.0
#: A third of a second of ours.
LEASE_S = 200.0
#: In seconds of ours: the thread that renews waits in real time.
RENEW_S = LEASE_S / SPEED / 4
NEVER_S = 3600.0
MAX_LIFE_S = 2.0
TIMEOUT_S = 150.0

#: The ten-minute slots must not be missed, only cut off.
SCHEDULE = Schedule(
    cron="*/10 * * * *", jitter_s=60.0, overlap=OverlapRule.WAIT, max_lateness_s=30 * 86_400.0
)


def fast_clock(began_s: float) -> Callable[[], str]:
    """Return a clock that all processes share, however late they start."""

    def now() -> str:
        return at((time.time() - began_s) * SPEED / 60)

    return now


def until() -> str:
    """Return the last slot time that is looked at."""
    return at(10 * NUM_SLOTS_PER_SWEEP)


@contextmanager
def opened(url: str) -> Iterator[SqlSweepStore]:
    engine = open_engine(url)
    try:
        upgrade(engine)
        yield SqlSweepStore(engine)
    finally:
        engine.dispose()


def schedule_until_killed(url: str, notes: Path, began_s: float, owner: str) -> None:
    with opened(url) as store:
        file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def run(claimed: ClaimedSlot, lease: Lease) -> RunEnd:
            return perform(store, claimed, lease, file)

        def give_up(claimed: ClaimedSlot, reason: str) -> RunEnd:
            return RunEnd(state=SlotState.NOT_PERFORMED, result_json=json.dumps(reason))

        Scheduler(
            store,
            owner=owner,
            clock=fast_clock(began_s),
            monotonic=lambda: time.monotonic() * SPEED,
            run=run,
            give_up=give_up,
            settings=SchedulerSettings(
                lease_s=LEASE_S,
                renew_s=NEVER_S if owner.endswith("-forgetful") else RENEW_S,
                max_attempts=MAX_ATTEMPTS,
                poll_s=0.01,
            ),
        ).work(Event())


def perform(store: SqlSweepStore, claimed: ClaimedSlot, lease: Lease, file: int) -> RunEnd:
    """Ask what is not answered yet, as a real run does after a crash."""
    slot = claimed.slot
    known = {answer.position for answer in store.read_answers(slot.run_id)}
    plan = f'"plan of {slot.run_id}"'
    store.save_plan(slot, plan)
    for position in range(NUM_ANSWERS):
        if position not in known:
            lease.check()
            time.sleep(0.1)
            body = f"asked by attempt {slot.attempt}"
            store.append_answers(slot, [an_answer(position, body=body)])
    os.write(file, f"{slot.run_id} {slot.attempt}\n".encode())
    return RunEnd(state=SlotState.DONE, result_json=json.dumps([slot.run_id, slot.attempt]))


class Schedulers:
    """Processes that are killed and replaced."""

    def __init__(self, url: str, notes: Path, began_s: float) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._args = (url, notes, began_s)
        self._names = iter(range(10**6))
        self.running: list[ForkServerProcess] = []
        for _ in range(NUM_SCHEDULERS):
            self.start()

    def start(self) -> None:
        number = next(self._names)
        owner = f"scheduler-{number}{'-forgetful' if number % 3 == 0 else ''}"
        process = self._context.Process(target=schedule_until_killed, args=(*self._args, owner))
        process.start()
        self.running.append(process)

    def kill(self, index: int) -> None:
        process = self.running.pop(index)
        assert process.pid is not None and process.is_alive(), "a scheduler ended by itself"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL

    def kill_all(self) -> None:
        for process in self.running:
            process.kill()
            process.join()
        self.running.clear()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/audit.db"
        return
    with running_cluster() as cluster:
        yield cluster.new_database()


def ended_slots(store: SqlSweepStore, sweep_id: str) -> list[Slot]:
    return [slot for slot in store.results(sweep_id) if slot.slot_at <= until()]


def test_schedulers_killed_at_random_end_every_slot_once(url: str, tmp_path: Path) -> None:
    dice = random.Random(7)  # noqa: S311  nothing is kept secret with it
    notes = tmp_path / "performed"
    notes.touch()
    sweep_ids = [f"sweep-{number}" for number in range(NUM_SWEEPS)]
    with opened(url) as store:
        for sweep_id in sweep_ids:
            store.create(a_sweep(sweep_id, name=sweep_id, schedule=SCHEDULE))
        schedulers = Schedulers(url, notes, time.time())
        try:
            kill_at_random(schedulers, dice)
            await_ends(store, sweep_ids, schedulers)
        finally:
            schedulers.kill_all()
        for sweep_id in sweep_ids:
            check_sweep(store, sweep_id)
    check_notes(url, notes)


def kill_at_random(schedulers: Schedulers, dice: random.Random) -> None:
    for number in range(NUM_KILLS):
        time.sleep(dice.uniform(0, MAX_LIFE_S))
        schedulers.kill(dice.randrange(NUM_SCHEDULERS))
        if number % 10 == 9:
            # nobody is left, for longer than a lease
            while schedulers.running:
                schedulers.kill(0)
            time.sleep(dice.uniform(0, 2 * LEASE_S / SPEED))
        while len(schedulers.running) < NUM_SCHEDULERS:
            schedulers.start()


def await_ends(store: SqlSweepStore, sweep_ids: list[str], schedulers: Schedulers) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while any(len(ended_slots(store, each)) < NUM_SLOTS_PER_SWEEP for each in sweep_ids):
        assert time.monotonic() < deadline_s, [len(ended_slots(store, each)) for each in sweep_ids]
        assert all(process.is_alive() for process in schedulers.running)
        time.sleep(0.1)


def check_sweep(store: SqlSweepStore, sweep_id: str) -> None:
    """Check that the schedule's slots are there, each with one end and its answers."""
    ended = ended_slots(store, sweep_id)
    assert [slot.slot_at for slot in ended] == [
        at(10 * number) for number in range(1, NUM_SLOTS_PER_SWEEP + 1)
    ]
    for slot in ended:
        assert slot.state is SlotState.DONE, slot
        # the result is that of the attempt that ended it
        assert slot.result_json == json.dumps([slot.run_id, slot.attempt])
        assert store.read_plan(slot.run_id) == f'"plan of {slot.run_id}"'
        answers = store.read_answers(slot.run_id)
        assert [answer.position for answer in answers] == list(range(NUM_ANSWERS))
        for answer in answers:
            assert int(answer.raw.body.rpartition(" ")[2]) <= slot.attempt
        starts = datetime.fromisoformat(slot.start_at) - datetime.fromisoformat(slot.slot_at)
        assert timedelta(0) <= starts < timedelta(seconds=60)
        assert slot.finished_at is not None
        assert datetime.fromisoformat(slot.finished_at) > datetime.fromisoformat(slot.start_at)
        assert datetime.fromisoformat(slot.finished_at).tzinfo == UTC


def check_notes(url: str, notes: Path) -> None:
    """Check that the kills hit runs, and that no attempt of a run performed it twice."""
    performed = Counter(notes.read_text().splitlines())
    assert max(performed.values()) == 1
    engine = open_engine(url)
    with engine.connect() as connection:
        attempts = connection.execute(
            text("SELECT attempt FROM sweep_slots WHERE state = 'DONE'")
        ).scalars()
        repeated = sum(attempt > 1 for attempt in attempts)
        running = "SELECT sweep_id FROM sweep_slots WHERE state = 'RUNNING'"
        held = list(connection.execute(text(running)).scalars())
    engine.dispose()
    assert len(held) == len(set(held))
    print(f"{len(performed)} runs performed, {repeated} after a crash")
    assert repeated >= 5, "the kills hit nothing: they prove nothing"

"""Which slots are written down, and which of those that are due are run."""

from dataclasses import replace
from itertools import pairwise

import pytest

from audit.sweep_ports import ClaimedSlot, ScheduledSweep
from audit.sweep_records import CatchUpRule, OverlapRule, Schedule, SlotState, SweepState
from audit.sweeps.schedule.slots import (
    jitter_share,
    manual_slot,
    reason_not_to_run,
    run_id,
    scheduled_slot,
    slots_until,
)
from tests.unit.storage.sweep_builders import a_sweep, at

HOURLY = Schedule(cron="0 * * * *", max_lateness_s=600)


def scheduled(schedule: Schedule, until_min: float = 0) -> ScheduledSweep:
    return ScheduledSweep(sweep=a_sweep(schedule=schedule), scheduled_until=at(until_min))


def claimed(
    schedule: Schedule = HOURLY,
    *,
    minutes: float = 60,
    state: SweepState = SweepState.ACTIVE,
    attempt: int = 1,
    has_begun: bool = False,
    has_later_due: bool = False,
    overlapped: str | None = None,
    until_min: float = 120,
    is_manual: bool = False,
) -> ClaimedSlot:
    sweep = replace(a_sweep(schedule=schedule), state=state)
    slot = manual_slot(sweep, at(minutes)) if is_manual else scheduled_slot(sweep, at(minutes))
    return ClaimedSlot(
        slot=replace(slot, state=SlotState.RUNNING, attempt=attempt),
        sweep=sweep,
        scheduled_until=at(until_min),
        has_begun=has_begun,
        has_later_due=has_later_due,
        overlapped=overlapped,
    )


def reason(each: ClaimedSlot, minutes: float) -> str:
    return reason_not_to_run(each, at(minutes), max_attempts=3) or "run"


# --- which are written down -----------------------------------------------------------------------


def test_slots_are_written_down_up_to_now_and_one_ahead() -> None:
    written = slots_until(scheduled(HOURLY), at(121), max_slots=99)
    assert [slot.slot_at for slot in written.slots] == [at(60), at(120), at(180)]
    assert written.scheduled_until == at(180)
    at_once = slots_until(scheduled(HOURLY), at(120), max_slots=99)
    assert at_once.scheduled_until == at(180)


def test_a_long_outage_is_written_down_in_parts() -> None:
    first = slots_until(scheduled(HOURLY), at(60 * 24), max_slots=10)
    assert (len(first.slots), first.scheduled_until) == (10, at(600))
    second = slots_until(scheduled(HOURLY, 600), at(60 * 24), max_slots=20)
    assert (len(second.slots), second.scheduled_until) == (15, at(60 * 25))


def test_after_the_last_time_there_is_nothing_more_to_write_down() -> None:
    late = replace(scheduled(HOURLY), scheduled_until="9999-12-31T23:30:00.000000Z")
    written = slots_until(late, at(0), max_slots=9)
    assert (written.slots, written.scheduled_until) == ((), "9999-12-31T23:59:59.999999Z")


def test_every_scheduler_writes_the_same_slot() -> None:
    schedule = replace(HOURLY, jitter_s=60.0)
    sweep = a_sweep(schedule=schedule)
    slot = scheduled_slot(sweep, at(60))
    assert slot == scheduled_slot(sweep, at(60))
    # fixed forever: a row of the last version must be the row of the next
    assert slot.run_id == run_id("sweep-1", at(60)) == "run-51778eff623f844d8cf754c08401d40b"
    assert slot.start_at == "2026-03-02T13:00:14.080964Z"


def test_jitter_fills_its_range_evenly_and_keeps_the_order() -> None:
    shares = [jitter_share("sweep-1", at(minutes)) for minutes in range(2_000)]
    assert all(0 <= share < 1 for share in shares)
    counts = [sum(n / 10 <= share < (n + 1) / 10 for share in shares) for n in range(10)]
    # 200 expected each, with a standard deviation of 13.4
    assert min(counts) > 140 and max(counts) < 260
    assert jitter_share("sweep-1", at(0)) != jitter_share("sweep-2", at(0))
    minutely = Schedule(cron="* * * * *", jitter_s=59.9)
    written = slots_until(scheduled(minutely), at(200), max_slots=999)
    starts = [slot.start_at for slot in written.slots]
    assert all(a < b for a, b in pairwise(starts)) and len(starts) == 201


def test_a_manual_slot_starts_at_once() -> None:
    slot = manual_slot(a_sweep(), at(1.5))
    assert (slot.slot_at, slot.start_at, slot.is_manual) == (at(1.5), at(1.5), True)


# --- which are run --------------------------------------------------------------------------------


def test_a_slot_that_is_due_is_run() -> None:
    assert reason(claimed(), 60) == reason(claimed(), 70) == "run"


def test_a_slot_that_is_too_late_is_not_performed() -> None:
    assert reason(claimed(), 70.1) == (
        "Nobody could start the run within 600 seconds of 2026-03-02T13:00:00.000000Z."
    )


def test_lateness_counts_from_the_start_with_its_jitter() -> None:
    each = claimed(replace(HOURLY, jitter_s=3000.0))
    start_min = 60 + 50 * jitter_share("sweep-1", at(60))
    assert reason(each, start_min + 9.9) == "run"
    assert reason(each, start_min + 10.1).startswith("Nobody could start")


def test_the_latest_missed_slot_is_caught_up_where_the_schedule_says_so() -> None:
    latest = replace(HOURLY, catch_up=CatchUpRule.LATEST)
    assert reason(claimed(latest), 110) == "run"
    assert reason(claimed(latest, has_later_due=True), 130).startswith("Nobody could start")
    # the later one is due and not written down yet
    assert reason(claimed(latest, until_min=60), 130).startswith("Nobody could start")
    assert reason(claimed(latest, until_min=60), 119) == "run"


def test_a_slot_is_skipped_for_a_run_that_was_going_on() -> None:
    each = claimed(overlapped="run-a")
    assert reason(each, 61) == "The run run-a was still going on when this one was due."
    waits = replace(HOURLY, overlap=OverlapRule.WAIT)
    assert reason(claimed(waits, overlapped="run-a"), 61) == "run"
    assert reason(claimed(waits, overlapped="run-a"), 71).startswith("Nobody could start")


def test_slots_in_time_run_one_after_the_other_only_where_they_wait() -> None:
    patient = replace(HOURLY, max_lateness_s=86_400.0)
    assert reason(claimed(patient, has_later_due=True), 130) == (
        "The next slot of the sweep was due before this one could start."
    )
    waits = replace(patient, overlap=OverlapRule.WAIT)
    assert reason(claimed(waits, has_later_due=True), 130) == "run"


@pytest.mark.parametrize(
    ("state", "manual"),
    [
        (SweepState.PAUSED, "run"),
        (SweepState.DELETED, "The sweep was deleted before the run could start."),
    ],
)
def test_a_sweep_that_is_not_active_starts_nothing(state: SweepState, manual: str) -> None:
    how = f"The sweep was {state.lower()} before the run could start."
    assert reason(claimed(state=state), 60) == how
    # what somebody asks for by hand is run on a paused sweep, but not on a deleted one
    assert reason(claimed(state=state, is_manual=True), 60) == manual


def test_a_run_by_hand_is_never_too_late_and_waits_for_others() -> None:
    each = claimed(is_manual=True, overlapped="run-a", has_later_due=True)
    assert reason(each, 6000) == "run"


def test_a_run_that_has_begun_is_gone_on_with() -> None:
    for state in SweepState:
        each = claimed(state=state, has_begun=True, attempt=2, has_later_due=True, overlapped="x")
        assert reason(each, 6000) == "run"


def test_a_run_that_never_began_is_held_to_its_schedule_at_each_attempt() -> None:
    assert reason(claimed(attempt=2), 71).startswith("Nobody could start")


def test_after_so_many_attempts_a_run_is_given_up() -> None:
    assert reason(claimed(attempt=3, has_begun=True), 60) == "run"
    assert reason(claimed(attempt=4, has_begun=True), 60) == (
        "The run was begun 3 times and never came to an end."
    )

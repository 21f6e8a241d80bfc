"""From schedules to slots, and whether a slot that is due may still run; pure functions.

A slot's id and jitter follow from its sweep and time, so that all schedulers write the same row.
"""

import hashlib
import itertools
import json
from dataclasses import dataclass

from audit.sweep_ports import ClaimedSlot, ScheduledSweep
from audit.sweep_records import CatchUpRule, OverlapRule, Schedule, Slot, Sweep, SweepState
from audit.sweeps.schedule.cron import later, parse_time, times_after, write_time

_NEVER = "9999-12-31T23:59:59.999999Z"
_NUM_ID_DIGITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The slots to be added for a sweep, and how far its schedule is written down with them."""

    slots: tuple[Slot, ...]
    scheduled_until: str


def slots_until(scheduled: ScheduledSweep, now: str, *, max_slots: int) -> Written:
    """Return the slots up to `now` and the one that follows, `max_slots` at most.

    Raises: InvalidRequest for a schedule that is none.
    """
    sweep = scheduled.sweep
    schedule = _schedule(sweep)
    slots: list[Slot] = []
    times = times_after(schedule, parse_time(scheduled.scheduled_until))
    for time in itertools.islice(times, max_slots):
        slots.append(scheduled_slot(sweep, write_time(time)))
        if slots[-1].slot_at > now:
            break
    until = slots[-1].slot_at if slots else _NEVER
    return Written(slots=tuple(slots), scheduled_until=until)


def scheduled_slot(sweep: Sweep, slot_at: str) -> Slot:
    """Return a sweep's slot at a time that its schedule names."""
    jitter_s = _schedule(sweep).jitter_s * jitter_share(sweep.sweep_id, slot_at)
    return Slot(
        run_id=run_id(sweep.sweep_id, slot_at),
        sweep_id=sweep.sweep_id,
        tenant=sweep.tenant,
        slot_at=slot_at,
        start_at=later(slot_at, jitter_s),
    )


def manual_slot(sweep: Sweep, now: str) -> Slot:
    """Return a slot that runs as soon as somebody claims it."""
    return Slot(
        run_id=run_id(sweep.sweep_id, now),
        sweep_id=sweep.sweep_id,
        tenant=sweep.tenant,
        slot_at=now,
        start_at=now,
        is_manual=True,
    )


def run_id(sweep_id: str, slot_at: str) -> str:
    """Return the id of a sweep's run at a time."""
    return f"run-{_digest('run', sweep_id, slot_at)[:_NUM_ID_DIGITS]}"


def jitter_share(sweep_id: str, slot_at: str) -> float:
    """Return a number in [0, 1) that looks uniform and is the same wherever it is computed."""
    return int(_digest("jitter", sweep_id, slot_at)[:13], 16) / 2**52


def reason_not_to_run(claimed: ClaimedSlot, now: str, *, max_attempts: int) -> str | None:
    """Return why a claimed slot is not performed, as a sentence; None where it is to be run.

    A run that has begun is gone on with, whatever the schedule says meanwhile.
    """
    slot, sweep = claimed.slot, claimed.sweep
    if slot.attempt > max_attempts:
        return f"The run was begun {max_attempts} times and never came to an end."
    if claimed.has_begun:
        return None
    if sweep.state is SweepState.DELETED:
        return "The sweep was deleted before the run could start."
    if slot.is_manual:
        return None
    if sweep.state is SweepState.PAUSED:
        return "The sweep was paused before the run could start."
    return _reason_of_schedule(claimed, _schedule(sweep), now)


def _reason_of_schedule(claimed: ClaimedSlot, schedule: Schedule, now: str) -> str | None:
    slot = claimed.slot
    skips = schedule.overlap is OverlapRule.SKIP
    if skips and claimed.overlapped is not None:
        return f"The run {claimed.overlapped} was still going on when this one was due."
    is_latest = not claimed.has_later_due and not _names_time_until(claimed, schedule, now)
    if now > later(slot.start_at, schedule.max_lateness_s):
        if schedule.catch_up is CatchUpRule.LATEST and is_latest:
            return None
        return (
            f"Nobody could start the run within {schedule.max_lateness_s:g} seconds of "
            f"{slot.start_at}."
        )
    if skips and not is_latest:
        return "The next slot of the sweep was due before this one could start."
    return None


def _names_time_until(claimed: ClaimedSlot, schedule: Schedule, now: str) -> bool:
    """Return whether slots are due that are not written down yet."""
    if claimed.scheduled_until is None or claimed.scheduled_until >= now:
        return False
    following = next(times_after(schedule, parse_time(claimed.scheduled_until)), None)
    return following is not None and write_time(following) <= now


def _schedule(sweep: Sweep) -> Schedule:
    schedule = sweep.spec.schedule
    assert schedule is not None, "only scheduled sweeps have scheduled slots"  # noqa: S101
    return schedule


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()

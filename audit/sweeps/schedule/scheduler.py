"""Writes down due slots, claims one, and sees it through to its end.

    due sweeps --cron--> slots --claim--> run or give up --finish--> DONE | NOT_PERFORMED

Any number of schedulers may work on one store, in threads or processes, and be killed at any
moment. A slot is a row, and ends once because its row does; a run that was cut off is claimed again
once its lease is over, with what it recorded. Clocks of schedulers should agree within a fraction
of the lease: where they do not, runs are taken over too early or too late, and still end once.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from audit.errors import AuditError, InvalidRequest, StorageError, StreamMoved
from audit.ports import Clock
from audit.sweep_ports import ClaimedSlot, SweepStore
from audit.sweep_records import SlotState
from audit.sweeps.schedule.lease import Lease, held
from audit.sweeps.schedule.slots import reason_not_to_run, slots_until

_log = logging.getLogger(__name__)

#: So that a clock that shows a far future, or a long outage, fills no database in one turn.
_MAX_SLOTS_PER_TURN = 100
_MAX_SWEEPS_PER_TURN = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How a run ended: what `SweepStore.finish` stores."""

    state: SlotState
    result_json: str | None
    log_index: int | None = None


#: Performs a run and returns its end; goes on from what is recorded where `has_begun`. It must be
#: safe to repeat, since a kill between its end and the store's leads to another attempt.
Run = Callable[[ClaimedSlot, Lease], RunEnd]

#: Records why a slot is not performed; as safe to repeat.
GiveUp = Callable[[ClaimedSlot, str], RunEnd]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """How a scheduler holds slots."""

    lease_s: float = 120.0
    """How long after a crash a run is taken up by another scheduler."""
    renew_s: float = 40.0
    """How often a lease is renewed; a third of it, so that two renewals may fail."""
    max_attempts: int = 3
    poll_s: float = 1.0


class Scheduler:
    """Runs due slots one at a time; start several for several at once."""

    def __init__(
        self,
        store: SweepStore,
        *,
        owner: str,
        clock: Clock,
        monotonic: Callable[[], float],
        run: Run,
        give_up: GiveUp,
        settings: SchedulerSettings,
    ) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock
        self._monotonic = monotonic
        self._run = run
        self._give_up = give_up
        self._settings = settings
        self._refused: set[str] = set()

    def turn(self) -> bool:
        """Write down what is due and see one slot through; return whether there was one.

        A run that fails keeps its slot until the lease is over, and is then tried again.

        Raises: StorageError; whatever else the run raises, except that somebody took it over.
        """
        # One time for all steps: what is claimed as due is written down as due before.
        now = self._clock()
        self._write_down(now)
        settings = self._settings
        claimed = self._store.claim_slot(now, owner=self._owner, lease_s=settings.lease_s)
        if claimed is None:
            return False
        try:
            self._see_through(claimed, now)
        except StreamMoved as error:
            _log.warning("a run was left to another scheduler: %s", error)
        return True

    def work(self, stop: threading.Event) -> None:
        """Take turns until told to stop; a run that is going on is seen through first."""
        while not stop.is_set():
            try:
                was_busy = self.turn()
            except AuditError as error:
                _log.error("a scheduled run failed and will be tried again: %s", error)
                was_busy = False
            if not was_busy:
                stop.wait(self._settings.poll_s)

    def _write_down(self, now: str) -> None:
        for scheduled in self._store.due_sweeps(now, limit=_MAX_SWEEPS_PER_TURN):
            sweep = scheduled.sweep
            try:
                written = slots_until(scheduled, now, max_slots=_MAX_SLOTS_PER_TURN)
            except InvalidRequest as error:
                # One sweep whose time zone this machine does not know must not stop the others.
                if sweep.sweep_id not in self._refused:
                    _log.error("the sweep %s cannot be scheduled: %s", sweep.sweep_id, error)
                self._refused.add(sweep.sweep_id)
                continue
            self._store.add_slots(
                sweep.sweep_id, written.slots, scheduled_until=written.scheduled_until
            )

    def _see_through(self, claimed: ClaimedSlot, now: str) -> None:
        settings = self._settings
        slot = claimed.slot
        with held(
            self._store,
            slot,
            lease_s=settings.lease_s,
            renew_s=settings.renew_s,
            clock=self._clock,
            monotonic=self._monotonic,
        ) as lease:
            reason = reason_not_to_run(claimed, now, max_attempts=settings.max_attempts)
            if reason is None:
                end = self._run(claimed, lease)
            else:
                end = self._give_up(claimed, reason)
            self._finish(claimed, end)

    def _finish(self, claimed: ClaimedSlot, end: RunEnd) -> None:
        for is_last in (False, True):
            try:
                self._store.finish(
                    claimed.slot,
                    state=end.state,
                    result_json=end.result_json,
                    log_index=end.log_index,
                    now=self._clock(),
                )
                return
            except StreamMoved:
                raise
            except StorageError:
                # the commit may have gone through; the same end again does no harm
                if is_last:
                    raise

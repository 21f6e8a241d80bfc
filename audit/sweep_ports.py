"""What keeps sweeps needs of a database, as a protocol; beside `audit.ports`.

`audit.app` alone picks the implementation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from audit.sweep_records import RecordedAnswer, Slot, SlotState, Sweep, SweepState


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPage:
    """One page of sweeps, newest first."""

    sweeps: tuple[Sweep, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPage:
    """One page of a sweep's runs, newest first."""

    slots: tuple[Slot, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledSweep:
    """A sweep with the time up to which its schedule is written down as slots."""

    sweep: Sweep
    scheduled_until: str
    """Every time of the schedule up to and with this one is a slot, or never will be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedSlot:
    """A slot that the caller holds, and what stood beside it at that moment."""

    slot: Slot
    """RUNNING; its `attempt` is the token that every later write must carry."""
    sweep: Sweep
    scheduled_until: str | None
    """As of `ScheduledSweep`; None without a schedule."""
    has_begun: bool
    """Whether its plan was saved, so that whoever held it before may have asked already."""
    has_later_due: bool
    """Whether a later scheduled slot of the sweep is due as well."""
    overlapped: str | None
    """The id of a run that was still going on when this one should have started."""


class SweepStore(Protocol):
    """Keeps sweeps, their slots and what was recorded. Every method is one transaction.

    Safe from several threads and processes. All times are RFC 3339 in UTC with microseconds and
    `Z`. A method that takes a held `Slot` stores nothing and raises StreamMoved once somebody else
    has claimed it. Every method may raise StorageError.
    """

    def create(self, sweep: Sweep, *, request_id: str | None = None) -> tuple[Sweep, bool]:
        """Store a new ACTIVE sweep of version 1; return (sweep, True), or (the earlier one, False).

        A `request_id` that the tenant used before returns the earlier one. Raises: RequestConflict
        where it was used for another spec, or the name is another sweep's that is not deleted.
        """
        ...

    def get(self, sweep_id: str) -> Sweep:
        """Return one sweep, in whatever state. Raises: AuditNotFound."""
        ...

    def get_by_name(self, tenant: str, name: str) -> Sweep | None:
        """Return the tenant's sweep of that name that is not deleted."""
        ...

    def list(
        self,
        tenant: str | None,
        *,
        page_size: int,
        cursor: str | None,
        with_deleted: bool = False,
    ) -> SweepPage:
        """Return one page, newest first; of all tenants where none is named.

        Raises: InvalidRequest for a cursor that is not ours.
        """
        ...

    def set_state(
        self, sweep_id: str, state: SweepState, *, expected_version: int, now: str
    ) -> Sweep:
        """Pause, resume or delete a sweep; return it at the next version, unchanged if so already.

        Slots that lie ahead are withdrawn unless it becomes ACTIVE, when its schedule goes on from
        `now`. Runs that are going on go on. Raises: AuditNotFound; StreamMoved where the version is
        another; InvalidRequest for a deleted sweep.
        """
        ...

    def due_sweeps(self, now: str, *, limit: int) -> tuple[ScheduledSweep, ...]:
        """Return ACTIVE sweeps with a schedule that is written down up to `now` at most."""
        ...

    def add_slots(
        self, sweep_id: str, slots: Sequence[Slot], *, scheduled_until: str | None = None
    ) -> int:
        """Add PENDING slots, leave those that are there as they are; return how many were new.

        `scheduled_until` moves forward only. A sweep that is not ACTIVE takes manual slots alone,
        a deleted one none: the others count as not new. Raises: AuditNotFound, InvalidRequest.
        """
        ...

    def claim_slot(self, now: str, *, owner: str, lease_s: float) -> ClaimedSlot | None:
        """Take a slot whose holder's lease ran out, or else the oldest that is due; None without.

        Its attempt counts one up. No sweep ever has two RUNNING slots: the next waits.
        """
        ...

    def renew(self, slot: Slot, now: str, *, lease_s: float) -> Slot:
        """Hold a slot for longer. Raises: StreamMoved."""
        ...

    def release(self, slot: Slot, now: str) -> None:
        """Let anybody claim a slot at once, to go on with it. Raises: StreamMoved."""
        ...

    def save_plan(self, slot: Slot, plan_json: str) -> None:
        """Store what the run is committed to, once only.

        The same text again does no harm. Raises: StreamMoved; RequestConflict for another text.
        """
        ...

    def read_plan(self, run_id: str) -> str | None:
        """Return what `save_plan` stored; None before."""
        ...

    def append_answers(self, slot: Slot, answers: Sequence[RecordedAnswer]) -> None:
        """Record answers; one that is recorded already stays and does no harm.

        All of them or nothing. Raises: StreamMoved; RequestConflict where another answer stands at
        an endpoint's position.
        """
        ...

    def read_answers(self, run_id: str) -> tuple[RecordedAnswer, ...]:
        """Return what was recorded, by endpoint and position, whoever recorded it."""
        ...

    def finish(
        self,
        slot: Slot,
        *,
        state: SlotState,
        result_json: str | None,
        log_index: int | None,
        now: str,
    ) -> Slot:
        """End a slot as DONE or NOT_PERFORMED; the same end again does no harm.

        Raises: StreamMoved, InvalidRequest.
        """
        ...

    def get_slot(self, run_id: str) -> Slot:
        """Return one run. Raises: AuditNotFound."""
        ...

    def list_slots(self, sweep_id: str, *, page_size: int, cursor: str | None) -> SlotPage:
        """Return one page of a sweep's runs by slot time, newest first.

        Raises: InvalidRequest for a cursor that is not ours.
        """
        ...

    def results(
        self, sweep_id: str, *, after: str | None = None, limit: int | None = None
    ) -> tuple[Slot, ...]:
        """Return the runs that ended with a result and a slot time above `after`, in slot order."""
        ...

    def next_slot(self, sweep_id: str) -> Slot | None:
        """Return the PENDING slot that starts first; None without one."""
        ...

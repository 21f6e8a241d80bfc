"""Tells which runs of a sweep changed since one last looked.

Stands between the desk and the stream of WatchSweep. It asks the desk again and again:
another process may be the one that runs the sweep.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from audit.errors import AuditNotFound
from audit.service.sweep_desk import SweepDesk, SweepRunView
from audit.sweep_records import Slot, SlotState, SweepState

#: Runs on a page, and so those that a watch begins with: a page is read at each look.
PAGE_SIZE: Final = 10

_OVER: Final = frozenset({SlotState.DONE, SlotState.NOT_PERFORMED})


class Look(NamedTuple):
    """What one look shows."""

    runs: tuple[SweepRunView, ...]
    """New or changed, earliest first."""
    is_over: bool
    """Whether nothing more can change: the sweep is deleted and none of its runs goes on."""


class _Standing(NamedTuple):
    """What of a run is worth a message once it changes."""

    state: SlotState
    attempt: int
    log_index: int | None


class RunWatch:
    """Follows one sweep; use it from one thread at a time."""

    def __init__(self, desk: SweepDesk, tenant: str, sweep_id: str) -> None:
        self._desk, self._tenant, self._sweep_id = desk, tenant, sweep_id
        self._known: dict[str, _Standing] = {}
        self._oldest: str | None = None
        """Slot time of the oldest run told of at first; None before that, and where all were."""
        self._has_begun = False

    def look(self) -> Look:
        """Return the runs that are new or changed; the latest ones at first.

        Raises: AuditNotFound where the tenant has no such sweep.
        """
        sweep = self._desk.find(self._tenant, self._sweep_id)
        slots = {slot.run_id: slot for slot in self._listed()}
        waiting = [
            run_id
            for run_id, standing in self._known.items()
            if standing.state not in _OVER and run_id not in slots
        ]
        changed = [run_id for run_id, slot in slots.items() if self._is_news(slot)]
        views = [view for run_id in (*waiting, *changed) if (view := self._read(run_id))]
        news = [view for view in views if self._is_news(view.slot)]
        self._known |= {view.slot.run_id: _standing(view.slot) for view in news}
        is_over = sweep.state is SweepState.DELETED and not any(
            standing.state is SlotState.RUNNING for standing in self._known.values()
        )
        return Look(runs=tuple(sorted(news, key=_slot_order)), is_over=is_over)

    def _is_news(self, slot: Slot) -> bool:
        return self._known.get(slot.run_id) != _standing(slot)

    def _listed(self) -> Iterator[Slot]:
        cursor: str | None = None
        while True:
            page = self._desk.list_slots(
                self._tenant, self._sweep_id, page_size=PAGE_SIZE, cursor=cursor
            )
            cursor = page.next_cursor
            if not self._has_begun:
                self._has_begun = True
                self._oldest = page.slots[-1].slot_at if cursor and page.slots else None
                yield from page.slots
                return
            recent = [s for s in page.slots if self._oldest is None or s.slot_at >= self._oldest]
            yield from recent
            # many runs can be new at once: those missed while nobody was there to run them
            if cursor is None or not self._has_unknown(recent):
                return

    def _has_unknown(self, slots: Iterable[Slot]) -> bool:
        return any(slot.run_id not in self._known for slot in slots)

    def _read(self, run_id: str) -> SweepRunView | None:
        try:
            return self._desk.find_run(self._tenant, run_id)
        except AuditNotFound:
            # withdrawn when the sweep was paused; it is news again if it comes back
            self._known.pop(run_id, None)
            return None


def _standing(slot: Slot) -> _Standing:
    return _Standing(state=slot.state, attempt=slot.attempt, log_index=slot.log_index)


def _slot_order(view: SweepRunView) -> tuple[str, str]:
    return view.slot.slot_at, view.slot.run_id

"""The in-memory twin of `storage.sweeps`: the same port in plain Python, to specify and to test.

One conformance suite runs over both. Nothing survives the process, so the service never uses it.
"""

from collections.abc import Sequence
from dataclasses import replace

from audit.sweep_ports import ScheduledSweep, SweepPage
from audit.sweep_records import Slot, SlotState, Sweep, SweepState
from storage.cursor import check_page_size
from storage.memory_sweep_runs import InMemorySweepRuns, SlotEntry
from storage.serialise import from_json, to_json
from storage.sweep_checks import (
    require_changeable,
    require_limit,
    require_new_slots,
    require_new_sweep,
    require_time,
)
from storage.sweep_rows import (
    decode_sweep_cursor,
    encode_sweep_cursor,
    name_taken,
    request_id_taken,
    sweep_moved,
)


class InMemorySweepStore(InMemorySweepRuns):
    """Keeps sweeps in dictionaries; safe to call from several threads."""

    def create(self, sweep: Sweep, *, request_id: str | None = None) -> tuple[Sweep, bool]:
        """Keep a new ACTIVE sweep; return (sweep, True), or (the earlier one, False).

        Raises: InvalidRequest and RequestConflict where the SQL store does.
        """
        require_new_sweep(sweep, request_id)
        # read back as the SQL store would, so that what JSON cannot carry is refused here as well
        spec = from_json(type(sweep.spec), to_json(sweep.spec))
        with self._lock:
            earlier = self._request_ids.get((sweep.tenant, request_id or ""))
            if earlier is not None:
                if self._sweeps[earlier].spec != spec:
                    raise request_id_taken(request_id or "")
                return self._sweeps[earlier], False
            is_known = sweep.sweep_id in self._sweeps
            if is_known or self._named(sweep.tenant, spec.name) is not None:
                raise name_taken(spec.name)
            self._sweeps[sweep.sweep_id] = sweep
            if request_id is not None:
                self._request_ids[sweep.tenant, request_id] = sweep.sweep_id
            if spec.schedule is not None:
                self._scheduled_until[sweep.sweep_id] = sweep.created_at
            return sweep, True

    def get(self, sweep_id: str) -> Sweep:
        """Return one sweep, in whatever state. Raises: AuditNotFound."""
        with self._lock:
            return self._sweep(sweep_id)

    def get_by_name(self, tenant: str, name: str) -> Sweep | None:
        """Return the tenant's sweep of that name that is not deleted."""
        with self._lock:
            return self._named(tenant, name)

    def list(
        self,
        tenant: str | None,
        *,
        page_size: int,
        cursor: str | None,
        with_deleted: bool = False,
    ) -> SweepPage:
        """Return one page, newest first; of all tenants where none is named.

        Raises: InvalidRequest for a bad cursor or size.
        """
        check_page_size(page_size)
        below = None if cursor is None else decode_sweep_cursor(cursor, tenant, with_deleted)
        with self._lock:
            sweeps = sorted(self._sweeps.values(), key=_place, reverse=True)
        found = [
            sweep
            for sweep in sweeps
            if tenant in (None, sweep.tenant)
            and (with_deleted or sweep.state is not SweepState.DELETED)
            and (below is None or _place(sweep) < below)
        ]
        page, has_more = tuple(found[:page_size]), len(found) > page_size
        return SweepPage(
            sweeps=page,
            next_cursor=encode_sweep_cursor(page[-1], tenant, with_deleted) if has_more else None,
        )

    def set_state(
        self, sweep_id: str, state: SweepState, *, expected_version: int, now: str
    ) -> Sweep:
        """Pause, resume or delete a sweep; slots that lie ahead are withdrawn.

        Raises: AuditNotFound, StreamMoved, InvalidRequest.
        """
        require_time("now", now)
        with self._lock:
            sweep = self._sweep(sweep_id)
            if sweep.state is state:
                return sweep
            require_changeable(sweep.state)
            if sweep.version != expected_version:
                raise sweep_moved(sweep_id, sweep.version)
            changed = replace(sweep, state=state, version=sweep.version + 1)
            self._sweeps[sweep_id] = changed
            if state is SweepState.ACTIVE and sweep_id in self._scheduled_until:
                self._scheduled_until[sweep_id] = now
            if state is not SweepState.ACTIVE:
                self._withdraw(sweep_id, now)
            return changed

    def due_sweeps(self, now: str, *, limit: int) -> tuple[ScheduledSweep, ...]:
        """Return ACTIVE sweeps whose schedule is written down up to `now` at most."""
        require_limit(limit)
        with self._lock:
            due = sorted(
                (until, sweep_id)
                for sweep_id, until in self._scheduled_until.items()
                if until <= now and self._sweeps[sweep_id].state is SweepState.ACTIVE
            )
            return tuple(
                ScheduledSweep(sweep=self._sweeps[sweep_id], scheduled_until=until)
                for until, sweep_id in due[:limit]
            )

    def add_slots(
        self, sweep_id: str, slots: Sequence[Slot], *, scheduled_until: str | None = None
    ) -> int:
        """Add PENDING slots, leave those that are there; return how many were new.

        Raises: AuditNotFound, InvalidRequest.
        """
        require_new_slots(sweep_id, slots)
        if scheduled_until is not None:
            require_time("scheduled_until", scheduled_until)
        with self._lock:
            state = self._sweep(sweep_id).state
            until = self._scheduled_until.get(sweep_id)
            is_active = state is SweepState.ACTIVE
            if is_active and until is not None and scheduled_until is not None:
                self._scheduled_until[sweep_id] = max(until, scheduled_until)
            takes_manual = state is not SweepState.DELETED
            wanted = [slot for slot in slots if is_active or (slot.is_manual and takes_manual)]
            return sum(self._add(slot) for slot in wanted)

    def _add(self, slot: Slot) -> bool:
        times = {entry.slot.slot_at for entry in self._of_sweep(slot.sweep_id)}
        if slot.run_id in self._entries or slot.slot_at in times:
            return False
        self._entries[slot.run_id] = SlotEntry(slot=slot)
        return True

    def _named(self, tenant: str, name: str) -> Sweep | None:
        for sweep in self._sweeps.values():
            is_there = sweep.state is not SweepState.DELETED
            if is_there and (sweep.tenant, sweep.spec.name) == (tenant, name):
                return sweep
        return None

    def _withdraw(self, sweep_id: str, now: str) -> None:
        for entry in self._of_sweep(sweep_id):
            slot = entry.slot
            is_ahead = slot.state is SlotState.PENDING and slot.slot_at > now
            if is_ahead and not slot.is_manual:
                del self._entries[slot.run_id]


def _place(sweep: Sweep) -> tuple[str, str]:
    return sweep.created_at, sweep.sweep_id

"""The in-memory twin of `storage.sweep_runs`: who holds a slot, what it got, how it ended."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from audit.sweep_ports import ClaimedSlot, SlotPage
from audit.sweep_records import RecordedAnswer, Slot, SlotState, Sweep
from storage.cursor import check_page_size
from storage.serialise import to_json
from storage.sweep_checks import (
    lease_end,
    longest_lease_end,
    require_answers,
    require_end,
    require_limit,
    require_text,
    require_time,
)
from storage.sweep_rows import (
    answer_conflict,
    decode_slot_cursor,
    encode_slot_cursor,
    lease_lost,
    plan_conflict,
    run_not_found,
    sweep_not_found,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEntry:
    """A slot and when it was claimed for the first time."""

    slot: Slot
    first_claimed_at: str | None = None


class InMemorySweepRuns:
    """Keeps the runs of sweeps in dictionaries; safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sweeps: dict[str, Sweep] = {}
        self._request_ids: dict[tuple[str, str], str] = {}
        self._scheduled_until: dict[str, str] = {}
        self._entries: dict[str, SlotEntry] = {}
        self._plans: dict[str, str] = {}
        self._answers: dict[str, dict[tuple[str, int], RecordedAnswer]] = {}

    def claim_slot(self, now: str, *, owner: str, lease_s: float) -> ClaimedSlot | None:
        """Take the oldest slot that is due, or whose holder's lease ran out; None without one.

        Raises: InvalidRequest.
        """
        until = lease_end(now, lease_s)
        with self._lock:
            entries = self._entries.values()
            busy = {e.slot.sweep_id for e in entries if e.slot.state is SlotState.RUNNING}
            due = [entry for entry in entries if _is_claimable(entry.slot, now, busy)]
            if not due:
                return None
            oldest = min(due, key=_order)
            slot = replace(
                oldest.slot,
                state=SlotState.RUNNING,
                attempt=oldest.slot.attempt + 1,
                owner=owner,
                lease_until=until,
            )
            self._entries[slot.run_id] = SlotEntry(
                slot=slot, first_claimed_at=oldest.first_claimed_at or now
            )
            return ClaimedSlot(
                slot=slot,
                sweep=self._sweeps[slot.sweep_id],
                scheduled_until=self._scheduled_until.get(slot.sweep_id),
                has_begun=slot.run_id in self._plans,
                has_later_due=self._has_later_due(slot, now),
                overlapped=self._overlapped(slot),
            )

    def renew(self, slot: Slot, now: str, *, lease_s: float) -> Slot:
        """Hold a slot for longer. Raises: StreamMoved, InvalidRequest."""
        until = lease_end(now, lease_s)
        with self._lock:
            return self._put(self._held(slot), lease_until=until)

    def release(self, slot: Slot, now: str) -> None:
        """Let anybody claim a slot at once. Raises: StreamMoved, InvalidRequest."""
        require_time("now", now)
        with self._lock:
            self._put(self._held(slot), lease_until=now)

    def save_plan(self, slot: Slot, plan_json: str) -> None:
        """Keep what the run is committed to, once only. Raises: StreamMoved, RequestConflict."""
        require_text("plan_json", plan_json)
        with self._lock:
            self._held(slot)
            if self._plans.setdefault(slot.run_id, plan_json) != plan_json:
                raise plan_conflict(slot.run_id)

    def read_plan(self, run_id: str) -> str | None:
        """Return what `save_plan` kept; None before."""
        with self._lock:
            return self._plans.get(run_id)

    def append_answers(self, slot: Slot, answers: Sequence[RecordedAnswer]) -> None:
        """Record answers, all of them or nothing.

        Raises: StreamMoved, RequestConflict, InvalidRequest.
        """
        require_answers(answers)
        with self._lock:
            self._held(slot)
            recorded = self._answers.get(slot.run_id, {})
            new = {(answer.endpoint, answer.position): answer for answer in answers}
            for place, answer in new.items():
                if to_json(recorded.get(place, answer)) != to_json(answer):
                    raise answer_conflict(slot.run_id, *place)
            self._answers[slot.run_id] = recorded | new

    def read_answers(self, run_id: str) -> tuple[RecordedAnswer, ...]:
        """Return what was recorded, by endpoint and position."""
        with self._lock:
            recorded = self._answers.get(run_id, {})
            return tuple(recorded[place] for place in sorted(recorded))

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
        require_end(state, result_json, now)
        with self._lock:
            stored = self._entry(slot.run_id).slot
            same_end = (slot.attempt, state, result_json, log_index)
            if (stored.attempt, stored.state, stored.result_json, stored.log_index) == same_end:
                return stored
            return self._put(
                self._held(slot),
                state=state,
                result_json=result_json,
                log_index=log_index,
                finished_at=now,
                owner=None,
                lease_until=None,
            )

    def get_slot(self, run_id: str) -> Slot:
        """Return one run. Raises: AuditNotFound."""
        with self._lock:
            return self._entry(run_id).slot

    def list_slots(self, sweep_id: str, *, page_size: int, cursor: str | None) -> SlotPage:
        """Return one page of a sweep's runs by slot time, newest first.

        Raises: InvalidRequest for a bad cursor or size.
        """
        check_page_size(page_size)
        below = None if cursor is None else decode_slot_cursor(cursor, sweep_id)
        slots = [slot for slot in self._ordered(sweep_id) if below is None or slot.slot_at < below]
        slots.reverse()
        page, has_more = tuple(slots[:page_size]), len(slots) > page_size
        return SlotPage(slots=page, next_cursor=encode_slot_cursor(page[-1]) if has_more else None)

    def results(
        self, sweep_id: str, *, after: str | None = None, limit: int | None = None
    ) -> tuple[Slot, ...]:
        """Return the runs that ended with a result, in slot order. Raises: InvalidRequest."""
        require_limit(limit)
        ended = [
            slot
            for slot in self._ordered(sweep_id)
            if slot.finished_at is not None
            and slot.result_json is not None
            and (after is None or slot.slot_at > after)
        ]
        return tuple(ended[:limit])

    def next_slot(self, sweep_id: str) -> Slot | None:
        """Return the PENDING slot that starts first; None without one."""
        pending = [s for s in self._ordered(sweep_id) if s.state is SlotState.PENDING]
        return min(pending, key=lambda slot: (slot.start_at, slot.run_id), default=None)

    def _sweep(self, sweep_id: str) -> Sweep:
        if sweep_id not in self._sweeps:
            raise sweep_not_found(sweep_id)
        return self._sweeps[sweep_id]

    def _entry(self, run_id: str) -> SlotEntry:
        if run_id not in self._entries:
            raise run_not_found(run_id)
        return self._entries[run_id]

    def _held(self, slot: Slot) -> SlotEntry:
        entry = self._entry(slot.run_id)
        is_same_claim = (entry.slot.attempt, entry.slot.owner) == (slot.attempt, slot.owner)
        if entry.slot.state is not SlotState.RUNNING or not is_same_claim:
            raise lease_lost(slot)
        return entry

    def _put(self, entry: SlotEntry, **changes: object) -> Slot:
        slot: Slot = replace(entry.slot, **changes)  # type: ignore[arg-type]  # names are ours
        self._entries[slot.run_id] = replace(entry, slot=slot)
        return slot

    def _of_sweep(self, sweep_id: str) -> list[SlotEntry]:
        return [entry for entry in self._entries.values() if entry.slot.sweep_id == sweep_id]

    def _ordered(self, sweep_id: str) -> list[Slot]:
        with self._lock:
            slots = [entry.slot for entry in self._of_sweep(sweep_id)]
        return sorted(slots, key=lambda slot: slot.slot_at)

    def _has_later_due(self, slot: Slot, now: str) -> bool:
        return any(
            not entry.slot.is_manual
            and entry.slot.slot_at > slot.slot_at
            and entry.slot.start_at <= now
            for entry in self._of_sweep(slot.sweep_id)
        )

    def _overlapped(self, slot: Slot) -> str | None:
        found = [
            (entry.first_claimed_at, entry.slot.run_id)
            for entry in self._of_sweep(slot.sweep_id)
            if entry.slot.run_id != slot.run_id
            and entry.first_claimed_at is not None
            and entry.first_claimed_at < slot.start_at < (entry.slot.finished_at or "")
            # a slot that was given up at once was never going on
            and (entry.slot.state is SlotState.DONE or entry.slot.attempt > 1)
        ]
        return min(found)[1] if found else None


def _is_claimable(slot: Slot, now: str, busy: set[str]) -> bool:
    if slot.state is SlotState.RUNNING:
        until = slot.lease_until or ""
        return until <= now or until > longest_lease_end(now)
    is_due = slot.state is SlotState.PENDING and slot.start_at <= now
    return is_due and slot.sweep_id not in busy


def _order(entry: SlotEntry) -> tuple[bool, str, str]:
    # what was cut off goes first
    return entry.slot.state is SlotState.PENDING, entry.slot.start_at, entry.slot.run_id

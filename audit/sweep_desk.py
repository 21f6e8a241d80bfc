"""Keeps a tenant's sweeps and tells of their runs: what SweepService asks for.

    create -> store; run_now -> a slot that is due at once; find_run -> slot, result, signed entry

It runs nothing: schedulers claim the slots, in this process or another. What belongs to another
tenant is as absent as what never was.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from audit.codec.sweep_json import result_from_json
from audit.errors import (
    AuditNotFound,
    CorruptState,
    EntryNotFound,
    InvalidRequest,
    RequestConflict,
    StorageError,
    StreamMoved,
)
from audit.log_records import EntryKind, LogEntry
from audit.ports import Clock, NewId
from audit.service.sweep_desk import SweepRunView
from audit.sweep_ports import SlotPage, SweepPage, SweepStore
from audit.sweep_records import Slot, Sweep, SweepSpec, SweepState
from audit.sweeps.schedule.cron import later
from audit.sweeps.schedule.slots import manual_slot

#: Each loss means that somebody else has changed the same sweep.
MAX_TRIES = 100

_NUM_ID_DIGITS = 32

FindEntry = Callable[[str], LogEntry]
"""Returns the log's entry of a key; raises EntryNotFound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchDesk:
    """The desk of one service; safe to call from several threads."""

    store: SweepStore
    check: Callable[[SweepSpec], None]
    """Refuses what this service cannot run. Raises: InvalidRequest."""
    find_entry: FindEntry
    clock: Clock
    new_id: NewId

    def create(self, tenant: str, request_id: str, spec: SweepSpec) -> Sweep:
        """Keep a checked spec as an ACTIVE sweep, or return the one created by this request before.

        Raises: RequestConflict, InvalidRequest, StorageError.
        """
        self.check(spec)
        sweep = Sweep(
            sweep_id=f"sweep-{self.new_id()}",
            tenant=tenant,
            spec=spec,
            state=SweepState.ACTIVE,
            created_at=self.clock(),
        )
        return self.store.create(sweep, request_id=request_id)[0]

    def find(self, tenant: str, sweep_id: str) -> Sweep:
        """Return one sweep, in whatever state. Raises: AuditNotFound, StorageError."""
        sweep = self.store.get(sweep_id)
        if sweep.tenant != tenant:
            raise AuditNotFound(f"there is no sweep {sweep_id!r}")
        return sweep

    def list(
        self, tenant: str, *, page_size: int, cursor: str | None, with_deleted: bool
    ) -> SweepPage:
        """Return one page, newest first. Raises: InvalidRequest, StorageError."""
        return self.store.list(
            tenant, page_size=page_size, cursor=cursor, with_deleted=with_deleted
        )

    def set_state(self, tenant: str, sweep_id: str, state: SweepState) -> Sweep:
        """Pause, resume or delete a sweep. Raises: AuditNotFound, InvalidRequest, StorageError."""
        for _ in range(MAX_TRIES):
            sweep = self.find(tenant, sweep_id)
            if sweep.state is state:
                return sweep
            try:
                return self.store.set_state(
                    sweep_id, state, expected_version=sweep.version, now=self.clock()
                )
            except StreamMoved:
                continue
        raise StorageError("others always changed this sweep first: send the request again")

    def run_now(self, tenant: str, sweep_id: str, request_id: str) -> SweepRunView:
        """Have a sweep run as soon as possible, or return the run asked for by this request before.

        Raises: AuditNotFound, RequestConflict, InvalidRequest, StorageError.
        """
        sweep = self.find(tenant, sweep_id)
        run_id = _manual_run_id(tenant, request_id)
        slot_at = self.clock()
        for _ in range(MAX_TRIES):
            known = self._known(run_id)
            if known is not None:
                return self._asked_before(known, sweep_id)
            if sweep.state is SweepState.DELETED:
                raise InvalidRequest.of("sweep_id", "is a deleted sweep's, which runs no more")
            slot = replace(manual_slot(sweep, slot_at), run_id=run_id)
            self.store.add_slots(sweep_id, [slot])
            # two requests of one moment would share a slot; the second takes the next microsecond
            slot_at = later(slot_at, 1e-6)
        raise StorageError("the run could not be stored: send the request again")

    def list_slots(
        self, tenant: str, sweep_id: str, *, page_size: int, cursor: str | None
    ) -> SlotPage:
        """Return one page of a sweep's runs by slot time, newest first.

        Raises: AuditNotFound, InvalidRequest, StorageError.
        """
        self.find(tenant, sweep_id)
        return self.store.list_slots(sweep_id, page_size=page_size, cursor=cursor)

    def find_run(self, tenant: str, run_id: str) -> SweepRunView:
        """Return one run, with result, envelope and log index where it has them.

        Raises: AuditNotFound, CorruptState, StorageError.
        """
        slot = self.store.get_slot(run_id)
        if slot.tenant != tenant:
            raise AuditNotFound(f"there is no run {run_id!r}")
        return self._view(slot)

    def _known(self, run_id: str) -> Slot | None:
        try:
            return self.store.get_slot(run_id)
        except AuditNotFound:
            return None

    def _asked_before(self, slot: Slot, sweep_id: str) -> SweepRunView:
        if slot.sweep_id != sweep_id:
            raise RequestConflict(
                "the request_id was used to run another sweep: give each request an id of its own"
            )
        return self._view(slot)

    def _view(self, slot: Slot) -> SweepRunView:
        result = None
        if slot.result_json is not None:
            try:
                result = result_from_json(slot.result_json)
            except InvalidRequest as error:
                raise CorruptState(
                    f"the result of the run {slot.run_id} cannot be read ({error}); restore the "
                    "database from a backup, or upgrade if a newer version wrote it"
                ) from error
        entry = self._entry_of(slot)
        return SweepRunView(
            slot=slot,
            result=result,
            envelope=None if entry is None else entry.envelope,
            log_index=slot.log_index if entry is None else entry.log_index,
        )

    def _entry_of(self, slot: Slot) -> LogEntry | None:
        if slot.result_json is None:
            return None
        try:
            return self.find_entry(f"{EntryKind.SWEEP_RESULT}:{slot.run_id}")
        except EntryNotFound:
            return None


def _manual_run_id(tenant: str, request_id: str) -> str:
    text = json.dumps(["manual", tenant, request_id])
    return f"run-{hashlib.sha256(text.encode()).hexdigest()[:_NUM_ID_DIGITS]}"

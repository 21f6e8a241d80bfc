"""The SQL adapter of the `SweepStore` port: sweeps and the slots of their schedules.

Each method is one transaction. A sweep's row is locked before its slots' rows, so that two writers
never wait for each other. Nothing is scheduled, decided or retried here.
"""

from collections.abc import Sequence

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session

from audit.sweep_ports import ScheduledSweep, SweepPage
from audit.sweep_records import Slot, SlotState, Sweep, SweepState
from storage.cursor import check_page_size
from storage.engine import insert_into
from storage.serialise import to_json
from storage.sweep_checks import (
    require_changeable,
    require_limit,
    require_new_slots,
    require_new_sweep,
    require_time,
)
from storage.sweep_models import SlotRow, SweepRow
from storage.sweep_rows import (
    decode_sweep_cursor,
    encode_sweep_cursor,
    name_taken,
    request_id_taken,
    sweep_moved,
    sweep_not_found,
    to_sweep,
)
from storage.sweep_runs import SqlSweepRuns
from storage.transactions import transaction


class SqlSweepStore(SqlSweepRuns):
    """Keeps sweeps in SQLite or PostgreSQL; safe from several threads and processes."""

    def create(self, sweep: Sweep, *, request_id: str | None = None) -> tuple[Sweep, bool]:
        """Store a new ACTIVE sweep; return (sweep, True), or (the earlier one, False).

        Raises: InvalidRequest, RequestConflict, StorageError.
        """
        require_new_sweep(sweep, request_id)
        spec_json = to_json(sweep.spec)
        insert = (
            insert_into(SweepRow, self._engine.dialect)
            .values(
                sweep_id=sweep.sweep_id,
                tenant=sweep.tenant,
                name=sweep.spec.name,
                spec_json=spec_json,
                state=sweep.state,
                version=sweep.version,
                created_at=sweep.created_at,
                request_id=request_id,
                scheduled_until=None if sweep.spec.schedule is None else sweep.created_at,
            )
            # without a target: any of the three unique columns may be taken
            .on_conflict_do_nothing()
            .returning(SweepRow.sweep_id)
        )
        with transaction(self._engine, "storing a sweep", writes=True) as session:
            if session.execute(insert).scalar_one_or_none() is not None:
                return sweep, True
            earlier = _by_request_id(session, sweep.tenant, request_id)
            if earlier is None:
                raise name_taken(sweep.spec.name)
            if earlier.spec_json != spec_json:
                raise request_id_taken(earlier.request_id or "")
            return to_sweep(earlier), False

    def get(self, sweep_id: str) -> Sweep:
        """Return one sweep, in whatever state. Raises: AuditNotFound, StorageError."""
        with transaction(self._engine, "reading a sweep") as session:
            return to_sweep(_sweep_row(session, sweep_id))

    def get_by_name(self, tenant: str, name: str) -> Sweep | None:
        """Return the tenant's sweep of that name that is not deleted. Raises: StorageError."""
        query = select(SweepRow).where(
            SweepRow.tenant == tenant,
            SweepRow.name == name,
            SweepRow.state != SweepState.DELETED,
        )
        with transaction(self._engine, "reading a sweep") as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else to_sweep(row)

    def list(
        self,
        tenant: str | None,
        *,
        page_size: int,
        cursor: str | None,
        with_deleted: bool = False,
    ) -> SweepPage:
        """Return one page, newest first; of all tenants where none is named.

        Raises: InvalidRequest for a bad cursor or size; StorageError.
        """
        check_page_size(page_size)
        place = tuple_(SweepRow.created_at, SweepRow.sweep_id)
        query = select(SweepRow).order_by(SweepRow.created_at.desc(), SweepRow.sweep_id.desc())
        if tenant is not None:
            query = query.where(SweepRow.tenant == tenant)
        if not with_deleted:
            query = query.where(SweepRow.state != SweepState.DELETED)
        if cursor is not None:
            query = query.where(place < decode_sweep_cursor(cursor, tenant, with_deleted))
        with transaction(self._engine, "listing sweeps") as session:
            rows = session.scalars(query.limit(page_size + 1)).all()
            sweeps = tuple(to_sweep(row) for row in rows[:page_size])
        has_more = len(rows) > page_size
        return SweepPage(
            sweeps=sweeps,
            next_cursor=encode_sweep_cursor(sweeps[-1], tenant, with_deleted) if has_more else None,
        )

    def set_state(
        self, sweep_id: str, state: SweepState, *, expected_version: int, now: str
    ) -> Sweep:
        """Pause, resume or delete a sweep; slots that lie ahead are withdrawn.

        Raises: AuditNotFound, StreamMoved, InvalidRequest, StorageError.
        """
        require_time("now", now)
        with transaction(self._engine, "changing a sweep", writes=True) as session:
            row = _sweep_row(session, sweep_id, is_locked=True)
            if row.state == state:
                return to_sweep(row)
            require_changeable(SweepState(row.state))
            if row.version != expected_version:
                raise sweep_moved(sweep_id, row.version)
            row.state, row.version = state, row.version + 1
            if state is SweepState.ACTIVE and row.scheduled_until is not None:
                row.scheduled_until = now
            if state is not SweepState.ACTIVE:
                session.execute(
                    delete(SlotRow).where(
                        SlotRow.sweep_id == sweep_id,
                        SlotRow.state == SlotState.PENDING,
                        SlotRow.is_manual.is_(False),
                        SlotRow.slot_at > now,
                    )
                )
            session.flush()
            return to_sweep(row)

    def due_sweeps(self, now: str, *, limit: int) -> tuple[ScheduledSweep, ...]:
        """Return ACTIVE sweeps whose schedule is written down up to `now` at most."""
        require_limit(limit)
        query = (
            select(SweepRow)
            .where(SweepRow.state == SweepState.ACTIVE, SweepRow.scheduled_until <= now)
            .order_by(SweepRow.scheduled_until, SweepRow.sweep_id)
            .limit(limit)
        )
        with transaction(self._engine, "looking for due sweeps") as session:
            return tuple(
                ScheduledSweep(sweep=to_sweep(row), scheduled_until=row.scheduled_until)
                for row in session.scalars(query)
                if row.scheduled_until is not None
            )

    def add_slots(
        self, sweep_id: str, slots: Sequence[Slot], *, scheduled_until: str | None = None
    ) -> int:
        """Add PENDING slots, leave those that are there; return how many were new.

        Raises: AuditNotFound, InvalidRequest, StorageError.
        """
        require_new_slots(sweep_id, slots)
        if scheduled_until is not None:
            require_time("scheduled_until", scheduled_until)
        with transaction(self._engine, "adding sweep slots", writes=True) as session:
            row = _sweep_row(session, sweep_id, is_locked=True)
            is_active = row.state == SweepState.ACTIVE
            if is_active and row.scheduled_until is not None and scheduled_until is not None:
                row.scheduled_until = max(row.scheduled_until, scheduled_until)
            takes_manual = row.state != SweepState.DELETED
            wanted = [slot for slot in slots if is_active or (slot.is_manual and takes_manual)]
            return sum(_insert_slot(session, slot) for slot in wanted)


def _sweep_row(session: Session, sweep_id: str, *, is_locked: bool = False) -> SweepRow:
    query = select(SweepRow).where(SweepRow.sweep_id == sweep_id)
    row = session.scalars(query.with_for_update() if is_locked else query).one_or_none()
    if row is None:
        raise sweep_not_found(sweep_id)
    return row


def _by_request_id(session: Session, tenant: str, request_id: str | None) -> SweepRow | None:
    if request_id is None:
        return None
    query = select(SweepRow).where(SweepRow.tenant == tenant, SweepRow.request_id == request_id)
    return session.scalars(query).one_or_none()


def _insert_slot(session: Session, slot: Slot) -> bool:
    insert = (
        insert_into(SlotRow, session.get_bind().dialect)
        .values(
            run_id=slot.run_id,
            sweep_id=slot.sweep_id,
            tenant=slot.tenant,
            slot_at=slot.slot_at,
            start_at=slot.start_at,
            is_manual=slot.is_manual,
            state=slot.state,
            attempt=slot.attempt,
        )
        # without a target: the time or the run may be there
        .on_conflict_do_nothing()
        .returning(SlotRow.run_id)
    )
    return session.execute(insert).scalar_one_or_none() is not None

"""The runs of sweeps in SQL: who holds a slot, what it asked and got, how it ended.

Each method is one transaction. Part of the `SweepStore` port; `storage.sweeps` has the rest.
"""

from collections.abc import Sequence

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from audit.sweep_ports import ClaimedSlot, SlotPage
from audit.sweep_records import RecordedAnswer, Slot, SlotState
from storage.cursor import check_page_size
from storage.engine import insert_into
from storage.serialise import from_json, to_json
from storage.sweep_checks import (
    lease_end,
    require_answers,
    require_end,
    require_limit,
    require_text,
    require_time,
)
from storage.sweep_models import AnswerRow, PlanRow, SlotRow
from storage.sweep_rows import (
    answer_conflict,
    decode_slot_cursor,
    encode_slot_cursor,
    plan_conflict,
    run_not_found,
    to_slot,
)
from storage.sweep_slots import claim_oldest, end_slot, extend_lease, held_row
from storage.transactions import transaction


class SqlSweepRuns:
    """Keeps the runs of sweeps; the engine is the caller's, with the schema up to date."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim_slot(self, now: str, *, owner: str, lease_s: float) -> ClaimedSlot | None:
        """Take the oldest slot that is due, or whose holder's lease ran out; None without one.

        Raises: InvalidRequest, StorageError.
        """
        until = lease_end(now, lease_s)
        with transaction(self._engine, "claiming a sweep slot", writes=True) as session:
            return claim_oldest(session, now, owner, until)

    def renew(self, slot: Slot, now: str, *, lease_s: float) -> Slot:
        """Hold a slot for longer. Raises: StreamMoved, InvalidRequest, StorageError."""
        until = lease_end(now, lease_s)
        with transaction(self._engine, "renewing a lease", writes=True) as session:
            return extend_lease(session, slot, until)

    def release(self, slot: Slot, now: str) -> None:
        """Let anybody claim a slot at once. Raises: StreamMoved, InvalidRequest, StorageError."""
        require_time("now", now)
        with transaction(self._engine, "releasing a sweep slot", writes=True) as session:
            extend_lease(session, slot, now)

    def save_plan(self, slot: Slot, plan_json: str) -> None:
        """Store what the run is committed to, once only.

        Raises: StreamMoved, RequestConflict, StorageError.
        """
        require_text("plan_json", plan_json)
        with transaction(self._engine, "storing a sweep's plan", writes=True) as session:
            held_row(session, slot)
            stored = session.get(PlanRow, slot.run_id)
            if stored is None:
                session.add(PlanRow(run_id=slot.run_id, plan_json=plan_json))
            elif stored.plan_json != plan_json:
                raise plan_conflict(slot.run_id)

    def read_plan(self, run_id: str) -> str | None:
        """Return what `save_plan` stored; None before. Raises: StorageError."""
        with transaction(self._engine, "reading a sweep's plan") as session:
            return session.scalar(select(PlanRow.plan_json).where(PlanRow.run_id == run_id))

    def append_answers(self, slot: Slot, answers: Sequence[RecordedAnswer]) -> None:
        """Record answers, all of them or nothing.

        Raises: StreamMoved, RequestConflict, InvalidRequest, StorageError.
        """
        require_answers(answers)
        with transaction(self._engine, "recording answers", writes=True) as session:
            held_row(session, slot)
            for answer in answers:
                _insert_answer(session, slot.run_id, answer)

    def read_answers(self, run_id: str) -> tuple[RecordedAnswer, ...]:
        """Return what was recorded, by endpoint and position. Raises: StorageError."""
        query = select(AnswerRow.answer_json).where(AnswerRow.run_id == run_id)
        with transaction(self._engine, "reading answers") as session:
            found = [from_json(RecordedAnswer, text) for text in session.scalars(query)]
        # not in SQL: databases order names each in their own way
        return tuple(sorted(found, key=lambda answer: (answer.endpoint, answer.position)))

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

        Raises: StreamMoved, InvalidRequest, StorageError.
        """
        require_end(state, result_json, now)
        with transaction(self._engine, "ending a sweep run", writes=True) as session:
            return end_slot(session, slot, state, result_json, log_index, now)

    def get_slot(self, run_id: str) -> Slot:
        """Return one run. Raises: AuditNotFound, StorageError."""
        with transaction(self._engine, "reading a sweep run") as session:
            row = session.get(SlotRow, run_id)
            if row is None:
                raise run_not_found(run_id)
            return to_slot(row)

    def list_slots(self, sweep_id: str, *, page_size: int, cursor: str | None) -> SlotPage:
        """Return one page of a sweep's runs by slot time, newest first.

        Raises: InvalidRequest for a bad cursor or size; StorageError.
        """
        check_page_size(page_size)
        query = select(SlotRow).where(SlotRow.sweep_id == sweep_id).order_by(SlotRow.slot_at.desc())
        if cursor is not None:
            query = query.where(SlotRow.slot_at < decode_slot_cursor(cursor, sweep_id))
        with transaction(self._engine, "listing sweep runs") as session:
            rows = session.scalars(query.limit(page_size + 1)).all()
            slots = tuple(to_slot(row) for row in rows[:page_size])
        has_more = len(rows) > page_size
        return SlotPage(
            slots=slots, next_cursor=encode_slot_cursor(slots[-1]) if has_more else None
        )

    def results(
        self, sweep_id: str, *, after: str | None = None, limit: int | None = None
    ) -> tuple[Slot, ...]:
        """Return the runs that ended with a result, in slot order.

        Raises: InvalidRequest, StorageError.
        """
        require_limit(limit)
        query = (
            select(SlotRow)
            .where(SlotRow.sweep_id == sweep_id, SlotRow.finished_at.is_not(None))
            .where(SlotRow.result_json.is_not(None))
            .order_by(SlotRow.slot_at)
            .limit(limit)
        )
        if after is not None:
            query = query.where(SlotRow.slot_at > after)
        with transaction(self._engine, "reading sweep results") as session:
            return tuple(to_slot(row) for row in session.scalars(query))

    def next_slot(self, sweep_id: str) -> Slot | None:
        """Return the PENDING slot that starts first; None without one. Raises: StorageError."""
        query = (
            select(SlotRow)
            .where(SlotRow.sweep_id == sweep_id, SlotRow.state == SlotState.PENDING)
            .order_by(SlotRow.start_at, SlotRow.run_id)
            .limit(1)
        )
        with transaction(self._engine, "reading a sweep's next run") as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else to_slot(row)


def _insert_answer(session: Session, run_id: str, answer: RecordedAnswer) -> None:
    answer_json = to_json(answer)
    place = {"run_id": run_id, "endpoint": answer.endpoint, "position": answer.position}
    insert = (
        insert_into(AnswerRow, session.get_bind().dialect)
        .values(**place, answer_json=answer_json)
        .on_conflict_do_nothing()
        .returning(AnswerRow.run_id)
    )
    if session.execute(insert).scalar_one_or_none() is not None:
        return
    stored = session.scalars(select(AnswerRow).filter_by(**place)).one()
    if stored.answer_json != answer_json:
        raise answer_conflict(run_id, answer.endpoint, answer.position)

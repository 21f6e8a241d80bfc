"""Claiming, holding and ending slots, in the transaction that `storage.sweeps` opens.

A claim counts the slot's attempt up, and every write of its holder carries that number. A holder
that was thought dead can therefore store nothing once another one has taken over.
"""

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, text
from sqlalchemy.orm import Session, aliased

from audit.sweep_ports import ClaimedSlot
from audit.sweep_records import Slot, SlotState
from storage.sweep_checks import longest_lease_end
from storage.sweep_models import PlanRow, SlotRow, SweepRow
from storage.sweep_rows import lease_lost, run_not_found, to_slot, to_sweep

#: Key of the PostgreSQL advisory lock; any constant that all our processes share will do.
_CLAIM_LOCK = 0x696E7377


def claim_oldest(session: Session, now: str, owner: str, lease_until: str) -> ClaimedSlot | None:
    """Take the oldest slot that may be claimed; None without one."""
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        # Two claims at once could each start a slot of one sweep: neither would see the other's.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLAIM_LOCK})
    # What was cut off goes first. Two queries: one with OR would read all of the history.
    row = session.scalars(_oldest(_has_lapsed(now))).one_or_none()
    row = row or session.scalars(_oldest(_is_due(now))).one_or_none()
    if row is None:
        return None
    row.attempt += 1
    row.state = SlotState.RUNNING
    row.owner = owner
    row.lease_until = lease_until
    row.first_claimed_at = row.first_claimed_at or now
    session.flush()
    sweep = session.scalars(select(SweepRow).where(SweepRow.sweep_id == row.sweep_id)).one()
    return ClaimedSlot(
        slot=to_slot(row),
        sweep=to_sweep(sweep),
        scheduled_until=sweep.scheduled_until,
        has_begun=bool(session.scalar(select(exists().where(PlanRow.run_id == row.run_id)))),
        has_later_due=bool(session.scalar(_later_due(row, now))),
        overlapped=session.scalars(_overlapped(row)).one_or_none(),
    )


def held_row(session: Session, slot: Slot) -> SlotRow:
    """Return the row of a slot, locked until the transaction ends.

    Raises: AuditNotFound; StreamMoved unless the slot's attempt still holds it.
    """
    row = _locked_row(session, slot.run_id)
    if row.state != SlotState.RUNNING or not _is_same_claim(row, slot):
        raise lease_lost(slot)
    return row


def end_slot(
    session: Session,
    slot: Slot,
    state: SlotState,
    result_json: str | None,
    log_index: int | None,
    now: str,
) -> Slot:
    """End a held slot; one that ended just so already stays as it is.

    Raises: AuditNotFound, StreamMoved.
    """
    row = _locked_row(session, slot.run_id)
    same_end = (slot.attempt, state, result_json, log_index)
    if (row.attempt, row.state, row.result_json, row.log_index) == same_end:
        return to_slot(row)
    if row.state != SlotState.RUNNING or not _is_same_claim(row, slot):
        raise lease_lost(slot)
    row.state = state
    row.result_json = result_json
    row.log_index = log_index
    row.finished_at = now
    row.owner = None
    row.lease_until = None
    session.flush()
    return to_slot(row)


def extend_lease(session: Session, slot: Slot, lease_until: str) -> Slot:
    """Set the end of a held slot's lease. Raises: AuditNotFound, StreamMoved."""
    row = held_row(session, slot)
    row.lease_until = lease_until
    session.flush()
    return to_slot(row)


def _locked_row(session: Session, run_id: str) -> SlotRow:
    query = select(SlotRow).where(SlotRow.run_id == run_id).with_for_update()
    row = session.scalars(query).one_or_none()
    if row is None:
        raise run_not_found(run_id)
    return row


def _is_same_claim(row: SlotRow, slot: Slot) -> bool:
    return (row.attempt, row.owner) == (slot.attempt, slot.owner)


def _oldest(is_claimable: ColumnElement[bool]) -> Select[SlotRow]:
    return (
        select(SlotRow)
        .where(is_claimable)
        .order_by(SlotRow.start_at, SlotRow.run_id)
        .limit(1)
        .with_for_update()
    )


def _has_lapsed(now: str) -> ColumnElement[bool]:
    is_over = or_(SlotRow.lease_until <= now, SlotRow.lease_until > longest_lease_end(now))
    return and_(SlotRow.state == SlotState.RUNNING, is_over)


def _is_due(now: str) -> ColumnElement[bool]:
    other = aliased(SlotRow)
    is_busy = exists().where(other.sweep_id == SlotRow.sweep_id, other.state == SlotState.RUNNING)
    return and_(SlotRow.state == SlotState.PENDING, SlotRow.start_at <= now, ~is_busy)


def _later_due(row: SlotRow, now: str) -> Select[bool]:
    return select(
        exists().where(
            SlotRow.sweep_id == row.sweep_id,
            SlotRow.slot_at > row.slot_at,
            SlotRow.start_at <= now,
            SlotRow.is_manual.is_(False),
        )
    )


def _overlapped(row: SlotRow) -> Select[str]:
    # a slot that was given up at once was never going on
    has_run = or_(SlotRow.state == SlotState.DONE, SlotRow.attempt > 1)
    return (
        select(SlotRow.run_id)
        .where(
            SlotRow.sweep_id == row.sweep_id,
            SlotRow.run_id != row.run_id,
            SlotRow.first_claimed_at < row.start_at,
            SlotRow.finished_at > row.start_at,
            has_run,
        )
        .order_by(SlotRow.first_claimed_at, SlotRow.run_id)
        .limit(1)
    )

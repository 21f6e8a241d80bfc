"""The tables of scheduled sweeps, as typed SQLAlchemy models.

A slot is one row, unique by sweep and time, so that a run exists once because its row does, and not
because anybody remembers. What a run asked and got is kept beside it, written by its holder alone.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Base

_NOT_DELETED = text("state <> 'DELETED'")
_RUNNING = text("state = 'RUNNING'")


class SweepRow(Base):
    """A sweep, with how far its schedule is written down."""

    __tablename__ = "sweeps"
    __table_args__ = (
        UniqueConstraint("tenant", "request_id"),
        Index(
            "uq_sweeps_tenant_name",
            "tenant",
            "name",
            unique=True,
            sqlite_where=_NOT_DELETED,
            postgresql_where=_NOT_DELETED,
        ),
        Index(None, "created_at", "sweep_id"),
        Index(None, "tenant", "created_at", "sweep_id"),
        Index(None, "state", "scheduled_until"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("state IN ('ACTIVE', 'PAUSED', 'DELETED')", name="state"),
    )

    sweep_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(256))
    name: Mapped[str] = mapped_column(String(256))
    spec_json: Mapped[str] = mapped_column(Text)
    # Text and not Enum: a damaged value must reach the reader, who names the sweep.
    state: Mapped[str] = mapped_column(String(16))
    version: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[str] = mapped_column(String(32))
    request_id: Mapped[str | None] = mapped_column(String(256))
    scheduled_until: Mapped[str | None] = mapped_column(String(32))
    """NULL without a schedule."""


class SlotRow(Base):
    """One run of a sweep that is due, running or over."""

    __tablename__ = "sweep_slots"
    __table_args__ = (
        UniqueConstraint("sweep_id", "slot_at"),
        # what keeps two schedulers from running one sweep twice at a time
        Index(
            "uq_sweep_slots_running",
            "sweep_id",
            unique=True,
            sqlite_where=_RUNNING,
            postgresql_where=_RUNNING,
        ),
        Index(None, "state", "start_at", "run_id"),
        Index(None, "sweep_id", "finished_at"),
        CheckConstraint("attempt >= 0", name="attempt"),
        CheckConstraint("state IN ('PENDING', 'RUNNING', 'DONE', 'NOT_PERFORMED')", name="state"),
        CheckConstraint(
            "(state = 'RUNNING') = (owner IS NOT NULL AND lease_until IS NOT NULL)", name="held"
        ),
    )

    run_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    sweep_id: Mapped[str] = mapped_column(String(128), ForeignKey("sweeps.sweep_id"))
    tenant: Mapped[str] = mapped_column(String(256))
    slot_at: Mapped[str] = mapped_column(String(32))
    start_at: Mapped[str] = mapped_column(String(32))
    is_manual: Mapped[bool] = mapped_column(Boolean)
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(BigInteger)
    owner: Mapped[str | None] = mapped_column(String(256))
    lease_until: Mapped[str | None] = mapped_column(String(32))
    first_claimed_at: Mapped[str | None] = mapped_column(String(32))
    finished_at: Mapped[str | None] = mapped_column(String(32))
    result_json: Mapped[str | None] = mapped_column(Text)
    log_index: Mapped[int | None] = mapped_column(BigInteger)


class PlanRow(Base):
    """What a run is committed to; apart from the slot, which is read far more often."""

    __tablename__ = "sweep_plans"

    run_id: Mapped[str] = mapped_column(
        String(128), ForeignKey("sweep_slots.run_id"), primary_key=True
    )
    plan_json: Mapped[str] = mapped_column(Text)


class AnswerRow(Base):
    """What came back for one probe; never changed."""

    __tablename__ = "sweep_answers"

    run_id: Mapped[str] = mapped_column(
        String(128), ForeignKey("sweep_slots.run_id"), primary_key=True
    )
    endpoint: Mapped[str] = mapped_column(String(256), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    answer_json: Mapped[str] = mapped_column(Text)

"""Scheduled sweeps, their slots, and what each run asked and got."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_sweeps()
    _create_slots()
    op.create_table(
        "sweep_plans",
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("plan_json", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_sweep_plans")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["sweep_slots.run_id"], name=op.f("fk_sweep_plans_run_id")
        ),
    )
    op.create_table(
        "sweep_answers",
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("endpoint", sa.String(256), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("answer_json", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "endpoint", "position", name=op.f("pk_sweep_answers")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["sweep_slots.run_id"], name=op.f("fk_sweep_answers_run_id")
        ),
    )


def _create_sweeps() -> None:
    op.create_table(
        "sweeps",
        sa.Column("sweep_id", sa.String(128), nullable=False),
        sa.Column("tenant", sa.String(256), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("spec_json", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("request_id", sa.String(256), nullable=True),
        sa.Column("scheduled_until", sa.String(32), nullable=True),
        sa.PrimaryKeyConstraint("sweep_id", name=op.f("pk_sweeps")),
        sa.UniqueConstraint("tenant", "request_id", name=op.f("uq_sweeps_tenant")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_sweeps_version")),
        sa.CheckConstraint(
            "state IN ('ACTIVE', 'PAUSED', 'DELETED')", name=op.f("ck_sweeps_state")
        ),
    )
    not_deleted = sa.text("state <> 'DELETED'")
    op.create_index(
        "uq_sweeps_tenant_name",
        "sweeps",
        ["tenant", "name"],
        unique=True,
        sqlite_where=not_deleted,
        postgresql_where=not_deleted,
    )
    for columns in (
        ["created_at", "sweep_id"],
        ["tenant", "created_at", "sweep_id"],
        ["state", "scheduled_until"],
    ):
        op.create_index(op.f("ix_sweeps_" + "_".join(columns)), "sweeps", columns)


def _create_slots() -> None:
    op.create_table(
        "sweep_slots",
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("sweep_id", sa.String(128), nullable=False),
        sa.Column("tenant", sa.String(256), nullable=False),
        sa.Column("slot_at", sa.String(32), nullable=False),
        sa.Column("start_at", sa.String(32), nullable=False),
        sa.Column("is_manual", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(256), nullable=True),
        sa.Column("lease_until", sa.String(32), nullable=True),
        sa.Column("first_claimed_at", sa.String(32), nullable=True),
        sa.Column("finished_at", sa.String(32), nullable=True),
        sa.Column("result_json", sa.Text(), nullable=True),
        sa.Column("log_index", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_sweep_slots")),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweeps.sweep_id"], name=op.f("fk_sweep_slots_sweep_id")
        ),
        sa.UniqueConstraint("sweep_id", "slot_at", name=op.f("uq_sweep_slots_sweep_id")),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_sweep_slots_attempt")),
        sa.CheckConstraint(
            "state IN ('PENDING', 'RUNNING', 'DONE', 'NOT_PERFORMED')",
            name=op.f("ck_sweep_slots_state"),
        ),
        sa.CheckConstraint(
            "(state = 'RUNNING') = (owner IS NOT NULL AND lease_until IS NOT NULL)",
            name=op.f("ck_sweep_slots_held"),
        ),
    )
    running = sa.text("state = 'RUNNING'")
    op.create_index(
        "uq_sweep_slots_running",
        "sweep_slots",
        ["sweep_id"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_index(
        op.f("ix_sweep_slots_state_start_at_run_id"),
        "sweep_slots",
        ["state", "start_at", "run_id"],
    )
    op.create_index(
        op.f("ix_sweep_slots_sweep_id_finished_at"), "sweep_slots", ["sweep_id", "finished_at"]
    )


def downgrade() -> None:
    for table in ("sweep_answers", "sweep_plans", "sweep_slots", "sweeps"):
        op.drop_table(table)

"""The first tables: audits and their verdicts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audits",
        sa.Column("ordinal", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("audit_id", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(256), nullable=False),
        sa.Column("request_digest", sa.String(128), nullable=False),
        sa.Column("request_json", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("submitted_at", sa.String(32), nullable=False),
        sa.Column("claimed_at", sa.String(32), nullable=True),
        sa.Column("finished_at", sa.String(32), nullable=True),
        sa.PrimaryKeyConstraint("ordinal", name=op.f("pk_audits")),
        sa.UniqueConstraint("audit_id", name=op.f("uq_audits_audit_id")),
        sa.UniqueConstraint("request_id", name=op.f("uq_audits_request_id")),
        sa.CheckConstraint("state IN ('QUEUED', 'RUNNING', 'DONE')", name=op.f("ck_audits_state")),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_audits_attempt")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audits_state_ordinal"), "audits", ["state", "ordinal"])
    op.create_index(op.f("ix_audits_model"), "audits", ["model"])
    op.create_table(
        "verdicts",
        sa.Column("audit_id", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("verdict_json", sa.Text(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_verdicts")),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.audit_id"], name=op.f("fk_verdicts_audit_id")
        ),
        sa.CheckConstraint(
            "outcome IN ('PASS', 'FAIL', 'INCONCLUSIVE')", name=op.f("ck_verdicts_outcome")
        ),
    )
    op.create_index(op.f("ix_verdicts_outcome"), "verdicts", ["outcome"])


def downgrade() -> None:
    op.drop_table("verdicts")
    op.drop_table("audits")

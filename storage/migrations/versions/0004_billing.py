"""The evidence about billed accounts, and the requests that it holds."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "billing_accounts",
        sa.Column("finding_id", sa.String(128), nullable=False),
        sa.Column("key_digest", sa.String(128), nullable=False),
        sa.Column("tenant", sa.String(256), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("effort", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("calibration_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state_json", sa.Text(), nullable=False),
        sa.Column("finding_json", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("finding_id", name=op.f("pk_billing_accounts")),
        sa.UniqueConstraint("key_digest", name=op.f("uq_billing_accounts_key_digest")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_billing_accounts_version")),
        sa.CheckConstraint(
            "outcome IN ('AGREES', 'DISAGREES', 'INCONCLUSIVE')",
            name=op.f("ck_billing_accounts_outcome"),
        ),
    )
    op.create_index(
        op.f("ix_billing_accounts_updated_at_finding_id"),
        "billing_accounts",
        ["updated_at", "finding_id"],
    )
    op.create_index(
        op.f("ix_billing_accounts_tenant_updated_at_finding_id"),
        "billing_accounts",
        ["tenant", "updated_at", "finding_id"],
    )
    op.create_table(
        "billing_requests",
        sa.Column("request_key", sa.String(128), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.String(128), nullable=False),
        sa.Column("finding_id", sa.String(128), nullable=False),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("request_key", name=op.f("pk_billing_requests")),
        sa.ForeignKeyConstraint(
            ["finding_id"],
            ["billing_accounts.finding_id"],
            name=op.f("fk_billing_requests_finding_id"),
        ),
    )
    op.create_index(op.f("ix_billing_requests_finding_id"), "billing_requests", ["finding_id"])


def downgrade() -> None:
    op.drop_table("billing_requests")
    op.drop_table("billing_accounts")

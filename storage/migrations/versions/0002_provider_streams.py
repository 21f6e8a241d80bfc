"""The evidence about each provider over its exchanges."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_streams",
        sa.Column("stream_id", sa.String(128), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_digest", sa.Text(), nullable=False),
        sa.Column("calibration_id", sa.Text(), nullable=False),
        sa.Column("policy_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state_json", sa.Text(), nullable=False),
        sa.Column("finding_json", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("log10_e_value", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("stream_id", name=op.f("pk_provider_streams")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_provider_streams_version")),
        sa.CheckConstraint(
            "outcome IN ('PASS', 'FAIL', 'INCONCLUSIVE')", name=op.f("ck_provider_streams_outcome")
        ),
    )
    op.create_index(
        op.f("ix_provider_streams_provider_model_digest"),
        "provider_streams",
        ["provider", "model_digest"],
    )
    op.create_index(
        op.f("ix_provider_streams_updated_at_stream_id"),
        "provider_streams",
        ["updated_at", "stream_id"],
    )


def downgrade() -> None:
    op.drop_table("provider_streams")

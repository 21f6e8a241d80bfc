"""The tables of billing audits, as typed SQLAlchemy models.

One row holds an account's evidence, one row each request that is part of it. A request is counted
once because its row has a primary key, not because anybody remembers.
"""

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Base


class BillingAccountRow(Base):
    """The evidence about one account, provider, model, effort and domain so far."""

    __tablename__ = "billing_accounts"
    __table_args__ = (
        Index(None, "updated_at", "finding_id"),
        Index(None, "tenant", "updated_at", "finding_id"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("outcome IN ('AGREES', 'DISAGREES', 'INCONCLUSIVE')", name="outcome"),
    )

    finding_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    key_digest: Mapped[str] = mapped_column(String(128), unique=True)
    """Stands for the key's seven texts, which are too long for an index on PostgreSQL."""
    tenant: Mapped[str] = mapped_column(String(256))
    account: Mapped[str] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    effort: Mapped[str] = mapped_column(Text)
    domain: Mapped[str] = mapped_column(Text)
    calibration_id: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    """Number of requests folded in."""
    state_json: Mapped[str] = mapped_column(Text)
    """What the account ledger needs to go on; opaque here."""
    finding_json: Mapped[str] = mapped_column(Text)
    # Text and not Enum: a damaged value must reach the reader, who names the account.
    outcome: Mapped[str] = mapped_column(String(16))
    updated_at: Mapped[str] = mapped_column(String(32))


class BillingRequestRow(Base):
    """A request that an account's evidence holds; never changed."""

    __tablename__ = "billing_requests"

    request_key: Mapped[str] = mapped_column(String(128), primary_key=True)
    """Digest of tenant, account, provider and request id, within which an id is unique."""
    request_id: Mapped[str] = mapped_column(Text)
    request_digest: Mapped[str] = mapped_column(String(128))
    finding_id: Mapped[str] = mapped_column(
        String(128), ForeignKey("billing_accounts.finding_id"), index=True
    )
    recorded_at: Mapped[str] = mapped_column(String(32))

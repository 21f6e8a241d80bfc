"""The tables, as typed SQLAlchemy models.

`storage.store` reads and writes them, `storage.migrations` creates them; a test holds the two
equal. Only types that SQLite and PostgreSQL share are used. No rule of an audit's life is here.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from audit.log_records import DEFAULT_TENANT
from audit.records import AuditState, Outcome

#: SQLite numbers rows by itself only in a column declared exactly INTEGER PRIMARY KEY.
_Ordinal = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The schema; constraints have names so that later migrations can address them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )


class VerdictRow(Base):
    """A signed verdict; at most one per audit, written in the transaction that ends its job."""

    __tablename__ = "verdicts"

    audit_id: Mapped[str] = mapped_column(
        String(64), ForeignKey("audits.audit_id"), primary_key=True
    )
    outcome: Mapped[Outcome] = mapped_column(
        Enum(Outcome, native_enum=False, length=16, create_constraint=True, name="outcome"),
        index=True,
    )
    verdict_json: Mapped[str] = mapped_column(Text)
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    """The signed bytes exactly as issued: verifiers check bytes, so they are never rebuilt."""
    key_id: Mapped[str] = mapped_column(String(64))
    recorded_at: Mapped[str] = mapped_column(String(32))


class AuditRow(Base):
    """An accepted exchange and the state of its job. Times are RFC 3339 UTC."""

    __tablename__ = "audits"
    # AUTOINCREMENT: no ordinal is used twice, so an old page cursor never points at a newer audit.
    __table_args__ = (
        Index(None, "state", "ordinal"),
        CheckConstraint("attempt >= 0", name="attempt"),
        {"sqlite_autoincrement": True},
    )

    ordinal: Mapped[int] = mapped_column(_Ordinal, primary_key=True, autoincrement=True)
    """Order of acceptance; audits are claimed oldest first and listed newest first by it."""
    audit_id: Mapped[str] = mapped_column(String(64), unique=True)
    request_id: Mapped[str] = mapped_column(String(256), unique=True)
    request_digest: Mapped[str] = mapped_column(String(128))
    request_json: Mapped[str] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text, index=True)
    """The claimed model, repeated from the request for filtering."""
    state: Mapped[AuditState] = mapped_column(
        Enum(AuditState, native_enum=False, length=16, create_constraint=True, name="state")
    )
    attempt: Mapped[int] = mapped_column(Integer)
    """Number of times a worker has taken the job."""
    submitted_at: Mapped[str] = mapped_column(String(32))
    claimed_at: Mapped[str | None] = mapped_column(String(32))
    finished_at: Mapped[str | None] = mapped_column(String(32))
    tenant: Mapped[str] = mapped_column(String(256), server_default=DEFAULT_TENANT)

    verdict: Mapped[VerdictRow | None] = relationship(lazy="joined", uselist=False)


class StreamRow(Base):
    """The evidence about one provider so far, updated in the transaction that ends a job."""

    __tablename__ = "provider_streams"
    __table_args__ = (
        # The endpoint is too long for an index on PostgreSQL; these two narrow it down enough.
        Index(None, "provider", "model_digest"),
        Index(None, "updated_at", "stream_id"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("outcome IN ('PASS', 'FAIL', 'INCONCLUSIVE')", name="outcome"),
    )

    stream_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    provider: Mapped[str] = mapped_column(Text)
    endpoint: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    model_digest: Mapped[str] = mapped_column(Text)
    calibration_id: Mapped[str] = mapped_column(Text)
    policy_id: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    """Number of exchanges folded in; an update must name the one before."""
    state_json: Mapped[str] = mapped_column(Text)
    """What the judge needs to go on; opaque here."""
    finding_json: Mapped[str] = mapped_column(Text)
    # Text and not Enum: a damaged value must reach the reader, who names the stream.
    outcome: Mapped[str] = mapped_column(String(16))
    log10_e_value: Mapped[float] = mapped_column(Double)
    updated_at: Mapped[str] = mapped_column(String(32))

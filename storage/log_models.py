"""The verdict log's tables, as typed SQLAlchemy models.

Entries never change; triggers of the migration refuse it as a seat belt, the guarantee is what
others hold. Content is kept apart, by digest, so that it can be erased. No foreign key leads from
the log to audits: an erased audit's entries stay.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from storage.models import Base

#: SQLite finds rows fastest by a column declared exactly INTEGER PRIMARY KEY.
_Index = BigInteger().with_variant(Integer, "sqlite")


class ContentRow(Base):
    """The envelope of an entry, until it is erased; no row is ever deleted."""

    __tablename__ = "log_contents"
    __table_args__ = (
        CheckConstraint("(envelope IS NULL) = (erased_at IS NOT NULL)", name="erased"),
    )

    entry_digest: Mapped[str] = mapped_column(String(128), primary_key=True)
    envelope: Mapped[bytes | None] = mapped_column(LargeBinary)
    erased_at: Mapped[str | None] = mapped_column(String(32))


class EntryRow(Base):
    """An entry of the log without its content."""

    __tablename__ = "log_entries"
    __table_args__ = (
        UniqueConstraint("tenant", "tenant_sequence"),
        Index(None, "kind", "log_index"),
        CheckConstraint("log_index >= 0", name="log_index"),
        CheckConstraint("tenant_sequence >= 1", name="tenant_sequence"),
    )

    log_index: Mapped[int] = mapped_column(_Index, primary_key=True, autoincrement=False)
    """Counted in the transaction that appends: a sequence of the database would leave gaps."""
    kind: Mapped[str] = mapped_column(String(32))
    tenant: Mapped[str] = mapped_column(String(256))
    tenant_sequence: Mapped[int] = mapped_column(BigInteger)
    entry_key: Mapped[str] = mapped_column(String(512), unique=True)
    audit_id: Mapped[str | None] = mapped_column(String(64))
    entry_digest: Mapped[str] = mapped_column(String(128), ForeignKey("log_contents.entry_digest"))
    leaf_body: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary)
    recorded_at: Mapped[str] = mapped_column(String(32))

    content: Mapped[ContentRow | None] = relationship(lazy="joined")
    """None where a damaged database lost it."""


class TreeRow(Base):
    """The tree's head: exactly one row, which moves only from the state that it was read in."""

    __tablename__ = "log_tree"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    range_hashes: Mapped[bytes] = mapped_column(LargeBinary)
    """Roots of the complete subtrees, largest first, 32 bytes each."""


class TenantRow(Base):
    """The last entry of a tenant's chain."""

    __tablename__ = "log_tenants"

    tenant: Mapped[str] = mapped_column(String(256), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    entry_digest: Mapped[str] = mapped_column(String(128))


class TileRow(Base):
    """Up to 256 hashes of one level of the tree."""

    __tablename__ = "log_tiles"

    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tile_index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hashes: Mapped[bytes] = mapped_column(LargeBinary)


class CheckpointRow(Base):
    """A published checkpoint; the note without witnesses stays beside the witnessed one."""

    __tablename__ = "log_checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    is_witnessed: Mapped[bool] = mapped_column(Boolean, primary_key=True)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    note: Mapped[bytes] = mapped_column(LargeBinary)
    issued_at: Mapped[str] = mapped_column(String(32))


class TimestampRow(Base):
    """The first time-stamp of a checkpoint from each authority."""

    __tablename__ = "log_timestamps"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    authority: Mapped[str] = mapped_column(String(512), primary_key=True)
    response: Mapped[bytes] = mapped_column(LargeBinary)
    obtained_at: Mapped[str] = mapped_column(String(32))


class ArtifactRow(Base):
    """A file that verdicts name by its digest."""

    __tablename__ = "log_artifacts"

    digest: Mapped[str] = mapped_column(String(128), primary_key=True)
    media_type: Mapped[str] = mapped_column(String(256))
    content: Mapped[bytes] = mapped_column(LargeBinary)


class ArtifactUseRow(Base):
    """Whose artifact it is: the last audit to be erased takes it along."""

    __tablename__ = "log_artifact_uses"

    audit_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(
        String(128), ForeignKey("log_artifacts.digest"), primary_key=True, index=True
    )

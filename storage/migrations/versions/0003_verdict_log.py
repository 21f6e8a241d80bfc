"""The verdict log, and whose each audit is.

The triggers are a seat belt against a mistaken statement, not a guarantee: whoever may alter the
tables may drop them. What the log promises is checked by those who hold its checkpoints.
"""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_NEVER = "the verdict log is append-only"
_ONLY_ERASED = "content of the verdict log can only be erased"

#: An erasure takes the envelope away; everything else about a content row stays for ever.
_IS_NO_ERASURE = (
    "OLD.envelope IS NULL OR NEW.envelope IS NOT NULL OR NEW.entry_digest <> OLD.entry_digest"
)

_SQLITE_UP = (
    "CREATE TRIGGER log_entries_no_update BEFORE UPDATE ON log_entries "
    f"BEGIN SELECT RAISE(ABORT, '{_NEVER}'); END",
    "CREATE TRIGGER log_entries_no_delete BEFORE DELETE ON log_entries "
    f"BEGIN SELECT RAISE(ABORT, '{_NEVER}'); END",
    f"CREATE TRIGGER log_contents_only_erased BEFORE UPDATE ON log_contents WHEN {_IS_NO_ERASURE} "
    f"BEGIN SELECT RAISE(ABORT, '{_ONLY_ERASED}'); END",
    "CREATE TRIGGER log_contents_no_delete BEFORE DELETE ON log_contents "
    f"BEGIN SELECT RAISE(ABORT, '{_ONLY_ERASED}'); END",
)

_POSTGRESQL_UP = (
    # Signed JSON in base64 hardly shrinks; compressing it costs more than the rest of an append.
    "ALTER TABLE log_contents SET (toast_tuple_target = 8160)",
    "ALTER TABLE verdicts SET (toast_tuple_target = 8160)",
    "CREATE FUNCTION inference_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0]; END $$",
    "CREATE TRIGGER log_entries_no_update BEFORE UPDATE ON log_entries FOR EACH ROW "
    f"EXECUTE FUNCTION inference_audit_refuse('{_NEVER}')",
    "CREATE TRIGGER log_entries_no_delete BEFORE DELETE ON log_entries FOR EACH ROW "
    f"EXECUTE FUNCTION inference_audit_refuse('{_NEVER}')",
    "CREATE TRIGGER log_entries_no_truncate BEFORE TRUNCATE ON log_entries "
    f"EXECUTE FUNCTION inference_audit_refuse('{_NEVER}')",
    "CREATE TRIGGER log_contents_only_erased BEFORE UPDATE ON log_contents FOR EACH ROW "
    f"WHEN ({_IS_NO_ERASURE}) EXECUTE FUNCTION inference_audit_refuse('{_ONLY_ERASED}')",
    "CREATE TRIGGER log_contents_no_delete BEFORE DELETE ON log_contents FOR EACH ROW "
    f"EXECUTE FUNCTION inference_audit_refuse('{_ONLY_ERASED}')",
    "CREATE TRIGGER log_contents_no_truncate BEFORE TRUNCATE ON log_contents "
    f"EXECUTE FUNCTION inference_audit_refuse('{_ONLY_ERASED}')",
)


def upgrade() -> None:
    op.add_column(
        "audits",
        sa.Column("tenant", sa.String(256), nullable=False, server_default="default"),
    )
    _create_entries()
    _create_tree()
    _create_published()
    _create_artifacts()
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _POSTGRESQL_UP if is_postgresql else _SQLITE_UP:
        op.execute(statement)


def _create_entries() -> None:
    op.create_table(
        "log_contents",
        sa.Column("entry_digest", sa.String(128), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=True),
        sa.Column("erased_at", sa.String(32), nullable=True),
        sa.PrimaryKeyConstraint("entry_digest", name=op.f("pk_log_contents")),
        sa.CheckConstraint(
            "(envelope IS NULL) = (erased_at IS NOT NULL)", name=op.f("ck_log_contents_erased")
        ),
    )
    op.create_table(
        "log_entries",
        sa.Column("log_index", _BIG_KEY, nullable=False, autoincrement=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("tenant", sa.String(256), nullable=False),
        sa.Column("tenant_sequence", sa.BigInteger(), nullable=False),
        sa.Column("entry_key", sa.String(512), nullable=False),
        sa.Column("audit_id", sa.String(64), nullable=True),
        sa.Column("entry_digest", sa.String(128), nullable=False),
        sa.Column("leaf_body", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_log_entries")),
        sa.UniqueConstraint("entry_key", name=op.f("uq_log_entries_entry_key")),
        sa.UniqueConstraint("tenant", "tenant_sequence", name=op.f("uq_log_entries_tenant")),
        sa.ForeignKeyConstraint(
            ["entry_digest"],
            ["log_contents.entry_digest"],
            name=op.f("fk_log_entries_entry_digest"),
        ),
        sa.CheckConstraint("log_index >= 0", name=op.f("ck_log_entries_log_index")),
        sa.CheckConstraint("tenant_sequence >= 1", name=op.f("ck_log_entries_tenant_sequence")),
    )
    op.create_index(op.f("ix_log_entries_kind_log_index"), "log_entries", ["kind", "log_index"])


def _create_tree() -> None:
    tree = op.create_table(
        "log_tree",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("range_hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_tree")),
        sa.CheckConstraint("id = 1", name=op.f("ck_log_tree_one_row")),
    )
    # RFC 9162: the root of no leaves is the hash of nothing
    empty = {"id": 1, "size": 0, "root": hashlib.sha256().digest(), "range_hashes": b""}
    op.bulk_insert(tree, [empty])
    op.create_table(
        "log_tenants",
        sa.Column("tenant", sa.String(256), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("entry_digest", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_log_tenants")),
    )
    op.create_table(
        "log_tiles",
        sa.Column("level", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("tile_index", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "tile_index", name=op.f("pk_log_tiles")),
    )


def _create_published() -> None:
    op.create_table(
        "log_checkpoints",
        sa.Column("size", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("is_witnessed", sa.Boolean(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("size", "is_witnessed", name=op.f("pk_log_checkpoints")),
    )
    op.create_table(
        "log_timestamps",
        sa.Column("size", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("authority", sa.String(512), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("obtained_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("size", "authority", name=op.f("pk_log_timestamps")),
    )


def _create_artifacts() -> None:
    op.create_table(
        "log_artifacts",
        sa.Column("digest", sa.String(128), nullable=False),
        sa.Column("media_type", sa.String(256), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_log_artifacts")),
    )
    op.create_table(
        "log_artifact_uses",
        sa.Column("audit_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("audit_id", "digest", name=op.f("pk_log_artifact_uses")),
        sa.ForeignKeyConstraint(
            ["digest"], ["log_artifacts.digest"], name=op.f("fk_log_artifact_uses_digest")
        ),
    )
    op.create_index(op.f("ix_log_artifact_uses_digest"), "log_artifact_uses", ["digest"])


def downgrade() -> None:
    # Triggers go with their tables.
    for table in (
        "log_artifact_uses",
        "log_artifacts",
        "log_timestamps",
        "log_checkpoints",
        "log_tiles",
        "log_tenants",
        "log_tree",
        "log_entries",
        "log_contents",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION inference_audit_refuse()")
        op.execute("ALTER TABLE verdicts RESET (toast_tuple_target)")
    op.drop_column("audits", "tenant")

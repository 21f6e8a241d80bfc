"""Bring the database to the newest schema at start.

Safe when several processes start at once: the first takes the database's write lock and migrates,
the others wait and find nothing to do. It never goes back to an older schema.
"""

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from audit.errors import StorageError
from storage.engine import WRITES
from storage.errors import storage_errors

#: Key of the PostgreSQL advisory lock; any constant that all our processes share will do.
_MIGRATION_LOCK = 0x696E6661

# Alembic keeps the running migration in module globals, so one process runs one at a time.
_one_at_a_time = threading.Lock()


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Apply all missing migrations in one transaction.

    Raises: StorageError when the database is unusable or was made by a newer version.
    """
    writer = engine.execution_options(**{WRITES: True})
    with _one_at_a_time, storage_errors("upgrading its schema"), writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        try:
            command.upgrade(migration_config(connection), revision)
        except CommandError as error:
            raise StorageError(
                f"the database schema is not known to this version ({error}): upgrade "
                "inference-audit, or point it at another database"
            ) from error


def migration_config(connection: Connection) -> Config:
    """Return Alembic's configuration for the packaged migrations, to run inside `connection`."""
    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config

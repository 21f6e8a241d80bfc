"""Alembic runs this file for every command, inside the connection and transaction of the caller.

`storage.upgrade` is the way in: there is no alembic.ini and no database URL here.
"""

from alembic import context

from storage.log_models import EntryRow

context.configure(
    connection=context.config.attributes["connection"],
    # one class stands for all: they share their metadata
    target_metadata=EntryRow.metadata,
    # SQLite cannot alter most constraints in place; batch mode copies the table instead.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

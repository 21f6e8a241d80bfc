"""Alembic's environment and the schema's history; `storage.upgrade` runs it."""

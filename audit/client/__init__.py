"""The Python client of the audit service."""

from audit.client.client import AuditClient

__all__ = ["AuditClient"]

"""Durable storage of audits and of the verdict log, behind `AuditStore` and `LogStore`."""

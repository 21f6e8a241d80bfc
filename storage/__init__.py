"""Durable storage of audits and signed verdicts behind the `AuditStore` port."""

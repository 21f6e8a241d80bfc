"""The Python clients of the audit service."""

from audit.client.billing_client import BillingClient
from audit.client.client import AuditClient
from audit.client.log_client import LogClient
from audit.client.report_client import ReportClient

__all__ = ["AuditClient", "BillingClient", "LogClient", "ReportClient"]

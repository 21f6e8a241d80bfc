"""Makes reports of the log: for the service, and for the command line."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from audit.app.base import VERSION
from audit.app.log import OpenLog, open_log, running_log
from audit.config import ServiceSettings
from audit.ledger.envelope import sign_payload
from audit.log_records import Receipt
from audit.reports.make import MadeReport, make_report
from audit.reports.records import ReportScope
from audit.reports.source import LogSource
from audit.service.report_maker import ReportMaker


def build_report_maker(log: OpenLog) -> ReportMaker:
    """Return what makes the service's reports."""
    return ReportMaker(
        log.reader,
        log.recorder.log_report,
        version=VERSION,
        sign=partial(sign_payload, signer=log.signer),
    )


def write_report(
    settings: ServiceSettings,
    scope: ReportScope,
    folder: Path,
    formats: Sequence[str],
    *,
    is_witnessed: bool = False,
) -> tuple[MadeReport, Receipt]:
    """Write a report of the log into a folder, sign its summaries, and log it as an entry.

    Raises: ConfigurationError, VerificationError, StorageError, LogForked.
    """
    with open_log(settings, may_create=False) as log, running_log(log):
        source = LogSource(log.reader, log.reader.trust_root(), is_witnessed=is_witnessed)
        made = make_report(
            source,
            scope,
            folder,
            formats,
            version=VERSION,
            sign=partial(sign_payload, signer=log.signer),
        )
        return made, log.recorder.log_report(made.manifest, tenant=scope.tenant)

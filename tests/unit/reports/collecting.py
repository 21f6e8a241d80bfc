"""Collects, renders and packs, for tests."""

from pathlib import Path

from audit.reports.collect import collect
from audit.reports.records import Report, ReportScope, VerdictLine
from audit.reports.source import EntrySource
from audit.reports.spool import Spool

WHOLE = ReportScope()


def collected(
    source: EntrySource, folder: Path, scope: ReportScope = WHOLE
) -> tuple[Report, list[VerdictLine]]:
    """Return the report and all its lines."""
    folder.mkdir(parents=True, exist_ok=True)
    with Spool(folder) as spool:
        report = collect(source, scope, spool)
        return report, list(spool.lines())

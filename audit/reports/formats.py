"""The formats of a report, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from audit.errors import ConfigurationError
from audit.reports import html, oscal, pdf
from audit.reports.csv_table import render_csv
from audit.reports.manifest import COLUMNS_TYPE, column_dictionary
from audit.reports.parquet_table import load_arrow, render_parquet
from audit.reports.records import Lines, Renderer, Report


@dataclass(frozen=True, slots=True)
class Format:
    """One file that a report can have."""

    file_name: str
    media_type: str
    render: Renderer


def render_columns(report: Report, lines: Lines, out: BinaryIO) -> None:
    """Write what the columns of the tables mean."""
    del report, lines
    out.write(column_dictionary())


#: Made of the other files and therefore not among them: see `make`.
SUMMARIES_FORMAT, PACK_FORMAT = "summaries", "pack"

#: In the order in which they are written.
FORMATS: dict[str, Format] = {
    "html": Format("report.html", html.MEDIA_TYPE, html.render),
    "pdf": Format("report.pdf", pdf.MEDIA_TYPE, pdf.render),
    "oscal": Format("oscal-assessment-results.json", oscal.MEDIA_TYPE, oscal.render),
    "csv": Format("verdicts.csv", "text/csv; charset=utf-8", render_csv),
    "parquet": Format("verdicts.parquet", "application/vnd.apache.parquet", render_parquet),
    "columns": Format("columns.json", COLUMNS_TYPE, render_columns),
}

_LIBRARIES: dict[str, Callable[[], object]] = {"pdf": pdf.load_layout, "parquet": load_arrow}


def can_render(name: str) -> bool:
    """Return whether the libraries that a format needs are on this machine."""
    load = _LIBRARIES.get(name)
    try:
        if load is not None:
            load()
    except ConfigurationError:
        return False
    return True

"""The HTML report as a PDF, laid out by WeasyPrint; the same report gives the same bytes.

WeasyPrint and the system's Pango are needed only here, so they are imported when a PDF is asked
for. The page refers to nothing outside itself, and nothing that it named would be fetched.
"""

import hashlib
import importlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

from audit.errors import ConfigurationError
from audit.reports.html import render_page
from audit.reports.records import Lines, Report

MEDIA_TYPE = "application/pdf"

_MISSING = (
    "a PDF needs WeasyPrint 68 or later and the system's Pango library: {problem}. Install both, "
    "for example with: pip install 'inference-audit[reports]' and apt-get install libpango-1.0-0 "
    "libpangoft2-1.0-0 libharfbuzz-subset0; or take the HTML report and print it"
)


class _Document(Protocol):
    def write_pdf(self, *, pdf_identifier: bytes, pdf_tags: bool) -> bytes: ...


_Layout = Callable[[str], _Document]


def render(report: Report, lines: Lines, out: BinaryIO) -> None:
    """Write the PDF. Raises: ConfigurationError where WeasyPrint or Pango is missing."""
    lay_out = load_layout()
    document = lay_out(render_page(report, lines))
    # identifier and dates come from the report, so that no clock and no chance enters the file
    identifier = hashlib.sha256(report.report_id.encode("ascii")).digest()[:16]
    out.write(document.write_pdf(pdf_identifier=identifier, pdf_tags=True))


def load_layout() -> _Layout:
    """Return what lays a page out. Raises: ConfigurationError saying what to install."""
    try:
        weasyprint = importlib.import_module("weasyprint")
        fetcher = importlib.import_module("weasyprint.urls").URLFetcher(allowed_protocols=())
    except (AttributeError, ImportError, OSError) as error:
        # Pango is loaded by the import, which fails with OSError where it is missing;
        # AttributeError stands for a WeasyPrint before 68, which fetches whatever a page names
        raise ConfigurationError(_MISSING.format(problem=str(error).splitlines()[0])) from error

    def lay_out(page: str) -> _Document:
        document: _Document = weasyprint.HTML(string=page, url_fetcher=fetcher)
        return document

    return lay_out

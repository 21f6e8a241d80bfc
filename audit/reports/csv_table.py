"""The verdicts as CSV (RFC 4180, UTF-8, CRLF), safe to open in a spreadsheet.

A spreadsheet runs text that begins with `=`, `+`, `-`, `@`, a tab or a line break as a formula, and
names of models and providers come from outside. So a text that begins with one of these, or with an
apostrophe, gets an apostrophe in front, which `read_text` takes away again; an empty text is a lone
apostrophe, so that an empty cell always means "not stated". Columns of integers and numbers hold
nothing but what this module formats, so -0.5 stays a number. Open the file with the comma as the
only separator.
"""

import csv
import io
from typing import BinaryIO

from audit.reports.columns import COLUMNS, ColumnType
from audit.reports.lines_codec import Cell, to_row
from audit.reports.records import Lines, Report

#: The wide forms of the signs count as the signs themselves in some spreadsheets.
_DANGEROUS = frozenset("=+-@\t\r\n'＝＋－＠")  # noqa: RUF001  the wide forms are meant
_NUMERIC = frozenset({ColumnType.INTEGER, ColumnType.NUMBER})
_WORDS = next(i for i, column in enumerate(COLUMNS) if column.type is ColumnType.WORDS)


def render_csv(report: Report, lines: Lines, out: BinaryIO) -> None:
    """Write one row per verdict, after a header row."""
    del report
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(column.name for column in COLUMNS)
    for line in lines():
        cells = list(to_row(line))
        cells[_WORDS] = " ".join(line.reasons)
        writer.writerow(map(_formatted, COLUMN_IS_NUMERIC, cells))
    text.detach()


COLUMN_IS_NUMERIC = tuple(column.type in _NUMERIC for column in COLUMNS)


def _formatted(is_numeric: bool, cell: Cell) -> str:
    if cell is None:
        return ""
    if is_numeric:
        return repr(cell)
    return guard_text(str(cell))


def guard_text(text: str) -> str:
    """Return a text as it stands in a cell: never a formula, never empty."""
    return f"'{text}" if not text or text[0] in _DANGEROUS else text


def read_text(cell: str) -> str | None:
    """Return the text of a cell; None for an empty one, which states nothing."""
    if not cell:
        return None
    return cell[1:] if cell[0] == "'" else cell

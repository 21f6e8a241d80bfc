"""The tables of verdicts: the same in CSV and Parquet, and harmless in a spreadsheet."""

import csv
import importlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from audit.errors import ConfigurationError
from audit.records import Outcome
from audit.reports.columns import COLUMNS, ColumnType
from audit.reports.csv_table import guard_text, read_text, render_csv
from audit.reports.formats import can_render
from audit.reports.lines_codec import from_row, to_row
from audit.reports.manifest import column_dictionary
from audit.reports.parquet_table import ROWS_PER_GROUP, load_arrow, render_parquet, schema
from audit.reports.records import Report, VerdictLine
from tests.unit.reports.collecting import collected
from tests.unit.reports.sample_log import SampleLog, busy_log, verdict

FORMULAS = (
    "=1+1",
    '=HYPERLINK("http://x","y")',
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "'quoted",
    "''",
    "＝1+1",  # noqa: RUF001
    "",
)
pa = load_arrow()
pq = importlib.import_module("pyarrow.parquet")

HARMLESS = ("example/tiny-8b", "a=b", "model, v2", 'with "quotes"', "zwei\nZeilen", "模型", " =1")


@pytest.fixture
def sample(tmp_path: Path) -> tuple[Report, list[VerdictLine]]:
    """Lines of a log, with all that can be odd about texts and numbers."""
    report, lines = collected(busy_log(60).source(), tmp_path)
    odd = [
        replace(lines[0], claimed_model=text, provider_uri=None, log_index=1000 + number)
        for number, text in enumerate((*FORMULAS, *HARMLESS))
    ]
    odd.append(
        replace(
            lines[0],
            log_index=2000,
            mean_clipped_margin_logits=-1e-300,
            log10_e_value=-0.0,
            num_tokens=2**53 - 1,
            details=("=cmd|' /C calc'!A0", "two, words"),
        )
    )
    return report, [*lines, *odd]


def as_csv(report: Report, lines: list[VerdictLine]) -> bytes:
    out = io.BytesIO()
    render_csv(report, lambda: iter(lines), out)
    return out.getvalue()


def as_parquet(report: Report, lines: list[VerdictLine]) -> Any:
    out = io.BytesIO()
    render_parquet(report, lambda: iter(lines), out)
    return pq.read_table(io.BytesIO(out.getvalue()))


def read_csv(content: bytes) -> list[dict[str, object]]:
    """Read as the column dictionary says."""
    dictionary = {column["name"]: column for column in json.loads(column_dictionary())["columns"]}
    rows = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
    return [
        {name: _value(cell, dictionary[name]["type"]) for name, cell in row.items()} for row in rows
    ]


def _value(cell: str, kind: str) -> object:
    if kind == "integer":
        return int(cell) if cell else None
    if kind == "number":
        return float(cell) if cell else None
    text = read_text(cell)
    if kind == "words":
        return (text or "").split()
    if kind == "time":
        assert text is not None
        return datetime.fromisoformat(text)
    return text


def test_csv_read_back_equals_parquet_read_back(sample: tuple[Report, list[VerdictLine]]) -> None:
    content = as_csv(*sample)
    rows, table = read_csv(content), as_parquet(*sample).to_pylist()
    assert len(rows) == len(table) == len(sample[1])
    assert rows == table


def test_the_file_is_as_rfc_4180_has_it(sample: tuple[Report, list[VerdictLine]]) -> None:
    content = as_csv(*sample)
    header, rest = content.split(b"\r\n", 1)
    assert header == ",".join(column.name for column in COLUMNS).encode()
    assert rest.endswith(b"\r\n")
    assert not content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))
    assert {len(row) for row in rows} == {len(COLUMNS)}


def test_no_cell_is_a_formula(sample: tuple[Report, list[VerdictLine]]) -> None:
    rows = list(csv.reader(io.StringIO(as_csv(*sample).decode(), newline="")))[1:]
    for row in rows:
        for column, cell in zip(COLUMNS, row, strict=True):
            if column.type in (ColumnType.INTEGER, ColumnType.NUMBER):
                assert not cell or float(cell) is not None
            else:
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝"))  # noqa: RUF001


@pytest.mark.parametrize("text", FORMULAS)
def test_a_dangerous_text_is_guarded_and_comes_back(text: str) -> None:
    assert guard_text(text) == f"'{text}"
    assert read_text(guard_text(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_a_harmless_text_stays_as_it_is(text: str) -> None:
    assert guard_text(text) == text
    assert read_text(text) == text


def test_negative_numbers_stay_numbers(sample: tuple[Report, list[VerdictLine]]) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(*sample).decode(), newline="")))
    assert rows[-1]["mean_clipped_margin_logits"] == "-1e-300"
    assert rows[-1]["log10_e_value"] == "-0.0"
    assert any(row["log10_e_value"] == "-0.3" for row in rows)


def test_an_empty_cell_is_not_an_empty_text() -> None:
    assert read_text("") is None
    assert read_text("'") == ""


def test_columns_are_those_of_the_lines_and_typed() -> None:
    assert [column.name for column in COLUMNS] == [field.name for field in fields(VerdictLine)]
    assert COLUMNS[0].name == "log_index"
    types = {field.name: field.type for field in schema(pa)}
    assert types["log_index"] == pa.int64()
    assert types["log10_e_value"] == pa.float64()
    assert types["verified_at"] == pa.timestamp("us", tz="UTC")
    assert types["reasons"] == pa.list_(pa.string())
    described = json.loads(column_dictionary())["columns"]
    assert [column["name"] for column in described] == [column.name for column in COLUMNS]
    assert all(column["meaning"].endswith(".") for column in described)


def test_optional_columns_are_nullable_and_no_others() -> None:
    for column, field in zip(COLUMNS, fields(VerdictLine), strict=True):
        assert column.is_nullable == ("None" in str(field.type)), column.name


def test_parquet_is_written_in_groups(tmp_path: Path) -> None:
    log = SampleLog()
    log.audit(0)
    report, (line,) = collected(log.source(), tmp_path)

    def many() -> Iterator[VerdictLine]:
        for index in range(2 * ROWS_PER_GROUP + 1):
            yield replace(line, log_index=index)

    out = io.BytesIO()
    render_parquet(report, many, out)
    file = pq.ParquetFile(io.BytesIO(out.getvalue()))
    assert file.metadata.num_row_groups == 3
    assert file.metadata.num_rows == 2 * ROWS_PER_GROUP + 1


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    report, lines = collected(SampleLog().source(), tmp_path)
    assert as_csv(report, lines).count(b"\r\n") == 1
    assert as_parquet(report, lines).schema.names == [column.name for column in COLUMNS]


def test_a_line_comes_back_from_its_row(tmp_path: Path) -> None:
    log = SampleLog()
    log.audit(0, verdict(0, Outcome.INCONCLUSIVE))
    _, (line,) = collected(log.source(), tmp_path)
    assert from_row(to_row(line)) == line


def test_without_the_library_parquet_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SampleLog()
    log.audit(0)
    report, lines = collected(log.source(), tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'inference-audit\[reports\]'"):
        as_parquet(report, lines)
    assert not can_render("parquet")
    assert can_render("csv")

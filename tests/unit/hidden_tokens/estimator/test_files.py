import gzip
import json
from pathlib import Path

import pytest

from audit.errors import CalibrationError, InvalidRequest
from audit.hidden_tokens.estimator.cells import Quantity, prompt_group, row_of_request
from audit.hidden_tokens.estimator.files import read_rows, row_of_record
from tests.unit.hidden_tokens.estimator.made_up import example_request, example_rows

RECORD = {
    "model": "m",
    "domain": "d",
    "effort": None,
    "prompt": "Why?",
    "answer": "So.",
    "reasoning_tokens_billed": 64.0,
    "completion_tokens_billed": 80,
    "prompt_group": "g",
}


def test_a_record_becomes_a_row() -> None:
    row = row_of_record(RECORD)

    assert (row.num_tokens, row.quantity, row.effort) == (64, Quantity.REASONING, "")
    assert (row.group, row.cell) == ("g", "m|d|#reasoning")


def test_no_stated_reasoning_counts_the_output_but_none_at_all_is_a_count() -> None:
    unstated = row_of_record({**RECORD, "reasoning_tokens_billed": None})
    nothing = row_of_record({**RECORD, "reasoning_tokens_billed": 0})

    assert (unstated.num_tokens, unstated.quantity) == (80, Quantity.OUTPUT)
    assert (nothing.num_tokens, nothing.quantity) == (0, Quantity.REASONING)


def test_counts_of_a_middleman_are_known_by_field_or_note() -> None:
    assert row_of_record({**RECORD, "note": "count as reported by an aggregator"}).is_aggregator
    assert row_of_record({**RECORD, "is_aggregator": True}).is_aggregator
    assert not row_of_record(RECORD).is_aggregator


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"model": None}, "record: model must be text"),
        ({"prompt": 3}, "record: prompt must be text"),
        ({"answer": None}, "record: answer must be text"),
        ({"effort": 2}, "record: effort must be text"),
        ({"reasoning_tokens_billed": -1}, "record: reasoning_tokens_billed must be a whole number"),
        ({"reasoning_tokens_billed": 1.5}, "record: reasoning_tokens_billed must be a whole"),
        ({"reasoning_tokens_billed": True}, "record: reasoning_tokens_billed must be a whole"),
        ({"reasoning_tokens_billed": 10**8}, "record: reasoning_tokens_billed must be a whole"),
        (
            {"reasoning_tokens_billed": None, "completion_tokens_billed": None},
            "record: completion_tokens_billed must be a whole number",
        ),
    ],
)
def test_a_bad_record_is_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(CalibrationError, match=text):
        row_of_record({**RECORD, **change})


def test_files_are_read_line_by_line(tmp_path: Path) -> None:
    plain, packed = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.gz"
    plain.write_text(json.dumps(RECORD) + "\n" + json.dumps(RECORD) + "\n", encoding="utf-8")
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    assert list(read_rows(plain)) == list(read_rows(packed)) == [row_of_record(RECORD)] * 2


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("rows.jsonl", b"{}\n", "line 1: model must be text"),
        ("rows.jsonl", json.dumps(RECORD).encode() + b"\n{", "line 2 cannot be read"),
        ("rows.jsonl", b"[]\n", "line 1 must be a JSON object"),
        ("rows.jsonl", b"\xff\n", "rows.jsonl cannot be read"),
        ("rows.jsonl.gz", b"not packed", "rows.jsonl.gz cannot be read"),
    ],
)
def test_a_spoiled_file_is_refused(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(CalibrationError, match=text):
        list(read_rows(tmp_path / name))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"none\.jsonl cannot be read"):
        list(read_rows(tmp_path / "none.jsonl"))


def test_a_request_becomes_a_row_grouped_by_its_prompt() -> None:
    (original,) = example_rows("x", 1)
    row = row_of_request(example_request(original), original.domain)

    assert row.num_tokens == original.num_tokens
    assert row.group == prompt_group(f"  {original.prompt.upper()}\n")


def test_a_request_without_text_is_no_row() -> None:
    (original,) = example_rows("x", 1)
    request = example_request(original)

    for field in ("prompt", "answer"):
        fields = {name: getattr(request, name) for name in request.__dataclass_fields__}
        with pytest.raises(InvalidRequest, match=f"{field}: the estimator needs"):
            row_of_request(type(request)(**{**fields, field: None}), "d")

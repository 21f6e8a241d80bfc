"""Reading what the estimator needs from files: reference data, and members of calibration files.

A record of reference data is a JSON object with `model`, `domain`, `prompt`, `answer`,
`completion_tokens_billed` and, where stated, `effort`, `reasoning_tokens_billed`, `prompt_group`
and `is_aggregator`.
"""

import gzip
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audit.errors import CalibrationError
from audit.hidden_tokens.estimator.cells import EstimatorRow, Quantity, prompt_group

_LARGEST_COUNT = 10_000_000


def read_rows(path: Path) -> Iterator[EstimatorRow]:
    """Yield the rows of a file of JSON lines, gzipped where its name ends in `.gz`.

    Raises: CalibrationError naming file and line.
    """
    where = str(path)
    try:
        opened = (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8")
        )
        with opened as lines:
            for number, line in enumerate(lines, start=1):
                where = f"{path}, line {number}"
                yield row_of_record(json.loads(line), where)
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise CalibrationError(f"{where} cannot be read: {error}") from error


def row_of_record(record: object, where: str = "record") -> EstimatorRow:
    """Return a record of reference data as a row.

    Raises: CalibrationError naming the place and what is wrong.
    """
    members = json_object(record, where)
    texts = {name: json_text(members, name, where) for name in ("model", "domain", "prompt")}
    # an answer that was not kept is no empty answer
    texts["answer"] = json_text(members, "answer", where)
    reasoning = members.get("reasoning_tokens_billed")
    name = "completion_tokens_billed" if reasoning is None else "reasoning_tokens_billed"
    return EstimatorRow(
        **texts,
        effort=json_text({"effort": members.get("effort") or ""}, "effort", where),
        quantity=Quantity.OUTPUT if reasoning is None else Quantity.REASONING,
        num_tokens=_count(members.get(name), f"{where}: {name}"),
        group=str(members.get("prompt_group") or prompt_group(texts["prompt"])),
        is_aggregator=_is_aggregator(members),
    )


def json_object(value: object, where: str) -> Mapping[str, Any]:
    """Return a JSON object. Raises: CalibrationError for anything else."""
    if not isinstance(value, dict):
        raise CalibrationError(f"{where} must be a JSON object")
    return value


def json_text(members: Mapping[str, Any], name: str, where: str) -> str:
    """Return a member that is text. Raises: CalibrationError for anything else."""
    value = members.get(name)
    if not isinstance(value, str):
        raise CalibrationError(f"{where}: {name} must be text")
    return value


def json_texts(members: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    """Return a member that is a list of texts. Raises: CalibrationError for anything else."""
    value = members.get(name)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise CalibrationError(f"{where}: {name} must be a list of texts")
    return tuple(value)


def json_number(members: Mapping[str, Any], name: str, where: str) -> float:
    """Return a member that is a finite number. Raises: CalibrationError for anything else."""
    value = members.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise CalibrationError(f"{where}: {name} must be a finite number")
    return float(value)


def json_count(members: Mapping[str, Any], name: str, where: str) -> int:
    """Return a member that is a count. Raises: CalibrationError for anything else."""
    return _count(members.get(name), f"{where}: {name}")


def _count(value: object, where: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_COUNT:
        raise CalibrationError(f"{where} must be a whole number from 0 to {_LARGEST_COUNT:,}")
    return value


def _is_aggregator(members: Mapping[str, Any]) -> bool:
    # research data says so in words only
    stated = members.get("is_aggregator")
    return "aggregator" in str(members.get("note") or "") if stated is None else bool(stated)

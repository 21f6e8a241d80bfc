"""VerdictLine to a flat row, and back: for the spool and for tables."""

import dataclasses
import json
from collections.abc import Sequence
from typing import TypeAlias

from audit.reports.records import AttackFigure, StatisticFigure, VerdictLine

Cell: TypeAlias = str | int | float | None

_NAMES = tuple(field.name for field in dataclasses.fields(VerdictLine))
_TEXTS = frozenset({"reasons", "details", "notes"})
_PLACES = {name: place for place, name in enumerate(_NAMES)}

NAMES = _NAMES
"""Of the cells of a row, in order."""


def to_row(line: VerdictLine) -> tuple[Cell, ...]:
    """Return a line as cells; lists become compact JSON."""
    cells: list[Cell] = [getattr(line, name) for name in _NAMES]
    for name in _TEXTS:
        cells[_PLACES[name]] = _compact(list(getattr(line, name)))
    cells[_PLACES["statistics"]] = _compact([dataclasses.asdict(s) for s in line.statistics])
    cells[_PLACES["attacks"]] = _compact([dataclasses.asdict(attack) for attack in line.attacks])
    return tuple(cells)


def from_row(cells: Sequence[Cell]) -> VerdictLine:
    """Return the line of a row that `to_row` made."""
    values: dict[str, object] = dict(zip(_NAMES, cells, strict=True))
    for name in _TEXTS:
        values[name] = tuple(json.loads(str(values[name])))
    values["statistics"] = tuple(
        StatisticFigure(**members) for members in json.loads(str(values["statistics"]))
    )
    values["attacks"] = tuple(
        AttackFigure(**members) for members in json.loads(str(values["attacks"]))
    )
    return VerdictLine(**values)  # type: ignore[arg-type]  # as many and as named: see zip


def _compact(value: list[object] | list[dict[str, object]]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

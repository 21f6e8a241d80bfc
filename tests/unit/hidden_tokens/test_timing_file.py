"""The part of a calibration file that holds the speed laws."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from audit.errors import CalibrationError
from audit.hidden_tokens.timing import SpeedLaws
from tests.unit.hidden_tokens.made_up_hosts import loaded_laws


@pytest.fixture(scope="module")
def loaded() -> SpeedLaws:
    """Laws of a host under very different loads."""
    return loaded_laws()


def test_fits_are_the_same_bit_for_bit_and_come_back_from_a_file(loaded: SpeedLaws) -> None:
    again = loaded_laws()
    text = json.dumps(loaded.to_json())

    assert json.dumps(again.to_json()) == text
    read = SpeedLaws.from_json(json.loads(text), "sha256:11")
    assert read == replace(loaded, terms=replace(loaded.terms, calibration_id="sha256:11"))


def _twice(document: dict[str, Any]) -> None:
    document["laws"].append(document["laws"][0])


def _one_knot(document: dict[str, Any]) -> None:
    del document["laws"][0]["knots"][1:]


def _text_knot(document: dict[str, Any]) -> None:
    document["laws"][0]["knots"][0] = ["1", 2.0]


def _no_pair(document: dict[str, Any]) -> None:
    document["laws"][0]["knots"][0] = 1.0


def _falling(document: dict[str, Any]) -> None:
    document["laws"][0]["knots"].reverse()


def _other_clock(document: dict[str, Any]) -> None:
    document["laws"][0]["clock"] = "sun"


def _no_speed(document: dict[str, Any]) -> None:
    document["top_speeds"]["host"] = 0


def _more(document: dict[str, Any]) -> None:
    document["more"] = 1


def _bad_reason(document: dict[str, Any]) -> None:
    document["refused"]["a|b|"] = "because"


def _no_list(document: dict[str, Any]) -> None:
    document["laws"] = {}


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_twice, "timing.laws holds a cell twice"),
        (_one_knot, r"timing.laws\[0\].knots must be two pairs or more"),
        (_text_knot, r"timing.laws\[0\].knots.item must be a finite number"),
        (_no_pair, r"timing.laws\[0\].knots must hold lists of numbers"),
        (_falling, r"timing.laws\[0\].knots must rise"),
        (_other_clock, r"timing.laws\[0\].clock must be one of stream, whole"),
        (_no_speed, "timing.top_speeds.host must be above 0"),
        (_more, "timing must have exactly the members laws, refused, top_speeds, terms"),
        (_bad_reason, r"timing.refused.a\|b\| must be one of"),
        (_no_list, "timing.laws must be a list"),
    ],
)
def test_damaged_files_are_refused(
    loaded: SpeedLaws, damage: Callable[[dict[str, Any]], None], problem: str
) -> None:
    document = json.loads(json.dumps(loaded.to_json()))
    damage(document)

    with pytest.raises(CalibrationError, match=problem):
        SpeedLaws.from_json(document)

"""A power table is read back as it was written, never overstates, or is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import CalibrationError
from audit.judge.power import (
    MAX_FILE_BYTES,
    PowerCurve,
    PowerTable,
    load_power,
    power_path,
    save_power,
    seal_power,
)

Body = dict[str, Any]

CALIBRATION = f"sha256:{'c' * 64}"
OTHER = f"sha256:{'d' * 64}"
WHEN = "2026-11-21T10:00:00Z"


def curve(attack: str, *power: float) -> PowerCurve:
    return PowerCurve(attack=attack, label=f"{attack}, in words", power=power, num_streams=50)


TABLE = seal_power(
    calibration_id=CALIBRATION,
    stratum="greedy, bfloat16",
    log10_threshold=2.125,
    created_at=WHEN,
    num_tokens=(100, 400, 1600),
    attacks=(curve("int4", 0.2, 0.9, 1.0), curve("burst", 0.0, 0.1, 0.5)),
)


@pytest.fixture
def body(tmp_path: Path) -> Body:
    save_power(TABLE, tmp_path / "good.json")
    loaded: Body = json.loads((tmp_path / "good.json").read_text(encoding="utf-8"))
    return loaded


def refusal(path: Path) -> str:
    with pytest.raises(CalibrationError) as caught:
        load_power(path, CALIBRATION)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "x.power.json"
    save_power(TABLE, path)
    assert load_power(path, CALIBRATION) == TABLE


@pytest.mark.parametrize(
    ("num_tokens", "power"),
    [(0, 0.0), (99, 0.0), (100, 0.2), (399, 0.2), (400, 0.9), (401, 0.9), (10**9, 1.0)],
)
def test_between_measured_numbers_the_lower_one_counts(num_tokens: int, power: float) -> None:
    found, _ = TABLE.at(num_tokens, 0.9)
    assert (found.attack, found.label) == ("int4", "int4, in words")
    assert found.power == power
    assert found.num_tokens_needed == 400


def test_an_attack_that_is_never_seen_needs_no_number() -> None:
    _, found = TABLE.at(1600, 0.9)
    assert (found.power, found.num_tokens_needed) == (0.5, None)
    assert TABLE.at(1600, 0.5)[1].num_tokens_needed == 1600


@st.composite
def tables(draw: st.DrawFn) -> PowerTable:
    grid = sorted(draw(st.sets(st.integers(1, 10**6), min_size=1, max_size=6)))
    names = draw(st.lists(st.text(st.characters(codec="utf-8")), unique=True, max_size=4))
    share = st.floats(0.0, 1.0)
    return seal_power(
        calibration_id=CALIBRATION,
        stratum="greedy, bfloat16",
        log10_threshold=2.125,
        created_at=WHEN,
        num_tokens=grid,
        attacks=[
            PowerCurve(
                attack=name,
                label=name[::-1],
                power=tuple(draw(st.lists(share, min_size=len(grid), max_size=len(grid)))),
                num_streams=draw(st.integers(1, 10**6)),
            )
            for name in names
        ],
    )


@given(table=tables(), num_tokens=st.integers(0, 2 * 10**6))
@settings(max_examples=60, deadline=None)
def test_every_table_survives_and_states_only_what_was_measured(
    table: PowerTable, num_tokens: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.power.json"
    save_power(table, path)
    assert load_power(path, CALIBRATION) == table
    for found, measured in zip(table.at(num_tokens, 0.9), table.attacks, strict=True):
        below = [
            p for n, p in zip(table.num_tokens, measured.power, strict=True) if n <= num_tokens
        ]
        assert found.power == (below[-1] if below else 0.0)


@pytest.mark.parametrize(
    ("calibration", "expected"),
    [
        ("a/example.json", "a/example.power.json"),
        ("cal.v2.json", "cal.v2.power.json"),
        ("cal.v2", "cal.v2.power.json"),
    ],
)
def test_the_table_lies_beside_its_calibration(calibration: str, expected: str) -> None:
    assert power_path(Path(calibration)) == Path(expected)


def test_a_table_for_another_calibration_is_refused(tmp_path: Path) -> None:
    save_power(TABLE, tmp_path / "x.power.json")
    with pytest.raises(CalibrationError) as caught:
        load_power(tmp_path / "x.power.json", OTHER)
    assert f"made for calibration {CALIBRATION}, not {OTHER}; run the study again" in str(
        caught.value
    )


CHANGES: dict[str, Callable[[Body], object]] = {
    "power": lambda b: b["attacks"][0]["power"].__setitem__(0, 0.3),
    "grid": lambda b: b["num_tokens"].__setitem__(0, 50),
    "label": lambda b: b["attacks"][1].update(label="harmless"),
    "fewer": lambda b: b["attacks"].pop(),
    "calibration": lambda b: b.update(calibration_id=OTHER),
    "date": lambda b: b.update(created_at="2020-01-01T00:00:00Z"),
    "id": lambda b: b.update(power_id=OTHER),
    "no id": lambda b: b.pop("power_id"),
    "added": lambda b: b.update(comment="trust me"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_table_is_refused(
    change: Callable[[Body], object], body: Body, tmp_path: Path
) -> None:
    change(body)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    assert "was changed after it was made" in refusal(path)


MALFORMED: dict[str, Callable[[Body], object]] = {
    "no grid": lambda b: b.pop("num_tokens"),
    "empty grid": lambda b: b.update(num_tokens=[], attacks=[]),
    "grid of text": lambda b: b.update(num_tokens="100"),
    "grid descends": lambda b: b.update(num_tokens=[400, 100, 1600]),
    "grid repeats": lambda b: b.update(num_tokens=[100, 100, 1600]),
    "grid from zero": lambda b: b.update(num_tokens=[0, 400, 1600]),
    "grid of fractions": lambda b: b.update(num_tokens=[100.5, 400, 1600]),
    "grid of flags": lambda b: b.update(num_tokens=[True, 400, 1600]),
    "huge grid": lambda b: b.update(num_tokens=[100, 400, 10**40]),
    "no attacks": lambda b: b.pop("attacks"),
    "attacks of text": lambda b: b.update(attacks=["int4"]),
    "attacks as object": lambda b: b.update(attacks={}),
    "twice": lambda b: b["attacks"].append(b["attacks"][0]),
    "short": lambda b: b["attacks"][0]["power"].pop(),
    "above one": lambda b: b["attacks"][0].update(power=[0.1, 0.2, 1.1]),
    "below zero": lambda b: b["attacks"][0].update(power=[-0.1, 0.2, 1.0]),
    "not a number": lambda b: b["attacks"][0].update(power=[0.1, 0.2, float("nan")]),
    "flags": lambda b: b["attacks"][0].update(power=[False, True, True]),
    "no label": lambda b: b["attacks"][0].pop("label"),
    "label of numbers": lambda b: b["attacks"][0].update(label=4),
    "no streams": lambda b: b["attacks"][0].update(num_streams=0),
    "calibration missing": lambda b: b.pop("calibration_id"),
    "calibration of numbers": lambda b: b.update(calibration_id=7),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_table_is_refused(
    change: Callable[[Body], object], body: Body, tmp_path: Path
) -> None:
    change(body)
    path = tmp_path / "malformed.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    told = refusal(path)
    assert "is malformed" in told
    assert "run the study again, or remove it" in told


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 200_000, "is not valid JSON"),
        (b"[]", "is no power table"),
        (b"null", "is no power table"),
        (b'{"format": "inference-audit/calibration/v2"}', "is no power table"),
        (b" " * (MAX_FILE_BYTES + 1), "larger than any power table"),
    ],
    ids=["empty", "cut", "utf-16", "deep", "list", "null", "calibration", "huge"],
)
def test_what_is_no_table_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.power.json"
    path.write_bytes(content)
    assert says in refusal(path)


def test_a_path_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    assert "cannot read the power table" in refusal(tmp_path)
    assert "cannot read the power table" in refusal(tmp_path / "missing.json")
    with pytest.raises(CalibrationError, match="cannot write"):
        save_power(TABLE, tmp_path)


def test_figures_that_are_no_table_are_not_sealed() -> None:
    with pytest.raises(ValueError, match="out of range"):
        seal_power(
            calibration_id=CALIBRATION,
            stratum="greedy, bfloat16",
            log10_threshold=2.125,
            created_at=WHEN,
            num_tokens=[10],
            attacks=[curve("int4", 1.5)],
        )


def test_power_is_quoted_for_the_kind_that_was_studied_and_no_stricter_rule() -> None:
    assert TABLE.applies_to("greedy, bfloat16", 2.125)
    assert TABLE.applies_to("greedy, bfloat16", 2.0)
    assert not TABLE.applies_to("greedy, bfloat16", 3.0)
    assert not TABLE.applies_to("greedy, float32", 2.125)

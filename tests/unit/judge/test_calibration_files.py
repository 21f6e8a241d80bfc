"""A calibration file is read back as it was written, or refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.errors import CalibrationError
from audit.judge.calibration import (
    Calibration,
    load_calibration,
    save_calibration,
    seal_calibration,
)
from audit.judge.verdict import DivergenceJudge
from tests.support.measurements import evidence_of, honest_calibration, measurement_of

Body = dict[str, Any]
Change = Callable[[Body], object]


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return honest_calibration(num_exchanges=20, num_tokens=30)


@pytest.fixture
def body(calibration: Calibration, tmp_path: Path) -> Body:
    save_calibration(calibration, tmp_path / "good.json")
    loaded: Body = json.loads((tmp_path / "good.json").read_text(encoding="utf-8"))
    return loaded


def sealed(body: Body, folder: Path) -> Path:
    """Write a body under the digest that fits it, where it has one."""
    content = {k: v for k, v in body.items() if k not in {"format", "calibration_id"}}
    try:
        body["calibration_id"] = seal_calibration(content).calibration_id
    except CalibrationError:
        pass
    path = folder / "changed.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def test_a_calibration_survives_its_file(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "calibration.json"
    save_calibration(calibration, path)
    assert load_calibration(path) == calibration


def test_a_calibration_that_cannot_be_written_is_named(
    calibration: Calibration, tmp_path: Path
) -> None:
    with pytest.raises(CalibrationError, match="cannot write"):
        save_calibration(calibration, tmp_path)


def test_a_changed_number_is_noticed(body: Body, tmp_path: Path) -> None:
    body["strata"][0]["exchanges"][0]["num_tokens"] += 1
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(CalibrationError, match="was changed after it was made"):
        load_calibration(path)


def _set(*keys: str | int, to: object) -> Change:
    def change(body: Body) -> None:
        target: Any = body
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = to

    return change


def _one_exchange(deviation: float) -> Change:
    exchange = {"num_tokens": 5, "positions": [1], "deviations_logits": [deviation]}
    return _set("strata", 0, "exchanges", 0, to=exchange)


MALFORMED: dict[str, Change] = {
    "format_missing": lambda body: body.pop("format"),
    "format_of_the_future": _set("format", to="inference-audit/calibration/v9"),
    "strata_missing": lambda body: body.pop("strata"),
    "strata_no_list": _set("strata", to=3),
    "stratum_no_object": _set("strata", 0, to="x"),
    "stratum_without_key": lambda body: body["strata"][0].pop("key"),
    "key_of_unknown_field": _set("strata", 0, "key", "colour", to="red"),
    "stratum_of_unknown_field": _set("strata", 0, "colour", to="red"),
    "temperature_no_number": _set("strata", 0, "temperature_min", to="warm"),
    "exchanges_empty": _set("strata", 0, "exchanges", to=[]),
    "exchange_without_tokens": _set("strata", 0, "exchanges", 0, "num_tokens", to=0),
    "exchange_of_negative_length": _set("strata", 0, "exchanges", 0, "num_tokens", to=-5),
    "exchange_of_absurd_length": _set("strata", 0, "exchanges", 0, "num_tokens", to=10**15),
    "position_beyond_the_end": _set("strata", 0, "exchanges", 0, "positions", to=[10**6]),
    "positions_without_deviations": _set("strata", 0, "exchanges", 0, "positions", to=[1, 2, 3]),
    "deviation_negative": _one_exchange(-1.0),
    "deviation_beyond_the_clip": _one_exchange(0.7),
    "rate_no_number": _set("false_alarm_rate", to="often"),
    "rate_of_one": _set("false_alarm_rate", to=1.0),
    "confidence_of_one": _set("confidence", to=1.0),
    "clip_of_another_version": _set("margin_clip_logits", to=1.0),
    "number_too_large_for_json": _set("confidence", to=10**30),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_calibration_is_refused(name: str, body: Body, tmp_path: Path) -> None:
    MALFORMED[name](body)
    with pytest.raises(CalibrationError):
        load_calibration(sealed(body, tmp_path))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": NaN}'],
    ids=["empty", "cut", "list", "null", "not_utf8", "nested", "nan"],
)
def test_a_file_that_is_no_calibration_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError):
        load_calibration(path)


def test_a_number_that_is_none_is_refused(body: Body, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(body | {"confidence": float("nan")}), encoding="utf-8")
    with pytest.raises(CalibrationError):
        load_calibration(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"cannot read the calibration .*missing\.json"):
        load_calibration(tmp_path / "missing.json")


def test_whatever_loads_can_judge(calibration: Calibration) -> None:
    examination = DivergenceJudge(calibration, version="1")(measurement_of(evidence_of([0.0] * 99)))
    assert examination.verdict.statistics

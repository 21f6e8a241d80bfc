import json
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from audit.billing_records import Adversary, Controller, Reading, Refusal, Tier, Unchecked
from audit.errors import CalibrationError, ConfigurationError, InvalidRequest
from audit.hidden_tokens.conformal import dkw_epsilon
from audit.hidden_tokens.estimator import core as core_module
from audit.hidden_tokens.estimator.cells import EstimatorRow, Quantity
from audit.hidden_tokens.estimator.core import EstimatorCore
from audit.hidden_tokens.estimator.predict import Estimator
from audit.hidden_tokens.estimator.training import calibrate_estimator, train_estimator
from tests.unit.hidden_tokens.estimator.made_up import example_request, example_rows

lightgbm = pytest.importorskip("lightgbm", reason="the learned estimator needs LightGBM")


@cache
def trained() -> EstimatorCore:
    return train_estimator(example_rows("train", 800), seed=1, num_trees=40)


@cache
def calibrated() -> Estimator:
    return calibrate_estimator(trained(), example_rows("calibration", 800))


def reading_of(row: EstimatorRow, *, num_tokens: int | None = None) -> Reading:
    found = calibrated().read(example_request(row, num_tokens=num_tokens), row.domain)
    assert isinstance(found, Reading)
    return found


def refusal_of(row: EstimatorRow, **changes: Any) -> Unchecked:
    found = calibrated().read(replace(example_request(row), **changes), row.domain)
    assert isinstance(found, Unchecked)
    assert found.tier is Tier.ESTIMATOR
    return found


def test_the_same_rows_and_seed_give_the_same_estimator() -> None:
    again = train_estimator(example_rows("train", 800), seed=1, num_trees=40)

    assert again == trained()
    assert train_estimator(example_rows("train", 800), seed=2, num_trees=40) != trained()


def test_it_learns_what_the_prompt_and_the_model_tell() -> None:
    tests = example_rows("test", 400)
    medians = trained().median_tokens(tests)

    near = sum(
        abs(median / row.num_tokens - 1.0) <= 0.33
        for median, row in zip(medians, tests, strict=True)
    )
    # log-normal with sigma 0.3: an oracle has 0.74
    assert near >= 0.6 * len(tests)


def test_readings_of_honest_requests_are_calibrated() -> None:
    tests = example_rows("test", 1200)
    readings = [
        reading for reading in calibrated().read_rows(tests) if isinstance(reading, Reading)
    ]
    counts = [row.num_tokens for row in tests]

    assert len(readings) == len(tests)
    covered = sum(
        (r.low_tokens or 0) <= count <= (r.high_tokens or 0)
        for r, count in zip(readings, counts, strict=True)
    )
    assert 0.86 <= covered / len(tests) <= 0.94
    assert sum(r.expected_tokens or 0 for r in readings) == pytest.approx(sum(counts), rel=0.05)
    assert sum(r.p_over <= 0.1 for r in readings) / len(tests) == pytest.approx(0.1, abs=0.04)
    assert sum(r.p_under <= 0.1 for r in readings) / len(tests) == pytest.approx(0.1, abs=0.04)


def test_a_reading_moves_with_the_bill_and_names_its_place() -> None:
    row = example_rows("test", 1)[0]
    honest, inflated, shrunk = (
        reading_of(row, num_tokens=round(factor * row.num_tokens)) for factor in (1, 5, 0.1)
    )

    assert inflated.p_over < honest.p_over < shrunk.p_over
    assert shrunk.p_under < honest.p_under < inflated.p_under
    assert inflated.p_over == pytest.approx(1 / 201)
    assert inflated.expected_tokens == honest.expected_tokens
    assert honest.cell == "slow|planning|"
    assert honest.channel == f"text:reasoning:{trained().core_id}"
    assert (honest.num_calibration, honest.interval_confidence) == (200, 0.9)
    assert (honest.controller, honest.stops) == (Controller.AUDITOR, Adversary.MALICIOUS_ORIGIN)


def test_what_cannot_be_told_is_refused_with_its_reason() -> None:
    row = example_rows("test", 1)[0]
    usage = replace(example_request(row).usage, reasoning_tokens=None)

    assert refusal_of(row, prompt=None).reason is Refusal.NO_EVIDENCE
    assert refusal_of(row, answer=None).reason is Refusal.NO_EVIDENCE
    assert refusal_of(row, is_aggregator=True).reason is Refusal.NOT_A_METER_READING
    assert refusal_of(row, model="new").reason is Refusal.UNKNOWN_MODEL
    assert refusal_of(row, effort="high").reason is Refusal.UNSEEN_CELL
    assert refusal_of(replace(row, domain="law")).reason is Refusal.UNSEEN_CELL
    assert refusal_of(row, usage=usage).reason is Refusal.NO_COUNT
    with pytest.raises(InvalidRequest, match="model: must not hold"):
        calibrated().read(replace(example_request(row), model="a|b"), row.domain)


def test_cells_of_few_rows_or_few_questions_are_refused() -> None:
    enough = [row for row in example_rows("calibration", 800) if row.model == "slow"]
    few = [row for row in example_rows("calibration", 800) if row.model == "quick"][:40]
    one_question = [
        replace(row, domain="law", group=f"q{index % 5}") for index, row in enumerate(enough)
    ]
    estimator = calibrate_estimator(trained(), [*enough, *few, *one_question])
    row = few[0]

    found = estimator.read(example_request(row), row.domain)

    assert isinstance(found, Unchecked)
    assert found.reason is Refusal.TOO_LITTLE_CALIBRATION
    assert found.detail == "20 calibration requests for quick|planning|#reasoning are too few"
    assert estimator.small_cells["slow|law|#reasoning"] == 400
    assert set(estimator.cells) == {"slow|planning|#reasoning", "slow|medical|#reasoning"}


def test_counts_of_output_form_cells_of_their_own() -> None:
    rows = [replace(row, quantity=Quantity.OUTPUT) for row in example_rows("calibration", 800)]
    estimator = calibrate_estimator(trained(), rows)
    request = example_request(rows[0])
    usage = replace(request.usage, reasoning_tokens=None)

    found = estimator.read(replace(request, usage=usage), rows[0].domain)

    assert isinstance(found, Reading)
    assert found.channel.startswith("text:output:")
    refused = estimator.read(request, rows[0].domain)
    assert isinstance(refused, Unchecked)
    assert refused.reason is Refusal.UNSEEN_CELL


def test_several_rows_of_one_question_pay_for_their_dependence() -> None:
    rows = example_rows("calibration", 800)
    paired = [replace(row, group=f"q{index // 8}") for index, row in enumerate(rows)]
    row = rows[0]

    found = calibrate_estimator(trained(), paired).read(example_request(row), row.domain)

    assert isinstance(found, Reading)
    assert found.num_calibration == 200
    assert found.dkw_epsilon == dkw_epsilon(100, 0.001)
    assert reading_of(row).dkw_epsilon == dkw_epsilon(200, 0.001)


def test_a_cell_without_any_tokens_still_expects_something() -> None:
    rows = [replace(row, num_tokens=0) for row in example_rows("calibration", 800)]

    found = calibrate_estimator(trained(), rows).read(example_request(rows[0]), rows[0].domain)

    assert isinstance(found, Reading)
    assert found.expected_tokens is not None
    assert 0.0 < found.expected_tokens < 1.0


def test_a_question_of_the_training_part_calibrates_nothing() -> None:
    rows = [*example_rows("calibration", 800), example_rows("train", 1)[0]]

    with pytest.raises(CalibrationError, match="1 calibration requests are on questions of the"):
        calibrate_estimator(trained(), rows)


def test_too_little_data_is_said_so() -> None:
    with pytest.raises(CalibrationError, match="199 training requests are too few"):
        train_estimator(example_rows("train", 199), seed=1)
    with pytest.raises(CalibrationError, match="no model, domain and effort has 30 calibration"):
        calibrate_estimator(trained(), example_rows("calibration", 40))
    relayed = [replace(row, is_aggregator=True) for row in example_rows("calibration", 800)]
    with pytest.raises(CalibrationError, match="no model, domain and effort has 30 calibration"):
        calibrate_estimator(trained(), relayed)


def test_without_lightgbm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    core_module._booster.cache_clear()

    with pytest.raises(ConfigurationError, match=r"pip install 'inference-audit\[tokens\]'"):
        train_estimator(example_rows("train", 400), seed=1)
    with pytest.raises(ConfigurationError, match=r"pip install 'inference-audit\[tokens\]'"):
        trained().median_tokens(example_rows("test", 1))


def test_an_estimator_is_the_same_after_a_file() -> None:
    document = json.loads(json.dumps(calibrated().to_json()))
    again = Estimator.from_json(document, calibration_id="sha256:00")
    tests = example_rows("test", 20)

    assert replace(again, calibration_id="") == calibrated()
    for before, after in zip(calibrated().read_rows(tests), again.read_rows(tests), strict=True):
        assert isinstance(before, Reading)
        assert after == replace(before, calibration_id="sha256:00")


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("core", "booster"), "tree", "estimator: core: the booster is not the one"),
        (("core", "features_id"), "x", "estimator: core: trained on other features"),
        (("core", "levels"), {"model": []}, "estimator: core: levels: domain must be a list"),
        (("core", "trained_groups"), [1], "estimator: core: trained_groups must be a list"),
        (("cells", "c"), [], "estimator: cells: c must be a JSON object"),
        (("cells", "c"), {"scores": [2, 1]}, "estimator: cells: c: scores must ascend"),
        (
            ("cells", "c"),
            {"scores": [1.0], "effective_groups": 2, "mean_factor": 1},
            "estimator: cells: c: effective_groups or mean_factor is impossible",
        ),
        (("small_cells", "c"), -1, "estimator: small_cells must be a whole number|c must be"),
        (("delta",), 0, "estimator: delta or confidence is impossible"),
        (("confidence",), "0.9", "estimator: confidence must be a finite number"),
    ],
)
def test_a_spoiled_file_is_refused(path: tuple[str, ...], value: object, text: str) -> None:
    document = json.loads(json.dumps(calibrated().to_json()))
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value

    with pytest.raises(CalibrationError, match=text):
        Estimator.from_json(document)

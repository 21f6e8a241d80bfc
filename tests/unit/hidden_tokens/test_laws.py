"""Robust regression, clear correlation, and what a reading is made of."""

import json
import math

import numpy as np
import pytest

from audit.billing_records import Adversary, Controller, Tier
from audit.errors import CalibrationError
from audit.hidden_tokens.conformal import dkw_epsilon
from audit.hidden_tokens.laws import (
    Calibrated,
    ChannelTerms,
    bounded_tokens,
    correlation_bound,
    median_regression,
    read_terms,
    terms_json,
)

TERMS = ChannelTerms(
    tier=Tier.TIMING,
    controller=Controller.CLIENT,
    stops=Adversary.INFLATING_RESELLER,
    confidence=0.9,
    delta=0.001,
    calibration_id="sha256:00",
)


def test_a_third_of_wild_rows_does_not_move_the_line() -> None:
    rng = np.random.default_rng(0)
    x_N = rng.uniform(0, 10, size=300)
    y_N = 2.0 + 3.0 * x_N + rng.normal(0, 0.1, size=300)
    y_N[:100] = 500.0

    intercept, slope = median_regression(np.stack([np.ones(300), x_N], axis=1), y_N)

    assert slope == pytest.approx(3.0, abs=0.05)
    assert intercept == pytest.approx(2.0, abs=0.3)


def test_correlations_below_the_bound_are_rare() -> None:
    rng = np.random.default_rng(1)
    evidence = rng.normal(size=(2000, 40))
    counts = 0.5 * evidence + math.sqrt(0.75) * rng.normal(size=(2000, 40))

    # the rank correlation of such pairs is 6 / pi x asin(1/4)
    true = 6.0 / math.pi * math.asin(0.25)
    too_high = [correlation_bound(a, b) > true for a, b in zip(evidence, counts, strict=True)]

    assert np.mean(too_high) <= 0.004


@pytest.mark.parametrize(
    ("evidence", "counts"), [([1, 2, 3], [1, 2, 3]), ([248] * 9, list(range(9)))]
)
def test_nothing_is_known_of_a_few_or_of_a_constant(evidence: list[int], counts: list[int]) -> None:
    assert correlation_bound(evidence, counts) == -1.0


def test_a_reading_states_where_its_numbers_come_from() -> None:
    calibrated = Calibrated.of([80, 100, 125] * 13, [100.0] * 39)

    reading = calibrated.reading(200.0, 400, channel="law", cell="a|b|", terms=TERMS)

    assert reading.p_over == pytest.approx(1 / 40)
    assert reading.p_under == 1.0
    assert reading.dkw_epsilon == dkw_epsilon(39, 0.001)
    assert reading.expected_tokens == pytest.approx(200.0 * (80 + 100 + 125) / 300)
    assert reading.low_tokens == pytest.approx(160.0)
    assert reading.high_tokens == pytest.approx(250.0)
    assert (reading.interval_confidence, reading.num_calibration) == (0.9, 39)
    assert (reading.controller, reading.stops) == (TERMS.controller, TERMS.stops)
    assert reading.calibration_id == "sha256:00"


def test_an_interval_around_bills_of_nothing_begins_at_nothing() -> None:
    calibrated = Calibrated.of([0] * 10 + [100] * 30, [100.0] * 40)

    reading = calibrated.reading(50.0, 0, channel="law", cell="", terms=TERMS)

    assert reading.low_tokens == 0.0


def test_few_calibration_requests_give_no_interval() -> None:
    reading = Calibrated.of([100] * 5, [100.0] * 5).reading(
        1.0, 1, channel="law", cell="", terms=TERMS
    )

    assert reading.low_tokens is None
    assert reading.high_tokens is None
    assert reading.interval_confidence is None


def test_requests_without_any_token_calibrate_nothing() -> None:
    with pytest.raises(CalibrationError, match="without any billed token"):
        Calibrated.of([0, 0], [10.0, 10.0])


def test_a_damaged_law_does_not_overflow() -> None:
    assert bounded_tokens(-1e9) == 1.0
    assert math.isfinite(bounded_tokens(1e9))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "law must be an object"),
        ({"scores": [1.0]}, "law must have exactly the members scores, mean_factor"),
        ({"scores": [], "mean_factor": 1.0}, "law.scores must not be empty"),
        ({"scores": [1.0], "mean_factor": 0}, "law.mean_factor must be above 0"),
        ({"scores": [1.0], "mean_factor": True}, "law.mean_factor must be a finite number"),
    ],
)
def test_damaged_calibrations_are_refused(document: object, problem: str) -> None:
    with pytest.raises(CalibrationError, match=problem):
        Calibrated.from_json(document, "law")


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"delta": 0.7}, "delta must be 0.5 at most"),
        ({"confidence": 1}, "confidence must be below"),
    ],
)
def test_damaged_terms_are_refused(members: dict[str, float], problem: str) -> None:
    document = json.loads(json.dumps(terms_json(TERMS))) | members

    with pytest.raises(CalibrationError, match=problem):
        read_terms(document, "terms", lambda *_: TERMS, "")

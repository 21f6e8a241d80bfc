"""P-values and intervals against honest scores, and what a finite calibration costs."""

import math

import numpy as np
import pytest
from scipy import stats

from audit.errors import CalibrationError, InvalidRequest
from audit.hidden_tokens.conformal import (
    Residuals,
    cell_key,
    dkw_epsilon,
    interval,
    log_score,
    p_over,
    p_under,
)

NINE = Residuals.of([float(x) for x in range(1, 10)])


def test_a_cell_is_named_by_its_three_parts() -> None:
    assert cell_key("o1", "math", "") == "o1|math|"


@pytest.mark.parametrize("field", ["model", "domain", "effort"])
def test_a_part_that_holds_the_separator_is_refused(field: str) -> None:
    parts = {"model": "a", "domain": "b", "effort": "c"} | {field: "a|b"}

    with pytest.raises(InvalidRequest, match=rf"{field}: must not hold '\|'"):
        cell_key(**parts)


def test_a_bill_of_nothing_scores_as_one_token() -> None:
    assert log_score(0, 64.0) == log_score(1, 64.0) == pytest.approx(-math.log(64.0))


@pytest.mark.parametrize(
    ("score", "over", "under"),
    [(9.5, 0.1, 1.0), (9.0, 0.2, 1.0), (0.5, 1.0, 0.1), (5.0, 0.6, 0.6)],
)
def test_p_values_count_scores_beyond(score: float, over: float, under: float) -> None:
    assert p_over(NINE, score) == pytest.approx(over)
    assert p_under(NINE, score) == pytest.approx(under)


def test_p_values_of_honest_scores_are_uniform_over_calibrations() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 20))
    p_values = [p_over(Residuals.of(row[1:]), row[0]) for row in draws]

    counts = np.bincount(np.rint(np.array(p_values) * 20).astype(int), minlength=21)[1:]

    assert stats.chisquare(counts).pvalue > 0.001


def test_intervals_hold_as_many_honest_scores_as_promised() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for row in rng.standard_t(3, size=(4000, 40)):
        bounds = interval(Residuals.of(row[1:]), 0.9)
        assert bounds is not None
        held += bounds[0] <= row[0] <= bounds[1]

    # ranks 2 and 38 of 39: exactly 90 %
    assert held / 4000 == pytest.approx(0.9, abs=0.015)


def test_too_few_scores_give_no_interval() -> None:
    scores = np.linspace(0.0, 1.0, 19)

    assert interval(Residuals.of(scores), 0.9) == (0.0, 1.0)
    assert interval(Residuals.of(scores[1:]), 0.9) is None
    with pytest.raises(ValueError, match="confidence"):
        interval(NINE, 1.0)


def test_the_mean_of_p_values_stands_too_low_by_the_bound_at_most() -> None:
    rng = np.random.default_rng(2)
    bound = dkw_epsilon(50, 0.05)
    means = []
    for _ in range(400):
        residuals = Residuals.of(rng.uniform(size=50))
        means.append(np.mean([p_over(residuals, s) for s in rng.uniform(size=400)]))

    assert bound == pytest.approx(math.sqrt(math.log(20) / 100))
    assert np.mean(np.array(means) < 0.5 - bound) <= 0.05
    # the bound is no decoration: calibrations of 50 do go wrong by some of it
    assert min(means) < 0.5 - bound / 3


@pytest.mark.parametrize(("num", "delta"), [(0, 0.01), (10, 0.0), (10, 0.6)])
def test_the_bound_is_refused_where_it_does_not_hold(num: int, delta: float) -> None:
    with pytest.raises(ValueError, match="dkw_epsilon"):
        dkw_epsilon(num, delta)


def test_scores_come_back_from_a_file() -> None:
    assert Residuals.from_json(NINE.to_json(), "scores") == NINE


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("1", "scores must be a list of numbers"),
        ([1.0, True], "scores must be a list of numbers"),
        ([2.0, 1.0], "scores must ascend"),
        ([1.0, math.inf], "not a finite number"),
    ],
)
def test_damaged_scores_are_refused(value: object, problem: str) -> None:
    with pytest.raises(CalibrationError, match=problem):
        Residuals.from_json(value, "scores")


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(CalibrationError, match="not a finite number"):
        Residuals.of([1.0, math.nan])

"""Bets are e-processes: exactly in expectation, and over whole streams in simulation."""

import itertools
import math

import numpy as np
import pytest

from audit.errors import InvalidRequest
from audit.hidden_tokens.account import bets
from audit.hidden_tokens.account.rules import READING_DELTA
from audit.hidden_tokens.conformal import Residuals, dkw_epsilon, p_over

NUM_STREAMS = 2000


def test_expected_growth_of_exact_ranks_is_one_at_most() -> None:
    # all ranks among K = 4 references with a uniform inside each are a uniform p-value
    p_values = (np.arange(10_000) + 0.5) / 10_000
    factors = [np.exp(bets.growth_B([bets.payoff(p, 0.5)], [1.0])) for p in p_values]
    assert np.mean(factors, axis=0) == pytest.approx(np.ones(len(bets.FRACTIONS_B)), abs=1e-12)


def test_expected_growth_of_conformal_ranks_is_below_one() -> None:
    p_values = np.arange(1, 51) / 50
    factors = [np.exp(bets.growth_B([bets.payoff(p, 0.5)], [1.0])) for p in p_values]
    assert (np.mean(factors, axis=0) < 1.0).all()


def test_together_has_expectation_one_at_most_however_channels_depend() -> None:
    grid = (np.arange(200) + 0.5) / 200
    couplings = {
        "equal": zip(grid, grid, strict=True),
        "opposed": zip(grid, grid[::-1], strict=True),
        "independent": itertools.product((np.arange(20) + 0.5) / 20, grid),
    }
    for pairs in couplings.values():
        factors = [
            np.exp(bets.growth_B([bets.payoff(p, 0.5), bets.payoff(q, 0.5)], [0.2, 0.1]))
            for p, q in pairs
        ]
        assert np.mean(factors, axis=0) == pytest.approx(np.ones(len(bets.FRACTIONS_B)), abs=1e-9)


def test_worst_p_values_of_a_bad_calibration_are_covered_by_the_null_mean() -> None:
    # the mean of 1 - p given a calibration, exactly: of each score, how many new ones are above it
    rng = np.random.default_rng(3)
    num, delta = 60, 0.01
    scores = np.sort(rng.uniform(size=(NUM_STREAMS * 5, num)), axis=1)
    means = (1.0 - scores).sum(axis=1) / (num + 1)
    allowed = bets.null_mean(dkw_epsilon(num, READING_DELTA), num, delta)
    missed = float(np.mean(means > allowed))
    assert missed <= delta
    # and the bound is not idle: some calibrations lie beyond it
    assert missed > 0.0


def test_mean_of_one_minus_p_is_the_average_that_the_proof_names() -> None:
    rng = np.random.default_rng(4)
    scores = rng.uniform(size=30)
    fresh = (np.arange(40_000) + 0.5) / 40_000
    residuals = Residuals.of(float(score) for score in scores)
    mean = np.mean([1.0 - p_over(residuals, float(x)) for x in fresh])
    assert mean == pytest.approx((1.0 - scores).sum() / 31, abs=1e-4)


def test_null_mean_of_exact_p_values_is_a_half() -> None:
    assert bets.null_mean(0.0, 4, 1e-4) == 0.5


def test_null_mean_pays_for_questions_where_a_reading_names_fewer_of_them() -> None:
    delta = 1e-4
    as_rows = bets.null_mean(dkw_epsilon(800, READING_DELTA), 800, delta)
    as_questions = bets.null_mean(dkw_epsilon(100, READING_DELTA), 800, delta)
    assert as_rows == pytest.approx(0.5 + math.sqrt(math.log(1e4) / 4800))
    assert as_questions == pytest.approx(0.5 + math.sqrt(math.log(1e4) / 600))


def test_null_mean_never_exceeds_one() -> None:
    assert bets.null_mean(0.9, 1, 1e-6) == 1.0


def test_calibrated_reading_without_its_number_of_scores_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="num_calibration: must be stated"):
        bets.null_mean(0.05, 0, 1e-4)


def test_bet_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="weights above zero"):
        bets.growth_B([1.0], [0.0])


def test_wealth_begins_at_one() -> None:
    assert bets.log_wealth(bets.START_B) == pytest.approx(0.0)
    assert bets.log_e(bets.START_B, [], 0.5) == pytest.approx(0.0)
    assert bets.log_e(bets.START_B, [(0.2, 0.0), (0.3, 0.0)], 0.5) == pytest.approx(0.0)


def test_all_evidence_is_the_weighted_average_of_the_wealths() -> None:
    total = bets.log_e(bets.START_B, [(0.2, math.log(50.0)), (0.3, math.log(0.01))], 0.5)
    assert math.exp(total) == pytest.approx(0.5 + 0.5 * (0.5 + 0.2 * 50.0 + 0.3 * 0.01))


def test_share_on_nothing_is_left_out() -> None:
    assert bets.log_e(bets.START_B, [(1.0, 3.0)], 0.0) == pytest.approx(3.0)


def test_streams_reach_one_over_alpha_no_more_often_than_alpha() -> None:
    rng, alpha = np.random.default_rng(5), 0.05
    p_values_NT = rng.uniform(size=(NUM_STREAMS, 200))
    gains_NTB = np.log1p(bets.FRACTIONS_B * ((1.0 - p_values_NT[..., None]) / 0.5 - 1.0))
    wealth_NTB = np.cumsum(gains_NTB, axis=1) + np.array(bets.START_B)
    peak_N = np.logaddexp.reduce(wealth_NTB, axis=2).max(axis=1)
    assert np.mean(peak_N >= -math.log(alpha)) <= alpha


def test_streams_with_a_fresh_small_calibration_each_stay_below_alpha() -> None:
    # an account's false alarms over the draw of its calibration, too: 40 scores, 150 requests
    rng, num, alpha = np.random.default_rng(6), 40, 0.05
    delta = alpha / 4
    mean = bets.null_mean(dkw_epsilon(num, READING_DELTA), num, delta)
    alarms = 0
    for _ in range(NUM_STREAMS):
        scores = np.sort(rng.normal(size=num))
        below = np.searchsorted(scores, rng.normal(size=150))
        gains_TB = np.log1p(bets.FRACTIONS_B * (below[:, None] / (num + 1) / mean - 1.0))
        wealth_TB = np.cumsum(gains_TB, axis=0) + np.array(bets.START_B)
        peak = np.logaddexp.reduce(wealth_TB, axis=1).max()
        alarms += bool(peak >= -math.log(alpha - delta))
    assert alarms / NUM_STREAMS <= alpha

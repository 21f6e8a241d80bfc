"""The honest law: windows, tolerance bounds, and the false alarms that they really give."""

import numpy as np
import pytest
from scipy import stats

from audit.judge.null_law import (
    MIN_WINDOWS,
    NUM_HONEST_TIES,
    RESOLUTION_LOGITS,
    NullLaw,
    num_bounds_needed,
    upper_tolerance_bound,
)
from tests.support.measurements import Float64Array, exchange_of, honest_deviations


def law_of(*dense: Float64Array, precision: str = "float32") -> NullLaw:
    return NullLaw([exchange_of(d) for d in dense], precision=precision, rate=0.01, confidence=0.95)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 10])
def test_windows_partition_all_tokens_but_a_last_incomplete_rest(length: int) -> None:
    rng = np.random.default_rng(length)
    dense = [rng.random(n) * 0.5 for n in (10, 3, 7, 1, 29)]
    windows = law_of(*dense).windows(length)
    num_tokens = sum(map(len, dense))
    assert len(windows) == num_tokens // length
    left_over = num_tokens % length
    total = float(sum(d.sum() for d in dense))
    assert total - 0.5 * left_over - 1e-9 <= windows.sum() * length <= total + 1e-9
    assert windows[0] == pytest.approx(dense[0][:length].mean())


def test_one_percent_at_95_percent_needs_299_windows() -> None:
    assert num_bounds_needed(0.01, 0.95) == 299
    assert 0.99**299 <= 0.05 < 0.99**298


def test_the_bound_of_299_windows_is_their_largest() -> None:
    means = np.random.default_rng(0).random(299)
    assert upper_tolerance_bound(means, rate=0.01, confidence=0.95) == means.max()


@pytest.mark.parametrize("num", [299, 473, 1000, 5000])
def test_the_bound_is_the_deepest_order_statistic_of_enough_confidence(num: int) -> None:
    means = np.random.default_rng(num).permutation(num).astype(float)
    bound = upper_tolerance_bound(means, rate=0.01, confidence=0.95)
    rank = num - int(bound)
    # the r-th largest exceeds the 99 % quantile unless fewer than r windows lie beyond it
    assert 1 - stats.binom.cdf(rank - 1, num, 0.01) >= 0.95
    assert 1 - stats.binom.cdf(rank, num, 0.01) < 0.95


def test_the_bound_falls_as_the_allowed_rate_grows() -> None:
    means = np.random.default_rng(1).gamma(2.0, 1.0, 2000)
    rates = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1]
    bounds = [upper_tolerance_bound(means, rate=r, confidence=0.95) for r in rates]
    assert bounds == sorted(bounds, reverse=True)


def test_too_few_windows_are_bounded_by_no_less_than_their_largest() -> None:
    means = np.random.default_rng(2).gamma(1.0, 1.0, 60)
    assert upper_tolerance_bound(means, rate=0.01, confidence=0.95) >= means.max()


def test_windows_that_are_all_alike_have_a_finite_bound() -> None:
    assert upper_tolerance_bound(np.full(25, 0.25), rate=0.01, confidence=0.95) == 0.25
    assert upper_tolerance_bound(np.zeros(1), rate=0.01, confidence=0.95) == 0.0


def test_a_few_ties_of_the_precision_are_never_held_against_anybody() -> None:
    law = law_of(*[np.zeros(100)] * 400, precision="bfloat16")
    allowed = NUM_HONEST_TIES * RESOLUTION_LOGITS["bfloat16"]
    for num_tokens in (1, 10, 100, 5000):
        assert allowed / num_tokens <= law.threshold(num_tokens) <= 1.01 * allowed / num_tokens


def test_an_exchange_longer_than_the_calibration_is_judged_by_shorter_windows() -> None:
    rng = np.random.default_rng(3)
    law = law_of(*[honest_deviations(rng, 50) for _ in range(MIN_WINDOWS)])
    assert law.threshold(50) == law.threshold(100_000)


def test_thresholds_are_positive_and_finite_at_every_length() -> None:
    rng = np.random.default_rng(4)
    law = law_of(*[honest_deviations(rng, 80) for _ in range(40)])
    thresholds = [law.threshold(n) for n in (1, 2, 5, 20, 80, 500, 10**6)]
    assert all(0 < t < 1 for t in thresholds)


@pytest.mark.parametrize("dispersion", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("num_exchanges", "num_tokens"), [(60, 200), (400, 100)])
def test_honest_exchanges_are_failed_in_at_most_the_stated_share_of_cases(
    num_exchanges: int, num_tokens: int, dispersion: float
) -> None:
    rng = np.random.default_rng(num_exchanges)
    alarms, num_tested = 0, 0
    for _ in range(8):
        law = law_of(
            *[
                honest_deviations(rng, num_tokens, dispersion=dispersion)
                for _ in range(num_exchanges)
            ]
        )
        for length in (num_tokens // 2, num_tokens, 4 * num_tokens):
            threshold = law.threshold(length)
            means = [
                honest_deviations(rng, length, dispersion=dispersion).mean() for _ in range(200)
            ]
            alarms += int(np.sum(np.asarray(means) > threshold))
            num_tested += len(means)
    assert num_tested >= 2000
    assert alarms / num_tested <= 0.015

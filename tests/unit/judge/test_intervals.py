"""Clopper-Pearson limits against scipy's exact test."""

import numpy as np
import pytest
from scipy import stats

from audit.judge.intervals import lower_limit, upper_limit

CASES = [(k, n) for n in (1, 2, 7, 50, 1000) for k in sorted({0, 1, n // 3, n - 1, n})]


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.05, 0.3])
def test_limits_are_those_of_scipys_exact_interval(alpha: float) -> None:
    successes, trials = np.asarray(CASES).T
    lower, upper = lower_limit(successes, trials, alpha), upper_limit(successes, trials, alpha)
    for i, (k, n) in enumerate(CASES):
        exact = stats.binomtest(k, n).proportion_ci(1.0 - 2.0 * alpha, method="exact")
        assert lower[i] == pytest.approx(exact.low, rel=1e-9, abs=1e-12)
        assert upper[i] == pytest.approx(exact.high, rel=1e-9, abs=1e-12)


def test_no_trials_say_nothing() -> None:
    assert upper_limit(0, 0, 0.05) == 1.0
    assert lower_limit(0, 0, 0.05) == 0.0


def test_no_successes_follow_the_rule_of_three() -> None:
    assert upper_limit(0, 1000, 0.05) == pytest.approx(1.0 - 0.05 ** (1 / 1000))
    assert lower_limit(1000, 1000, 0.05) == pytest.approx(0.05 ** (1 / 1000))


def test_arguments_broadcast_and_tiny_levels_stay_exact() -> None:
    upper = upper_limit([[0], [1]], [10, 100, 1000], np.asarray([0.1, 1e-6, 1e-30]))
    assert upper.shape == (2, 3)
    assert upper[0, 2] == pytest.approx(-np.expm1(np.log(1e-30) / 1000), rel=1e-9)
    # the limit is the rate at which so few successes have just that probability
    assert stats.binom.cdf(1, 100, upper[1, 1]) == pytest.approx(1e-6, rel=1e-6)


@pytest.mark.parametrize(("alpha", "rate", "num"), [(0.05, 0.03, 60), (0.01, 0.5, 25)])
def test_limits_cover_the_rate_as_often_as_stated(alpha: float, rate: float, num: int) -> None:
    counts = np.arange(num + 1)
    law = stats.binom.pmf(counts, num, rate)
    assert law[upper_limit(counts, num, alpha) < rate].sum() <= alpha
    assert law[lower_limit(counts, num, alpha) > rate].sum() <= alpha


@pytest.mark.parametrize(
    ("successes", "trials", "alpha"),
    [(2, 1, 0.1), (-1, 1, 0.1), (0, -1, 0.1), (0, 1, 0.0), (0, 1, 1.0), (0, 1, float("nan"))],
)
def test_nonsense_is_refused(successes: int, trials: int, alpha: float) -> None:
    for limit in (lower_limit, upper_limit):
        with pytest.raises(ValueError, match="must lie"):
            limit(successes, trials, alpha)

"""Bets on a mean: false alarms at every look, sample sizes, and bounds that hold for ever."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from audit.judge.betting import (
    DEFAULT_GRID,
    BetGrid,
    MeanEvidence,
    log_bets,
    log_e_of_counts,
    lower_bound,
    upper_bound,
)

IntArray = NDArray[np.int64]


def crossing_counts(num_looks: int, null_mean: float, alpha: float) -> IntArray:
    """Return how many ones first rule the null mean out, at each number of observations."""
    total = np.arange(1, num_looks + 1)
    low, high = np.zeros(num_looks, np.int64), total + 1
    for _ in range(int(num_looks).bit_length() + 1):
        middle = (low + high) // 2
        reached = log_e_of_counts(np.minimum(middle, total), total, null_mean) >= -np.log(alpha)
        reached |= middle > total
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return high


def alarm_looks(
    rng: np.random.Generator, rate: float, num_streams: int, crossings: IntArray
) -> IntArray:
    """Return each stream's first look at or above the crossing, or one past the last look."""
    looks = []
    for _ in range(0, num_streams, 200):
        ones = (rng.random((200, len(crossings)), np.float32) < rate).cumsum(axis=1, dtype=np.int32)
        hit = ones >= crossings
        looks.append(np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, len(crossings) + 1))
    return np.concatenate(looks)


@pytest.mark.parametrize(("null_mean", "alpha"), [(0.02, 0.05), (0.02, 0.01), (0.4, 0.05)])
def test_false_alarms_over_ten_thousand_looks_stay_below_alpha(
    null_mean: float, alpha: float
) -> None:
    rng = np.random.default_rng(1)
    crossings = crossing_counts(10_000, null_mean, alpha)
    looks = alarm_looks(rng, null_mean, 2000, crossings)
    assert (looks <= 10_000).sum() <= stats.binom.ppf(0.99, 2000, alpha)


@pytest.mark.parametrize(
    ("honest", "on_substitute", "share", "needed"),
    [
        (0.02, 1.0, 1.0, 2),
        (0.02, 1.0, 0.4, 14),
        (0.02, 1.0, 0.2, 38),
        (0.02, 1.0, 0.1, 110),
        (0.02, 1.0, 0.05, 332),
        (0.02, 0.5, 1.0, 11),
        (0.02, 0.5, 0.4, 43),
        (0.02, 0.5, 0.2, 105),
        (0.02, 0.5, 0.1, 339),
        (0.05, 0.5, 0.4, 64),
        (0.05, 0.5, 0.2, 195),
        (0.05, 0.5, 0.1, 747),
    ],
)
def test_most_audits_end_after_the_published_number_of_exchanges(
    honest: float, on_substitute: float, share: float, needed: int
) -> None:
    rate = (1.0 - share) * honest + share * on_substitute
    crossings = crossing_counts(2 * needed, honest, 0.01)
    looks = alarm_looks(np.random.default_rng(2), rate, 8000, crossings)
    # both the published number and this one are simulated
    assert np.quantile(looks, 0.9) <= 1.03 * needed


def test_counts_say_what_single_observations_say() -> None:
    values = (np.random.default_rng(3).random(300) < 0.2).astype(float)
    path = log_bets(values, 0.1)
    counts = log_e_of_counts(values.cumsum(), np.arange(1, 301), 0.1)
    np.testing.assert_allclose(path, counts, rtol=1e-9, atol=1e-12)


def test_a_single_bet_is_a_plain_product() -> None:
    values = np.asarray([0.0, 0.5, 1.0, 0.2])
    grid = BetGrid(np.asarray([0.3]), np.zeros(1))
    expected = np.log(np.cumprod(1.0 + 0.3 / 0.4 * (values - 0.4)))
    np.testing.assert_allclose(log_bets(values, 0.4, grid), expected)


def test_each_bet_is_fair_at_the_null_mean() -> None:
    for null_mean in (0.01, 0.3, 0.99):
        one, zero = (np.exp(log_bets([x], null_mean)[0]) for x in (1.0, 0.0))
        assert null_mean * one + (1.0 - null_mean) * zero == pytest.approx(1.0)
    assert np.exp(DEFAULT_GRID.log_weights_B).sum() == pytest.approx(1.0)


def test_fractions_of_a_one_never_overstate_the_evidence() -> None:
    rng = np.random.default_rng(4)
    for values in (rng.random(200), rng.beta(0.2, 0.4, 200), np.full(50, 0.7)):
        path = log_bets(values, 0.3)
        counts = log_e_of_counts(values.cumsum(), np.arange(1, len(values) + 1), 0.3)
        assert (counts <= path + 1e-9).all()


def test_bounded_observations_raise_few_false_alarms() -> None:
    rng = np.random.default_rng(5)
    alarms = sum(log_bets(rng.beta(0.3, 0.7, 300), 0.3).max() >= np.log(20) for _ in range(600))
    assert alarms <= stats.binom.ppf(0.99, 600, 0.05)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 1.0])
def test_bounds_hold_at_every_look(rate: float) -> None:
    rng, num_looks, alpha = np.random.default_rng(6), 300, 0.05
    ones = (rng.random((2000, num_looks)) < rate).cumsum(axis=1)
    totals = np.broadcast_to(np.arange(1, num_looks + 1), ones.shape)
    pairs, where = np.unique(ones * 1000 + totals, return_inverse=True)
    limit = stats.binom.ppf(0.99, 2000, alpha)
    too_high = lower_bound(pairs // 1000, pairs % 1000, alpha) > rate
    too_low = upper_bound(pairs // 1000, pairs % 1000, alpha) < rate
    assert too_high[where].reshape(ones.shape).any(axis=1).sum() <= limit
    assert too_low[where].reshape(ones.shape).any(axis=1).sum() <= limit


def test_the_lower_bound_is_where_the_evidence_reaches_its_level() -> None:
    bound = float(lower_bound(40, 200, 0.01))
    assert float(log_e_of_counts(40, 200, bound)) == pytest.approx(np.log(100))


def test_bounds_close_in_on_the_mean_of_a_long_stream() -> None:
    for rate in (0.002, 0.02, 0.3):
        num = 100_000
        low, high = (
            float(lower_bound(rate * num, num, 0.01)),
            float(upper_bound(rate * num, num, 0.01)),
        )
        assert low < rate < high
        assert high - low <= 12.0 * (rate * (1.0 - rate) / num) ** 0.5


def test_a_hundred_thousand_looks_stay_finite() -> None:
    assert np.isfinite(log_bets(np.tile([0.0, 1.0], 50_000), 0.02)).all()
    extremes = log_e_of_counts([0, 10**5, 10**5], 10**5, [0.5, 0.5, 1e-12])
    assert np.isfinite(extremes).all()
    assert extremes[0] < 0 < extremes[1] < extremes[2]


def test_the_state_is_two_sums() -> None:
    state = MeanEvidence()
    assert (state.lower_bound(0.05), state.upper_bound(0.05)) == (0.0, 1.0)
    for value in (1.0, 0.0, 1.0, 0.25):
        state = state.after(value, 1.0 - value)
    assert state == MeanEvidence().after(2.25, 1.75) == MeanEvidence(num_ones=2.25, num_total=4.0)
    assert state.log_e(0.1) == float(log_e_of_counts(2.25, 4.0, 0.1))
    assert state.lower_bound(0.05) == float(lower_bound(2.25, 4.0, 0.05))
    assert state.upper_bound(0.05) == float(upper_bound(2.25, 4.0, 0.05))


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="observations"):
        log_bets([1.1], 0.5)
    with pytest.raises(ValueError, match="null_mean"):
        log_bets([1.0], 0.0)
    with pytest.raises(ValueError, match="fraction"):
        log_bets([1.0], 0.5, BetGrid(np.ones(1), np.zeros(1)))
    with pytest.raises(ValueError, match="weights"):
        log_bets([1.0], 0.5, BetGrid(np.full(2, 0.5), np.zeros(2)))
    with pytest.raises(ValueError, match="ones"):
        lower_bound(3, 2, 0.05)
    with pytest.raises(ValueError, match="not negative"):
        MeanEvidence().after(-1.0, 0.0)
    for alpha in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="alpha"):
            upper_bound(1, 2, alpha)

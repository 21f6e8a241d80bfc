"""The ratio's bounds hold at every look, by exact expectations and in simulation."""

import math

import numpy as np
import pytest

from audit.hidden_tokens.account.ratio import NUM_WARM, RATIOS_G, RatioSums


def sums_of(billed: list[int], expected: list[float]) -> RatioSums:
    """Return the sums after requests in order."""
    sums = RatioSums()
    for count, mean in zip(billed, expected, strict=True):
        sums = sums.after(count, mean)
    return sums


def drawn(
    rng: np.random.Generator, num: int, ratio: float, sigma: float = 0.6
) -> tuple[list[int], list[float]]:
    """Return log-normal bills at a ratio, and their true means as expectations."""
    means = np.exp(rng.normal(7.0, 0.7, num))
    noise = np.exp(rng.normal(-(sigma**2) / 2, sigma, num))
    return [round(x) for x in ratio * means * noise], [float(x) for x in means]


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.35, 0.9])
def test_bet_is_below_its_linear_bound(rate: float) -> None:
    xi = np.concatenate([np.linspace(-1.0, 5.0, 20_001), np.geomspace(5.0, 1e4, 1000)])
    psi = -math.log1p(-rate) - rate
    assert (np.exp(rate * xi - psi * xi**2) <= 1.0 + rate * xi + 1e-12).all()


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_expected_e_value_of_one_request_is_one_at_most(ratio: float) -> None:
    warm = sums_of([1000] * NUM_WARM, [1000.0] * NUM_WARM)
    # bills of two sizes whose mean is the ratio times the expectation, at odds from rare to common
    for share in (0.001, 0.05, 0.5):
        low = 1000.0 * ratio * 0.25
        high = (1000.0 * ratio - (1.0 - share) * low) / share
        logs = [warm.after(round(x), 1000.0) for x in (low, high)]
        index = int(np.searchsorted(RATIOS_G, ratio * (1.0 - 1e-9)))
        above = [math.exp(state.log_e_above_G()[index]) for state in logs]
        assert (1.0 - share) * above[0] + share * above[1] <= 1.001


def test_bounds_hold_at_every_look_and_close_in() -> None:
    missed, widths, num_streams = 0, [], 120
    for seed in range(num_streams):
        rng = np.random.default_rng((11, seed))
        ratio = float(np.exp(rng.uniform(-0.7, 0.7)))
        billed, expected = drawn(rng, 240, ratio)
        sums, is_missed = RatioSums(), False
        for index, (count, mean) in enumerate(zip(billed, expected, strict=True)):
            sums = sums.after(count, mean)
            if index % 20 == 19:
                low, high = sums.bounds(0.1)
                # the upper bound is for bills cut at the scale, so only the lower one must hold
                is_missed |= low is not None and low > ratio * (1.0 + 1e-9)
        missed += is_missed
        if low is not None and high is not None:
            widths.append(high / low)
    assert missed / num_streams <= 0.05
    assert len(widths) > 0.95 * num_streams
    assert float(np.median(widths)) < 1.6


def test_upper_bound_holds_for_bills_below_the_scale() -> None:
    missed, num_streams = 0, 120
    for seed in range(num_streams):
        rng = np.random.default_rng((12, seed))
        # two-point bills, never beyond the scale of 2,000
        billed = [int(x) for x in rng.choice([500, 1500], size=200)]
        sums, is_missed = RatioSums(), False
        for index, count in enumerate(billed):
            sums = sums.after(count, 1000.0)
            if index % 20 == 19:
                high = sums.bounds(0.1)[1]
                is_missed |= high is not None and high < 1.0 - 1e-9
        missed += is_missed
    assert missed / num_streams <= 0.05


def test_noisy_but_unbiased_expectations_do_not_move_the_ratio() -> None:
    # the mean of two reference runs is noisy; quotients b / e would average 1.2 here
    rng, lows, highs = np.random.default_rng(13), 0, 0
    for _ in range(40):
        runs = np.exp(rng.normal(7.0, 0.6, (300, 3)))
        expected = [float(x) for x in runs[:, 1:].mean(axis=1)]
        low, high = sums_of([round(x) for x in runs[:, 0]], expected).bounds(0.1)
        lows += low is not None and low > 1.0
        highs += high is not None and high < 1.0
    assert (lows, highs) == (0, 0)


def test_warm_up_sets_the_scale_and_nothing_else() -> None:
    sums = sums_of([9_999] * NUM_WARM, [100.0] * (NUM_WARM - 1) + [300.0])
    assert (sums.scale_tokens, sums.num, sums.bounds(0.05)) == (600.0, 0, (None, None))
    assert sums.expected_tokens == 100.0 * (NUM_WARM - 1) + 300.0


def test_request_beyond_the_scale_counts_in_proportion() -> None:
    warm = sums_of([100] * NUM_WARM, [100.0] * NUM_WARM)
    assert warm.after(3000, 1000.0).billed == pytest.approx(3.0)
    assert warm.after(3000, 1000.0).expected == 1.0


def test_one_enormous_bill_does_not_rule_out_honesty() -> None:
    billed, expected = [1000] * 60, [1000.0] * 60
    billed[30] = 9_000_000
    low, _ = sums_of(billed, expected).bounds(0.05)
    assert low is None or low <= 1.0


def test_what_is_cut_off_is_added_to_the_upper_bound() -> None:
    # one bill in twenty is twenty times the expectation, the others half of it: 1.475 in all
    billed = [500 if i % 20 else 20_000 for i in range(1, 401)]
    high = sums_of(billed, [1000.0] * 400).bounds(0.05)[1]
    assert high is not None and high > 1.4


def test_margin_widens_both_bounds() -> None:
    sums = sums_of([1500] * 200, [1000.0] * 200)
    low, high = sums.bounds(0.05)
    wide_low, wide_high = sums.bounds(0.05, margin=0.05)
    assert low is not None and high is not None
    assert wide_low == pytest.approx(low / 1.05)
    assert wide_high == pytest.approx(high / 0.95)


@pytest.mark.parametrize(("billed", "expected"), [(-1, 10.0), (1, 0.0), (1, math.inf)])
def test_impossible_counts_are_refused(billed: int, expected: float) -> None:
    with pytest.raises(ValueError, match="tokens must be finite"):
        RatioSums().after(billed, expected)

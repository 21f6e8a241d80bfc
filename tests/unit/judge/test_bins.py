"""Bounds for honest mismatch rates: from smaller gaps only, all at once, never rising."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audit.judge.bins import (
    EDGES_B,
    ERROR_SHARES,
    FAR_ERROR_SHARE,
    NUM_BINS,
    UNBOUNDED_RATE,
    WINDOWS,
    BinCounts,
    RateBounds,
    bin_of,
    bound_rates,
    count_calls,
    no_counts,
)
from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, NEAR
from tests.support.measurements import Float64Array, calls_of, counts_of

ERROR = 0.01
FIRST_FAR_BIN = int(bin_of(np.asarray([FAR_MARGIN_STEPS]))[0])

seeds = st.integers(0, 2**32 - 1)
bins = st.integers(0, NUM_BINS - 1)


def random_counts(seed: int, most: int = 400) -> BinCounts:
    """Return counts whose rates fall with the gap, in some bins without any calls."""
    rng = np.random.default_rng(seed)
    calls_B = rng.integers(0, most, NUM_BINS) * (rng.random(NUM_BINS) < 0.8)
    mismatches_B = rng.binomial(calls_B, 0.5 * np.exp(-np.arange(NUM_BINS) / 20))
    return BinCounts(
        num_calls_B=calls_B,
        num_mismatches_B=mismatches_B,
        num_far_B=np.where(
            EDGES_B >= FAR_MARGIN_STEPS, mismatches_B, rng.binomial(mismatches_B, 0.05)
        ),
    )


def slow_limit(events: int, calls: int, error: float) -> float:
    return 1.0 if events == calls else float(stats.beta.isf(error, events + 1, calls - events))


def share_of(where: int) -> float:
    """Return the part of the error that a bin's bound may use."""
    zone = next(i for i, (high, _) in enumerate(ERROR_SHARES) if EDGES_B[where] < high)
    low = ERROR_SHARES[zone - 1][0] if zone else 0.0
    high, share = ERROR_SHARES[zone]
    return float(share / sum(low <= edge < high for edge in EDGES_B.tolist()))


def slow_mismatch_bounds(counts: BinCounts, error: float) -> list[float]:
    """Return each bin's bound, window by window, with scipy's own quantiles."""
    calls, events = counts.num_calls_B.tolist(), counts.num_mismatches_B.tolist()
    bounds = [UNBOUNDED_RATE]
    for b in range(1, NUM_BINS):
        limits = [
            slow_limit(
                sum(events[max(0, b - w) : b]),
                sum(calls[max(0, b - w) : b]),
                error * share_of(b) / len(WINDOWS),
            )
            for w in WINDOWS
        ]
        bounds.append(min(*limits, bounds[-1]))
    return bounds


def assert_no_lower(bounds: RateBounds, than: RateBounds) -> None:
    assert (bounds.mismatch_B >= than.mismatch_B).all()
    assert (bounds.far_B >= than.far_B).all()


def test_the_far_margin_is_an_edge_and_every_gap_has_a_bin() -> None:
    assert FAR_MARGIN_STEPS in EDGES_B.tolist()
    gaps = np.asarray([0.0, 1e-300, 0.03125, np.nextafter(4.0, 0.0), 4.0, 32.0, 1e9])
    assert bin_of(gaps).tolist() == [
        0,
        0,
        1,
        FIRST_FAR_BIN - 1,
        FIRST_FAR_BIN,
        NUM_BINS - 1,
        NUM_BINS - 1,
    ]


def test_calls_are_counted_by_gap_and_outcome() -> None:
    gaps = [0.0, 0.01, 5.0, 5.0, 5.0, 1e6]
    outcomes = [NEAR, MATCH, FAR, FAR, MATCH, MATCH]
    counts = count_calls(calls_of(gaps, outcomes, [True, True, True, False, True, True]))
    five = int(bin_of(np.asarray([5.0]))[0])
    assert counts.num_calls_B[[0, five, -1]].tolist() == [2, 2, 1]
    assert counts.num_mismatches_B[[0, five, -1]].tolist() == [1, 1, 0]
    assert counts.num_far_B[[0, five, -1]].tolist() == [0, 1, 0]
    assert counts.num_calls_B.sum() == 5


def test_counts_add_up() -> None:
    first, second = random_counts(1), random_counts(2)
    both = first + second
    for name in ("num_calls_B", "num_mismatches_B", "num_far_B"):
        np.testing.assert_array_equal(
            getattr(both, name), getattr(first, name) + getattr(second, name)
        )


@pytest.mark.parametrize("seed", range(3))
def test_bounds_are_clopper_and_pearsons_of_the_windows_to_the_left(seed: int) -> None:
    counts = random_counts(seed)
    found = bound_rates((counts,), ERROR)
    np.testing.assert_allclose(found.mismatch_B, slow_mismatch_bounds(counts, ERROR), rtol=1e-9)


def test_the_parts_of_the_error_make_up_the_whole() -> None:
    parts = [share_of(b) for b in range(NUM_BINS)]
    assert sum(parts) + FAR_ERROR_SHARE == pytest.approx(1.0)
    assert min(parts) > 0.0


def test_one_window_gives_its_clopper_pearson_limit() -> None:
    found = bound_rates((counts_of(0.0, 5000, 20),), ERROR).mismatch_B
    each = ERROR * share_of(1) / len(WINDOWS)
    expected = stats.binomtest(20, 5000, alternative="less").proportion_ci(1 - each).high
    assert found[0] == 1.0
    assert found[1] == pytest.approx(expected, rel=1e-9)


def test_far_mismatches_of_near_calls_share_one_bound() -> None:
    found = bound_rates((counts_of(1.0, 3000, 0) + counts_of(0.1, 2000, 9, 7),), ERROR)
    one = stats.binomtest(7, 5000, alternative="less").proportion_ci(1 - ERROR * FAR_ERROR_SHARE)
    near = found.far_B[:FIRST_FAR_BIN]
    np.testing.assert_allclose(
        near, np.minimum(one.high, found.mismatch_B[:FIRST_FAR_BIN]), rtol=1e-9
    )


def test_without_counts_nothing_is_bounded() -> None:
    for variants in ((no_counts(),), (no_counts(), no_counts())):
        bounds = bound_rates(variants, ERROR)
        assert (bounds.mismatch_B == 1.0).all() and (bounds.far_B == 1.0).all()


@settings(max_examples=60, deadline=None)
@given(seeds, bins, st.integers(1, 10_000), st.floats(0.0, 1.0))
def test_a_bin_is_bounded_by_what_lies_to_its_left_only(
    seed: int, where: int, num_calls: int, rate: float
) -> None:
    counts = random_counts(seed)
    added = counts_of(float(EDGES_B[where]), num_calls, int(rate * num_calls))
    before, after = bound_rates((counts,), ERROR), bound_rates((counts + added,), ERROR)
    assert after.mismatch_B[: where + 1].tolist() == before.mismatch_B[: where + 1].tolist()
    assert before.mismatch_B[0] == 1.0


def test_calls_in_a_bin_do_bound_the_next_one() -> None:
    where = 40
    found = bound_rates((counts_of(float(EDGES_B[where]), 100_000, 0),), ERROR).mismatch_B
    assert found[where] == 1.0 and found[where + 1] < 0.001


@settings(max_examples=60, deadline=None)
@given(seeds, st.floats(1e-6, 0.5))
def test_bounds_never_rise_with_the_gap_and_far_ones_never_exceed_all(
    seed: int, error: float
) -> None:
    bounds = bound_rates((random_counts(seed), random_counts(seed + 1, most=40)), error)
    assert (np.diff(bounds.mismatch_B) <= 0.0).all()
    assert (bounds.far_B <= bounds.mismatch_B).all() and (bounds.far_B > 0.0).all()
    is_far_B = EDGES_B >= FAR_MARGIN_STEPS
    assert (bounds.far_B[is_far_B] == bounds.mismatch_B[is_far_B]).all()


@settings(max_examples=60, deadline=None)
@given(seeds, seeds, st.integers(1, 400))
def test_more_variants_never_lower_a_bound(seed: int, other: int, most: int) -> None:
    one = random_counts(seed)
    more = bound_rates((one, random_counts(other, most=most)), ERROR)
    assert_no_lower(more, than=bound_rates((one,), ERROR))


@settings(max_examples=60, deadline=None)
@given(seeds, bins)
def test_another_mismatch_never_lowers_a_bound(seed: int, where: int) -> None:
    counts = random_counts(seed)
    calls = counts_of(float(EDGES_B[where]), 1, 0)
    missed = counts_of(float(EDGES_B[where]), 1, 1, 1)
    assert_no_lower(
        bound_rates((counts + missed,), ERROR), than=bound_rates((counts + calls,), ERROR)
    )


def falling_rates(rng: np.random.Generator) -> Float64Array:
    """Return rates that fall with the gap: in one step, or from bin to bin."""
    if rng.random() < 0.5:
        level = rng.uniform(0.02, 0.9)
        return np.where(np.arange(NUM_BINS) < rng.integers(1, NUM_BINS), level, level / 5)
    return np.sort(rng.uniform(0.0, 0.7, NUM_BINS))[::-1]


def test_all_bounds_hold_at_once_as_often_as_promised() -> None:
    rng = np.random.default_rng(11)
    error, num_runs, broken = 0.2, 800, 0
    for _ in range(num_runs):
        rate_B = falling_rates(rng)
        # far mismatches of near calls come at one rate, whatever the gap
        near_far = rate_B[FIRST_FAR_BIN - 1] * rng.random()
        far_B = np.where(EDGES_B >= FAR_MARGIN_STEPS, rate_B, near_far)
        variants = []
        for _ in range(2):
            calls_B = rng.integers(0, 60, NUM_BINS)
            far = rng.binomial(calls_B, far_B)
            near_share = np.divide(
                rate_B - far_B, 1.0 - far_B, out=np.zeros(NUM_BINS), where=far_B < 1.0
            )
            near = rng.binomial(calls_B - far, near_share)
            variants.append(
                BinCounts(num_calls_B=calls_B, num_mismatches_B=near + far, num_far_B=far)
            )
        bounds = bound_rates(tuple(variants), error)
        broken += bool((bounds.mismatch_B < rate_B).any() or (bounds.far_B < far_B).any())
    assert broken <= stats.binom.ppf(0.999, num_runs, error)


def test_a_single_bound_is_broken_about_as_often_as_its_share_of_the_error() -> None:
    # were the bounds far too wide, the claim above could not fail
    error, rate, num_calls = 0.9, 0.1, 2000
    events = np.random.default_rng(3).binomial(num_calls, rate, 4000)
    limits = {
        int(n): float(bound_rates((counts_of(0.0, num_calls, int(n)),), error).mismatch_B[1])
        for n in np.unique(events)
    }
    broken = sum(limits[int(n)] < rate for n in events)
    assert broken <= stats.binom.ppf(0.999, 4000, error * share_of(1) / len(WINDOWS))
    loose = {n: limit - n / num_calls for n, limit in limits.items()}
    assert max(loose.values()) < 0.04

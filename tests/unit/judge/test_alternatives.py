"""What single calls say, and under which alternatives."""

from functools import cache

import numpy as np
import pytest

from audit.judge.alternatives import (
    FAMILIES,
    LOG_PRIOR_K,
    MAX_RATE,
    NUM_ALTERNATIVES,
    EvidenceLaw,
    mix,
)
from audit.judge.bins import EDGES_B, BinCounts, RateBounds, bin_of, bound_rates, no_counts
from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, NEAR
from tests.support.measurements import Float64Array, calls_of, counts_of

GAPS = [0.0, 0.01, 0.3, 1.0, 2.5, FAR_MARGIN_STEPS, 10.0, 31.0, 33.0, 1e4, 1e7]


@cache
def counts() -> BinCounts:
    """Return counts of many honest calls whose mismatches become rare soon."""
    total = no_counts()
    for gap in np.geomspace(0.01, 40.0, 300):
        rate = 0.5 * np.exp(-2 * gap)
        num_far = int(4000 * rate) if gap >= FAR_MARGIN_STEPS else 0
        total += counts_of(float(gap), 4000, int(4000 * rate), num_far)
    return total


@cache
def law() -> EvidenceLaw:
    return EvidenceLaw(bound_rates((counts(),), 0.01))


def log_e(gap: float, outcome: int, which: EvidenceLaw | None = None) -> Float64Array:
    """Return a call's log e-value under each alternative."""
    found: Float64Array = (which or law()).log_e_KR(calls_of([gap], [outcome]))[:, 0]
    return found


def mixed(gap: float, outcome: int) -> float:
    return float(mix(log_e(gap, outcome)[:, None])[0])


def test_the_prior_is_shared_out_over_all_alternatives() -> None:
    assert np.exp(LOG_PRIOR_K).sum() == pytest.approx(1.0)
    assert len(LOG_PRIOR_K) == NUM_ALTERNATIVES == sum(len(f) for f in FAMILIES)
    assert (np.exp(LOG_PRIOR_K) > 0.01).all()


def test_a_mixture_lies_between_its_parts() -> None:
    log_e_K1 = np.linspace(-3.0, 900.0, NUM_ALTERNATIVES)[:, None]
    (found,) = mix(log_e_K1)
    assert -3.0 < found < 900.0
    np.testing.assert_allclose(mix(np.full((NUM_ALTERNATIVES, 2), 7.0)), [7.0, 7.0])


@pytest.mark.parametrize("gap", GAPS)
def test_a_match_never_speaks_against_a_provider_and_a_far_mismatch_never_for_it(
    gap: float,
) -> None:
    match, far = log_e(gap, MATCH), log_e(gap, FAR)
    assert (match <= 0.0).all() and np.isfinite(match).all()
    assert (far >= 0.0).all() and np.isfinite(far).all()


@pytest.mark.parametrize("gap", [4.5, 10.0, 31.0, 1e4])
def test_a_mismatch_at_a_clear_call_speaks_against_a_provider(gap: float) -> None:
    assert mixed(gap, FAR) > 3.0
    # stray tokens and multiplied odds expect it most
    assert (log_e(gap, FAR) > 0.0).sum() >= NUM_ALTERNATIVES // 2


def test_the_clearer_the_call_the_more_a_mismatch_says() -> None:
    said = [mixed(gap, NEAR) for gap in (0.5, 1.0, 2.0, 3.5)]
    assert said == sorted(said) and said[-1] > said[0] + 1.0


def test_a_mismatch_at_a_toss_up_says_next_to_nothing() -> None:
    assert abs(mixed(0.0, NEAR)) < 0.1


def test_where_nothing_is_bounded_a_near_mismatch_is_no_evidence() -> None:
    blind = EvidenceLaw(bound_rates((no_counts(),), 0.01))
    for gap in (0.0, 1.0, 3.9):
        np.testing.assert_array_equal(log_e(gap, NEAR, blind), log_e(gap, MATCH, blind))
        assert (log_e(gap, NEAR, blind) <= 0.0).all()


def test_without_honest_traffic_no_call_is_evidence() -> None:
    blind = EvidenceLaw(bound_rates((no_counts(),), 0.01))
    for gap in GAPS:
        for outcome in (MATCH, NEAR, FAR):
            np.testing.assert_allclose(log_e(gap, outcome, blind), 0.0, atol=1e-12)


def test_a_bound_just_below_one_is_blind_too() -> None:
    bounds = RateBounds(
        mismatch_B=np.full(len(counts().num_calls_B), 0.97),
        far_B=np.full(len(counts().num_calls_B), 0.02),
    )
    found = log_e(1.0, NEAR, EvidenceLaw(bounds))
    assert (found <= 0.0).all()


def test_no_alternative_is_surer_of_a_mismatch_than_98_percent() -> None:
    # beside bins where nothing is bounded, what lies between bins' centres is nearly 1
    first = int(bin_of(np.asarray([1.01]))[0])
    mismatch_B = np.where(np.arange(len(EDGES_B)) < first, 1.0, 0.95)
    far_B = np.where(EDGES_B >= FAR_MARGIN_STEPS, mismatch_B, 0.01)
    steep = EvidenceLaw(RateBounds(mismatch_B=mismatch_B, far_B=far_B))
    found = log_e(float(EDGES_B[first]), MATCH, steep)
    assert (found >= np.log((1.0 - MAX_RATE) / (1.0 - 0.96)) - 1e-9).all()
    assert (found < -0.1).any()


def test_calls_that_do_not_count_are_no_evidence() -> None:
    calls = calls_of([1.0, 30.0], [FAR, FAR], [True, False])
    found = law().log_e_KR(calls)
    assert (found[:, 1] == 0.0).all() and (found[:, 0] != 0.0).any()


def test_tighter_bounds_make_a_mismatch_say_more() -> None:
    few, many = (EvidenceLaw(bound_rates((counts_of(2.0, n, 0),), 0.01)) for n in (300, 300_000))
    for gap in (2.5, 5.0, 1e3):
        outcome = FAR if gap >= FAR_MARGIN_STEPS else NEAR
        low, high = (mix(log_e(gap, outcome, x)[:, None])[0] for x in (few, many))
        assert high > low


@pytest.mark.parametrize("outcome", [MATCH, NEAR, FAR])
def test_neighbouring_gaps_in_one_bin_say_nearly_the_same(outcome: int) -> None:
    assert bin_of(np.asarray([2.01, 2.02]))[0] == bin_of(np.asarray([2.02]))[0]
    np.testing.assert_allclose(log_e(2.01, outcome), log_e(2.02, outcome), atol=0.1)

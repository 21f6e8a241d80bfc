"""What bounds, bets and combined e-values promise, whatever the counts and levels are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.judge.betting import MeanEvidence, log_bets, log_e_of_counts, lower_bound, upper_bound
from audit.judge.combine import average_log_e, e_bh
from audit.judge.intervals import lower_limit, upper_limit
from audit.judge.substitution import (
    KnownSubstitute,
    Transitions,
    runs_test_p_value,
    share_lower_bound,
    sticky_log_e,
)
from tests.support.boundaries import bernoulli_interval

counts = st.integers(0, 100_000)
alphas = st.floats(1e-6, 0.5)
rates = st.floats(1e-4, 1.0 - 1e-4)
log_es = st.floats(-2000.0, 2000.0)
tell_lists = st.lists(st.booleans(), max_size=60)
named = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), log_es, max_size=12)

quick = settings(max_examples=60, deadline=None)


@quick
@given(counts, counts, alphas)
def test_exact_limits_enclose_the_estimate_and_move_with_the_counts(
    ones: int, zeros: int, alpha: float
) -> None:
    total = ones + zeros
    lower, upper = lower_limit(ones, total, alpha), upper_limit(ones, total, alpha)
    estimate = ones / total if total else 0.5
    assert 0.0 <= lower <= estimate <= upper <= 1.0
    assert upper_limit(ones, total + 1, alpha) <= upper
    assert lower_limit(ones + 1, total + 1, alpha) >= lower
    assert lower_limit(ones, total, alpha / 2) <= lower
    assert upper_limit(ones, total, alpha / 2) >= upper


@quick
@given(counts, counts, alphas)
def test_betting_bounds_enclose_the_estimate_and_move_with_the_counts(
    ones: int, zeros: int, alpha: float
) -> None:
    total = ones + zeros
    lower, upper = float(lower_bound(ones, total, alpha)), float(upper_bound(ones, total, alpha))
    estimate = ones / total if total else 0.5
    assert 0.0 <= lower <= estimate <= upper <= 1.0
    assert lower_bound(ones, total + 1, alpha) <= lower + 1e-12
    assert upper_bound(ones + 1, total + 1, alpha) >= upper - 1e-12
    assert lower_bound(ones + 1, total + 1, alpha) >= lower - 1e-12
    assert lower_bound(ones, total, alpha / 2) <= lower + 1e-12
    # valid at all looks, so never better than what holds at one alone
    assert lower <= lower_limit(ones, total, alpha) + 1e-9


@quick
@given(counts, counts, rates, rates)
def test_evidence_falls_as_the_null_mean_grows(
    ones: int, zeros: int, one_mean: float, other_mean: float
) -> None:
    low, high = sorted((one_mean, other_mean))
    total = ones + zeros
    tolerance = 1e-9 * (1 + total)
    assert log_e_of_counts(ones, total, low) >= log_e_of_counts(ones, total, high) - tolerance


@quick
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), rates)
def test_the_order_of_observations_does_not_matter(values: list[float], null_mean: float) -> None:
    shuffled = sorted(values)
    total = log_bets(values, null_mean)[-1]
    assert log_bets(shuffled, null_mean)[-1] == pytest.approx(total, rel=1e-9, abs=1e-9)
    state = MeanEvidence()
    for value in values:
        state = state.after(value, 1.0 - value)
    assert state.log_e(null_mean) <= total + 1e-6


@quick
@given(counts, counts, st.floats(0.0, 0.99), st.floats(0.0, 0.99), alphas)
def test_a_share_is_a_share_and_falls_as_honest_tells_grow_more_common(
    tells: int, others: int, one_rate: float, other_rate: float, alpha: float
) -> None:
    low, high = sorted((one_rate, other_rate))
    total = tells + others
    least = float(share_lower_bound(tells, total, high, alpha))
    assert 0.0 <= least <= float(share_lower_bound(tells, total, low, alpha)) + 1e-12 <= 1.0 + 1e-12


@quick
@given(st.integers(0, 2000), st.integers(1, 2000), st.floats(1e-4, 0.5), st.floats(1.0, 5000.0))
def test_the_bernoulli_interval_encloses_the_estimate(
    ones: int, zeros: int, alpha: float, t_opt: float
) -> None:
    total = ones + zeros
    lower, upper = bernoulli_interval(ones, total, alpha, t_opt=t_opt)
    assert 0.0 <= lower <= ones / total <= upper <= 1.0
    wider = bernoulli_interval(ones, total, alpha / 10, t_opt=t_opt)
    assert wider[0] <= lower + 1e-9
    assert wider[1] >= upper - 1e-9


@quick
@given(st.lists(st.floats(-50.0, 50.0), max_size=40), st.floats(0.01, 0.5))
def test_a_known_substitutes_interval_only_shrinks(ratios: list[float], alpha: float) -> None:
    state = KnownSubstitute.fresh(alpha)
    for ratio in ratios:
        after = state.after(ratio)
        assert 0.0 <= state.lower <= after.lower <= after.upper <= state.upper <= 1.0
        state = after


@quick
@given(tell_lists)
def test_runs_read_the_same_backwards_and_with_tells_swapped(tells: list[bool]) -> None:
    p_value = runs_test_p_value(tells)
    assert 0.0 < p_value <= 1.0
    assert runs_test_p_value(tells[::-1]) == pytest.approx(p_value)
    assert runs_test_p_value([not tell for tell in tells]) == pytest.approx(p_value)
    state, swapped = Transitions(), Transitions()
    for tell in tells:
        state, swapped = state.after(tell), swapped.after(not tell)
    assert sticky_log_e(swapped) == pytest.approx(sticky_log_e(state))
    moves = state.n00 + state.n01 + state.n10 + state.n11
    assert moves == max(0, len(tells) - 1)


@quick
@given(st.lists(st.tuples(log_es, st.floats(0.01, 100.0)), min_size=1, max_size=10))
def test_an_average_lies_between_the_extremes_in_any_order(
    pairs: list[tuple[float, float]],
) -> None:
    values, weights = [p[0] for p in pairs], [p[1] for p in pairs]
    average = average_log_e(values, weights)
    assert min(values) - 1e-9 <= average <= max(values) + 1e-9
    assert average_log_e(values[::-1], weights[::-1]) == pytest.approx(average)


@quick
@given(named, st.floats(0.001, 0.5), st.floats(0.0, 50.0), st.data())
def test_more_evidence_never_takes_a_rejection_back(
    log_e: dict[str, float], fdr: float, extra: float, data: st.DataObject
) -> None:
    rejected = e_bh(log_e, fdr)
    assert e_bh(dict(reversed(list(log_e.items()))), fdr) == rejected
    assert rejected <= e_bh(log_e, min(0.99, 2 * fdr))
    if log_e:
        name = data.draw(st.sampled_from(sorted(log_e)))
        assert rejected <= e_bh(log_e | {name: log_e[name] + extra}, fdr)
    kept = [log_e[name] for name in log_e if name not in rejected]
    assert all(log_e[name] > max(kept, default=-np.inf) for name in rejected)

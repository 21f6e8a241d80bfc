"""The substituted share: coverage at every look, and tells that come in runs."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from audit.judge.substitution import (
    SHARES_G,
    KnownSubstitute,
    Transitions,
    runs_test_p_value,
    share_interval,
    share_log_likelihood,
    share_lower_bound,
    sticky_log_e,
)

Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
ALPHA = 0.05
NUM_STREAMS = 2000
LIMIT = stats.binom.ppf(0.99, NUM_STREAMS, ALPHA)


def tells_of(rng: np.random.Generator, rate: float, num_looks: int) -> BoolArray:
    return rng.random((NUM_STREAMS, num_looks)) < rate


def transitions_of(tells: BoolArray) -> Transitions:
    state = Transitions()
    for tell in tells:
        state = state.after(bool(tell))
    return state


def sticky_stream(rng: np.random.Generator, num: int, length: int) -> BoolArray:
    """Return tells at 2 % in honest blocks and 60 % in substituted ones, a third of the blocks."""
    substituted = np.repeat(rng.random(num // length) < 1 / 3, length)
    tells: BoolArray = rng.random(num) < np.where(substituted, 0.6, 0.02)
    return tells


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_the_agnostic_bound_holds_at_every_look(share: float) -> None:
    honest = 0.03
    ones = tells_of(np.random.default_rng(0), (1 - share) * honest + share, 300).cumsum(axis=1)
    totals = np.broadcast_to(np.arange(1, 301), ones.shape)
    pairs, where = np.unique(ones * 1000 + totals, return_inverse=True)
    missed = share_lower_bound(pairs // 1000, pairs % 1000, honest, ALPHA) > share
    assert missed[where].reshape(ones.shape).any(axis=1).sum() <= LIMIT


def test_the_agnostic_bound_closes_in_on_the_share() -> None:
    bounds = [float(share_lower_bound(0.224 * n, n, 0.03, ALPHA)) for n in (50, 500, 5000, 50_000)]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1] < 0.2
    assert bounds[-1] == pytest.approx(0.2, abs=0.02)
    assert share_lower_bound(1, 1000, 0.03, ALPHA) == 0.0


@pytest.mark.parametrize("share", [0.0, 0.2525, 1.0])
def test_a_known_substitutes_share_is_covered_at_every_look(share: float) -> None:
    """Honest exchanges have a standard normal score, substituted ones a mean of 1.5."""
    rng, num_looks = np.random.default_rng(1), 80
    shape = (NUM_STREAMS, num_looks)
    scores = rng.standard_normal(shape) + 1.5 * (rng.random(shape) < share)
    ratios = 1.5 * scores - 1.5**2 / 2
    log_likelihood: Float64Array = np.zeros((NUM_STREAMS, len(SHARES_G)))
    missed, widths = np.zeros(NUM_STREAMS, bool), []
    for look in range(num_looks):
        log_likelihood += share_log_likelihood(ratios[:, look])
        low, high = share_interval(log_likelihood, ALPHA)
        missed |= (low > share) | (high < share)
        widths.append(float((high - low).mean()))
    assert missed.sum() <= LIMIT
    assert widths[-1] < widths[19] < widths[4]


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_a_known_substitutes_share_is_covered_by_binary_tells(share: float) -> None:
    honest, substitute, num_looks = 0.02, 0.7, 400
    rate = (1 - share) * honest + share * substitute
    ones = tells_of(np.random.default_rng(2), rate, num_looks).cumsum(axis=1)
    totals = np.broadcast_to(np.arange(1, num_looks + 1), ones.shape)
    pairs, where = np.unique(ones * 1000 + totals, return_inverse=True)
    tell, none = share_log_likelihood(
        np.log([substitute / honest, (1 - substitute) / (1 - honest)])
    )
    hits = (pairs // 1000)[:, None]
    low, high = share_interval(hits * tell + ((pairs % 1000)[:, None] - hits) * none, ALPHA)
    missed = (low > share) | (high < share)
    assert missed[where].reshape(ones.shape).any(axis=1).sum() <= LIMIT


def test_the_state_keeps_the_intersection_of_all_looks() -> None:
    rng = np.random.default_rng(3)
    ratios = 2.0 * (rng.standard_normal(300) + 2.0 * (rng.random(300) < 0.3)) - 2.0
    state, log_likelihood = KnownSubstitute.fresh(ALPHA), np.zeros(len(SHARES_G))
    lows, highs = [0.0], [1.0]
    for ratio in ratios:
        state = state.after(float(ratio))
        log_likelihood = log_likelihood + share_log_likelihood(ratio)
        low, high = share_interval(log_likelihood, ALPHA)
        lows.append(float(low))
        highs.append(float(high))
        assert (state.lower, state.upper) == (max(lows), min(highs))
    assert state.lower <= 0.3 <= state.upper
    assert state.upper - state.lower < 0.4


def test_an_intersection_never_becomes_empty() -> None:
    state = KnownSubstitute.fresh(0.5)
    for ratio in [3.0] * 50 + [-3.0] * 500:
        state = state.after(ratio)
        assert 0.0 <= state.lower <= state.upper <= 1.0


def test_answers_that_one_law_cannot_give_rule_out_the_ends() -> None:
    state = KnownSubstitute.fresh(ALPHA).after(float("inf"))
    low, _ = share_interval(state.log_likelihood_G, ALPHA)
    assert state.log_likelihood_G[0] == -np.inf
    both = state.after(float("-inf"))
    assert both.log_likelihood_G[-1] == -np.inf
    assert np.isfinite(both.log_likelihood_G[1:-1]).all()
    # its likelihood is the share itself, 1/2 on average: all below alpha / 2 is ruled out
    assert ALPHA / 2 - 0.0051 <= low <= ALPHA / 2


def test_a_long_stream_ends_within_one_cell_of_the_grid() -> None:
    tell, none = share_log_likelihood([np.log(0.7 / 0.02), np.log(0.3 / 0.98)])
    share, num = 0.1525, 1e7
    rate = 0.02 + share * 0.68
    low, high = share_interval(num * (rate * tell + (1 - rate) * none), ALPHA)
    assert low < share < high
    assert high - low < 0.02


def test_sticky_log_e_is_the_ratio_that_it_claims() -> None:
    tells = [True, True, False, True, False, False]
    state = transitions_of(np.asarray(tells))
    assert state == Transitions(n00=1, n01=1, n10=2, n11=1, first=True, last=False)
    # Krichevsky-Trofimov: each rate is (count + 1/2) / (total + 1), counted per row
    log_markov, counts = np.log(0.5), {(a, b): 0.5 for a in (0, 1) for b in (0, 1)}
    for before, now in pairwise(tells):
        row = counts[before, 0] + counts[before, 1]
        log_markov += np.log(counts[before, now] / row)
        counts[before, now] += 1
    assert sticky_log_e(state) == pytest.approx(log_markov - 6 * np.log(0.5))
    assert sticky_log_e(Transitions()) == 0.0
    assert sticky_log_e(Transitions().after(True)) == pytest.approx(np.log(0.5))


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.95])
def test_independent_tells_seldom_look_sticky_at_any_look(rate: float) -> None:
    rng, num_streams = np.random.default_rng(4), 150
    alarms = 0
    for _ in range(num_streams):
        state, worst = Transitions(), 0.0
        for tell in (rng.random(150) < rate).tolist():
            state = state.after(tell)
            worst = max(worst, sticky_log_e(state))
        alarms += worst >= np.log(10)
    assert alarms <= stats.binom.ppf(0.99, num_streams, 0.1)


def test_tells_in_runs_are_found() -> None:
    rng = np.random.default_rng(5)
    streams = [sticky_stream(rng, 600, 30) for _ in range(40)]
    log_e = [sticky_log_e(transitions_of(tells)) for tells in streams]
    p_values = [runs_test_p_value(tells.tolist()) for tells in streams]
    assert np.mean(np.asarray(log_e) >= np.log(20)) >= 0.9
    assert np.mean(np.asarray(p_values) <= 0.05) >= 0.9
    huge = sticky_log_e(Transitions(n00=50_000, n01=10, n10=10, n11=50_000, first=False, last=True))
    assert np.isfinite(huge)
    assert huge > 1e4


@pytest.mark.parametrize(("tells", "num"), [(1, 2), (1, 6), (3, 6), (4, 10), (7, 10), (5, 12)])
def test_the_runs_test_agrees_with_all_arrangements(tells: int, num: int) -> None:
    arrangements = [[i in chosen for i in range(num)] for chosen in combinations(range(num), tells)]
    runs = np.asarray([1 + sum(a != b for a, b in pairwise(s)) for s in arrangements])
    for num_runs in range(2, int(runs.max()) + 1):
        stream = arrangements[int(np.flatnonzero(runs == num_runs)[0])]
        assert runs_test_p_value(stream) == pytest.approx(float((runs <= num_runs).mean()))


def test_the_runs_test_takes_any_stream() -> None:
    assert runs_test_p_value([]) == runs_test_p_value([True] * 9) == 1.0
    assert runs_test_p_value([True, False] * 50_000) == pytest.approx(1.0)
    assert runs_test_p_value([True] * 50_000 + [False] * 50_000) < 1e-300


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="honest rate"):
        share_lower_bound(1, 2, 1.0, ALPHA)
    with pytest.raises(ValueError, match="alpha"):
        KnownSubstitute.fresh(0.0)
    with pytest.raises(ValueError, match="alpha"):
        share_interval(np.zeros(len(SHARES_G)), 1.0)
    with pytest.raises(ValueError, match="not a number"):
        KnownSubstitute.fresh(ALPHA).after(float("nan"))

"""The study's own arithmetic: short cuts against the judge's functions, statistics by hand."""

import numpy as np
import pytest

from audit.judge.alternatives import NUM_ALTERNATIVES, mix
from audit.judge.substitution import KnownSubstitute
from benchmarks.study.counting import (
    at_least,
    at_most,
    auc,
    auc_error,
    found_at_one_percent,
    quantile,
)
from benchmarks.study.detection import CHECKPOINTS_C, tokens_to
from benchmarks.study.marginal import upper_tolerance_bound
from benchmarks.study.mixtures import draw_substituted, known_limits
from benchmarks.study.report import rounded
from benchmarks.study.walks import block_sums, mix_SR, paths, resampled_sums, walk


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def test_the_fast_mixture_is_the_judges() -> None:
    log_e_SKR = 20 * drawn(3, NUM_ALTERNATIVES, 5)

    expected = np.stack([mix(log_e_KR) for log_e_KR in log_e_SKR])

    assert mix_SR(log_e_SKR) == pytest.approx(expected)


def test_a_walk_finds_the_peak_and_the_first_crossing_of_the_joined_exchanges() -> None:
    log_e_EKR = 0.3 * drawn(6, NUM_ALTERNATIVES, 10)
    picks_SN = np.random.default_rng(1).integers(6, size=(250, 4))
    path_ST = paths(log_e_EKR, picks_SN)[:, :35]

    peak_S, first_S = walk(log_e_EKR, picks_SN, 35, threshold_nats=2.0)

    crosses_S = (path_ST >= 2.0).any(axis=1)
    assert 0 < crosses_S.sum() < 250
    assert np.isinf(first_S[~crosses_S]).all()
    assert (first_S[crosses_S] == (path_ST >= 2.0).argmax(axis=1)[crosses_S] + 1).all()
    assert peak_S[~crosses_S] == pytest.approx(np.maximum(path_ST.max(axis=1), 0)[~crosses_S])


def test_sums_over_whole_exchanges_and_over_single_tokens() -> None:
    lengths_C = np.array([3, 10, 25])
    # every exchange counts up, so a sum shows what was joined
    values_ERX = np.broadcast_to(np.arange(10.0)[:, None], (4, 10, 1))
    rng = np.random.default_rng(0)

    blocks_SCX = block_sums(values_ERX, lengths_C, 5, rng)
    ones_SCX = resampled_sums(np.ones((40, 2)), lengths_C, 150, rng)

    assert (blocks_SCX[:, :, 0] == [3, 45, 100]).all()
    assert (ones_SCX == lengths_C[None, :, None]).all()


def test_auc_counts_ties_as_half() -> None:
    assert auc(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == pytest.approx(0.875)
    assert auc_error(drawn(400), drawn(400) + 1) == pytest.approx(0.02, abs=0.01)


def test_no_more_than_one_in_a_hundred_honest_streams_lies_above() -> None:
    honest_S = np.repeat([0.0, 1.0], [980, 20])

    assert found_at_one_percent(honest_S, np.array([1.0, 2.0])) == 0.5


def test_quantiles_and_limits() -> None:
    values = np.array([3.0, 1.0, 2.0, np.inf])

    assert quantile(values, 0.5) == 2.0
    assert quantile(values, 0.9) is None
    assert at_most(0, 299) == pytest.approx(0.01, abs=1e-4)
    assert at_least(0, 299) == 0.0


def test_tokens_to_an_auc_are_where_it_stays() -> None:
    aucs = [0.98] * len(CHECKPOINTS_C)
    assert tokens_to(aucs) is None
    aucs[2], aucs[-1] = 0.995, 1.0
    assert CHECKPOINTS_C[-2] < (tokens_to(aucs) or 0.0) < CHECKPOINTS_C[-1]


def test_the_known_substitutes_interval_is_the_judges() -> None:
    ratios = 2 * drawn(40)
    state = KnownSubstitute.fresh(0.01)
    low_N, high_N = known_limits(ratios, 0.01)

    for ratio, low, high in zip(ratios, low_N, high_N, strict=True):
        state = state.after(float(ratio))
        assert (state.lower, state.upper) == (low, high)


def test_substituted_exchanges_come_in_runs() -> None:
    is_sub_SN = draw_substituted(0.5, 8, 50, 20, np.random.default_rng(0))

    assert is_sub_SN.shape == (8, 50)
    assert (is_sub_SN[:, :20] == is_sub_SN[:, :1]).all()


def test_the_marginal_threshold_is_an_order_statistic_where_there_are_enough() -> None:
    assert upper_tolerance_bound(np.arange(299.0), rate=0.01, confidence=0.95) == 298.0
    assert upper_tolerance_bound(np.arange(30.0), rate=0.01, confidence=0.95) > 29.0


def test_results_are_rounded_at_any_depth() -> None:
    assert rounded({"a": [1.23456789, 2, None, {"b": True}]}) == {
        "a": [1.23457, 2, None, {"b": True}]
    }

"""The conformal rank is uniform for every number of local answers; the published one is not."""

import numpy as np
import pytest
from scipy import stats

from audit.sweeps.text.rank import FEATURES, IS_BINARY, conformal_rank, features_of, text_grid
from audit.sweeps.text.samples import derived_rng


def test_ranks_by_hand() -> None:
    assert conformal_rank(2.0, [1.0, 3.0, 2.0, 0.0], 0.5) == pytest.approx((2 + 0.5 * 2) / 5)
    assert conformal_rank(9.0, [1.0, 3.0], 0.0) == pytest.approx(2 / 3)
    assert conformal_rank(0.0, [], 0.25) == 0.25


@pytest.mark.parametrize(
    ("num_queries", "num_local", "published_low", "published_high"),
    [(100, 100, 0.0, 0.12), (100, 10, 0.10, 0.30), (1000, 20, 0.5, 0.85), (1000, 10, 0.99, 1.0)],
)
def test_rejection_rates_of_honest_answers(
    num_queries: int, num_local: int, published_low: float, published_high: float
) -> None:
    rng = derived_rng(b"table", f"{num_queries} {num_local}")
    num_repeats, rejected = 150, {"published": 0, "conformal": 0}
    for _ in range(num_repeats):
        scores = rng.random((num_queries, num_local + 1))
        less_N = (scores[:, 1:] < scores[:, :1]).sum(axis=1)
        conformal_N = [conformal_rank(row[0], row[1:], float(rng.random())) for row in scores]
        for name, ranks_N in (("published", less_N / num_local), ("conformal", conformal_N)):
            rejected[name] += stats.cramervonmises(ranks_N, "uniform").pvalue < 0.05
    assert published_low <= rejected["published"] / num_repeats <= published_high
    # 150 trials at 5 %: at most 17 with probability 0.9995
    assert rejected["conformal"] <= 17


def test_ties_are_split_evenly() -> None:
    rng = derived_rng(b"ties", "")
    ranks = [
        conformal_rank(float(row[0]), row[1:], float(rng.random()))
        for row in rng.integers(3, size=(2000, 6))
    ]
    assert stats.kstest(ranks, "uniform").pvalue > 0.001


def test_features_lie_in_the_unit_interval_and_mean_what_they_say() -> None:
    features_NF = features_of([0.0, 0.04, 0.3, 0.97, 1.0])
    assert ((features_NF >= 0) & (features_NF <= 1)).all()
    named = {name: features_NF[:, column] for column, (name, _) in enumerate(FEATURES)}
    assert named["low-0.05"].tolist() == [1, 1, 0, 0, 0]
    assert named["high-0.05"].tolist() == [0, 0, 0, 1, 1]
    assert named["mean-low"].tolist() == pytest.approx([1, 0.96, 0.7, 0.03, 0])
    assert named["outward"].tolist() == pytest.approx([1, 0.92, 0.4, 0.94, 1])
    assert features_of([]).shape == (0, len(FEATURES))
    for name, is_binary in IS_BINARY.items():
        assert set(named[name]) <= {0.0, 1.0} or not is_binary


def test_weights_and_stakes_are_those_of_one_wealth() -> None:
    assert sum(weight for _, weight in FEATURES) <= 1.0 + 1e-12
    grid = text_grid()
    assert np.exp(grid.log_weights_B).sum() == pytest.approx(1.0)
    assert ((grid.fractions_B > 0) & (grid.fractions_B < 1)).all()

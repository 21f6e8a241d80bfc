import math

import numpy as np
import pytest

from audit.hidden_tokens.conformal import dkw_epsilon
from audit.hidden_tokens.estimator.cells import effective_num


def test_groups_alike_count_as_one_each_and_one_that_holds_most_as_all() -> None:
    assert effective_num([1] * 30) == 30
    assert effective_num([8] * 30) == 30
    assert effective_num([100, 1, 1]) < 1.1


def test_the_mean_of_ranks_that_go_together_keeps_the_bound_for_that_many() -> None:
    sizes = np.array([9, 3, 3, 1, 1, 1, 1, 1])
    # every row of a question has the same rank: the worst that dependence can do
    ranks = np.random.default_rng(2).uniform(size=(100_000, len(sizes)))
    means = ranks @ (sizes / sizes.sum())

    def bound(num: float) -> float:
        # of the mean alone: what DKW would give for three times as many
        return math.sqrt(math.log(1.0 / 0.05) / (6.0 * num))

    assert np.mean(means < 0.5 - bound(effective_num(sizes.tolist()))) <= 0.05
    assert np.mean(means < 0.5 - bound(float(sizes.sum()))) > 0.05
    assert bound(100) == pytest.approx(dkw_epsilon(300, 0.05))


def test_no_scores_are_worth_nothing() -> None:
    with pytest.raises(ValueError, match="effective_num needs scores"):
        effective_num([])

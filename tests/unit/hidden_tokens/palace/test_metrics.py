"""The paper's measures, on estimates worked out by hand."""

import math
import statistics

import pytest

from audit.errors import InvalidRequest
from audit.hidden_tokens.palace.metrics import pass_at_k, score_estimates


def test_the_measures_of_four_estimates() -> None:
    scores = score_estimates(
        [100, 260, None, 50],
        [100, 200, 300, 400],
        [[90, 500], [10, 20], [None, 310], [None, None]],
    )
    assert (scores.num_rows, scores.num_unreadable) == (4, 1)
    assert scores.pass_at_1 == 0.5
    assert scores.pass_at_5 == 0.5
    # relative errors 0, 0.3, 1 (no estimate stands as zero tokens), 0.875
    assert scores.mean_relative_error == pytest.approx(0.54375)
    assert scores.median_relative_error == pytest.approx(0.5875)
    assert scores.mean_error_tokens == pytest.approx((0 + 60 + 300 + 350) / 4)
    assert scores.aggregate_error == pytest.approx(410 / 1_000 - 1.0)
    assert scores.num_distinct == 3
    logs = [math.log(100), math.log(260), math.log(50)]
    assert scores.log_deviation == pytest.approx(statistics.stdev(logs))


def test_a_model_that_answers_with_a_constant_is_seen() -> None:
    scores = score_estimates([700, 700, None, 700], [500, 600, 700, 800])
    assert (scores.num_distinct, scores.log_deviation) == (1, 0.0)
    alone = score_estimates([700, None], [500, 600])
    assert (alone.num_distinct, alone.log_deviation) == (1, None)


def test_without_further_replies_pass_at_five_is_not_told() -> None:
    assert score_estimates([100], [100]).pass_at_5 is None


def test_more_replies_never_pass_less() -> None:
    drawn = [[1, 2, 100], [5, 210, 7]]
    shares = [pass_at_k([d[:k] for d in drawn], [100, 200]) for k in (1, 2, 3)]
    assert shares == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("predicted", "actual", "drawn", "text"),
    [
        ([], [], None, "actual_N: must hold at least one row"),
        ([1], [1, 2], None, "predicted_N: must hold 2 estimates, one a row, not 1"),
        ([1, 2], [1, 2], [[1]], "sampled_NK: must hold 2 rows of replies, not 1"),
    ],
)
def test_lists_that_do_not_belong_together_are_refused(
    predicted: list[int | None], actual: list[int], drawn: list[list[int | None]], text: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        score_estimates(predicted, actual, drawn)
    assert str(caught.value) == text

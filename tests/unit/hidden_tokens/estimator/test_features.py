import time
from dataclasses import replace

import numpy as np
import pytest

from audit.hidden_tokens.estimator.cells import Quantity
from audit.hidden_tokens.estimator.features import (
    approximate_tokens,
    feature_names,
    features,
    text_features,
)
from tests.support.hidden_tokens import load_rows
from tests.unit.hidden_tokens.estimator.made_up import example_rows

LEVELS = {"model": ("quick", "slow"), "domain": ("medical", "planning"), "effort": ("",)}


def named(text: str) -> dict[str, float]:
    names = [name.removeprefix("prompt:") for name in feature_names() if "prompt:" in name]
    return dict(zip(names, text_features(text), strict=True))


def test_counts_are_those_of_the_text() -> None:
    counts = named("Find $x^2 + 3.5 = 40$. How many?\nA. One\n(B) TWO\n- not all\n你好")

    assert counts["numbers"] == 3
    assert counts["largest_number"] == 40
    assert counts["options"] == 2
    assert counts["list_items"] == 1
    assert counts["text:'$'"] == 2
    assert counts["word:how many"] == 1
    assert counts["word:not"] == 1
    assert counts["maths"] == 4
    assert counts["upper_case"] == 8
    assert counts["foreign"] == counts["east_asian"] == 2


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\ud800", "٣" * 40, "9" * 5000, "\x00"])
def test_any_text_has_finite_features(text: str) -> None:
    assert np.isfinite(text_features(text)).all()
    assert len(text_features(text)) == len(text_features("a word"))


@pytest.mark.parametrize("part", ["\n", " ", "\n ", "1", "1.", "- ", "(", "a", "?", "- \n"])
def test_no_text_takes_more_than_linear_time(part: str) -> None:
    started = time.process_time()
    text_features(part * 300_000)

    assert time.process_time() - started < 5


def test_a_count_of_tokens_without_a_tokenizer_is_about_right() -> None:
    ratios = [
        approximate_tokens(row["answer"]) / row["answer_tokens_approx"]
        for row in load_rows("billed_train")
        if row["answer_tokens_approx"] >= 100
    ]

    low, high = np.quantile(ratios, [0.1, 0.9])
    assert 0.8 < low
    assert high < 1.35


def test_the_bill_is_no_feature() -> None:
    rows = example_rows("train", 8)
    inflated = [replace(row, num_tokens=3 * row.num_tokens, group="other") for row in rows]

    assert np.array_equal(features(rows, LEVELS), features(inflated, LEVELS))


def test_unknown_categories_are_missing_and_quantities_differ() -> None:
    (row,) = example_rows("train", 1)
    other = replace(row, model="new", quantity=Quantity.OUTPUT)

    matrix = features([row, other], LEVELS)

    assert matrix.shape == (2, len(feature_names()))
    assert matrix[0, :4].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert matrix[1, :4].tolist() == [-1.0, 1.0, 0.0, 1.0]
    assert matrix[0, 4:].tolist() == matrix[1, 4:].tolist()

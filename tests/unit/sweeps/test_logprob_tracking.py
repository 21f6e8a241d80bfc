"""Mean log-probabilities of two times, against a slow twin."""

import itertools

import numpy as np
import pytest

from audit.sweeps.logprobs.tracking import Row, change_p_value, mean_distance


def draw(random: np.random.Generator, shift: float, num: int) -> list[Row]:
    rows: list[Row] = []
    for _ in range(num):
        values = np.sort(np.log([0.4, 0.2, 0.1, 0.05]) + random.normal(0, 0.02, 4))[::-1]
        rows.append({f"id {i}": float(v) + shift * (i == 1) for i, v in enumerate(values)})
    return rows


def twin_distance(before: list[Row], after: list[Row]) -> float:
    tokens = sorted({t for row in before + after for t in row})
    total = 0.0
    for token in tokens:
        sides = []
        for rows in (before, after):
            sides.append(sum(row.get(token, min(row.values())) for row in rows) / len(rows))
        total += abs(sides[0] - sides[1])
    return total / len(tokens)


def test_equals_a_slow_twin() -> None:
    random = np.random.default_rng(1)
    before, after = draw(random, 0.0, 5), draw(random, 0.3, 7)
    after[0] = {"id 0": -1.0, "id 9": -4.0}
    assert mean_distance(before, after) == pytest.approx(twin_distance(before, after), abs=1e-12)


def test_a_missing_token_counts_as_the_least_likely_one() -> None:
    assert mean_distance([{"a": -1.0, "b": -3.0}], [{"a": -1.0, "c": -3.5}]) == pytest.approx(
        (0.0 + abs(-3.0 + 3.5) + abs(-3.0 + 3.5)) / 3
    )
    assert mean_distance([{"a": -1.0}], [{"a": -1.0}]) == 0.0


def test_the_p_value_is_that_of_all_orders() -> None:
    random = np.random.default_rng(2)
    before, after = draw(random, 0.0, 3), draw(random, 0.05, 3)
    observed = twin_distance(before, after)
    pool = before + after
    reached = [
        twin_distance([pool[i] for i in side], [pool[i] for i in range(6) if i not in side])
        >= observed - 1e-12
        for side in itertools.combinations(range(6), 3)
    ]
    exact = sum(reached) / len(reached)
    found = change_p_value({"p": before}, {"p": after}, np.random.default_rng(3), 4000)
    assert found == pytest.approx(exact, abs=0.03)


def test_no_change_is_seldom_called_one_and_never_certain() -> None:
    small = 0
    for run in range(200):
        random = np.random.default_rng(100 + run)
        sides = [{p: draw(random, 0.0, 6) for p in "ab"} for _ in range(2)]
        small += change_p_value(sides[0], sides[1], random, 99) <= 0.05
    assert small <= 20  # 5 % of 200 is 10, and 20 is 3.2 standard deviations above
    random = np.random.default_rng(5)
    far = change_p_value({"a": draw(random, 0, 10)}, {"a": draw(random, 3, 10)}, random, 99)
    assert far == 0.01


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="no prompt in common"):
        change_p_value({"a": []}, {"b": []}, np.random.default_rng(1))
    with pytest.raises(ValueError, match="at least one answer"):
        mean_distance([], [{"a": -1.0}])
    with pytest.raises(ValueError, match="names no tokens"):
        mean_distance([{}], [{"a": -1.0}])

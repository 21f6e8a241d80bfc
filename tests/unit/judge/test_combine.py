"""Combined e-values: closed forms, and the false discoveries of e-BH."""

import numpy as np
import pytest

from audit.judge.combine import average_log_e, e_bh

INF = float("inf")


def test_an_average_is_the_mean_of_e_values() -> None:
    assert average_log_e(np.log([1.0, 2.0, 6.0]).tolist()) == pytest.approx(np.log(3.0))
    weighted = average_log_e(np.log([1.0, 2.0, 6.0]).tolist(), [1.0, 0.0, 3.0])
    assert weighted == pytest.approx(np.log(19.0 / 4.0))


def test_huge_and_empty_e_values_keep_their_size() -> None:
    assert average_log_e([5000.0, -5000.0]) == pytest.approx(5000.0 - np.log(2.0))
    assert average_log_e([-INF, -INF]) == -INF
    assert average_log_e([INF, 0.0], [0.0, 1.0]) == 0.0
    assert average_log_e([INF, 0.0]) == INF


def test_e_bh_rejects_by_the_step_up_rule() -> None:
    # of four at 10 %, the thresholds are 40, 20, 13.3 and 10
    e_values = {"a": 39.0, "b": 21.0, "c": 12.0, "d": 1.0}
    logs = {name: float(np.log(e)) for name, e in e_values.items()}
    assert e_bh(logs, 0.1) == {"a", "b"}
    assert e_bh(logs | {"d": float(np.log(10.01))}, 0.1) == {"a", "b", "c", "d"}
    assert e_bh({"a": float(np.log(39.0)), "b": 0.0, "c": 0.0, "d": 0.0}, 0.1) == frozenset()


def test_e_bh_takes_extremes() -> None:
    assert e_bh({}, 0.1) == frozenset()
    assert e_bh({"a": INF, "b": -INF}, 0.01) == {"a"}
    assert e_bh({"a": float(np.log(1 / 0.05)) + 1e-12}, 0.05) == {"a"}


@pytest.mark.parametrize("dependent", [False, True])
def test_e_bh_keeps_the_false_discovery_rate(dependent: bool) -> None:
    rng = np.random.default_rng(5)
    fdr, num_null, num_false, proportions, found = 0.1, 15, 5, [], 0
    shift = np.concatenate([np.zeros(num_null), np.full(num_false, 3.0)])
    for _ in range(2000):
        noise = rng.standard_normal() if dependent else rng.standard_normal(num_null + num_false)
        # the likelihood ratio of a normal mean of 3 against 0
        log_e = 3.0 * (shift + noise) - 4.5
        rejected = e_bh({str(i): float(e) for i, e in enumerate(log_e)}, fdr)
        false = sum(int(name) < num_null for name in rejected)
        proportions.append(false / max(1, len(rejected)))
        found += len(rejected) - false
    mean, error = float(np.mean(proportions)), float(np.std(proportions)) / 2000**0.5
    assert mean <= fdr * num_null / (num_null + num_false) + 2.33 * error
    assert found > 0.3 * 2000 * num_false


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [-1.0, 2.0], [INF, 1.0]])
def test_bad_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        average_log_e([0.0, 1.0], weights)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        average_log_e([float("nan")])
    with pytest.raises(ValueError, match="weight"):
        average_log_e([])
    for fdr in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="rate"):
            e_bh({"a": 1.0}, fdr)

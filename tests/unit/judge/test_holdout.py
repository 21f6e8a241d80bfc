"""Each honest variant is judged by the others, as an honest provider would be."""

import numpy as np

from audit.judge.bins import BinCounts, count_calls, no_counts
from audit.judge.calls import FAR, MATCH, NEAR, Calls
from audit.judge.holdout import hold_out
from tests.support.measurements import calls_of, default_policy


def exchanges_of(seed: int, rate: float, count: int = 20) -> list[Calls]:
    """Return exchanges whose calls turn at one rate, and never where they are clear."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        gap = rng.exponential(8.0, 500)
        turned = rng.random(500) < rate * np.exp(-gap)
        found.append(calls_of(gap, np.where(turned, np.where(gap < 4, NEAR, FAR), MATCH)))
    return found


def counted(exchanges: dict[str, list[Calls]]) -> dict[str, BinCounts]:
    return {n: sum((count_calls(c) for c in calls), no_counts()) for n, calls in exchanges.items()}


def test_variants_alike_do_not_fail_each_other() -> None:
    exchanges = {"a": exchanges_of(1, 0.4), "b": exchanges_of(2, 0.4), "c": exchanges_of(3, 0.3)}
    found = hold_out(counted(exchanges), exchanges, default_policy())
    assert [h.variant for h in found] == ["a", "b", "c"]
    assert [(h.num_exchanges, h.num_false_alarms) for h in found] == [(20, 0)] * 3
    assert {h.false_alarm_rate for h in found} == {default_policy().false_alarm_rate}


def test_the_odd_one_out_is_failed_by_the_others_and_fails_none() -> None:
    rng = np.random.default_rng(9)
    odd = [
        calls_of(c.gap_steps_R, np.where(rng.random(500) < 0.1, FAR, c.outcome_R))
        for c in exchanges_of(3, 0.4)
    ]
    exchanges = {"a": exchanges_of(1, 0.4), "odd": odd, "b": exchanges_of(2, 0.4)}
    found = {h.variant: h for h in hold_out(counted(exchanges), exchanges, default_policy())}
    assert found["odd"].is_alarming and found["odd"].num_false_alarms == 20
    assert not found["a"].is_alarming and not found["b"].is_alarming


def test_a_single_variant_has_nobody_to_be_judged_by() -> None:
    exchanges = {"a": exchanges_of(1, 0.4)}
    assert hold_out(counted(exchanges), exchanges, default_policy()) == ()
    assert hold_out({}, {}, default_policy()) == ()

"""The evidence of an answer: its peak may decide, and seldom does against an honest provider."""

import numpy as np
import pytest
from scipy import stats

from audit.judge.alternatives import EvidenceLaw, mix
from audit.judge.bins import RateBounds, bin_of, bound_rates
from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, NEAR
from audit.judge.eprocess import weigh
from tests.support.measurements import calls_of, counts_of, outcomes_at_the_bound

NUM_STREAMS = 2000
NUM_CALLS = 1000


def bounds_of(num_calls: int) -> RateBounds:
    return bound_rates(
        (counts_of(0.2, num_calls, num_calls // 5) + counts_of(1.5, num_calls, num_calls // 50),),
        0.01,
    )


LAW = EvidenceLaw(bounds_of(20_000))


def test_an_answer_that_agrees_throughout_is_no_evidence() -> None:
    found = weigh(calls_of(np.full(300, 5.0)), LAW)
    assert found.peak_log_e_nats == 0.0 and found.peak_token == 0
    assert found.log_e_nats < 0.0


def test_the_peak_is_where_the_evidence_was_largest() -> None:
    outcomes = [MATCH] * 10 + [FAR] * 3 + [MATCH] * 400
    found = weigh(calls_of(np.full(len(outcomes), 20.0), outcomes), LAW)
    assert found.peak_token == 13
    assert found.peak_log_e_nats > found.log_e_nats
    alone = weigh(calls_of(np.full(13, 20.0), outcomes[:13]), LAW)
    assert alone.log_e_nats == pytest.approx(found.peak_log_e_nats)


def test_the_final_evidence_is_the_mixture_of_its_parts() -> None:
    outcomes = [MATCH, FAR, NEAR, MATCH]
    found = weigh(calls_of([0.1, 9.0, 2.0, 1e4], outcomes), LAW)
    assert mix(found.log_e_nats_K[:, None])[0] == pytest.approx(found.log_e_nats)


def test_calls_that_do_not_count_give_no_evidence() -> None:
    found = weigh(calls_of([9.0] * 5, [FAR] * 5, [False] * 5), LAW)
    assert found.log_e_nats == pytest.approx(0.0, abs=1e-12)
    assert found.peak_log_e_nats == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(found.log_e_nats_K, 0.0)


def test_leaving_out_calls_that_do_not_count_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    calls = calls_of(
        rng.exponential(3.0, 200),
        rng.choice([MATCH, FAR], 200, p=[0.9, 0.1]),
        rng.random(200) < 0.7,
    )
    both = weigh(calls, LAW), weigh(calls.counted(), LAW)
    np.testing.assert_allclose(both[0].log_e_nats_K, both[1].log_e_nats_K)
    assert both[0].peak_log_e_nats == pytest.approx(both[1].peak_log_e_nats)


@pytest.mark.parametrize("alpha", [0.2, 0.02])
def test_an_honest_provider_at_the_very_bound_seldom_ever_looks_false(alpha: float) -> None:
    bounds = bounds_of(2000)
    law = EvidenceLaw(bounds)
    rng = np.random.default_rng(int(1000 * alpha))
    gap = np.exp(rng.uniform(np.log(0.02), np.log(60.0), NUM_STREAMS * NUM_CALLS))
    bin_of_gap = bin_of(gap)
    far = bounds.far_B[bin_of_gap]
    near = np.where(gap < FAR_MARGIN_STEPS, bounds.mismatch_B[bin_of_gap] - far, 0.0)
    outcome = outcomes_at_the_bound(rng, gap, near, far)
    crossed, peaks = 0, []
    for start in range(0, len(gap), NUM_CALLS):
        here = slice(start, start + NUM_CALLS)
        peak = weigh(calls_of(gap[here], outcome[here]), law).peak_log_e_nats
        crossed += peak >= -np.log(alpha)
        peaks.append(peak)
    assert crossed <= stats.binom.ppf(0.999, NUM_STREAMS, alpha)
    # a law that never moved would not cross either
    assert np.mean(peaks) > 0.1

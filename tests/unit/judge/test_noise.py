"""The effective noise of an answer is what its calls were simulated with, at every look."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from audit.judge.calls import FAR, MATCH, NEAR, Calls
from audit.judge.noise import DEFAULT_CONFIDENCE, LEVELS_LOGITS_G, estimate_noise, log_likelihood_G
from tests.support.measurements import STEP_LOGITS, Float64Array, calls_of

NUM_STREAMS = 300
NUM_LOOKS = 3
LOOK_EVERY = 50


def noisy_calls(rng: np.random.Generator, num_calls: int, sigma: float) -> Calls:
    """Return calls that Gaussian noise on logit differences turned."""
    gap = rng.exponential(1.0, num_calls)
    turned = rng.random(num_calls) < special.ndtr(-gap / sigma)
    return calls_of(gap / STEP_LOGITS, np.where(turned, NEAR, MATCH))


def slow_log_likelihood(calls: Calls, sigma: float) -> float:
    total = 0.0
    for gap, outcome, counts in zip(
        calls.gap_logits_R, calls.outcome_R, calls.counts_R, strict=True
    ):
        rate = 1e-4 + (1 - 1e-4) * float(stats.norm.sf(gap / sigma))
        total += float(counts) * float(np.log(1 - rate if outcome == MATCH else rate))
    return total


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5, 2.0])
def test_the_estimate_is_the_noise_of_the_simulation(sigma: float) -> None:
    found = estimate_noise(log_likelihood_G(noisy_calls(np.random.default_rng(7), 8000, sigma)))
    assert found.high_logits is not None
    assert found.low_logits < sigma < found.high_logits
    assert sigma / 1.5 < found.estimate_logits < sigma * 1.5
    assert found.high_logits / found.low_logits < 4.0
    assert found.confidence == DEFAULT_CONFIDENCE


def test_log_likelihoods_are_those_of_a_slow_twin() -> None:
    rng = np.random.default_rng(1)
    gap, outcome = rng.exponential(10.0, 40), rng.choice([MATCH, NEAR, FAR], 40)
    calls = calls_of(
        [*gap, 0.0, 1e7], [*outcome, MATCH, FAR], [*(rng.random(40) < 0.8), True, True]
    )
    expected = [slow_log_likelihood(calls, float(level)) for level in LEVELS_LOGITS_G]
    np.testing.assert_allclose(log_likelihood_G(calls), expected, rtol=1e-9)


def test_log_likelihoods_of_parts_add_up() -> None:
    rng = np.random.default_rng(3)
    first, second = noisy_calls(rng, 70, 0.1), noisy_calls(rng, 30, 0.3)
    both = calls_of(
        np.concatenate([first.gap_steps_R, second.gap_steps_R]),
        np.concatenate([first.outcome_R, second.outcome_R]),
    )
    np.testing.assert_allclose(
        log_likelihood_G(both), log_likelihood_G(first) + log_likelihood_G(second)
    )


def test_nothing_seen_rules_out_nothing() -> None:
    found = estimate_noise(np.zeros(len(LEVELS_LOGITS_G)))
    assert found.low_logits == 0.0 and found.high_logits is None


def test_agreement_throughout_is_the_smallest_noise_with_an_upper_limit() -> None:
    found = estimate_noise(log_likelihood_G(calls_of(np.geomspace(0.05, 50.0, 3000))))
    assert found.estimate_logits == LEVELS_LOGITS_G[0]
    assert found.low_logits == 0.0
    assert found.high_logits is not None and found.high_logits < 0.05


def test_a_stray_token_is_not_taken_for_enormous_noise() -> None:
    rng = np.random.default_rng(4)
    calm = noisy_calls(rng, 3000, 0.02)
    stray = log_likelihood_G(calls_of([20.0 / STEP_LOGITS], [FAR]))
    assert estimate_noise(log_likelihood_G(calm) + stray).estimate_logits < 0.04


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.floats(5.0, 100.0))
def test_more_mismatches_at_large_gaps_never_lower_the_estimate(
    seed: int, num_more: int, gap_logits: float
) -> None:
    before = log_likelihood_G(noisy_calls(np.random.default_rng(seed), 60, 0.1))
    more = log_likelihood_G(calls_of([gap_logits / STEP_LOGITS] * num_more, [FAR] * num_more))
    low, high = estimate_noise(before), estimate_noise(before + more)
    assert high.estimate_logits >= low.estimate_logits
    assert high.low_logits >= low.low_logits


def test_a_higher_confidence_gives_wider_limits() -> None:
    likelihood = log_likelihood_G(noisy_calls(np.random.default_rng(5), 2000, 0.1))
    narrow, wide = (estimate_noise(likelihood, confidence) for confidence in (0.8, 0.999))
    assert wide.low_logits <= narrow.low_logits <= narrow.estimate_logits
    assert narrow.high_logits is not None and wide.high_logits is not None
    assert narrow.estimate_logits <= narrow.high_logits <= wide.high_logits
    assert wide.high_logits > narrow.high_logits


def looks(rng: np.random.Generator, sigma: float) -> list[Float64Array]:
    total, found = np.zeros(len(LEVELS_LOGITS_G)), []
    for _ in range(NUM_LOOKS):
        total = total + log_likelihood_G(noisy_calls(rng, LOOK_EVERY, sigma))
        found.append(total)
    return found


def test_the_limits_hold_at_every_look_as_often_as_promised() -> None:
    sigma, confidence = float(LEVELS_LOGITS_G[40]), 0.8
    rng = np.random.default_rng(12)
    missed, narrow = 0, 0
    for _ in range(NUM_STREAMS):
        found = [estimate_noise(likelihood, confidence) for likelihood in looks(rng, sigma)]
        missed += not all(
            f.low_logits <= sigma and (f.high_logits is None or sigma <= f.high_logits)
            for f in found
        )
        narrow += found[-1].high_logits is not None and found[-1].low_logits > 0.0
    assert missed <= stats.binom.ppf(0.999, NUM_STREAMS, 1 - confidence)
    # limits so wide that they cannot fail would hold too
    assert narrow > NUM_STREAMS / 2

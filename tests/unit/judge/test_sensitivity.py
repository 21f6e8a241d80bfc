"""What a verdict says it could have seen is what simulated deviations show."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import special, stats

from audit.findings import AttackPower
from audit.judge.alternatives import LOG_PRIOR_K, EvidenceLaw, mix
from audit.judge.bins import bound_rates, no_counts
from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, NEAR, Calls
from audit.judge.deviation import clipped_deviation_R, mean_clipped_margin
from audit.judge.sensitivity import NOISE_LEVELS_D, STRAY_SHARES_D, measure_sensitivity
from audit.judge.verdict import evidence_laws
from audit.records import Sensitivity
from tests.support.measurements import (
    STEP_LOGITS,
    Float64Array,
    calls_of,
    default_policy,
    evidence_of,
    honest_calibration,
)

NUM_RUNS = 300
THRESHOLD = default_policy().log_threshold_nats


@cache
def law() -> EvidenceLaw:
    (found,) = evidence_laws(honest_calibration(), default_policy()).values()
    return found


def calls_like(seed: int, num_tokens: int) -> Calls:
    gap = np.random.default_rng(seed).exponential(1.0, num_tokens) / STEP_LOGITS
    return calls_of(gap)


def seen(
    calls: Calls,
    which: EvidenceLaw | None = None,
    *,
    threshold: float = THRESHOLD,
    power: float = 0.9,
) -> Sensitivity:
    return measure_sensitivity(calls, which or law(), threshold_nats=threshold, power=power)


def share_failed(calls: Calls, turned_R: Float64Array, seed: int) -> float:
    """Return how often deviations that turn each call with such a probability would be failed."""
    rng = np.random.default_rng(seed)
    missed = np.where(calls.gap_steps_R >= FAR_MARGIN_STEPS, FAR, NEAR)
    failed = 0
    for _ in range(NUM_RUNS):
        outcome = np.where(rng.random(calls.num_tokens) < turned_R, missed, MATCH)
        one = replace(calls, outcome_R=outcome.astype(np.int8))
        failed += mix(np.cumsum(law().log_e_KR(one), axis=1)).max() >= THRESHOLD
    return failed / NUM_RUNS


@pytest.mark.parametrize("num_tokens", [60, 300, 1500])
def test_the_stated_share_of_replaced_tokens_is_mostly_seen(num_tokens: int) -> None:
    calls = calls_like(num_tokens, num_tokens)
    share = seen(calls).substituted_token_share
    assert share is not None
    assert share_failed(calls, np.full(num_tokens, share), 1) >= 0.85
    assert share_failed(calls, np.full(num_tokens, share / 4), 2) < 0.85


@pytest.mark.parametrize("num_tokens", [300, 1500])
def test_the_stated_noise_is_mostly_seen(num_tokens: int) -> None:
    calls = calls_like(num_tokens, num_tokens)
    noise = seen(calls).logit_noise_logits
    assert noise is not None
    assert share_failed(calls, special.ndtr(-calls.gap_logits_R / noise), 3) >= 0.85
    assert share_failed(calls, special.ndtr(-calls.gap_logits_R / (noise / 4)), 4) < 0.85


def slow_share(calls: Calls, power: float) -> float | None:
    """Return the smallest share from which on every larger one is seen, alternative by alternative.

    Sums of independent calls are taken to be normal.
    """
    missed = np.where(calls.gap_steps_R >= FAR_MARGIN_STEPS, FAR, NEAR).astype(np.int8)
    matched_KR = law().log_e_KR(calls)
    missed_KR = law().log_e_KR(replace(calls, outcome_R=missed))
    found = None
    for share in sorted(STRAY_SHARES_D.tolist(), reverse=True):
        mean_K = (share * missed_KR + (1.0 - share) * matched_KR).sum(axis=1)
        spread_K = np.sqrt((share * (1.0 - share) * (missed_KR - matched_KR) ** 2).sum(axis=1))
        surely_K = mean_K - stats.norm.ppf(power) * spread_K
        if not (surely_K + LOG_PRIOR_K >= THRESHOLD).any():
            break
        found = share
    return found


@pytest.mark.parametrize("num_tokens", [8, 20, 60, 300, 1500])
@pytest.mark.parametrize("power", [0.6, 0.9, 0.99])
def test_the_stated_share_is_that_of_a_slow_twin(num_tokens: int, power: float) -> None:
    calls = calls_like(num_tokens, num_tokens)
    assert seen(calls, power=power).substituted_token_share == slow_share(calls, power)


def test_longer_answers_show_smaller_deviations() -> None:
    calls = calls_like(0, 4000)
    found = [seen(replace_first(calls, n)) for n in (100, 400, 1000, 4000)]
    shares = [f.substituted_token_share or 1.0 for f in found]
    noises = [f.logit_noise_logits or np.inf for f in found]
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1]
    assert noises == sorted(noises, reverse=True) and noises[0] > noises[-1]


def replace_first(calls: Calls, count: int) -> Calls:
    return calls_of(calls.gap_steps_R[:count])


def test_a_lower_threshold_or_power_sees_no_less() -> None:
    calls = calls_like(1, 300)
    usual = seen(calls).substituted_token_share
    lower = seen(calls, threshold=1.0).substituted_token_share
    bolder = seen(calls, power=0.5).substituted_token_share
    assert usual is not None and lower is not None and bolder is not None
    assert lower < usual and bolder < usual


def test_calls_that_do_not_count_show_nothing() -> None:
    calls = calls_like(2, 300)
    counted = replace(calls, counts_R=np.arange(300) < 100)
    found, alone = seen(counted), seen(calls_of(calls.gap_steps_R[:100]))
    assert found.substituted_token_share == alone.substituted_token_share
    assert found.logit_noise_logits == alone.logit_noise_logits
    assert "At 300 tokens" in found.statement


def test_what_turned_does_not_change_what_could_have_been_seen() -> None:
    calls = calls_like(3, 300)
    turned = replace(calls, outcome_R=np.full(300, NEAR, dtype=np.int8))
    assert seen(calls) == seen(turned)


def test_without_honest_traffic_nothing_could_be_seen() -> None:
    blind = EvidenceLaw(bound_rates((no_counts(),), 0.01))
    found = seen(calls_like(4, 500), blind)
    assert found.substituted_token_share is None and found.logit_noise_logits is None
    assert found.statement == (
        "At 500 tokens this audit could have seen nothing; send longer answers."
    )


def test_a_single_token_shows_nothing() -> None:
    found = seen(calls_of([1.0]))
    assert found.substituted_token_share is None and found.logit_noise_logits is None


def test_where_every_call_is_clear_cut_no_noise_is_stated() -> None:
    found = seen(calls_of(np.full(300, 1e4)))
    assert found.logit_noise_logits is None and found.substituted_token_share is not None
    assert "replaced by unrelated ones" in found.statement
    assert "logits" not in found.statement


def test_the_statement_tells_what_could_not_have_been_seen() -> None:
    attack = AttackPower(attack="a", label="b", power=0.5, num_tokens_needed=None)
    found = measure_sensitivity(
        calls_like(5, 400), law(), threshold_nats=THRESHOLD, power=0.9, attacks=(attack,)
    )
    assert found.substituted_token_share in STRAY_SHARES_D.tolist()
    assert found.logit_noise_logits in NOISE_LEVELS_D.tolist()
    assert found.power == 0.9 and found.attacks == (attack,)
    assert "400 tokens" in found.statement and "90%" in found.statement
    assert f"{found.substituted_token_share:.2g} of tokens" in found.statement
    assert f"{found.logit_noise_logits:.2g} logits" in found.statement


def test_deviations_are_distances_between_zero_and_the_clip() -> None:
    evidence = evidence_of([0.0, 0.1, 0.4, 3.0, 1e4])
    found = clipped_deviation_R(evidence)
    np.testing.assert_allclose(found, [0.0, 0.1, 0.4, 0.5, 0.5], atol=1e-7)
    assert mean_clipped_margin(evidence) == pytest.approx(0.3)

"""What a verdict says it could have seen is what simulated deviations show."""

import numpy as np
import pytest

from audit.judge.deviation import MARGIN_CLIP_LOGITS, clipped_deviation_R, mean_clipped_margin
from audit.judge.sensitivity import (
    MAX_LOGIT_NOISE,
    POWER,
    detectable_noise,
    detectable_share,
    measure_sensitivity,
)
from tests.support.measurements import evidence_of

NUM_RUNS = 2000


@pytest.mark.parametrize(("num_tokens", "threshold"), [(50, 0.01), (300, 0.004), (300, 0.05)])
def test_the_stated_share_of_replaced_tokens_is_mostly_seen(
    num_tokens: int, threshold: float
) -> None:
    share = detectable_share(num_tokens, threshold)
    assert share is not None
    rng = np.random.default_rng(num_tokens)
    replaced = rng.binomial(num_tokens, share, NUM_RUNS)
    seen = np.mean(replaced * MARGIN_CLIP_LOGITS / num_tokens > threshold)
    assert seen >= POWER - 0.015
    fewer = rng.binomial(num_tokens, share / 2, NUM_RUNS)
    assert np.mean(fewer * MARGIN_CLIP_LOGITS / num_tokens > threshold) < POWER


@pytest.mark.parametrize(("num_tokens", "threshold"), [(60, 0.01), (300, 0.002), (300, 0.03)])
def test_the_stated_noise_is_mostly_seen(num_tokens: int, threshold: float) -> None:
    rng = np.random.default_rng(num_tokens)
    gaps = rng.exponential(2.0, num_tokens)
    noise = detectable_noise(gaps, threshold)
    assert noise is not None
    moved = rng.normal(0.0, noise, (NUM_RUNS, num_tokens)) - gaps
    means = np.clip(moved, 0.0, MARGIN_CLIP_LOGITS).mean(axis=1)
    assert np.mean(means > threshold) >= 0.9
    moved = rng.normal(0.0, noise / 2, (NUM_RUNS, num_tokens)) - gaps
    assert np.mean(np.clip(moved, 0.0, MARGIN_CLIP_LOGITS).mean(axis=1) > threshold) < POWER


def test_a_lower_threshold_sees_smaller_deviations() -> None:
    gaps = np.random.default_rng(0).exponential(2.0, 200)
    thresholds = [0.001, 0.01, 0.05, 0.1]
    shares = [detectable_share(200, t) or 1.0 for t in thresholds]
    noises = [detectable_noise(gaps, t) or MAX_LOGIT_NOISE for t in thresholds]
    assert shares == sorted(shares) and noises == sorted(noises)


def test_where_not_even_all_tokens_replaced_would_be_seen_no_share_is_stated() -> None:
    assert detectable_share(10, MARGIN_CLIP_LOGITS) is None
    assert detectable_share(1, 0.49) is not None


def test_where_every_call_is_clear_cut_no_noise_is_stated() -> None:
    assert detectable_noise(np.full(100, 1e4), 0.01) is None


def test_the_statement_tells_what_could_not_have_been_seen() -> None:
    found = measure_sensitivity(evidence_of(np.zeros(200), np.full(200, 0.3)), 0.01)
    assert found.power == POWER
    assert found.substituted_token_share is not None and found.logit_noise_logits is not None
    assert "200 tokens" in found.statement
    assert f"{found.substituted_token_share:.1%}" in found.statement
    blind = measure_sensitivity(evidence_of([0.0], [1e4]), 0.5)
    assert blind.substituted_token_share is None and blind.logit_noise_logits is None
    assert "nothing" in blind.statement


def test_deviations_are_distances_between_zero_and_the_clip() -> None:
    evidence = evidence_of([0.0, 0.1, 0.4, 3.0, 1e4])
    found = clipped_deviation_R(evidence)
    np.testing.assert_allclose(found, [0.0, 0.1, 0.4, 0.5, 0.5], atol=1e-7)
    assert mean_clipped_margin(evidence) == pytest.approx(0.3)

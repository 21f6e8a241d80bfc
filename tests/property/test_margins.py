"""What a signed margin promises, whatever logits, noise and filters are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_runner.records import Sampling
from reference_runner.samplers.filters import kept_mask
from reference_runner.scoring import RowScores, score_rows
from tests.support.sampling_twin import gumbel, random_logits

NUM_ROWS = 16
seeds = st.integers(0, 2**32 - 1)
temperatures = st.floats(0.01, 5.0)
top_ks = st.sampled_from([0, 1, 2, 5, 20])
top_ps = st.sampled_from([1.0, 0.95, 0.5, 0.05, 1e-6, 1e-50])


def drawn(
    logits: np.ndarray, claimed: np.ndarray, noise: np.ndarray | None, sampling: Sampling
) -> RowScores:
    tensor = None if noise is None else torch.from_numpy(noise)
    return score_rows(torch.from_numpy(logits), torch.from_numpy(claimed), tensor, sampling)


def best_tokens(logits: np.ndarray, noise: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Return the token that a sampler draws in each row; numpy's argmax takes the lowest id."""
    scaled = torch.from_numpy(logits) / sampling.temperature
    mask = kept_mask(scaled, top_k=sampling.top_k, top_p=sampling.top_p)
    noised: np.ndarray = scaled.double().numpy() + noise
    if mask is not None:
        noised = np.where(mask.numpy(), noised, -np.inf)
    best: np.ndarray = noised.argmax(axis=1)
    return best


@settings(max_examples=100, deadline=None)
@given(seeds, temperatures, top_ks, top_ps, st.integers(1, 40))
def test_margins_are_finite_and_positive_only_where_the_token_matches(
    seed: int, temperature: float, top_k: int, top_p: float, vocab_size: int
) -> None:
    rng = np.random.default_rng(seed)
    logits, noise = random_logits(rng, NUM_ROWS, vocab_size), gumbel(rng, NUM_ROWS, vocab_size)
    claimed = rng.integers(0, vocab_size, NUM_ROWS)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=0)
    found = drawn(logits, claimed, noise, sampling)
    margin, matched = found.signed_margin_R.numpy(), found.matched_R.numpy()
    for values in (margin, found.logprob_R.numpy(), found.top_two_gap_R.numpy()):
        assert np.isfinite(values).all()
    assert (margin[~matched] <= 0).all()
    assert (margin[matched] >= 0).all()
    assert (found.top_two_gap_R.numpy() >= 0).all()
    assert not (matched & found.excluded_R.numpy()).any()
    assert (margin[matched] == found.top_two_gap_R.numpy()[matched]).all()


@settings(max_examples=100, deadline=None)
@given(seeds, temperatures, top_ks, top_ps, st.integers(2, 40))
def test_no_claimed_token_is_nearer_than_the_gap(
    seed: int, temperature: float, top_k: int, top_p: float, vocab_size: int
) -> None:
    rng = np.random.default_rng(seed)
    logits, noise = random_logits(rng, NUM_ROWS, vocab_size), gumbel(rng, NUM_ROWS, vocab_size)
    claimed = rng.integers(0, vocab_size, NUM_ROWS)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=0)
    found = drawn(logits, claimed, noise, sampling)
    other = drawn(logits, (claimed + 1) % vocab_size, noise, sampling)
    gap, wrong = found.top_two_gap_R.numpy(), ~found.matched_R.numpy()
    shortfall = -found.signed_margin_R.numpy()
    assert (shortfall[wrong] >= gap[wrong] * (1 - 1e-6)).all()
    np.testing.assert_array_equal(gap, other.top_two_gap_R.numpy())


@settings(max_examples=60, deadline=None)
@given(seeds, temperatures, top_ks, st.sampled_from([1.0, 0.95, 0.5]))
def test_a_kept_tokens_shortfall_is_at_most_its_distance_to_the_best_rival(
    seed: int, temperature: float, top_k: int, top_p: float
) -> None:
    rng = np.random.default_rng(seed)
    logits, noise = random_logits(rng, NUM_ROWS, 23), gumbel(rng, NUM_ROWS, 23)
    claimed = rng.integers(0, 23, NUM_ROWS)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=0)
    found = drawn(logits, claimed, noise, sampling)
    rows = np.arange(NUM_ROWS)
    noised = (logits / np.float32(temperature)).astype(np.float64) + noise
    best = best_tokens(logits, noise, sampling)
    plain = (noised[rows, claimed] - noised[rows, best]) * temperature
    kept = ~found.matched_R.numpy() & ~found.excluded_R.numpy()
    assert (found.signed_margin_R.numpy()[kept] >= plain[kept] - 1e-5).all()


@pytest.mark.parametrize("delta", [1e-3, 0.05])
@settings(max_examples=60, deadline=None)
@given(seed=seeds, temperature=st.floats(0.1, 3.0), top_k=top_ks)
def test_an_engine_off_by_delta_deviates_by_at_most_twice_delta(
    delta: float, seed: int, temperature: float, top_k: int
) -> None:
    assert _deviation_over_delta(seed, temperature, top_k, 1.0, delta) <= 2.0 + 2e-6 * 16 / delta


#: Under top-p the distance is told to first order only, so twice delta is no strict bound there.
#: Over 77,000 random rows at each of p = 0.05 to 0.99 the worst factor measured was 1.99.
MEASURED_TOP_P_FACTOR = 3.0


@settings(max_examples=60, deadline=None)
@given(seed=seeds, temperature=st.floats(0.5, 2.0), top_p=st.sampled_from([0.95, 0.9, 0.5]))
def test_under_top_p_an_engine_off_by_delta_deviates_by_a_small_multiple(
    seed: int, temperature: float, top_p: float
) -> None:
    factor = _deviation_over_delta(seed, temperature, 0, top_p, 1e-3)
    assert factor <= MEASURED_TOP_P_FACTOR


def _deviation_over_delta(
    seed: int, temperature: float, top_k: int, top_p: float, delta: float
) -> float:
    """Return the worst deviation of tokens drawn from perturbed logits, over delta."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 3.0, (64, 17)).astype(np.float32)
    noise = gumbel(rng, 64, 17)
    off = rng.choice([-delta, delta], logits.shape).astype(np.float32)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=0)
    claimed = best_tokens(logits + off, noise, sampling)
    margin = drawn(logits, claimed, noise, sampling).signed_margin_R.numpy()
    return float(np.max(-margin, initial=0.0)) / delta

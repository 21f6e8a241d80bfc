"""Scores equal those of the slow twin, on odd shapes and on bfloat16's tie-ridden grid."""

import numpy as np
import pytest
import torch

from reference_runner.records import NO_RIVAL_LOGITS, Sampling
from reference_runner.scoring import RowScores, draw_tokens, score_rows
from tests.support.sampling_twin import draw, gumbel, random_logits, score_row

SAMPLINGS = [
    (1.0, 0, 1.0),
    (0.7, 0, 1.0),
    (1.3, 5, 1.0),
    (0.7, 0, 0.9),
    (1.0, 8, 0.8),
    (0.01, 1, 1.0),
]


def sampling_of(temperature: float, top_k: int = 0, top_p: float = 1.0) -> Sampling:
    return Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=0)


def scored(
    logits: np.ndarray, claimed: list[int], noise: np.ndarray | None, sampling: Sampling
) -> RowScores:
    return score_rows(
        torch.from_numpy(logits),
        torch.tensor(claimed),
        None if noise is None else torch.from_numpy(noise),
        sampling,
    )


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), SAMPLINGS)
@pytest.mark.parametrize("vocab_size", [2, 13, 61])
def test_scores_equal_the_slow_twins(
    vocab_size: int, temperature: float, top_k: int, top_p: float
) -> None:
    rng = np.random.default_rng([vocab_size, top_k])
    sampling = sampling_of(temperature, top_k, top_p)
    logits, noise = random_logits(rng, 40, vocab_size), gumbel(rng, 40, vocab_size)
    claimed = [
        draw(logits[r], noise[r], sampling) if r % 2 else int(rng.integers(vocab_size))
        for r in range(40)
    ]
    found = scored(logits, claimed, noise, sampling)
    num_compared = 0
    for row in range(40):
        twin = score_row(logits[row], claimed[row], noise[row], sampling)
        if twin.ambiguous:
            continue
        num_compared += 1
        assert bool(found.matched_R[row]) == twin.matched
        assert bool(found.excluded_R[row]) == twin.excluded
        assert int(found.rank_R[row]) == twin.rank
        assert float(found.logprob_R[row]) == pytest.approx(twin.logprob, rel=1e-6, abs=2e-6)
        # float32's cumulative mass is right to 1e-6, and distances divide it by p (1 - p)
        close = 1e-6 if top_p == 1.0 else 5e-5
        assert float(found.top_two_gap_R[row]) == pytest.approx(twin.gap, rel=1e-6, abs=close)
        assert float(found.signed_margin_R[row]) == pytest.approx(twin.margin, rel=1e-6, abs=close)
    assert num_compared >= 20


@pytest.mark.parametrize("vocab_size", [2, 3, 64])
def test_greedy_scores_equal_the_slow_twins(vocab_size: int) -> None:
    rng = np.random.default_rng(vocab_size)
    logits = random_logits(rng, 50, vocab_size)
    claimed = [int(rng.integers(vocab_size)) for _ in range(50)]
    found = scored(logits, claimed, None, sampling_of(0.0, top_k=3, top_p=0.5))
    for row in range(50):
        twin = score_row(logits[row], claimed[row], None, sampling_of(0.0))
        assert bool(found.matched_R[row]) == twin.matched
        assert not bool(found.excluded_R[row])
        assert float(found.signed_margin_R[row]) == pytest.approx(twin.margin, rel=1e-6)
        assert float(found.top_two_gap_R[row]) == pytest.approx(twin.gap, rel=1e-6)


def test_a_log_probability_is_no_further_from_the_truth_than_float32_allows() -> None:
    rng = np.random.default_rng(1)
    logits = random_logits(rng, 200, 997)
    claimed = [int(rng.integers(997)) for _ in range(200)]
    found = scored(logits, claimed, None, sampling_of(0.0)).logprob_R.double()
    exact = torch.from_numpy(logits).double().log_softmax(-1)[torch.arange(200), claimed]
    plain = torch.from_numpy(logits).log_softmax(-1)[torch.arange(200), claimed].double()
    assert float((found - exact).abs().max()) <= max(2e-6, float((plain - exact).abs().max()))


def test_of_tied_best_tokens_the_lowest_id_wins_with_margin_zero() -> None:
    logits = np.array([[1.0, 4.0, 2.0, 4.0]] * 3, dtype=np.float32)
    found = scored(logits, [1, 3, 2], None, sampling_of(0.0))
    assert found.matched_R.tolist() == [True, False, False]
    assert found.signed_margin_R.tolist() == [0.0, 0.0, -2.0]
    assert found.rank_R.tolist() == [0, 0, 2]
    assert found.top_two_gap_R.tolist() == [0.0, 0.0, 0.0]


def test_a_token_without_rivals_has_a_finite_margin() -> None:
    rng = np.random.default_rng(2)
    logits, noise = np.array([[0.0, 3.0, 1.0]], dtype=np.float32), gumbel(rng, 1, 3)
    alone = np.array([[-np.inf, 3.0, -np.inf]], dtype=np.float32)
    found = scored(alone, [1], noise, sampling_of(1.0))
    assert found.signed_margin_R.tolist() == [NO_RIVAL_LOGITS]
    assert found.top_two_gap_R.tolist() == [NO_RIVAL_LOGITS]
    near = scored(logits, [1], noise, sampling_of(1.0, top_k=1))
    assert near.signed_margin_R.tolist() == [2.0], "the next token comes in by changing places"


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (2, 1.0), (0, 0.9), (3, 0.9)])
def test_impossible_tokens_have_finite_margins(top_k: int, top_p: float) -> None:
    noise = gumbel(np.random.default_rng(2), 1, 4)
    logits = np.array([[-np.inf, 3.0, 2.5, -np.inf]], dtype=np.float32)
    for claimed in range(4):
        found = scored(logits, [claimed], noise, sampling_of(1.0, top_k, top_p))
        assert np.isfinite(found.signed_margin_R.numpy()).all()
        assert 0.0 <= float(found.top_two_gap_R[0]) < 10.0
    assert float(found.signed_margin_R[0]) < -1.0


def test_a_strong_token_just_outside_the_filters_makes_the_gap_small() -> None:
    logits = np.array([[5.0, 3.0, 2.99, 0.0]], dtype=np.float32)
    noise = np.array([[0.0, 0.0, 9.0, 0.0]])
    found = scored(logits, [0], noise, sampling_of(1.0, top_k=2))
    assert found.matched_R.tolist() == [True]
    assert found.top_two_gap_R.tolist() == pytest.approx([0.01], abs=1e-6)


def test_a_best_token_near_the_cut_makes_the_gap_small() -> None:
    logits = np.array([[5.0, 3.0, 2.9, 0.0]], dtype=np.float32)
    noise = np.array([[0.0, 9.0, 0.0, 0.0]])
    found = scored(logits, [1], noise, sampling_of(1.0, top_k=2))
    assert found.top_two_gap_R.tolist() == pytest.approx([0.1], abs=1e-6)


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), SAMPLINGS)
def test_the_drawn_token_is_the_one_that_matches(
    temperature: float, top_k: int, top_p: float
) -> None:
    rng = np.random.default_rng(4)
    logits, noise = random_logits(rng, 30, 61), gumbel(rng, 30, 61)
    sampling = sampling_of(temperature, top_k, top_p)
    drawn = draw_tokens(torch.from_numpy(logits), torch.from_numpy(noise), sampling)
    assert scored(logits, drawn.tolist(), noise, sampling).matched_R.all()
    best = draw_tokens(torch.from_numpy(logits), None, sampling_of(0.0))
    assert scored(logits, best.tolist(), None, sampling_of(0.0)).matched_R.all()


def test_a_vocabulary_of_one_token_is_scored() -> None:
    found = scored(np.zeros((2, 1), dtype=np.float32), [0, 0], None, sampling_of(0.0))
    assert found.matched_R.all()
    assert found.signed_margin_R.tolist() == [NO_RIVAL_LOGITS] * 2


def test_margins_stay_finite_where_a_tiny_p_meets_a_near_tie() -> None:
    logits = np.array([[1e-9, 0.0, -5.0]], dtype=np.float32)
    found = scored(logits, [1], np.zeros((1, 3)), sampling_of(1.0, top_k=1, top_p=1e-50))
    assert -1e-6 < float(found.signed_margin_R[0]) <= 0.0


def test_noise_is_scaled_by_the_temperature_and_logits_are_not() -> None:
    logits = np.array([[2.0, 0.0]], dtype=np.float32)
    found = scored(logits, [1], np.array([[0.5, 3.0]]), sampling_of(0.5))
    assert found.signed_margin_R.tolist() == [-(2.0 - 0.5 * 2.5)]

"""Surveys, seeded draws and likeliest tokens equal slow twins that work token by token."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from reference_runner.errors import BadSequence, UnsupportedProfile
from reference_runner.records import (
    NO_RIVAL_LOGITS,
    GenerationRequest,
    ReplayBatch,
    ReplaySequence,
    Sampling,
)
from reference_runner.samplers.base import NoiseRequest
from reference_runner.samplers.registry import get_profile
from tests.support.example_model import EXAMPLES, example_reference

REFERENCE = example_reference()
TOKENS = REFERENCE.tokenize_text((EXAMPLES / "recording" / "engine.py").read_text())[:150]
SPLITMIX = "vllm-cpu-splitmix64"
FREE = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=None)
GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=None)


def plain_logits(token_ids: tuple[int, ...]) -> np.ndarray:
    """Return all rows of a plain pass, nothing filled up and nothing left out."""
    with torch.inference_mode():
        logits = REFERENCE.model.network(input_ids=torch.tensor([token_ids])).logits
    return np.asarray(logits[0].double().numpy())


def noise_of(seed: int, num_prompt_tokens: int) -> np.ndarray:
    profile = get_profile(SPLITMIX)
    assert profile.open_stream is not None
    request = NoiseRequest(
        seed=seed, num_prompt_tokens=num_prompt_tokens, vocab_size=REFERENCE.info.vocab_size
    )
    return np.asarray(profile.open_stream(request).take(1)[0])


def test_a_survey_equals_a_plain_pass_row_by_row() -> None:
    found = REFERENCE.survey(TOKENS)
    logits_TV = plain_logits(TOKENS)
    order_TV = np.argsort(-logits_TV, axis=1, kind="stable")
    best_T, second_T = order_TV[:, 0], order_TV[:, 1]
    rows = np.arange(len(TOKENS))
    gap_T = logits_TV[rows, best_T] - logits_TV[rows, second_T]
    clear = gap_T > 1e-3
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(found.best_token_T[clear], best_T[clear])
    np.testing.assert_allclose(found.gap_logits_T, gap_T, atol=1e-4)
    largest_T = np.maximum(np.abs(logits_TV[rows, best_T]), np.abs(logits_TV[rows, second_T]))
    np.testing.assert_allclose(found.contender_logit_T, largest_T, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_each_prefix_alone_gives_what_the_survey_of_the_whole_gives(precision: str) -> None:
    reference = example_reference(precision)
    found = reference.survey(TOKENS)
    for length in (1, 2, 63, 64, 65, 150):
        alone = reference.survey(TOKENS[:length])
        assert alone.best_token_T[-1] == found.best_token_T[length - 1]
        assert abs(alone.gap_logits_T[-1] - found.gap_logits_T[length - 1]) < 0.1


def test_the_survey_foretells_what_is_generated_greedily() -> None:
    found = REFERENCE.survey(TOKENS)
    lengths = [length for length in range(5, 150, 10) if found.gap_logits_T[length - 1] > 1e-3]
    requests = [
        GenerationRequest(
            prompt_token_ids=TOKENS[:length], sampling=GREEDY, profile_id="greedy", num_tokens=1
        )
        for length in lengths
    ]
    answers = REFERENCE.generate(requests, batch_size=4)
    assert [answer[0] for answer in answers] == [int(found.best_token_T[n - 1]) for n in lengths]


def test_exact_ties_give_the_lowest_token_first() -> None:
    reference = example_reference("bfloat16")
    found = reference.survey(TOKENS)
    ties = found.gap_logits_T == 0.0
    assert (found.best_token_T[ties] < found.second_token_T[ties]).all()
    assert (found.gap_logits_T >= 0.0).all()


def test_seeded_draws_equal_scores_noised_one_by_one() -> None:
    prompt, seeds = TOKENS[:40], list(range(300))
    found = REFERENCE.seeded_draws(prompt, replace(FREE, temperature=0.8), SPLITMIX, seeds)
    logits_V = plain_logits(prompt)[-1]
    for index, seed in enumerate(seeds):
        noised_V = logits_V.astype(np.float32) / np.float32(0.8) + noise_of(seed, len(prompt))
        best, second = np.argsort(-noised_V)[:2]
        gap = 0.8 * (noised_V[best] - noised_V[second])
        assert abs(found.gap_logits_S[index] - gap) < 1e-3
        if gap > 1e-3:
            assert (found.token_S[index], found.runner_up_S[index]) == (best, second)


@pytest.mark.parametrize("profile_id", [SPLITMIX, "vllm-v2-murmur32", "torch-cpu-exponential"])
def test_seeded_draws_foretell_what_each_seed_generates(profile_id: str) -> None:
    sampling = Sampling(temperature=0.9, top_k=40, top_p=0.9, seed=None)
    found = REFERENCE.seeded_draws(TOKENS[:70], sampling, profile_id, range(40))
    requests = [
        GenerationRequest(
            prompt_token_ids=TOKENS[:70],
            sampling=replace(sampling, seed=seed),
            profile_id=profile_id,
            num_tokens=1,
        )
        for seed in range(40)
    ]
    answers = REFERENCE.generate(requests, batch_size=1)
    assert [answer[0] for answer in answers] == found.token_S.tolist()
    assert (found.token_S != found.runner_up_S).all()


def test_greedy_draws_need_no_noise_and_no_seeds_give_no_draws() -> None:
    (token,) = REFERENCE.seeded_draws(TOKENS[:9], GREEDY, "greedy", [7]).token_S
    assert token == REFERENCE.survey(TOKENS[:9]).best_token_T[-1]
    assert len(REFERENCE.seeded_draws(TOKENS[:9], FREE, SPLITMIX, []).token_S) == 0


def test_a_draw_from_one_token_has_no_rival_but_the_filter() -> None:
    only = Sampling(temperature=0.5, top_k=1, top_p=1.0, seed=None)
    found = REFERENCE.seeded_draws(TOKENS[:20], only, SPLITMIX, range(5))
    assert len(set(found.token_S.tolist())) == 1
    assert (found.gap_logits_S < NO_RIVAL_LOGITS).all()


def test_top_logprobs_equal_a_plain_softmax() -> None:
    prompt, output = TOKENS[:30], TOKENS[30:50]
    found = REFERENCE.top_logprobs(prompt, output, 5)
    logits_RV = plain_logits(TOKENS[:50])[29:49]
    shifted = logits_RV - logits_RV.max(axis=1, keepdims=True)
    logprob_RV = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    sorted_RV = -np.sort(-logprob_RV, axis=1)
    np.testing.assert_allclose(found.logprob_nats_RK, sorted_RV[:, :5], atol=1e-4)
    rows = np.arange(20)
    np.testing.assert_allclose(
        found.claimed_logprob_nats_R, logprob_RV[rows, list(output)], atol=1e-4
    )
    again = np.take_along_axis(logprob_RV, found.token_RK.astype(np.int64), axis=1)
    np.testing.assert_allclose(again, found.logprob_nats_RK, atol=1e-4)


def test_equal_log_probabilities_come_lowest_token_first() -> None:
    found = example_reference("bfloat16").top_logprobs(TOKENS[:30], TOKENS[30:60], 200)
    for tokens_K, logprobs_K in zip(found.token_RK, found.logprob_nats_RK, strict=True):
        assert (np.diff(logprobs_K) <= 0).all()
        ties = np.diff(logprobs_K) == 0
        assert ties.any(), "bfloat16 logits tie often"
        assert (np.diff(tokens_K)[ties] > 0).all()


def test_likelihoods_agree_with_a_replay() -> None:
    sequence = ReplaySequence(
        prompt_token_ids=TOKENS[:30],
        output_token_ids=TOKENS[30:50],
        sampling=GREEDY,
        profile_ids=("greedy",),
    )
    ((evidence,),) = REFERENCE.replay(ReplayBatch(sequences=(sequence,)))
    found = REFERENCE.top_logprobs(TOKENS[:30], TOKENS[30:50], 1)
    np.testing.assert_allclose(found.claimed_logprob_nats_R, evidence.logprob_nats_R, atol=1e-4)


def test_tokens_are_spelt_with_and_without_special_ones() -> None:
    (end,) = REFERENCE.end_token_ids
    assert REFERENCE.token_text(end) == "<|endoftext|>"
    assert REFERENCE.decode((*TOKENS[:5], end)) == REFERENCE.decode(TOKENS[:5])
    assert "".join(REFERENCE.token_text(token) for token in TOKENS) == REFERENCE.decode(TOKENS)
    assert REFERENCE.decode(()) == ""


LONG = (1,) * 1024
BAD_CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "no_text": (lambda: REFERENCE.survey(()), "invalid_exchange"),
    "full_context": (lambda: REFERENCE.survey(LONG), "context_exceeded"),
    "beyond": (lambda: REFERENCE.survey((4096,)), "token_out_of_vocabulary"),
    "draw_without_prompt": (
        lambda: REFERENCE.seeded_draws((), FREE, SPLITMIX, [1]),
        "invalid_exchange",
    ),
    "no_output": (lambda: REFERENCE.top_logprobs((1,), (), 1), "output_empty"),
    "output_beyond": (lambda: REFERENCE.top_logprobs((1,), (-1,), 1), "token_out_of_vocabulary"),
    "no_candidates": (lambda: REFERENCE.top_logprobs((1,), (1,), 0), "invalid_exchange"),
    "too_many": (lambda: REFERENCE.top_logprobs((1,), (1,), 4097), "invalid_exchange"),
    "decoded_beyond": (lambda: REFERENCE.decode((1, 4096)), "token_out_of_vocabulary"),
    "spelt_beyond": (lambda: REFERENCE.token_text(-1), "token_out_of_vocabulary"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_what_does_not_fit_the_model_is_named(name: str) -> None:
    call, code = BAD_CALLS[name]
    with pytest.raises(BadSequence) as caught:
        call()
    assert caught.value.code == code


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(UnsupportedProfile, match="no-such"):
        REFERENCE.seeded_draws(TOKENS[:9], FREE, "no-such", [1])

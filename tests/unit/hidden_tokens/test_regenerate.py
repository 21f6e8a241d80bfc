"""Chains go on from any start as if they had been drawn whole; near ties and offsets are true."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from reference_runner.errors import BadSequence
from reference_runner.generate import generate
from reference_runner.hidden_state import prompt_states
from reference_runner.records import GenerationRequest, ReplayBatch, Sampling
from tests.support.example_model import example_reference
from tests.unit.hidden_tokens.recount_cases import GREEDY, PROMPT, SAMPLED, drawn, hide, runner

FILTERED = Sampling(temperature=0.8, top_k=40, top_p=0.9, seed=5)
SAMPLINGS = (SAMPLED, GREEDY, FILTERED)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_an_empty_start_draws_what_generate_draws(sampling: Sampling) -> None:
    request = GenerationRequest(
        prompt_token_ids=PROMPT, sampling=sampling, profile_id="vllm-cpu-splitmix64", num_tokens=40
    )
    (expected,) = generate(example_reference(), [request], batch_size=1)
    assert drawn(sampling, 40) == expected


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_chains_go_on_from_starts_of_all_lengths_in_one_batch(sampling: Sampling) -> None:
    whole = drawn(sampling, 90)
    starts = [whole[:length] for length in (0, 1, 30, 66, 89, 90)]
    sequence = hide(whole, 1, sampling).visible
    assert runner().regenerate(sequence, starts, num_tokens=90) == [whole] * len(starts)


def test_chains_end_behind_a_stop_token() -> None:
    whole = drawn(SAMPLED, 40)
    sequence = hide(whole, 1, SAMPLED).visible
    stop = next(token for token in whole[10:] if token not in whole[:10])
    (chain,) = runner().regenerate(sequence, [()], num_tokens=40, stops_at=(stop,))
    assert chain == whole[: whole.index(stop) + 1]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_near_ties_are_what_a_small_change_of_logits_would_draw(sampling: Sampling) -> None:
    whole = drawn(sampling, 60)
    sequence = hide(whole, 1, sampling).with_output(whole)
    ties = runner().near_ties(sequence, tolerance_logits=0.5)
    assert ties == sorted(ties, key=lambda tie: (tie.row, tie.shortfall_logits)) and ties
    for tie in ties[:5]:
        changed = (*whole[: tie.row], tie.token_id)
        batch = ReplayBatch(sequences=(replace(sequence, output_token_ids=changed),))
        ((evidence, *_),) = example_reference().replay(batch)
        assert evidence.num_matches == tie.row, "only the changed token differs"
        # padded shapes change the last bits of logits
        assert -evidence.signed_margin_logits_R[tie.row] == pytest.approx(
            tie.shortfall_logits, abs=1e-4
        )
    assert runner().near_ties(sequence, tolerance_logits=0.0) == []


def test_only_the_true_offset_gathers_evidence() -> None:
    whole = drawn(SAMPLED, 90)
    exchange = hide(whole, 40, SAMPLED)
    log_e_S = runner().offset_log_e(exchange.visible, whole[:40], num_offsets=60)
    assert int(log_e_S.argmax()) == 40 and log_e_S[40] > 30.0
    others_S = np.delete(log_e_S, 40)
    assert others_S.max() < np.log(60 / 1e-6)
    # an e-value of a wrong offset has expectation 1 at most; a mean over 59 is near it
    assert np.exp(others_S).mean() < 10.0


def test_greedy_sampling_has_no_offsets() -> None:
    whole = drawn(GREEDY, 30)
    log_e_S = runner().offset_log_e(hide(whole, 10, GREEDY).visible, whole[:10], num_offsets=5)
    assert log_e_S.tolist() == [0.0] * 5


def test_starts_outside_the_vocabulary_and_chains_beyond_the_context_are_refused() -> None:
    sequence = hide(drawn(SAMPLED, 30), 10, SAMPLED).visible
    with pytest.raises(BadSequence, match="99999 is not in the model's vocabulary"):
        runner().regenerate(sequence, [(99_999,)], num_tokens=30)
    with pytest.raises(BadSequence, match="the model's context"):
        runner().regenerate(sequence, [()], num_tokens=2000)


def test_the_state_at_the_prompts_end_is_what_the_first_token_is_drawn_from() -> None:
    reference = example_reference()
    states_PF = prompt_states(reference, [PROMPT, PROMPT[:5]])
    assert states_PF.shape == (2, 256) and states_PF.dtype == np.float32
    network: Any = reference.model.network
    with torch.inference_mode():
        logits_V = network.get_output_embeddings()(torch.from_numpy(states_PF[:1]))
    expected_V = reference.model.output_logits((*PROMPT, 0), 1)
    assert torch.allclose(logits_V, expected_V, atol=1e-4)
    assert not np.array_equal(states_PF[:1], prompt_states(reference, [PROMPT], layer=2))


def test_states_of_impossible_layers_and_prompts_are_refused() -> None:
    with pytest.raises(BadSequence, match="has no layer 9; name one from -5 to 4"):
        prompt_states(example_reference(), [PROMPT], layer=9)
    with pytest.raises(BadSequence, match="the prompt holds no tokens"):
        prompt_states(example_reference(), [()])
    assert prompt_states(example_reference(), []).shape == (0, 256)

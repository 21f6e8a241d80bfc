"""transformers' own `generate` is the oracle: its replay must agree on every token."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from reference_runner.records import Evidence, ReplayBatch, ReplaySequence, Sampling
from tests.support.example_model import MODEL, example_reference

NUM_TOKENS = 64
FILTERS = [(0, 1.0), (50, 1.0), (0, 0.9), (20, 0.8)]
PROMPT = "def read_config(path):\n    "


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        MODEL, dtype=torch.float32, local_files_only=True
    )
    loaded.generation_config.eos_token_id = None
    loaded.train(False)
    return loaded


def generated(
    model: PreTrainedModel, prompt: tuple[int, ...], sampling: Sampling
) -> tuple[int, ...]:
    torch.manual_seed(sampling.seed or 0)
    sampled = {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
    }
    generate: Any = model.generate
    output = generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=NUM_TOKENS,
        **({"do_sample": False} if sampling.is_greedy else sampled),
    )
    return tuple(int(i) for i in output[0, len(prompt) :])


def replayed(prompt: tuple[int, ...], output: tuple[int, ...], sampling: Sampling) -> Evidence:
    sequence = ReplaySequence(
        prompt_token_ids=prompt,
        output_token_ids=output,
        sampling=sampling,
        profile_ids=("torch-cpu-exponential",),
    )
    ((evidence,),) = example_reference().replay(ReplayBatch(sequences=(sequence,)))
    return evidence


@pytest.mark.parametrize(("top_k", "top_p"), FILTERS)
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_the_replay_agrees_with_generate_on_every_token(
    model: PreTrainedModel, temperature: float, top_k: int, top_p: float
) -> None:
    prompt = example_reference().tokenize_text(PROMPT)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=20260101)
    output = generated(model, prompt, sampling)
    evidence = replayed(prompt, output, sampling)
    assert len(output) == NUM_TOKENS
    assert evidence.num_matches == NUM_TOKENS
    assert not evidence.excluded_R.any()
    assert (evidence.signed_margin_logits_R >= 0).all()


def test_the_replay_of_another_seed_disagrees_on_many_tokens(model: PreTrainedModel) -> None:
    prompt = example_reference().tokenize_text(PROMPT)
    seeds = (1, 2, 3)
    for one, other in pairwise(seeds):
        drawn = generated(model, prompt, Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=one))
        claimed = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=other)
        assert replayed(prompt, drawn, claimed).num_matches < 0.8 * NUM_TOKENS

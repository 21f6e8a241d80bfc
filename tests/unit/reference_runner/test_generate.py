"""What the reference generates, its own replay finds honest."""

from dataclasses import replace

import numpy as np
import pytest

from reference_runner.errors import BadSequence, UnsupportedProfile
from reference_runner.generate import generate
from reference_runner.records import GenerationRequest, ReplayBatch, ReplaySequence, Sampling
from tests.support.example_model import example_reference

PROFILES = ("vllm-v2-murmur32", "vllm-cpu-splitmix64", "torch-cpu-exponential")
PROMPTS = (
    "def read(path):\n",
    "class A:\n    def f(self):\n        return",
    "import",
    "x = [1, 2,",
)
GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=None)


def request_of(index: int = 0, **parts: object) -> GenerationRequest:
    request = GenerationRequest(
        prompt_token_ids=example_reference().tokenize_text(PROMPTS[index % len(PROMPTS)]),
        sampling=Sampling(temperature=0.9, top_k=50, top_p=0.95, seed=100 + index),
        profile_id=PROFILES[index % len(PROFILES)],
        num_tokens=32,
    )
    return replace(request, **parts)  # type: ignore[arg-type]


def generated(*requests: GenerationRequest, batch_size: int = 1) -> list[tuple[int, ...]]:
    return generate(example_reference(), requests, batch_size=batch_size)


@pytest.mark.parametrize("sampling", [None, GREEDY])
@pytest.mark.parametrize("index", range(3))
def test_the_replay_matches_every_generated_token(index: int, sampling: Sampling | None) -> None:
    request = request_of(index)
    request = replace(request, sampling=sampling or request.sampling)
    (output,) = generated(request)
    assert len(output) == request.num_tokens
    sequence = ReplaySequence(
        prompt_token_ids=request.prompt_token_ids,
        output_token_ids=output,
        sampling=request.sampling,
        profile_ids=(request.profile_id,),
    )
    ((evidence,),) = example_reference().replay(ReplayBatch(sequences=(sequence,)))
    assert evidence.num_matches == len(output)


def test_batches_of_odd_lengths_draw_what_single_requests_draw() -> None:
    requests = [request_of(i, num_tokens=20 + i) for i in range(6)]
    requests.append(request_of(2, sampling=GREEDY))
    alone, together = generated(*requests), generated(*requests, batch_size=4)
    assert together == generated(*requests, batch_size=4), "generation is deterministic"
    assert [len(ids) for ids in alone] == [len(ids) for ids in together]
    same = np.concatenate([np.equal(a, b) for a, b in zip(alone, together, strict=True)])
    assert same.mean() >= 0.995


def test_an_answer_ends_with_the_first_token_that_stops_it() -> None:
    (whole,) = generated(request_of())
    stop = whole[10]
    first = whole.index(stop)
    ended, other = generated(request_of(stops_at=(4095, stop)), request_of(1), batch_size=2)
    assert ended == whole[: first + 1]
    assert len(other) == 32


def test_the_whole_context_can_be_generated() -> None:
    long = request_of(prompt_token_ids=(1,) * 1020, num_tokens=4)
    short = request_of(prompt_token_ids=(1,), num_tokens=12)
    assert [len(ids) for ids in generated(long, short, batch_size=2)] == [4, 12]


def test_no_requests_give_no_answers() -> None:
    assert generated() == []


BAD_REQUESTS = {
    "no_prompt": (request_of(prompt_token_ids=()), "invalid_exchange"),
    "too_long": (request_of(num_tokens=1024), "context_exceeded"),
    "far_too_long": (request_of(num_tokens=10**15), "context_exceeded"),
    "no_tokens": (request_of(num_tokens=0), "output_empty"),
    "beyond": (request_of(prompt_token_ids=(4096,)), "token_out_of_vocabulary"),
    "no_seed": (request_of(sampling=replace(request_of().sampling, seed=None)), "seed_missing"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_what_cannot_be_generated_is_named(name: str) -> None:
    request, code = BAD_REQUESTS[name]
    with pytest.raises(BadSequence) as caught:
        generated(request)
    assert caught.value.code == code


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(UnsupportedProfile, match="no-such"):
        generated(request_of(profile_id="no-such"))

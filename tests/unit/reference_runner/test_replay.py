"""Evidence of a sequence depends on that sequence alone; what cannot be replayed is named."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from reference_runner import replay as replay_module
from reference_runner.errors import BadSequence, UnsupportedProfile
from reference_runner.model import ReferenceModel
from reference_runner.records import Evidence, ReplayBatch, ReplaySequence, Sampling
from tests.support.example_model import example_reference

MURMUR, SPLITMIX, TORCH = "vllm-v2-murmur32", "vllm-cpu-splitmix64", "torch-cpu-exponential"


def sequence_of(num_tokens: int = 20, *, seed: int | None = 7, **parts: object) -> ReplaySequence:
    rng = np.random.default_rng(num_tokens)
    sequence = ReplaySequence(
        prompt_token_ids=tuple(int(i) for i in rng.integers(0, 4096, 9)),
        output_token_ids=tuple(int(i) for i in rng.integers(0, 4096, num_tokens)),
        sampling=Sampling(temperature=0.8, top_k=40, top_p=0.9, seed=seed),
        profile_ids=(TORCH,),
    )
    return replace(sequence, **parts)  # type: ignore[arg-type]


def replayed(*sequences: ReplaySequence) -> tuple[tuple[Evidence, ...], ...]:
    return example_reference("bfloat16").replay(ReplayBatch(sequences=sequences))


def assert_identical(first: Evidence, second: Evidence) -> None:
    for field in fields(Evidence):
        one, other = getattr(first, field.name), getattr(second, field.name)
        np.testing.assert_array_equal(one, other, strict=isinstance(one, np.ndarray))


def test_evidence_is_bit_identical_alone_repeated_and_among_others() -> None:
    sequence = sequence_of()
    others = [sequence_of(n) for n in (1, 3, 55)]
    ((alone,),) = replayed(sequence)
    ((repeated,),) = replayed(sequence)
    (_, (among,), _, _) = replayed(others[0], sequence, *others[1:])
    assert_identical(alone, repeated)
    assert_identical(alone, among)


@pytest.mark.parametrize("profile", [MURMUR, SPLITMIX, TORCH])
@pytest.mark.parametrize("max_elements", [1, 4096 * 3, 4096 * 7])
def test_evidence_does_not_depend_on_the_size_of_chunks(
    profile: str, max_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = sequence_of(22, profile_ids=(profile,))
    ((whole,),) = replayed(sequence)
    monkeypatch.setattr(replay_module, "MAX_CHUNK_ELEMENTS", max_elements)
    ((chunked,),) = replayed(sequence)
    assert_identical(whole, chunked)


def test_each_candidate_profile_gets_its_own_evidence() -> None:
    both = sequence_of(profile_ids=(MURMUR, SPLITMIX))
    ((first, second),) = replayed(both)
    ((alone,),) = replayed(replace(both, profile_ids=(SPLITMIX,)))
    assert (first.profile_id, second.profile_id) == (MURMUR, SPLITMIX)
    assert_identical(second, alone)
    np.testing.assert_array_equal(first.logprob_nats_R, second.logprob_nats_R)
    assert (first.signed_margin_logits_R != second.signed_margin_logits_R).any()


def test_every_array_of_evidence_has_one_finite_entry_per_output_token() -> None:
    ((evidence,),) = replayed(sequence_of(33))
    for field in fields(Evidence)[1:]:
        values = getattr(evidence, field.name)
        assert values.shape == (33,)
        assert np.isfinite(values).all()


BAD_SEQUENCES = {
    "no_output": (sequence_of(output_token_ids=()), "output_empty"),
    "no_prompt": (sequence_of(prompt_token_ids=()), "invalid_exchange"),
    "output_negative": (sequence_of(output_token_ids=(1, -1)), "token_out_of_vocabulary"),
    "output_beyond": (sequence_of(output_token_ids=(1, 4096)), "token_out_of_vocabulary"),
    "output_huge": (sequence_of(output_token_ids=(2**70,)), "token_out_of_vocabulary"),
    "prompt_negative": (sequence_of(prompt_token_ids=(-1, 5000)), "token_out_of_vocabulary"),
    "prompt_beyond": (sequence_of(prompt_token_ids=(4096,)), "token_out_of_vocabulary"),
    "one_too_long": (sequence_of(output_token_ids=(1,) * 1016), "context_exceeded"),
    "far_too_long": (sequence_of(output_token_ids=(1,) * 100_000), "context_exceeded"),
    "no_seed": (sequence_of(seed=None), "seed_missing"),
}


@pytest.mark.parametrize("name", BAD_SEQUENCES)
def test_what_cannot_be_replayed_is_named(name: str) -> None:
    sequence, code = BAD_SEQUENCES[name]
    with pytest.raises(BadSequence) as caught:
        replayed(sequence)
    assert caught.value.code == code


@pytest.mark.parametrize("logit", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_no_evidence(
    logit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = example_reference("bfloat16")
    logits = torch.zeros(20, 4096)
    logits[7, 11] = logit
    monkeypatch.setattr(reference.model, "output_logits", lambda *_: logits)
    with pytest.raises(BadSequence, match="not finite at precision bfloat16") as caught:
        replayed(sequence_of())
    assert caught.value.code == "replay_failed"


def test_the_whole_context_can_be_used() -> None:
    ((evidence,),) = replayed(sequence_of(output_token_ids=(1,) * 1015))
    assert evidence.num_tokens == 1015


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(UnsupportedProfile, match="no-such"):
        replayed(sequence_of(profile_ids=("no-such",)))


def test_neighbours_with_the_same_tokens_share_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = example_reference("bfloat16").model
    lengths: list[int] = []
    run = ReferenceModel.output_logits

    def counted(self: ReferenceModel, token_ids: tuple[int, ...], num_outputs: int) -> torch.Tensor:
        lengths.append(num_outputs)
        return run(self, token_ids, num_outputs)

    monkeypatch.setattr(type(model), "output_logits", counted)
    rivals = [
        sequence_of(sampling=Sampling(temperature=t, top_k=k, top_p=1.0, seed=3))
        for t, k in ((0.5, 0), (1.0, 30), (0.0, 0))
    ]
    other = sequence_of(5)
    together = replayed(*rivals, other, rivals[0])
    assert lengths == [20, 5, 20]
    alone = [replayed(sequence)[0] for sequence in (*rivals, other, rivals[0])]
    for (one,), (shared,) in zip(alone, together, strict=True):
        assert_identical(one, shared)


def test_equal_tokens_split_elsewhere_do_not_share_a_pass() -> None:
    first = sequence_of()
    ids = first.prompt_token_ids + first.output_token_ids
    second = replace(first, prompt_token_ids=ids[:12], output_token_ids=ids[12:])
    ((one,), (other,)) = replayed(first, second)
    assert (one.num_tokens, other.num_tokens) == (20, 17)


def test_greedy_replay_needs_no_seed_and_ignores_filters() -> None:
    greedy = sequence_of(sampling=Sampling(temperature=0.0, top_k=1, top_p=0.1, seed=None))
    ((evidence,),) = replayed(greedy)
    ((plain,),) = replayed(
        replace(greedy, sampling=Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=None))
    )
    assert_identical(evidence, plain)

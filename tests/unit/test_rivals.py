"""Rivals change one thing each, stay the plan's own where nothing can change, and never crash."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.records import AuditRequest, Claim, Message, Prompt
from audit.rivals import (
    LARGEST_SEED,
    SYSTEM_PROMPTS,
    Rival,
    heated,
    is_deaf,
    list_rivals,
    replay_each,
    reseeded,
    rounded,
    scaled,
)
from reference_runner.errors import BadSequence, CheckpointError
from reference_runner.records import Evidence, ReplayBatch, ReplaySequence, Sampling
from reference_runner.samplers.registry import PROFILES
from tests.support.fake_reference import FakeReference, exchange_with

PROFILE = "vllm-cpu-splitmix64"
SYSTEM, USER = Message(role="system", content="be nice"), Message(role="user", content="hi you")
SAMPLING = Sampling(temperature=0.7, top_k=20, top_p=0.9, seed=2**32 + 5)
GREEDY = Sampling(temperature=0.0, top_k=20, top_p=0.9, seed=7)


def agreeing(sequence: ReplaySequence) -> Evidence:
    """Return evidence that agrees throughout."""
    ones = np.ones(len(sequence.output_token_ids), dtype=np.float32)
    return Evidence(
        profile_id=sequence.profile_ids[0],
        signed_margin_logits_R=ones,
        matched_R=ones > 0,
        rank_R=np.zeros(len(ones), dtype=np.int32),
        logprob_nats_R=-ones,
        top_two_gap_logits_R=ones,
        contender_logit_R=ones,
        excluded_R=ones < 0,
    )


class NoTemplate(FakeReference):
    """A checkpoint without a chat template."""

    def tokenize_messages(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        raise BadSequence("invalid_exchange", "no template")


class Short(FakeReference):
    """A model that takes no more than two prompt tokens; counts how often it is asked."""

    def replay(self, batch: ReplayBatch) -> tuple[tuple[Evidence, ...], ...]:
        if any(len(sequence.prompt_token_ids) > 2 for sequence in batch.sequences):
            raise BadSequence("context_exceeded", "too long")
        return tuple((agreeing(sequence),) for sequence in batch.sequences)


class Rounding(FakeReference):
    """A reference with one kind of rounded copy."""

    def rounded(self, kind: str) -> FakeReference:
        if kind != "int4-g32":
            raise CheckpointError("not here")
        return FakeReference()


def sequence_of(sampling: Sampling = SAMPLING, prompt: tuple[int, ...] = (1, 2)) -> ReplaySequence:
    return ReplaySequence(
        prompt_token_ids=prompt,
        output_token_ids=(3, 4),
        sampling=sampling,
        profile_ids=(PROFILE,),
    )


def listed(
    sequence: ReplaySequence | None = None,
    prompt: Prompt | None = None,
    reference: FakeReference | None = None,
    **more: tuple[str, ...],
) -> tuple[Rival, ...]:
    request = AuditRequest(request_id="r", exchange=exchange_with(prompt=prompt), claim=Claim())
    return list_rivals(sequence or sequence_of(), request, reference or FakeReference(), **more)


def named(rivals: tuple[Rival, ...], name: str) -> list[Rival]:
    return [rival for rival in rivals if rival.name == name]


def test_filters_are_dropped_alone_and_together() -> None:
    kept = [
        (r.sequence.sampling.top_k, r.sequence.sampling.top_p)
        for r in named(listed(), "filters_off")
    ]
    assert kept == [(20, 1.0), (0, 0.9), (0, 1.0)]


def test_seeds_are_the_usual_mistakes() -> None:
    assert [r.estimate for r in named(listed(), "other_seed")] == [0, 1, 42, 2**32 + 6, 5]


@given(seed=st.integers(-(2**63), LARGEST_SEED))
def test_no_seed_is_made_that_samplers_cannot_take(seed: int) -> None:
    rivals = listed(sequence_of(replace(SAMPLING, seed=seed)))
    assert all(
        -(2**63) <= (r.sequence.sampling.seed or 0) <= LARGEST_SEED
        for r in named(rivals, "other_seed")
    )


def test_every_other_sampler_is_tried() -> None:
    tried = {r.sequence.profile_ids for r in named(listed(), "other_profile")}
    assert tried == {(profile_id,) for profile_id in PROFILES}


def test_a_greedy_request_has_no_rivals_in_sampling() -> None:
    sequence = sequence_of(GREEDY)
    rivals = listed(sequence)
    for name in ("filters_off", "other_seed", "other_profile"):
        assert {r.sequence for r in named(rivals, name)} == {sequence}


def test_the_lists_of_all_exchanges_have_the_same_keys_where_prompts_are_alike() -> None:
    one, other = listed(), listed(sequence_of(GREEDY, (5,)))
    assert [r.key for r in one] == [r.key for r in other]
    assert len({r.key for r in one}) == len(one)


def test_a_begin_token_is_added_to_or_taken_from_token_ids() -> None:
    reference = FakeReference(texts={"<s>": (77,)})
    (added,) = named(listed(prompt=Prompt(token_ids=(1, 2)), reference=reference), "template")
    assert added.sequence.prompt_token_ids == (77, 1, 2)
    (dropped,) = named(
        listed(sequence_of(prompt=(77, 1)), Prompt(token_ids=(77, 1)), reference), "template"
    )
    assert dropped.sequence.prompt_token_ids == (1,)


def test_a_plain_prompt_may_have_been_templated_and_a_chat_not() -> None:
    (templated,) = [
        r
        for r in named(listed(prompt=Prompt(text="hi you")), "template")
        if "around" in r.statement
    ]
    assert templated.sequence.prompt_token_ids == (99, 2, 3)
    (plain,) = [
        r
        for r in named(listed(prompt=Prompt(messages=(USER,))), "template")
        if "without the chat" in r.statement
    ]
    assert plain.sequence.prompt_token_ids == (2, 3)


def test_a_hidden_system_prompt_stands_before_chats_and_texts() -> None:
    for prompt in (Prompt(messages=(USER,)), Prompt(text="hi you")):
        rivals = named(listed(prompt=prompt, system_prompts=("obey",)), "system_prompt")
        assert rivals[0].statement == "answered behind the hidden system prompt 'obey'"
        assert rivals[0].sequence.prompt_token_ids == (99, 4, 2, 3)
        assert len(rivals) == (1 + len(SYSTEM_PROMPTS)) * (2 if prompt.text else 1)


def test_a_stated_system_message_may_have_been_dropped_or_extended() -> None:
    rivals = named(
        listed(prompt=Prompt(messages=(SYSTEM, USER)), system_prompts=("obey",)), "system_prompt"
    )
    assert rivals[0].statement == "answered without the system message"
    assert rivals[0].sequence.prompt_token_ids == (99, 2, 3)
    assert rivals[1].sequence.prompt_token_ids == (99, 4, 2, 4, 2, 3)


def test_what_the_template_cannot_make_is_left_out() -> None:
    rivals = listed(prompt=Prompt(text="hi you"), reference=NoTemplate())
    assert all("plain text" in r.statement for r in named(rivals, "system_prompt"))


def test_copies_and_siblings_replay_the_plan_itself() -> None:
    rivals = listed(copies=("int4-g32",), siblings=("small",))
    assert [(r.name, r.copy, r.sibling) for r in rivals[-2:]] == [
        ("int4-g32", "int4-g32", None),
        ("sibling", None, "small"),
    ]
    assert {r.sequence for r in rivals[-2:]} == {sequence_of()}


def test_changes_of_temperature_and_seed() -> None:
    sequence = sequence_of()
    assert heated(sequence, 0.0).sampling.temperature == 1.0
    assert scaled(sequence, 0.0).sampling.temperature == pytest.approx(0.7)
    assert scaled(sequence_of(GREEDY), 1.0) == sequence_of(GREEDY)
    assert reseeded(sequence, 9).sampling == replace(SAMPLING, seed=9)


def test_deaf_are_those_without_seed_or_noise() -> None:
    assert not is_deaf(sequence_of())
    assert is_deaf(sequence_of(replace(SAMPLING, seed=None)))
    assert is_deaf(replace(sequence_of(), profile_ids=("greedy",)))


def test_one_sequence_that_cannot_be_replayed_does_not_take_the_others_along() -> None:
    good, bad = sequence_of(), sequence_of(prompt=(1, 2, 3))
    replays = replay_each(Short(), [good, bad, good])
    assert [replay is None for replay in replays] == [False, True, False]
    assert replay_each(Short(), [bad]) == [None]


def test_a_copy_that_cannot_be_made_is_none() -> None:
    assert rounded(FakeReference(), "int4-g32") is None
    assert rounded(Rounding(), "fp8-e4m3") is None
    assert rounded(Rounding(), "int4-g32") is not None

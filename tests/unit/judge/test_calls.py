"""Calls are classed by their margin, and one whose context was disagreed on counts for nothing."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.judge.calls import (
    FAR,
    FAR_MARGIN_STEPS,
    MATCH,
    MIN_CONTENDER_LOGITS,
    NEAR,
    NUM_CONTEXT_TOKENS,
    Calls,
    read_calls,
    step_logits,
)
from reference_runner.records import Evidence, ReplaySequence
from tests.support.measurements import CONTENDER_LOGITS, STEP_LOGITS, evidence_of, sampling_of

FAR_LOGITS = FAR_MARGIN_STEPS * STEP_LOGITS

tokens = st.lists(st.integers(0, 1), min_size=1, max_size=60)


def sequence_of(prompt: list[int], output: list[int]) -> ReplaySequence:
    return ReplaySequence(
        prompt_token_ids=tuple(prompt),
        output_token_ids=tuple(output),
        sampling=sampling_of(),
        profile_ids=("p",),
    )


def evidence_with(matched: list[bool]) -> Evidence:
    return evidence_of([0.0 if m else 1.0 for m in matched])


def read(prompt: list[int], output: list[int], matched: list[bool]) -> Calls:
    return read_calls(evidence_with(matched), sequence_of(prompt, output))


def slow_counts(prompt: list[int], output: list[int], matched: list[bool]) -> list[bool]:
    """Return which calls count, by comparing every context with every earlier one."""
    text = [-1] * NUM_CONTEXT_TOKENS + prompt + output
    first = NUM_CONTEXT_TOKENS + len(prompt)
    context = [text[first + t - NUM_CONTEXT_TOKENS : first + t] for t in range(len(output))]
    return [
        not any(context[s] == context[t] and not matched[s] for s in range(t))
        for t in range(len(output))
    ]


@pytest.mark.parametrize(
    ("deviation", "outcome"),
    [
        (0.0, MATCH),
        (1e-6, NEAR),
        (float(np.nextafter(np.float32(FAR_LOGITS), np.float32(0))), NEAR),
        (FAR_LOGITS, FAR),
        (1e4, FAR),
    ],
)
def test_a_mismatch_is_far_from_four_steps_on(deviation: float, outcome: int) -> None:
    calls = read_calls(evidence_of([deviation], [0.01]), sequence_of([1], [2]))
    assert calls.outcome_R.tolist() == [outcome]


@pytest.mark.parametrize(("deviation", "outcome"), [(0.3, FAR), (0.2, NEAR)])
def test_the_limit_follows_the_size_of_the_contenders(deviation: float, outcome: int) -> None:
    small = read_calls(
        evidence_of([deviation], [0.01], contender=CONTENDER_LOGITS), sequence_of([1], [2])
    )
    large = read_calls(
        evidence_of([deviation], [0.01], contender=CONTENDER_LOGITS * 2), sequence_of([1], [2])
    )
    assert small.outcome_R.tolist() == [outcome]
    assert large.outcome_R.tolist() == [NEAR]


@pytest.mark.parametrize("exponent", range(-1, 12))
def test_the_step_doubles_at_every_power_of_two(exponent: int) -> None:
    power = 2.0**exponent
    last_below = float(np.nextafter(np.float32(power), np.float32(0)))
    below, at, above = step_logits(np.asarray([last_below, power, power * 1.99]))
    assert at == above == power / 128
    assert below == power / 256


def test_a_step_is_the_distance_of_neighbouring_bfloat16_numbers() -> None:
    size = np.random.default_rng(0).uniform(0.25, 100.0, 500).astype(np.float32)
    # a bfloat16 number is the upper half of a float32 one, and bits are in the order of numbers
    bits = size.view(np.uint32) & np.uint32(0xFFFF0000)
    number, following = (x.view(np.float32) for x in (bits, bits + np.uint32(0x10000)))
    np.testing.assert_array_equal(step_logits(number.astype(np.float64)), following - number)


def test_contenders_near_zero_share_one_step() -> None:
    steps = step_logits(np.asarray([0.0, 1e-9, 0.1, MIN_CONTENDER_LOGITS]))
    assert steps.tolist() == [MIN_CONTENDER_LOGITS / 128] * 4


def test_gaps_are_told_in_logits_and_in_steps_and_never_negative() -> None:
    calls = read_calls(evidence_of([0.0] * 3, [-0.5, 0.25, 1e4]), sequence_of([1], [2, 3, 4]))
    assert calls.gap_logits_R.tolist() == [0.0, 0.25, 1e4]
    assert calls.gap_steps_R.tolist() == [0.0, 0.25 / STEP_LOGITS, 1e4 / STEP_LOGITS]


LOOP = list(range(NUM_CONTEXT_TOKENS))


def test_a_context_that_was_disagreed_on_counts_once() -> None:
    output = LOOP * 3
    matched = [True] * len(output)
    matched[NUM_CONTEXT_TOKENS] = False
    calls = read([], output, matched)
    assert not calls.counts_R[2 * NUM_CONTEXT_TOKENS]
    assert calls.counts_R.sum() == len(output) - 1


def test_a_context_that_was_only_agreed_on_counts_every_time() -> None:
    output = LOOP * 3
    matched = [True] * len(output)
    matched[2 * NUM_CONTEXT_TOKENS] = False
    assert read([], output, matched).counts_R.all()


def test_the_prompt_is_a_part_of_the_context() -> None:
    # the last call's context is tokens of the output only; the first call's was the prompt
    output = [9, *LOOP, 9]
    matched = [False] + [True] * (len(output) - 1)
    assert not read(LOOP, output, matched).counts_R[-1]
    assert read([7, *LOOP[1:]], output, matched).counts_R.all()


def test_a_beginning_without_context_is_a_context_of_its_own() -> None:
    output = [0] * 20
    calls = read([], output, [False] * 20)
    assert calls.counts_R.tolist() == [True] * 9 + [False] * 11


@given(st.lists(st.integers(0, 1), max_size=12), tokens, st.randoms(use_true_random=False))
def test_calls_count_as_in_a_slow_twin(prompt: list[int], output: list[int], rng: Random) -> None:
    loop = output * (1 + 40 // len(output))
    matched = [rng.random() > 0.2 for _ in loop]
    assert read(prompt, loop, matched).counts_R.tolist() == slow_counts(prompt, loop, matched)


@given(tokens, tokens, st.data())
def test_whether_a_call_counts_never_depends_on_what_comes_at_it_or_later(
    prompt: list[int], output: list[int], data: st.DataObject
) -> None:
    size = len(output)
    outcomes = st.lists(st.booleans(), min_size=size, max_size=size)
    matched = data.draw(outcomes)
    cut = data.draw(st.integers(0, size - 1))
    other_end = data.draw(st.lists(st.integers(0, 1), min_size=size - cut, max_size=size - cut))
    other_matched = [*matched[:cut], *data.draw(outcomes)[cut:]]
    first = read(prompt, output, matched).counts_R
    second = read(prompt, [*output[:cut], *other_end], other_matched).counts_R
    assert first[: cut + 1].tolist() == second[: cut + 1].tolist()


@given(tokens, st.data())
def test_the_first_call_always_counts(output: list[int], data: st.DataObject) -> None:
    matched = data.draw(st.lists(st.booleans(), min_size=len(output), max_size=len(output)))
    calls = read([], output, matched)
    assert calls.counts_R[0]
    assert calls.counted().num_tokens == calls.counts_R.sum()
    assert calls.num_tokens == len(output)


def test_the_calls_that_count_keep_their_order() -> None:
    calls = read([], LOOP * 3, [True] * 8 + [False] + [True] * 15)
    marked = replace(calls, gap_steps_R=np.arange(24.0))
    assert marked.counted().gap_steps_R.tolist() == [float(i) for i in range(24) if i != 16]
    assert marked.counted().counts_R.all()

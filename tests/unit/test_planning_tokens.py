"""A plan takes recorded token ids as they are; ids inferred from text are noted, or refused."""

from dataclasses import replace

import pytest

from audit.errors import CannotJudge
from audit.planning import plan_replay
from audit.records import (
    AuditRequest,
    Claim,
    Exchange,
    Message,
    Output,
    Prompt,
    Reason,
    ReplayPlan,
    Usage,
)
from tests.support.fake_reference import FakeReference, exchange_with


def planned(exchange: Exchange, reference: FakeReference | None = None) -> ReplayPlan:
    request = AuditRequest(request_id="r", exchange=exchange, claim=Claim())
    return plan_replay(request, reference or FakeReference(), None)


def refused(exchange: Exchange, reference: FakeReference | None = None) -> CannotJudge:
    with pytest.raises(CannotJudge) as caught:
        planned(exchange, reference)
    return caught.value


def test_text_and_chat_prompts_are_tokenized_and_noted() -> None:
    plan = planned(exchange_with(prompt=Prompt(text="a bb ccc")))
    assert plan.sequence.prompt_token_ids == (1, 2, 3)
    assert any("tokenizer" in note for note in plan.notes)
    messages = (Message(role="user", content="dd e"),)
    plan = planned(exchange_with(prompt=Prompt(messages=messages)))
    assert plan.sequence.prompt_token_ids == (99, 2, 1)
    assert any("chat template" in note for note in plan.notes)


def test_a_provider_that_answered_another_prompt_is_not_judged() -> None:
    for prompt in (Prompt(token_ids=(1, 2)), Prompt(text="a bb")):
        same = replace(prompt, echoed_token_ids=(1, 2))
        assert planned(exchange_with(prompt=same)).sequence.prompt_token_ids == (1, 2)
        error = refused(exchange_with(prompt=replace(prompt, echoed_token_ids=(7, 1, 2))))
        assert error.reason is Reason.PROMPT_TOKENS_DIFFER


def text_answer(text: str, billed: int | None) -> Exchange:
    exchange = exchange_with(output=Output(text=text))
    return replace(exchange, usage=Usage(completion_tokens=billed))


@pytest.mark.parametrize("billed", [None, 3, 4])
def test_ids_inferred_from_a_text_are_noted(billed: int | None) -> None:
    plan = planned(text_answer("a bb ccc", billed))
    assert plan.ids_inferred and plan.sequence.output_token_ids == (1, 2, 3)
    assert any("inferred" in note for note in plan.notes)


@pytest.mark.parametrize("billed", [0, 2, 5, 3000])
def test_a_text_of_another_length_than_billed_is_ambiguous(billed: int) -> None:
    assert refused(text_answer("a bb ccc", billed)).reason is Reason.TOKENS_AMBIGUOUS


def test_a_text_that_does_not_round_trip_is_ambiguous() -> None:
    error = refused(text_answer("x", None), FakeReference(texts={"x": None}))
    assert error.reason is Reason.TOKENS_AMBIGUOUS and "round trip" in str(error)


def test_an_empty_text_is_an_empty_answer() -> None:
    plan = planned(text_answer("", 0))
    assert plan.sequence.output_token_ids == () and not plan.ids_inferred

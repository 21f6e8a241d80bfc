"""Answers of endpoints: what is one, and what is garbage, said in a sentence."""

import json
import string
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.records import Message, Prompt, SamplingRequest
from audit.sweep_records import (
    AnswerStatus,
    ApiStyle,
    PositionLogprobs,
    Probe,
    ProbeAnswer,
    ProbeKind,
    RawAnswer,
    TokenLogprob,
)
from audit.sweeps.probe import make_probe
from audit.sweeps.provider.answers import parse_answer

Json = dict[str, Any]


def probe_of(api: ApiStyle) -> Probe:
    is_chat = api is ApiStyle.CHAT
    return make_probe(
        kind=ProbeKind.TEXT,
        detector="conformal-rank/1",
        group="g",
        api=api,
        prompt=Prompt(messages=(Message(role="user", content="hi"),))
        if is_chat
        else Prompt(text="hi"),
        sampling=SamplingRequest(temperature=1.0, max_tokens=2),
    )


COMPLETIONS, CHAT = probe_of(ApiStyle.COMPLETIONS), probe_of(ApiStyle.CHAT)


def completion() -> Json:
    """A completion as vLLM answers with everything asked for."""
    return {
        "id": "cmpl-7",
        "object": "text_completion",
        "created": 1795243734,
        "model": "served",
        "provider": "Upstream",
        "system_fingerprint": "vllm-0.32.0",
        "choices": [
            {
                "index": 0,
                "text": " a b",
                "logprobs": {
                    "text_offset": [0, 2],
                    "tokens": [" a", " b"],
                    "token_logprobs": [-0.5, -1],
                    "top_logprobs": [{" a": -0.5, " c": -1.25}, {" b": -1.0, " d": -9999.0}],
                },
                "finish_reason": "length",
                "token_ids": [17, 18],
                "prompt_token_ids": [5],
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def chat() -> Json:
    """A chat answer with log-probabilities and spelled token ids."""
    top = [{"token": "token_id:17", "logprob": -0.5, "bytes": None}]
    entry = {"token": "token_id:17", "logprob": -0.5, "bytes": None, "top_logprobs": top}
    return {
        "id": "chatcmpl-7",
        "model": "served",
        "prompt_token_ids": [5, 6],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a"},
                "logprobs": {"content": [entry]},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 2, "completion_tokens": 1},
    }


def tried(logprob_nats: float, text: str, token_id: int | None = None) -> TokenLogprob:
    return TokenLogprob(logprob_nats=logprob_nats, token=text, token_id=token_id)


def parsed(body: object, probe: Probe = COMPLETIONS) -> ProbeAnswer:
    text = body if isinstance(body, str) else json.dumps(body)
    raw = RawAnswer(status=AnswerStatus.ANSWERED, http_status=200, body=text, elapsed_s=0.25)
    return parse_answer(probe, raw)


def test_a_completion_with_everything() -> None:
    assert parsed(completion()) == ProbeAnswer(
        status=AnswerStatus.ANSWERED,
        text=" a b",
        token_ids=(17, 18),
        prompt_token_ids=(5,),
        finish_reason="length",
        logprobs=(
            PositionLogprobs(
                chosen=tried(-0.5, " a", 17),
                top=(
                    tried(-0.5, " a"),
                    tried(-1.25, " c"),
                ),
            ),
            PositionLogprobs(
                chosen=tried(-1.0, " b", 18),
                top=(
                    tried(-1.0, " b"),
                    tried(-9999.0, " d"),
                ),
            ),
        ),
        prompt_tokens=1,
        completion_tokens=2,
        served_model="served",
        upstream="Upstream",
        system_fingerprint="vllm-0.32.0",
        response_id="cmpl-7",
        elapsed_s=0.25,
    )


def test_a_chat_answer_with_spelled_token_ids() -> None:
    answer = parsed(chat(), CHAT)
    assert (answer.text, answer.token_ids, answer.prompt_token_ids) == ("a", (17,), (5, 6))
    named = TokenLogprob(logprob_nats=-0.5, token_id=17)
    assert answer.logprobs == (PositionLogprobs(chosen=named, top=(named,)),)
    assert (answer.finish_reason, answer.completion_tokens) == ("stop", 1)


def test_what_is_not_said_is_none() -> None:
    bare = {"choices": [{"text": "", "logprobs": None, "finish_reason": None}], "usage": None}
    assert parsed(bare) == ProbeAnswer(status=AnswerStatus.ANSWERED, text="", elapsed_s=0.25)
    silent: Json = {"choices": [{"message": {"content": None, "tool_calls": []}}]}
    assert parsed(silent, CHAT).text is None


def test_completions_may_bring_log_probabilities_in_the_chat_style() -> None:
    body = completion()
    body["choices"][0]["logprobs"] = {"content": [{"token": " a", "logprob": -1.0}]}
    (position,) = parsed(body).logprobs
    assert position == PositionLogprobs(chosen=tried(-1.0, " a"))


def test_positive_log_probabilities_are_left_to_the_pre_flight() -> None:
    body = completion()
    body["choices"][0]["logprobs"]["token_logprobs"] = [0.5, -1]
    assert parsed(body).logprobs[0].chosen.logprob_nats == 0.5


def _choice(**members: object) -> Callable[[Json], None]:
    return lambda body: body["choices"][0].update(members)


def _logprobs(**members: object) -> Callable[[Json], None]:
    return lambda body: body["choices"][0]["logprobs"].update(members)


def _body(**members: object) -> Callable[[Json], None]:
    return lambda body: body.update(members)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_body(choices=None), "body.choices: is missing"),
        (_body(choices=[]), "must hold one object, found 0 items"),
        (_body(choices=[{}, {}]), "must hold one object, found 2 items"),
        (_body(choices=["text"]), "must hold one object"),
        (_body(choices={"0": {}}), "body.choices: must be a list, found an object"),
        (_body(usage=[]), "body.usage: must be an object, found a list"),
        (_body(usage={"prompt_tokens": -1}), "is no number of tokens: -1"),
        (_body(usage={"completion_tokens": 10**12}), "is no number of tokens"),
        (_body(usage={"completion_tokens": 10**30}), "does not fit 64 bits"),
        (_body(usage={"completion_tokens": True}), "must be an integer, found true or false"),
        (_body(usage={"prompt_tokens": "5"}), "must be an integer, found a string"),
        (_body(model=["m"]), "body.model: must be a string, found a list"),
        (_body(model="m" * 600), "is longer than 512 characters"),
        (_body(provider={}), "body.provider: must be a string, found an object"),
        (_body(error={"message": "no GPU left"}), "reports a failure: no GPU left"),
        (_body(error="broken"), "reports a failure: broken"),
        (_body(object="error", message="out of memory"), "reports a failure: out of memory"),
        (_choice(index=1), "index: must be 0"),
        (_choice(text=None), "text: is missing"),
        (_choice(text=["a"]), "text: must be a string, found a list"),
        (_choice(text="\ud800"), "text: is not valid Unicode"),
        (_choice(finish_reason=3), "finish_reason: must be a string"),
        (_choice(token_ids=[1, -2]), "token_ids: holds a number that is no token id"),
        (_choice(token_ids=[2**31]), "token_ids: holds a number that is no token id"),
        (_choice(token_ids=[1, 2.5]), "token_ids[1]: must be a token id, found a number"),
        (_choice(token_ids=[True]), "token_ids[0]: must be a token id, found true or false"),
        (_choice(**{"prompt_token_ids": "5"}), "prompt_token_ids: must be a list, found a string"),
        (_choice(logprobs=[]), "logprobs: must be an object, found a list"),
        (_logprobs(token_logprobs=None), "must hold tokens and token_logprobs"),
        (_logprobs(token_logprobs=[-1.0]), "holds lists of different lengths"),
        (_logprobs(top_logprobs=[{}]), "holds lists of different lengths"),
        (_logprobs(token_logprobs=[None, -1.0]), "must be a number, found null"),
        (_logprobs(token_logprobs=["-1", -1.0]), "must be a number, found a string"),
        (_logprobs(tokens=[1, 2]), "tokens[0]: must be a string"),
        (_logprobs(tokens=["\udc00", "b"]), "tokens[0]: is not valid Unicode"),
        (_logprobs(tokens=["token_id:9999999999", "b"]), "names a number that is no token id"),
        (_logprobs(top_logprobs=[[], {}]), "top_logprobs[0]: must be an object"),
        (_logprobs(content=[3]), "content[0]: must be an object"),
        (_logprobs(content=[{"logprob": -1.0}]), "content[0].token: is missing"),
        (_logprobs(content=[{"token": "a"}]), "logprob: must be a number, found null"),
        (_logprobs(content={}), "content: must be a list, found an object"),
    ],
)
def test_wrong_members_are_garbage(spoil: Callable[[Json], None], told: str) -> None:
    body = completion()
    spoil(body)
    answer = parsed(body)
    assert answer.status is AnswerStatus.GARBAGE
    assert answer.error is not None and told in answer.error
    bare = ProbeAnswer(status=AnswerStatus.GARBAGE, elapsed_s=0.25, error=answer.error)
    assert answer == bare


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("<!DOCTYPE html><title>502</title>", "is a web page"),
        ("\ufeff<html>", "is a web page"),
        ('data: {"choices": []}\n\n', "is a stream of events"),
        ('{"choices": [{"text": "ab', "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ('"text"', "must be a JSON object"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"a":' * 100_000, "is nested too deeply"),
        (
            '{"choices": [{"text": "", "logprobs": {"tokens": ["a"], "token_logprobs": [1e999]}}]}',
            "must be a finite number",
        ),
    ],
)
def test_bodies_that_are_no_answer_are_garbage(text: str, told: str) -> None:
    answer = parsed(text)
    assert answer.status is AnswerStatus.GARBAGE
    assert answer.error is not None and told in answer.error and len(answer.error) <= 600


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (None, "message: is missing"),
        ("hello", "message: must be an object"),
        ({"content": [{"type": "text", "text": "a"}]}, "content: must be a string, found a list"),
    ],
)
def test_chat_messages_that_are_none(message: object, told: str) -> None:
    body = chat()
    body["choices"][0]["message"] = message
    assert told in (parsed(body, CHAT).error or "")


def test_a_body_that_was_cut_is_garbage() -> None:
    raw = RawAnswer(status=AnswerStatus.ANSWERED, body=json.dumps(completion()), is_cut=True)
    assert "longer than the client reads" in (parse_answer(COMPLETIONS, raw).error or "")


@pytest.mark.parametrize("status", [s for s in AnswerStatus if s is not AnswerStatus.ANSWERED])
def test_what_was_no_answer_stays_what_it_was(status: AnswerStatus) -> None:
    raw = RawAnswer(status=status, body=json.dumps(completion()), error="why", elapsed_s=1.0)
    answer = parse_answer(COMPLETIONS, raw)
    assert answer == ProbeAnswer(status=status, error="why", elapsed_s=1.0)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
PLACES = st.sampled_from(
    [(), ("choices",), ("usage",), ("model",), ("choices", 0), ("choices", 0, "text")]
    + [("choices", 0, "logprobs"), ("choices", 0, "token_ids"), ("choices", 0, "message")]
    + [("choices", 0, "logprobs", key) for key in ("tokens", "token_logprobs", "top_logprobs")]
    + [("choices", 0, "logprobs", "content"), ("usage", "prompt_tokens"), ("id",), ("error",)]
)


@given(place=PLACES, value=JSON_VALUES, is_chat=st.booleans())
def test_nothing_at_any_place_raises(place: tuple[Any, ...], value: object, is_chat: bool) -> None:
    body: Any = chat() if is_chat else completion()
    target: Any = body
    for key in place[:-1]:
        target = target[key]
    if place:
        target[place[-1]] = value
    else:
        body = value
    answer = parsed(body, CHAT if is_chat else COMPLETIONS)
    assert answer.status in (AnswerStatus.ANSWERED, AnswerStatus.GARBAGE)
    assert (answer.error is None) is (answer.status is AnswerStatus.ANSWERED)
    # whatever was read can be written down
    json.dumps(replace(answer).text).encode()


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    assert parsed(text).status in (AnswerStatus.ANSWERED, AnswerStatus.GARBAGE)

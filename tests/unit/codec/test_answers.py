"""Answers of every engine are read alike, with token ids wherever an engine puts them."""

import json
from typing import Any

import pytest

from audit.codec.answers import Answer, read_answer
from audit.errors import InvalidRequest
from tests.support.example_model import TRAFFIC

IDS = (11, 22, 33)


def completion(**choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": "abc", "finish_reason": "stop"} | choice]}


def chat(**choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "abc"}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"} | choice]}


WITH_IDS: dict[str, dict[str, Any]] = {
    "vllm_completion": completion(token_ids=list(IDS)),
    "vllm_chat": chat(token_ids=list(IDS)),
    "vllm_ids_as_texts": completion(logprobs={"tokens": [f"token_id:{i}" for i in IDS]}),
    "vllm_chat_ids_as_texts": chat(logprobs={"content": [{"token": f"token_id:{i}"} for i in IDS]}),
    "sglang_extension": chat(sglext={"output_ids": list(IDS)}),
    "sglang_top_level": {**completion(), "sglext": {"output_token_ids": list(IDS)}},
    "sglang_meta_info": completion(meta_info={"output_ids": list(IDS)}),
    "llama_cpp_tokens": {**completion(), "tokens": list(IDS)},
    "llama_cpp_verbose": {**chat(), "__verbose": {"tokens": list(IDS)}},
    "stream": {
        "chunks": [
            {"choices": [{"text": "a", "token_ids": [11]}]},
            {"choices": [{"text": "bc", "token_ids": [22, 33], "finish_reason": "stop"}]},
            {"choices": [], "usage": {"completion_tokens": 3}},
            "[DONE]",
        ]
    },
    "chat_stream": {
        "chunks": [
            {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
            {"choices": [{"delta": {"content": "ab"}, "token_ids": [11, 22]}]},
            {"choices": [{"delta": {"content": "c"}, "token_ids": [33]}]},
            {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        ]
    },
}
WITHOUT_IDS: dict[str, dict[str, Any]] = {
    "llama_cpp": completion(logprobs={"tokens": ["a", "b", "c"]}),
    "transformers": chat(),
    "half_of_the_ids": {
        "chunks": [
            {"choices": [{"text": "ab", "token_ids": [11, 22]}]},
            {"choices": [{"text": "c", "finish_reason": "stop"}]},
        ]
    },
    "ids_mixed_with_texts": completion(logprobs={"tokens": ["token_id:11", "bc"]}),
}


@pytest.mark.parametrize("name", WITH_IDS)
def test_token_ids_are_found_where_the_engine_puts_them(name: str) -> None:
    output = read_answer(WITH_IDS[name]).output
    assert (output.token_ids, output.text, output.finish_reason) == (IDS, "abc", "stop")


@pytest.mark.parametrize("name", WITHOUT_IDS)
def test_an_answer_without_all_its_ids_is_read_as_text(name: str) -> None:
    output = read_answer(WITHOUT_IDS[name]).output
    assert (output.token_ids, output.text, output.finish_reason) == (None, "abc", "stop")


def test_an_empty_answer_holds_no_tokens() -> None:
    assert read_answer(completion(text="")).output.token_ids == ()
    assert read_answer(completion(text="", token_ids=[])).output.token_ids == ()


def test_usage_echo_model_and_fingerprint_are_read() -> None:
    body = completion(prompt_token_ids=[1, 2]) | {
        "model": "m",
        "system_fingerprint": "vllm-0.32.0-abc",
        "usage": {
            "prompt_tokens": 2,
            "completion_tokens": 3,
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }
    answer = read_answer(body)
    assert answer.echoed_prompt_token_ids == (1, 2)
    assert (answer.model, answer.system_fingerprint) == ("m", "vllm-0.32.0-abc")
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens) == (2, 3, 1)


def test_ids_echoed_by_a_stream_are_taken_from_its_first_chunk() -> None:
    chunks = [{"prompt_token_ids": [7], "choices": [{"text": "a", "token_ids": [1]}]}]
    answer = read_answer({"chunks": [*chunks, {"choices": [{"text": "b", "token_ids": [2]}]}]})
    assert answer.echoed_prompt_token_ids == (7,)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no_choices": ({}, "response.choices"),
    "empty_choices": ({"choices": []}, "response.choices"),
    "two_choices": ({"choices": [{"text": "a"}, {"text": "b"}]}, "response.choices"),
    "choice_no_object": ({"choices": ["a"]}, "response.choices"),
    "choices_no_list": ({"choices": {"0": "a"}}, "response.choices"),
    "openai_error": ({"error": {"message": "overloaded"}}, "response.error"),
    "vllm_error": ({"object": "error", "message": "too long"}, "response.error"),
    "error_in_a_stream": ({"chunks": [completion(), {"error": "x"}]}, "response.error"),
    "chunks_no_list": ({"chunks": 3}, "response.chunks"),
    "chunk_no_object": ({"chunks": [completion(), "data"]}, "response.chunks[1]"),
    "only_done": ({"chunks": ["[DONE]"]}, "response.choices"),
    "text_no_string": (completion(text=3), "response.choices[0].text"),
    "ids_no_list": (completion(**{"token_ids": "11"}), "response.choices[0].token_ids"),
    "id_no_integer": (completion(token_ids=[1, 2.5]), "response.choices[0].token_ids[1]"),
    "id_is_true": (completion(token_ids=[True]), "response.choices[0].token_ids[0]"),
    "finish_reason_no_string": (completion(finish_reason=3), "response.choices[0].finish_reason"),
    "message_no_object": (chat(message="abc"), "response.choices[0].message"),
    "content_no_string": (chat(message={"content": [1]}), "response.choices[0].content"),
    "usage_no_object": (completion() | {"usage": 3}, "response.usage"),
    "usage_no_integer": (
        completion() | {"usage": {"prompt_tokens": "2"}},
        "response.usage.prompt_tokens",
    ),
    "logprob_tokens_no_list": (
        completion(logprobs={"tokens": 5}),
        "response.choices[0].logprobs.tokens",
    ),
    "reasoning_beside_text": (
        chat(message={"content": "abc", "reasoning_content": "hm"}),
        "response.choices[0].message",
    ),
    "tool_calls": (chat(message={"tool_calls": [{}]}), "response.choices[0].message"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_single_answer_is_refused_by_its_field(name: str) -> None:
    response, field = REFUSED[name]
    with pytest.raises(InvalidRequest) as caught:
        read_answer(response)
    assert [v.field for v in caught.value.violations] == [field]


def test_reasoning_with_token_ids_is_read() -> None:
    body = chat(message={"content": "abc", "reasoning_content": "hm"}, token_ids=list(IDS))
    assert read_answer(body).output.token_ids == IDS


@pytest.mark.parametrize("name", ["honest-vllm-fp32", "honest-transformers-serve"])
def test_recorded_answers_of_real_engines_are_read(name: str) -> None:
    answers: list[Answer] = []
    with (TRAFFIC / f"{name}.jsonl").open(encoding="utf-8") as file:
        for line in list(file)[:12]:
            answers.append(read_answer(json.loads(line)["response"]))
    for answer in answers:
        assert answer.output.text and answer.usage.completion_tokens
        if name.startswith("honest-vllm"):
            assert answer.output.token_ids is not None
            assert len(answer.output.token_ids) == answer.usage.completion_tokens
        else:
            assert answer.output.token_ids is None

"""A traffic line becomes an audit request; a wrong type becomes the name of its field."""

from typing import Any

import pytest

from audit.codec.recorded import parse_exchange
from audit.errors import InvalidRequest
from audit.records import AuditRequest, Message, Prompt

RESPONSE = {"choices": [{"text": "b", "token_ids": [5]}], "model": "from-response"}
Line = dict[str, Any]


def line_of(request: Line | None = None, **parts: Any) -> Line:
    return {"request": {"prompt": [1, 2]} | (request or {}), "response": RESPONSE} | parts


def parsed(line: Line) -> AuditRequest:
    return parse_exchange(line, "id-1")


def test_a_line_holds_request_response_meta_and_claim() -> None:
    found = parsed(
        line_of(
            {"model": "m", "temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": 3},
            meta={
                "provider": "p",
                "api_base": "http://h/v1",
                "engine": "vllm",
                "engine_version": "0.32.0",
                "device": "cpu",
                "dtype": "bfloat16",
                "started_at": "2026-01-31T12:00:00Z",
                "elapsed_s": 1,
            },
            claim={"weights_digest": "sha256:" + "a" * 64, "sampler_profile": "greedy"},
        )
    )
    exchange = found.exchange
    assert found.request_id == "id-1"
    assert exchange.prompt == Prompt(token_ids=(1, 2))
    assert exchange.output.token_ids == (5,)
    sampling = exchange.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.7, 5, 0.9)
    assert sampling.seed == 3
    assert exchange.timing.started_at == "2026-01-31T12:00:00Z"
    assert exchange.timing.elapsed_s == 1.0
    provider = exchange.provider
    assert (provider.provider, provider.endpoint) == ("p", "http://h/v1")
    assert (provider.engine, provider.engine_version, provider.device) == ("vllm", "0.32.0", "cpu")
    claim = found.claim
    assert (claim.model, claim.precision, claim.sampler_profile) == ("m", "bfloat16", "greedy")


def test_the_model_is_that_of_claim_request_and_response_in_this_order() -> None:
    assert parsed(line_of()).claim.model == "from-response"
    assert parsed(line_of({"model": "asked"})).claim.model == "asked"
    assert parsed(line_of({"model": "asked"}, claim={"model": "said"})).claim.model == "said"


def test_an_explicit_precision_beats_the_recorders_dtype() -> None:
    line = line_of(meta={"dtype": "bfloat16"}, claim={"precision": "fp8"})
    assert parsed(line).claim.precision == "fp8"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("text", Prompt(text="text")),
        (["text"], Prompt(text="text")),
        ([3, 4], Prompt(token_ids=(3, 4))),
        ([[3, 4]], Prompt(token_ids=(3, 4))),
        ([], Prompt(token_ids=())),
    ],
)
def test_prompts_come_in_every_openai_form(prompt: object, expected: Prompt) -> None:
    assert parsed(line_of({"prompt": prompt})).exchange.prompt == expected


def test_messages_may_hold_text_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": parts}]
    prompt = parsed(line_of({"messages": messages})).exchange.prompt
    assert prompt.messages == (
        Message(role="system", content="s"),
        Message(role="user", content="a\nb"),
    )


def test_prompt_ids_that_the_provider_echoes_are_kept_apart() -> None:
    response = {"choices": [{"text": "b", "prompt_token_ids": [9]}]}
    prompt = parsed(line_of(response=response)).exchange.prompt
    assert (prompt.token_ids, prompt.echoed_token_ids) == ((1, 2), (9,))


def test_a_difr_line_is_read() -> None:
    found = parsed(
        {
            "prompt_token_ids": [1],
            "output_token_ids": [2, 3],
            "temperature": 1.0,
            "seed": 42,
            "model": "m",
            "meta": {"engine": "vllm"},
        }
    )
    assert found.exchange.prompt.token_ids == (1,)
    assert found.exchange.output.token_ids == (2, 3)
    assert (found.exchange.sampling.temperature, found.exchange.sampling.seed) == (1.0, 42)
    assert (found.claim.model, found.exchange.provider.engine) == ("m", "vllm")


REFUSED: dict[str, tuple[Line, str]] = {
    "empty": ({}, "line"),
    "only_request": ({"request": {}}, "line"),
    "request_no_object": ({"request": "r", "response": RESPONSE}, "line.request"),
    "response_no_object": ({"request": {}, "response": []}, "line.response"),
    "meta_no_object": (line_of(meta=3), "line.meta"),
    "claim_no_object": (line_of(claim="m"), "line.claim"),
    "prompt_missing": ({"request": {}, "response": RESPONSE}, "request.prompt"),
    "prompt_no_text": (line_of({"prompt": 3}), "request.prompt"),
    "prompt_of_many": (line_of({"prompt": ["a", "b"]}), "request.prompt"),
    "prompt_id_is_true": (line_of({"prompt": [1, True]}), "request.prompt[1]"),
    "messages_no_list": (line_of({"messages": "hi"}), "request.messages"),
    "message_no_object": (line_of({"messages": ["hi"]}), "request.messages[0]"),
    "message_without_role": (line_of({"messages": [{"content": "x"}]}), "request.messages[0]"),
    "message_with_image": (
        line_of({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
        "request.messages[0].content",
    ),
    "temperature_no_number": (line_of({"temperature": "hot"}), "request.temperature"),
    "temperature_is_true": (line_of({"temperature": True}), "request.temperature"),
    "temperature_too_large": (line_of({"temperature": 10**400}), "request.temperature"),
    "temperature_infinite": (line_of({"temperature": float("inf")}), "request.temperature"),
    "top_k_no_integer": (line_of({"top_k": 1.5}), "request.top_k"),
    "seed_is_true": (line_of({"seed": True}), "request.seed"),
    "seed_beyond_64_bits": (line_of({"seed": 2**63}), "request.seed"),
    "seed_beyond_float": (line_of({"seed": 1e300}), "request.seed"),
    "model_no_string": (line_of({"model": 3}), "request.model"),
    "engine_no_string": (line_of(meta={"engine": 3}), "meta.engine"),
    "elapsed_no_number": (line_of(meta={"elapsed_s": "1"}), "meta.elapsed_s"),
    "digest_no_string": (line_of(claim={"weights_digest": 3}), "claim.weights_digest"),
    "difr_ids_no_list": (
        {"prompt_token_ids": 1, "output_token_ids": [1]},
        "line.prompt_token_ids",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_type_is_refused_by_its_field(name: str) -> None:
    line, field = REFUSED[name]
    with pytest.raises(InvalidRequest) as caught:
        parsed(line)
    assert [v.field for v in caught.value.violations] == [field]

"""Usage objects of nine schemas, as their APIs write them."""

from collections.abc import Mapping
from typing import Any

import pytest

from audit.billing_records import BilledUsage, UsageSchema
from audit.errors import InvalidRequest
from audit.hidden_tokens.usage import parse_usage

CHAT = {
    "prompt_tokens": 19,
    "completion_tokens": 1112,
    "total_tokens": 1131,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 1024,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
INSIDE = {"prompt_tokens": 19, "output_tokens": 1112, "reasoning_tokens": 1024}

EXAMPLES: list[tuple[str, Mapping[str, Any], Mapping[str, int]]] = [
    ("openai_chat", CHAT, {**INSIDE, "total_tokens": 1131}),
    (
        "openai_responses",
        {
            "input_tokens": 19,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 1112,
            "output_tokens_details": {"reasoning_tokens": 1024},
            "total_tokens": 1131,
        },
        {**INSIDE, "total_tokens": 1131},
    ),
    (
        "anthropic",
        {
            "input_tokens": 10,
            "cache_creation_input_tokens": 4,
            "cache_read_input_tokens": 5,
            "output_tokens": 1112,
            "output_tokens_details": {"thinking_tokens": 1024},
            "service_tier": "standard",
        },
        INSIDE,
    ),
    (
        "gemini",
        {
            "promptTokenCount": 12,
            "toolUsePromptTokenCount": 7,
            "candidatesTokenCount": 88,
            "thoughtsTokenCount": 1024,
            "totalTokenCount": 1131,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}],
        },
        {**INSIDE, "total_tokens": 1131, "stated_completion_tokens": 88},
    ),
    (
        "gemini",
        {"prompt_token_count": 19, "candidates_token_count": 88, "thoughts_token_count": 1024},
        {**INSIDE, "stated_completion_tokens": 88},
    ),
    (
        "deepseek",
        {
            "prompt_tokens": 19,
            "completion_tokens": 1112,
            "total_tokens": 1131,
            "completion_tokens_details": {"reasoning_tokens": 1024},
            "prompt_cache_hit_tokens": 16,
            "prompt_cache_miss_tokens": 3,
        },
        {**INSIDE, "total_tokens": 1131},
    ),
    (
        "xai",
        {
            "prompt_tokens": 19,
            "completion_tokens": 88,
            "total_tokens": 1131,
            "completion_tokens_details": {"reasoning_tokens": 1024},
            "num_sources_used": 0,
        },
        {**INSIDE, "total_tokens": 1131, "stated_completion_tokens": 88},
    ),
    (
        "openrouter",
        {**CHAT, "cost": 0.0123, "cost_details": {"upstream_inference_cost": None}},
        {**INSIDE, "total_tokens": 1131},
    ),
    (
        "vllm",
        {"prompt_tokens": 19, "completion_tokens": 1112, "total_tokens": 1131},
        {"prompt_tokens": 19, "output_tokens": 1112, "total_tokens": 1131},
    ),
    (
        "sglang",
        {**INSIDE, "completion_tokens": 1112, "total_tokens": 1131, "prompt_tokens_details": None},
        {**INSIDE, "total_tokens": 1131},
    ),
]


@pytest.mark.parametrize(("schema", "usage", "counts"), EXAMPLES)
def test_each_schema_is_read_in_the_same_terms(
    schema: str, usage: Mapping[str, Any], counts: dict[str, int]
) -> None:
    assert parse_usage(schema, usage) == BilledUsage(schema=UsageSchema(schema), **counts)


def test_every_schema_has_an_example() -> None:
    assert {schema for schema, _, _ in EXAMPLES} == set(UsageSchema)


def test_gemini_leaves_zeros_out() -> None:
    thoughts_only = parse_usage("gemini", {"promptTokenCount": 5, "thoughtsTokenCount": 40})
    assert (thoughts_only.output_tokens, thoughts_only.stated_completion_tokens) == (40, 0)
    no_thoughts = parse_usage("gemini", {"candidatesTokenCount": 40})
    assert (no_thoughts.output_tokens, no_thoughts.reasoning_tokens) == (40, None)


@pytest.mark.parametrize(
    ("schema", "usage", "message"),
    [
        ("mistral", {}, r"usage_schema: 'mistral' is no known schema .* openai_chat, "),
        ("openai_chat", None, "usage: is missing"),
        ("openai_chat", [1], "usage: must be an object, found list"),
        ("openai_chat", {}, r"usage\.completion_tokens: is missing"),
        ("openai_responses", CHAT, r"usage\.output_tokens: is missing"),
        ("gemini", {"promptTokenCount": 3}, r"usage\.candidatesTokenCount: is missing"),
        ("anthropic", {"output_tokens": -1}, r"usage\.output_tokens: -1 tokens .* negative"),
        ("vllm", {"completion_tokens": 10_000_001}, r"completion_tokens: .* more than 10,000,000"),
        ("vllm", {"completion_tokens": 1.5}, r"completion_tokens: must be an integer, found"),
        ("vllm", {"completion_tokens": True}, r"completion_tokens: must be an integer, found true"),
        ("vllm", {"completion_tokens": "7"}, r"completion_tokens: .* found a string"),
        ("vllm", {"completion_tokens": 10**30}, r"completion_tokens: does not fit 64 bits"),
        (
            "openai_chat",
            {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": -3}},
            r"usage\.completion_tokens_details\.reasoning_tokens: -3 tokens",
        ),
        (
            "openai_chat",
            {"completion_tokens": 9, "completion_tokens_details": 4},
            r"usage\.completion_tokens_details: must be an object",
        ),
        (
            "sglang",
            {
                "completion_tokens": 9,
                "reasoning_tokens": 3,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            r"usage\.reasoning_tokens: is stated more than once and differs: 3 and 4",
        ),
        (
            "deepseek",
            {
                "completion_tokens": 9,
                "prompt_tokens": 9,
                "prompt_cache_hit_tokens": 1,
                "prompt_cache_miss_tokens": 2,
            },
            r"usage\.prompt_tokens: .* differs: 3 and 9",
        ),
        (
            "gemini",
            {"candidatesTokenCount": 1, "candidates_token_count": 2},
            r"usage\.candidatesTokenCount: .* differs: 1 and 2",
        ),
    ],
)
def test_what_is_no_usage_is_named(schema: str, usage: object, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_usage(schema, usage)

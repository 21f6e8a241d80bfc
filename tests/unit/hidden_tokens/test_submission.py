"""Submitted requests: read strictly, written back, named by digest."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.billing_records import BilledRequest, CallTiming, OpaqueEvidence
from audit.errors import InvalidRequest
from audit.hidden_tokens.submission import (
    parse_billed_request,
    read_submissions,
    request_digest,
    request_document,
)

USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 1112,
    "total_tokens": 1131,
    "completion_tokens_details": {"reasoning_tokens": 1024},
}


def document(**changes: object) -> dict[str, Any]:
    base: dict[str, Any] = {
        "request_id": "r-1",
        "account": "acme",
        "provider": "openai",
        "model": "o1-mini",
        "observed_at": "2026-01-02T03:04:05Z",
        "usage_schema": "openai_chat",
        "usage": USAGE,
    }
    return {**base, **changes}


FULL = document(
    effort="high",
    domain="math",
    prompt="What is 2 + 2?",
    answer="4",
    streamed_usage=USAGE,
    max_output_tokens=4096,
    thinking_budget_tokens=0,
    is_aggregator=True,
    timing={"elapsed_s": 3, "first_answer_token_s": 2.5, "chunk_times_s": [2.5, 2.5, 3]},
    opaque={"blob_chars": 952, "num_blobs": 2, "has_builtin_tools": True},
    reference_counts=[960, 1024],
    disclosed_reasoning="Two and two make four.",
)


def test_everything_stated_is_read() -> None:
    request = parse_billed_request(FULL)
    assert request.timing == CallTiming(
        elapsed_s=3.0, first_answer_token_s=2.5, chunk_times_s=(2.5, 2.5, 3.0)
    )
    assert request.opaque == OpaqueEvidence(blob_chars=952, num_blobs=2, has_builtin_tools=True)
    assert request.streamed_usage == request.usage
    assert (request.thinking_budget_tokens, request.max_output_tokens) == (0, 4096)
    assert request.reference_counts == (960, 1024)
    assert request.usage.reasoning_tokens == 1024


@pytest.mark.parametrize("source", [document(), FULL])
def test_a_written_request_is_read_back_the_same(source: dict[str, Any]) -> None:
    request = parse_billed_request(source)
    written = json.loads(json.dumps(request_document(request)))
    assert parse_billed_request(written) == request
    assert request_digest(parse_billed_request(written)) == request_digest(request)


def test_the_digest_stays_what_it_was() -> None:
    digest = request_digest(parse_billed_request(document()))
    assert digest == "sha256:cc52a5ffbdcbc998fba09e26f466e8cb01e8ffa7b7befbc5983259c2643b8767"
    assert request_digest(parse_billed_request(document(domain="math"))) != digest


def test_a_stream_may_have_a_schema_of_its_own() -> None:
    streamed = {"input_tokens": 19, "output_tokens": 1112}
    request = parse_billed_request(
        document(streamed_usage=streamed, streamed_usage_schema="openai_responses")
    )
    assert request.streamed_usage is not None
    assert request.streamed_usage.output_tokens == 1112


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"request_id": None}, r"request\.request_id: is missing"),
        ({"account": " a"}, r"request\.account: must be printable text"),
        ({"provider": "a\nb"}, r"request\.provider: must be printable text"),
        ({"model": ""}, r"request\.model: must be printable text"),
        ({"model": "m" * 257}, r"request\.model: is longer than 256 characters"),
        ({"domain": "a|b"}, r"request\.domain: must not contain '\|'"),
        ({"effort": 3}, r"request\.effort: must be a string, found an integer"),
        ({"efort": "low"}, r"request\.efort: is no known field: choose among .*effort"),
        ({"usage": None, "usage_schema": None}, r"request\.usage: is missing"),
        ({"usage": None}, r"request\.usage_schema: is given without usage"),
        ({"usage_schema": None}, r"request\.usage_schema: is missing"),
        ({"usage_schema": "x"}, r"request\.usage_schema: 'x' is no known schema"),
        ({"billed_usage": {}}, r"request\.billed_usage: is given beside usage"),
        ({"usage": {"completion_tokens": -1}}, r"request\.usage\.completion_tokens: -1 tokens"),
        ({"observed_at": None}, r"request\.observed_at: is missing"),
        ({"observed_at": "2026-01-02 03:04:05"}, r"request\.observed_at: must be a time in UTC"),
        ({"observed_at": "2026-02-30T03:04:05Z"}, r"request\.observed_at: must be a time in UTC"),
        ({"max_output_tokens": 0}, r"request\.max_output_tokens: must be 1 or more"),
        ({"thinking_budget_tokens": -1}, r"thinking_budget_tokens: -1 is no budget"),
        ({"is_aggregator": "no"}, r"request\.is_aggregator: must be true or false"),
        ({"prompt": "\ud800"}, r"request\.prompt: holds half a surrogate pair"),
        ({"timing": {}}, r"request\.timing\.elapsed_s: is missing"),
        ({"timing": {"elapsed_s": 0}}, r"timing\.elapsed_s: must be more than 0"),
        ({"timing": {"elapsed_s": 1e9}}, r"timing\.elapsed_s: .* at most 604800 seconds"),
        ({"timing": {"elapsed_s": 1, "start": 0}}, r"timing\.start: is no known field"),
        (
            {"timing": {"elapsed_s": 1, "first_answer_token_s": 2}},
            r"first_answer_token_s: must lie between 0 and elapsed_s",
        ),
        ({"timing": {"elapsed_s": 1, "chunk_times_s": [0.5, 0.4]}}, r"chunk_times_s\[1\]: must be"),
        ({"timing": {"elapsed_s": 1, "chunk_times_s": [2]}}, r"chunk_times_s\[0\]: must be"),
        (
            {"timing": {"elapsed_s": 1, "chunk_times_s": [float("nan")]}},
            r"chunk_times_s\[0\]: must be",
        ),
        ({"opaque": {"blob_chars": -1}}, r"opaque\.blob_chars: must lie between 0"),
        ({"opaque": {"content": "abc"}}, r"opaque\.content: is no known field"),
        ({"reference_counts": [64, -64]}, r"reference_counts\[1\]: must be a count"),
        ({"reference_counts": [True]}, r"reference_counts\[0\]: must be a count"),
        ({"reference_counts": [1] * 10_001}, r"reference_counts: holds more than 10,000"),
    ],
)
def test_what_is_no_request_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_billed_request(document(**changes))


def test_our_own_terms_are_read_as_strictly() -> None:
    ours = request_document(parse_billed_request(document()))
    for usage, message in (
        ({"schema": "openai_chat"}, r"billed_usage\.output_tokens: is missing"),
        ({"output_tokens": 1}, r"billed_usage\.schema: None is no known schema"),
        ({"schema": "vllm", "output_tokens": 1, "x": 2}, r"billed_usage\.x: is no known field"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            parse_billed_request({**ours, "billed_usage": usage})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(sorted({*FULL, "billed_usage", "other"})), value=JSON)
def test_whatever_stands_in_a_field_is_read_or_named(key: str, value: object) -> None:
    try:
        request = parse_billed_request({**FULL, key: value})
    except InvalidRequest as error:
        str(error).encode()
    else:
        assert parse_billed_request(json.loads(json.dumps(request_document(request)))) == request


def test_names_of_fields_that_no_message_can_carry_are_escaped() -> None:
    with pytest.raises(InvalidRequest, match=r"request\.a\\ud800: is no known field") as refused:
        parse_billed_request(document(**{"a\ud800": 1}))
    str(refused.value).encode()


def test_what_is_no_object_is_named() -> None:
    with pytest.raises(InvalidRequest, match="request: must be an object, found list"):
        parse_billed_request([])


def test_lines_are_read_one_by_one() -> None:
    lines = [json.dumps(document()), "", json.dumps(document(request_id="r-2"))]
    requests: list[BilledRequest] = list(read_submissions(lines))
    assert [request.request_id for request in requests] == ["r-1", "r-2"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"request_id": ', r"line 2: request: is not valid JSON"),
        ('{"request_id": NaN}', r"line 2: request: is not valid JSON .*NaN"),
        (json.dumps(document(model=None)), r"line 2: request\.model: is missing"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        list(read_submissions([json.dumps(document()), line]))

"""Everything untrusted is refused with its field's name, and everything honest passes."""

import math
from dataclasses import replace

import pytest

from audit.codec.limits import (
    MAX_MESSAGES,
    MAX_NAME_CHARS,
    MAX_TEXT_BYTES,
    MAX_TOKENS,
    MAX_UNSUPPORTED,
    check_audit_id,
    check_request,
    page_size_of,
)
from audit.errors import InvalidRequest
from audit.records import (
    AuditRequest,
    Claim,
    Exchange,
    Message,
    Output,
    Prompt,
    ProviderClaims,
    SamplingRequest,
    Timing,
    Usage,
)

HONEST = AuditRequest(
    request_id="request 1",
    exchange=Exchange(
        prompt=Prompt(text="hello"),
        output=Output(token_ids=(1, 2)),
        sampling=SamplingRequest(temperature=0.7, top_k=-1, top_p=1.0, seed=-(2**63)),
        usage=Usage(prompt_tokens=0),
        timing=Timing(started_at="2026-01-31T12:00:00.5+01:00", elapsed_s=0.0),
        provider=ProviderClaims(endpoint="https://provider.example/v1", system_fingerprint=""),
    ),
    claim=Claim(model="org/model", weights_digest="sha256:" + "0f" * 32),
)


def fields_refused(request: AuditRequest) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        check_request(request)
    return [violation.field for violation in caught.value.violations]


def with_exchange(**parts: object) -> AuditRequest:
    return replace(HONEST, exchange=replace(HONEST.exchange, **parts))  # type: ignore[arg-type]


def test_an_honest_request_passes() -> None:
    check_request(HONEST)


def test_what_cannot_be_judged_may_still_be_well_formed() -> None:
    check_request(
        with_exchange(
            output=Output(token_ids=()), sampling=SamplingRequest(), prompt=Prompt(token_ids=())
        )
    )
    check_request(with_exchange(output=Output(text="")))


@pytest.mark.parametrize(
    "request_id",
    ["", "x" * 129, "naïve", "tab\t", "nul\0"],
    ids=["empty", "long", "not-ascii", "tab", "nul"],
)
def test_a_bad_request_id_is_refused(request_id: str) -> None:
    assert fields_refused(replace(HONEST, request_id=request_id)) == ["request_id"]
    with pytest.raises(InvalidRequest):
        check_audit_id(request_id)


@pytest.mark.parametrize(
    ("prompt", "field"),
    [
        (Prompt(), ""),
        (Prompt(text="a", token_ids=(1,)), ""),
        (Prompt(token_ids=(0, 2**31)), ".token_ids.ids[1]"),
        (Prompt(token_ids=(-1,)), ".token_ids.ids[0]"),
        (Prompt(token_ids=(0,) * (MAX_TOKENS + 1)), ".token_ids"),
        (Prompt(text="a", echoed_token_ids=(5, -5)), ".echoed_token_ids.ids[1]"),
        (Prompt(text="\ud800"), ".text"),
        (Prompt(text="é" * (MAX_TEXT_BYTES // 2 + 1)), ".text"),
        (Prompt(messages=(Message(role="u\n", content=""),)), ".messages.messages[0].role"),
        (Prompt(messages=(Message(role="u", content="\udfff"),)), ".messages.messages[0].content"),
        (Prompt(messages=(Message(role="", content=""),) * (MAX_MESSAGES + 1)), ".messages"),
    ],
    ids=[
        "none",
        "two-forms",
        "id-above-int32",
        "id-negative",
        "too-many-ids",
        "echoed-negative",
        "surrogate",
        "too-many-bytes",
        "role",
        "content",
        "too-many-messages",
    ],
)
def test_a_bad_prompt_is_refused(prompt: Prompt, field: str) -> None:
    assert fields_refused(with_exchange(prompt=prompt)) == [f"exchange.prompt{field}"]


@pytest.mark.parametrize(
    ("output", "field"),
    [
        (Output(), ""),
        (Output(finish_reason="stop"), ""),
        (Output(token_ids=(2**31,)), ".token_ids.ids[0]"),
        (Output(text="\ud800"), ".text"),
        (Output(text="", finish_reason="x" * (MAX_NAME_CHARS + 1)), ".finish_reason"),
    ],
    ids=["none", "only-a-reason", "id-above-int32", "surrogate", "long-reason"],
)
def test_a_bad_output_is_refused(output: Output, field: str) -> None:
    assert fields_refused(with_exchange(output=output)) == [f"exchange.output{field}"]


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        *(
            (SamplingRequest(temperature=value), "temperature")
            for value in (math.nan, math.inf, -math.inf, -0.1, 100.1)
        ),
        *(
            (SamplingRequest(top_p=value), "top_p")
            for value in (math.nan, math.inf, 0.0, -0.5, 1.01)
        ),
        (SamplingRequest(top_k=-2), "top_k"),
        (SamplingRequest(top_k=2**63), "top_k"),
        (SamplingRequest(seed=2**63), "seed"),
        (SamplingRequest(seed=-(2**63) - 1), "seed"),
        (SamplingRequest(max_tokens=-1), "max_tokens"),
        (SamplingRequest(unsupported=("a\0",)), "unsupported[0]"),
        (SamplingRequest(unsupported=("a",) * (MAX_UNSUPPORTED + 1)), "unsupported"),
    ],
)
def test_bad_sampling_parameters_are_refused(sampling: SamplingRequest, field: str) -> None:
    assert fields_refused(with_exchange(sampling=sampling)) == [f"exchange.sampling.{field}"]


@pytest.mark.parametrize(
    "started_at",
    [
        "",
        "yesterday",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-02-30T12:00:00Z",
        "2026-01-31T25:00:00Z",
        "2026-01-31 12:00:00Z",
        "20260131T120000Z",
        "٢٠٢٦-01-31T12:00:00Z",
    ],
)
def test_a_time_that_is_not_rfc_3339_is_refused(started_at: str) -> None:
    refused = fields_refused(with_exchange(timing=Timing(started_at=started_at)))
    assert refused == ["exchange.timing.started_at"]


@pytest.mark.parametrize("elapsed_s", [math.nan, math.inf, -1.0])
def test_a_bad_duration_is_refused(elapsed_s: float) -> None:
    refused = fields_refused(with_exchange(timing=Timing(elapsed_s=elapsed_s)))
    assert refused == ["exchange.timing.elapsed_s"]


@pytest.mark.parametrize(
    "weights_digest",
    ["", "sha256:", "0f" * 32, "sha256:" + "0F" * 32, "sha256:" + "0f" * 32 + "\n"],
    ids=["empty", "no-hex", "no-name", "upper-case", "newline"],
)
def test_a_bad_weights_digest_is_refused(weights_digest: str) -> None:
    request = replace(HONEST, claim=Claim(weights_digest=weights_digest))
    assert fields_refused(request) == ["claim.weights_digest"]


def test_all_violations_are_told_at_once() -> None:
    request = AuditRequest(
        request_id="",
        exchange=Exchange(
            prompt=Prompt(),
            output=Output(),
            sampling=SamplingRequest(temperature=math.nan, top_p=0.0),
            usage=Usage(prompt_tokens=-1, completion_tokens=-1, reasoning_tokens=-1),
            timing=Timing(started_at="now", elapsed_s=-1.0),
            provider=ProviderClaims(provider="\n", endpoint="x" * 3000, device="\0"),
        ),
        claim=Claim(model="\n", precision="\t", sampler_profile="x" * 300),
    )
    assert fields_refused(request) == [
        "request_id",
        "exchange.prompt",
        "exchange.output",
        "exchange.sampling.temperature",
        "exchange.sampling.top_p",
        "exchange.usage.prompt_tokens",
        "exchange.usage.completion_tokens",
        "exchange.usage.reasoning_tokens",
        "exchange.timing.started_at",
        "exchange.timing.elapsed_s",
        "exchange.provider.provider",
        "exchange.provider.endpoint",
        "exchange.provider.device",
        "claim.model",
        "claim.precision",
        "claim.sampler_profile",
    ]


@pytest.mark.parametrize(
    ("requested", "used"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)]
)
def test_page_sizes_have_a_default_and_a_maximum(requested: int, used: int) -> None:
    assert page_size_of(requested) == used


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="page_size"):
        page_size_of(-1)

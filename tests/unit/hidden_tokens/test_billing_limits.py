"""Which billed requests and which questions pass, and what is refused field by field."""

from dataclasses import replace

import pytest

from audit.billing_records import (
    AccountKey,
    BilledRequest,
    BilledUsage,
    CallTiming,
    OpaqueEvidence,
    UsageSchema,
)
from audit.codec.billing_limits import (
    MAX_CHUNK_TIMES,
    MAX_COUNT,
    MAX_ELAPSED_S,
    MAX_EVIDENCE_CHARS,
    MAX_REFERENCE_COUNTS,
    check_account_key,
    check_billed_request,
    check_finding_id,
)
from audit.codec.limits import MAX_NAME_CHARS, MAX_TEXT_BYTES
from audit.errors import InvalidRequest
from tests.unit.hidden_tokens.wire_examples import A_REQUEST, a_key

MINIMAL = BilledRequest(
    request_id="r",
    account="a",
    provider="p",
    model="m",
    usage=BilledUsage(schema=UsageSchema.GEMINI, output_tokens=0),
    observed_at="2026-01-31T12:00:00.123456789Z",
)
NAN, INF = float("nan"), float("inf")


def usage_of(**changes: int) -> BilledUsage:
    return replace(A_REQUEST.usage, **changes)  # type: ignore[arg-type]


def timing_of(
    elapsed_s: float, first_s: float | None = None, chunks: tuple[float, ...] = ()
) -> CallTiming:
    return CallTiming(elapsed_s=elapsed_s, first_answer_token_s=first_s, chunk_times_s=chunks)


def violations_of(request: BilledRequest) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        check_billed_request(request)
    return [(violation.field, violation.description) for violation in caught.value.violations]


@pytest.mark.parametrize(
    "request_",
    [
        A_REQUEST,
        MINIMAL,
        replace(
            MINIMAL,
            request_id="r" * MAX_NAME_CHARS,
            usage=usage_of(output_tokens=MAX_COUNT, reasoning_tokens=MAX_COUNT),
            prompt="",
            answer="x" * MAX_TEXT_BYTES,
            max_output_tokens=1,
            thinking_budget_tokens=0,
            timing=timing_of(MAX_ELAPSED_S, 0.0, (0.0,) * MAX_CHUNK_TIMES),
            opaque=OpaqueEvidence(blob_chars=MAX_EVIDENCE_CHARS, num_blobs=0),
            reference_counts=(MAX_COUNT,) * MAX_REFERENCE_COUNTS,
        ),
    ],
    ids=["all", "minimal", "at-the-limits"],
)
def test_what_can_be_passes(request_: BilledRequest) -> None:
    check_billed_request(request_)


def test_counts_that_contradict_each_other_are_for_the_audit() -> None:
    usage = usage_of(output_tokens=10, reasoning_tokens=20, total_tokens=5)
    check_billed_request(replace(A_REQUEST, usage=usage))


@pytest.mark.parametrize("field", ["request_id", "account", "provider", "model"])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "is missing"),
        ("x" * 257, "has 257 characters; the limit is 256"),
        ("a\nb", "holds a control character"),
        ("\ud800", "holds a control character"),
        (" a", "begins or ends with a space"),
    ],
)
def test_a_name_that_is_none_is_refused(field: str, value: str, says: str) -> None:
    changes = {field: value}
    ((path, description),) = violations_of(replace(A_REQUEST, **changes))  # type: ignore[arg-type]
    assert path == f"request.{field}"
    assert description.startswith(says)


@pytest.mark.parametrize("field", ["model", "effort", "domain"])
def test_names_of_cells_hold_no_separator(field: str) -> None:
    changes = {field: "a|b"}
    refused = violations_of(replace(A_REQUEST, **changes))  # type: ignore[arg-type]
    assert refused == [(f"request.{field}", "holds '|', which separates names; leave it out")]


@pytest.mark.parametrize("field", ["effort", "domain"])
def test_an_optional_name_is_left_out_rather_than_empty(field: str) -> None:
    changes = {field: ""}
    refused = violations_of(replace(A_REQUEST, **changes))  # type: ignore[arg-type]
    assert refused == [(f"request.{field}", "is missing")]


@pytest.mark.parametrize(
    "observed_at",
    [
        "",
        "yesterday",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00:00+01:00",
        "2026-02-31T12:00:00Z",
        "2026-01-31T12:00:00.0000000001Z",
    ],
)
def test_a_time_that_is_none_is_refused(observed_at: str) -> None:
    refused = violations_of(replace(A_REQUEST, observed_at=observed_at))
    says = "is no RFC 3339 time in UTC such as 2026-01-31T12:00:00Z"
    assert refused == [("request.observed_at", says)]


@pytest.mark.parametrize(
    "name",
    [
        "output_tokens",
        "prompt_tokens",
        "reasoning_tokens",
        "total_tokens",
        "stated_completion_tokens",
    ],
)
@pytest.mark.parametrize("count", [-1, MAX_COUNT + 1])
def test_a_negative_or_absurd_count_is_refused(name: str, count: int) -> None:
    usage = usage_of(**{name: count})
    says = f"is {count}; give 0 to 10000000"
    assert violations_of(replace(A_REQUEST, usage=usage)) == [(f"request.usage.{name}", says)]
    streamed = replace(A_REQUEST, streamed_usage=usage)
    assert violations_of(streamed) == [(f"request.streamed_usage.{name}", says)]


@pytest.mark.parametrize(
    ("request_", "path", "says"),
    [
        (
            replace(A_REQUEST, max_output_tokens=0),
            "request.max_output_tokens",
            "is 0; give 1 to 10000000",
        ),
        (
            replace(A_REQUEST, thinking_budget_tokens=-1),
            "request.thinking_budget_tokens",
            "is -1; give 0 to 10000000",
        ),
        (
            replace(A_REQUEST, opaque=OpaqueEvidence(blob_chars=-1)),
            "request.opaque.blob_chars",
            "is -1; give 0 to 1000000000",
        ),
        (
            replace(A_REQUEST, opaque=OpaqueEvidence(num_blobs=MAX_EVIDENCE_CHARS + 1)),
            "request.opaque.num_blobs",
            "is 1000000001; give 0 to 1000000000",
        ),
        (
            replace(A_REQUEST, reference_counts=(1, -2, -3)),
            "request.reference_counts[1]",
            "is -2; give 0 to 10000000",
        ),
        (
            replace(A_REQUEST, reference_counts=(0,) * (MAX_REFERENCE_COUNTS + 1)),
            "request.reference_counts",
            "has 10001 counts; the limit is 10000",
        ),
    ],
)
def test_numbers_out_of_bounds_are_refused(request_: BilledRequest, path: str, says: str) -> None:
    assert violations_of(request_) == [(path, says)]


@pytest.mark.parametrize("elapsed_s", [0.0, -1.0, NAN, INF, MAX_ELAPSED_S + 1])
def test_a_call_takes_some_time_and_no_more_than_a_week(elapsed_s: float) -> None:
    ((path, says),) = violations_of(replace(A_REQUEST, timing=timing_of(elapsed_s)))
    assert path == "request.timing.elapsed_s"
    assert says == f"is {elapsed_s}; give seconds above 0 and at most 604800"


@pytest.mark.parametrize("first_s", [-0.1, 2.1, NAN])
def test_the_first_answer_token_comes_within_the_call(first_s: float) -> None:
    refused = violations_of(replace(A_REQUEST, timing=timing_of(2.0, first_s)))
    path = "request.timing.first_answer_token_s"
    assert refused == [(path, f"is {first_s}; give seconds within elapsed_s")]


@pytest.mark.parametrize(
    ("chunks", "position"),
    [((1.0, 0.9), 1), ((-1.0,), 0), ((1.0, NAN, 1.5), 1), ((1.0, 1.0, 2.1, 2.2), 2)],
)
def test_chunks_come_in_order_within_the_call(chunks: tuple[float, ...], position: int) -> None:
    ((path, says),) = violations_of(replace(A_REQUEST, timing=timing_of(2.0, None, chunks)))
    assert path == f"request.timing.chunk_times_s[{position}]"
    assert says.endswith("give seconds that never fall and stay within elapsed_s")


def test_there_is_a_limit_to_chunks() -> None:
    timing = timing_of(2.0, None, (1.0,) * (MAX_CHUNK_TIMES + 1))
    says = "has 500001 times; the limit is 500000"
    refused = violations_of(replace(A_REQUEST, timing=timing))
    assert refused == [("request.timing.chunk_times_s", says)]


@pytest.mark.parametrize("field", ["prompt", "answer", "disclosed_reasoning"])
def test_a_text_too_long_or_half_a_character_is_refused(field: str) -> None:
    for text, says in (
        ("ä" * (MAX_TEXT_BYTES // 2 + 1), "has 4194306 bytes; the limit is 4194304"),
        ("\ud800", "holds half of a surrogate pair; send valid Unicode"),
    ):
        changes = {field: text}
        refused = violations_of(replace(A_REQUEST, **changes))  # type: ignore[arg-type]
        assert refused == [(f"request.{field}", says)]


def test_all_violations_are_told_at_once() -> None:
    bad = replace(A_REQUEST, account="", observed_at="", usage=usage_of(output_tokens=-1))
    fields = [path for path, _ in violations_of(bad)]
    assert fields == ["request.account", "request.usage.output_tokens", "request.observed_at"]


@pytest.mark.parametrize("finding_id", ["", "sha256:", "sha256:" + "A" * 64, "a" * 64, "sha256:x"])
def test_an_id_that_names_no_finding_is_refused(finding_id: str) -> None:
    with pytest.raises(InvalidRequest, match=r"finding_id: is not sha256: followed by 64"):
        check_finding_id(finding_id)


def test_an_id_of_a_finding_passes() -> None:
    check_finding_id("sha256:" + "0a" * 32)


def test_effort_and_calibration_of_a_key_may_be_empty() -> None:
    check_account_key(a_key(effort="", calibration_id=""))


@pytest.mark.parametrize("name", ["account", "provider", "model", "domain"])
def test_the_rest_of_a_key_may_not_be_empty(name: str) -> None:
    key: AccountKey = a_key(**{name: ""})
    with pytest.raises(InvalidRequest, match=rf"key\.{name}: is missing"):
        check_account_key(key)

"""Billed requests, from records to messages and back.

Stands at the edge of service and client. A message without what a record cannot be without is
refused here; all else is for `audit.codec.billing_limits`, before a record is sent and after a
message has become one.
"""

from inference_audit.v1 import billing_pb2 as pb

from audit.billing_records import BilledRequest, BilledUsage, CallTiming, OpaqueEvidence
from audit.codec.wire_billing_enums import schema_from_wire, schema_to_wire
from audit.errors import InvalidRequest


def billed_request_to_wire(request: BilledRequest) -> pb.BilledRequest:
    """Return the message for a checked billed request."""
    streamed, timing, opaque = request.streamed_usage, request.timing, request.opaque
    return pb.BilledRequest(
        request_id=request.request_id,
        account=request.account,
        provider=request.provider,
        model=request.model,
        usage=_usage_to_wire(request.usage),
        observed_at=request.observed_at,
        effort=request.effort,
        domain=request.domain,
        prompt=request.prompt,
        answer=request.answer,
        streamed_usage=None if streamed is None else _usage_to_wire(streamed),
        max_output_tokens=request.max_output_tokens,
        thinking_budget_tokens=request.thinking_budget_tokens,
        is_aggregator=request.is_aggregator,
        timing=None if timing is None else _timing_to_wire(timing),
        opaque=None if opaque is None else _opaque_to_wire(opaque),
        reference_counts=request.reference_counts,
        disclosed_reasoning=request.disclosed_reasoning,
    )


def billed_request_from_wire(message: pb.BilledRequest) -> BilledRequest:
    """Return the unchecked record of a message.

    Raises: InvalidRequest, with the fields of SubmitUsageRequest, where a usage object, its schema
    or its output tokens, or the seconds of a timing are missing.
    """
    has = message.HasField
    if not has("usage"):
        raise InvalidRequest.of("request.usage", "is missing; say what was billed")
    streamed = message.streamed_usage if has("streamed_usage") else None
    return BilledRequest(
        request_id=message.request_id,
        account=message.account,
        provider=message.provider,
        model=message.model,
        usage=_usage_from_wire("request.usage", message.usage),
        observed_at=message.observed_at,
        effort=message.effort if has("effort") else None,
        domain=message.domain if has("domain") else None,
        prompt=message.prompt if has("prompt") else None,
        answer=message.answer if has("answer") else None,
        streamed_usage=(
            None if streamed is None else _usage_from_wire("request.streamed_usage", streamed)
        ),
        max_output_tokens=message.max_output_tokens if has("max_output_tokens") else None,
        thinking_budget_tokens=(
            message.thinking_budget_tokens if has("thinking_budget_tokens") else None
        ),
        is_aggregator=message.is_aggregator,
        timing=_timing_from_wire(message.timing) if has("timing") else None,
        opaque=_opaque_from_wire(message.opaque) if has("opaque") else None,
        reference_counts=tuple(message.reference_counts),
        disclosed_reasoning=message.disclosed_reasoning if has("disclosed_reasoning") else None,
    )


def _usage_to_wire(usage: BilledUsage) -> pb.BilledUsage:
    return pb.BilledUsage(
        schema=schema_to_wire(usage.schema),
        output_tokens=usage.output_tokens,
        prompt_tokens=usage.prompt_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        total_tokens=usage.total_tokens,
        stated_completion_tokens=usage.stated_completion_tokens,
    )


def _usage_from_wire(path: str, message: pb.BilledUsage) -> BilledUsage:
    has = message.HasField
    if not has("output_tokens"):
        raise InvalidRequest.of(
            f"{path}.output_tokens", "is missing; without it nothing is known of what was billed"
        )
    completion = message.stated_completion_tokens
    return BilledUsage(
        schema=schema_from_wire(f"{path}.schema", message.schema),
        output_tokens=message.output_tokens,
        prompt_tokens=message.prompt_tokens if has("prompt_tokens") else None,
        reasoning_tokens=message.reasoning_tokens if has("reasoning_tokens") else None,
        total_tokens=message.total_tokens if has("total_tokens") else None,
        stated_completion_tokens=completion if has("stated_completion_tokens") else None,
    )


def _timing_to_wire(timing: CallTiming) -> pb.CallTiming:
    return pb.CallTiming(
        elapsed_s=timing.elapsed_s,
        first_answer_token_s=timing.first_answer_token_s,
        chunk_times_s=timing.chunk_times_s,
    )


def _timing_from_wire(message: pb.CallTiming) -> CallTiming:
    if not message.HasField("elapsed_s"):
        raise InvalidRequest.of(
            "request.timing.elapsed_s", "is missing; give it, or leave the timing out"
        )
    first_s = message.first_answer_token_s
    return CallTiming(
        elapsed_s=message.elapsed_s,
        first_answer_token_s=first_s if message.HasField("first_answer_token_s") else None,
        chunk_times_s=tuple(message.chunk_times_s),
    )


def _opaque_to_wire(opaque: OpaqueEvidence) -> pb.OpaqueEvidence:
    return pb.OpaqueEvidence(
        blob_chars=opaque.blob_chars,
        num_blobs=opaque.num_blobs,
        signature_chars=opaque.signature_chars,
        summary_chars=opaque.summary_chars,
        has_builtin_tools=opaque.has_builtin_tools,
    )


def _opaque_from_wire(message: pb.OpaqueEvidence) -> OpaqueEvidence:
    has = message.HasField
    return OpaqueEvidence(
        blob_chars=message.blob_chars if has("blob_chars") else None,
        num_blobs=message.num_blobs if has("num_blobs") else 1,
        signature_chars=message.signature_chars if has("signature_chars") else None,
        summary_chars=message.summary_chars if has("summary_chars") else None,
        has_builtin_tools=message.has_builtin_tools,
    )

"""Billed requests as clients submit them: one JSON object a line.

`usage` is the provider's own object, `usage_schema` says whose. `request_document` writes the same
request in our terms (`billed_usage`), which is what digests are made over; both forms are read.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import fields

import rfc8785

from audit.billing_records import (
    BilledRequest,
    BilledUsage,
    CallTiming,
    OpaqueEvidence,
    UsageSchema,
)
from audit.codec.json_access import Json, get_object, parse_object
from audit.errors import InvalidRequest
from audit.hidden_tokens.submission_fields import (
    get_bounded_text,
    get_budget,
    get_cap,
    get_flag,
    get_name,
    get_observed_at,
    get_opaque,
    get_reference_counts,
    get_required_name,
    get_timing,
    refuse_unknown,
)
from audit.hidden_tokens.usage import get_count, parse_schema, parse_usage

_USAGE_KEYS = ("usage", "usage_schema", "billed_usage")
_STREAMED_KEYS = ("streamed_usage", "streamed_usage_schema", "streamed_billed_usage")


def parse_billed_request(document: object) -> BilledRequest:
    """Return the billed request that a decoded JSON object describes.

    Raises: InvalidRequest naming the first bad field, an unknown one included: a misspelt name
    would otherwise be evidence that is dropped silently.
    """
    if not isinstance(document, dict):
        raise InvalidRequest.of("request", f"must be an object, found {type(document).__name__}")
    known = {field.name for field in fields(BilledRequest)}
    refuse_unknown(document, known | {*_USAGE_KEYS, *_STREAMED_KEYS}, "request")
    usage = _usage(document, _USAGE_KEYS)
    if usage is None:
        raise InvalidRequest.of(
            "request.usage", "is missing: submit the usage object as the provider sent it"
        )
    return BilledRequest(
        request_id=get_required_name(document, "request_id"),
        account=get_required_name(document, "account"),
        provider=get_required_name(document, "provider"),
        model=get_required_name(document, "model", in_cell=True),
        usage=usage,
        observed_at=get_observed_at(document),
        effort=get_name(document, "effort", in_cell=True),
        domain=get_name(document, "domain", in_cell=True),
        prompt=get_bounded_text(document, "prompt"),
        answer=get_bounded_text(document, "answer"),
        streamed_usage=_usage(document, _STREAMED_KEYS),
        max_output_tokens=get_cap(document, "max_output_tokens"),
        thinking_budget_tokens=get_budget(document),
        is_aggregator=get_flag(document, "is_aggregator", "request"),
        timing=get_timing(document),
        opaque=get_opaque(document),
        reference_counts=get_reference_counts(document),
        disclosed_reasoning=get_bounded_text(document, "disclosed_reasoning"),
    )


def read_submissions(lines: Iterable[str]) -> Iterator[BilledRequest]:
    """Yield the billed request of each line of JSON; blank lines are passed over.

    Raises: InvalidRequest naming the line, counted from 1, and the field.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield parse_billed_request(parse_object(line, "request"))
        except InvalidRequest as error:
            first = error.violations[0]
            raise InvalidRequest.of(f"line {number}: {first.field}", first.description) from error


def request_document(request: BilledRequest) -> dict[str, object]:
    """Return the JSON object that `parse_billed_request` reads back into the same request.

    Members that are not stated are left out, so that a field added later changes no old digest.
    """
    document: dict[str, object] = {"billed_usage": _members(request.usage)}
    if request.streamed_usage is not None:
        document["streamed_billed_usage"] = _members(request.streamed_usage)
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in ("usage", "streamed_usage") or _is_unstated(value):
            continue
        if isinstance(value, CallTiming | OpaqueEvidence):
            value = _members(value)
        document[field.name] = _plain(value)
    return document


def request_digest(request: BilledRequest) -> str:
    """Return `sha256:<hex>` over the canonical JSON (RFC 8785) of `request_document`."""
    content = rfc8785.dumps(request_document(request))  # type: ignore[arg-type]
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _members(record: BilledUsage | CallTiming | OpaqueEvidence) -> dict[str, object]:
    named = ((field.name, getattr(record, field.name)) for field in fields(record))
    stated = {name: value for name, value in named if not _is_unstated(value)}
    return {name: _plain(value) for name, value in stated.items()}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return value.value if isinstance(value, UsageSchema) else value


def _is_unstated(value: object) -> bool:
    # a budget of 0 equals False, and is stated
    return value is None or value is False or value == ()


def _usage(document: Json, keys: tuple[str, str, str]) -> BilledUsage | None:
    raw_key, schema_key, ours_key = keys
    raw, ours = document.get(raw_key), get_object(document, ours_key, "request")
    if raw is not None and ours is not None:
        raise InvalidRequest.of(f"request.{ours_key}", f"is given beside {raw_key}: leave one out")
    if raw is None and document.get(schema_key) is not None:
        raise InvalidRequest.of(f"request.{schema_key}", f"is given without {raw_key}")
    if ours is not None:
        return _our_usage(ours, f"request.{ours_key}")
    if raw is None:
        return None
    # a stream's usage has the schema of the bill unless another one is named
    schema = document.get(schema_key, document.get("usage_schema"))
    if schema is None:
        raise InvalidRequest.of(
            f"request.{schema_key}", "is missing: name whose usage object it is, e.g. openai_chat"
        )
    return parse_usage(
        parse_schema(schema, f"request.{schema_key}"), raw, path=f"request.{raw_key}"
    )


def _our_usage(usage: Json, path: str) -> BilledUsage:
    refuse_unknown(usage, {field.name for field in fields(BilledUsage)}, path)
    output = get_count(usage, "output_tokens", path)
    if output is None:
        raise InvalidRequest.of(f"{path}.output_tokens", "is missing")
    return BilledUsage(
        schema=parse_schema(usage.get("schema"), f"{path}.schema"),
        output_tokens=output,
        prompt_tokens=get_count(usage, "prompt_tokens", path),
        reasoning_tokens=get_count(usage, "reasoning_tokens", path),
        total_tokens=get_count(usage, "total_tokens", path),
        stated_completion_tokens=get_count(usage, "stated_completion_tokens", path),
    )

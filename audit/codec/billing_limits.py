"""The one place where billed requests and questions about findings are checked on the wire.

Stands between the wire and the billing desk, on both sides: the client refuses before it sends what
the service would refuse. Violations name the fields of the proto. Counts that contradict each other
pass: they are findings, not bad input.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from audit.billing_records import (
    AccountKey,
    BilledRequest,
    BilledUsage,
    CallTiming,
    OpaqueEvidence,
)
from audit.codec.limits import MAX_NAME_CHARS, MAX_TEXT_BYTES
from audit.errors import FieldViolation, InvalidRequest

#: No model writes so much in one request; a larger count is a broken record, not a bill.
MAX_COUNT: Final = 10_000_000
#: Far above the largest blobs seen, which have a few hundred thousand characters.
MAX_EVIDENCE_CHARS: Final = 1_000_000_000
#: So many times fill a message of gRPC's default size.
MAX_CHUNK_TIMES: Final = 500_000
MAX_REFERENCE_COUNTS: Final = 10_000
MAX_ELAPSED_S: Final = 7 * 86_400.0

_FINDING_ID = re.compile(r"sha256:[0-9a-f]{64}")
_UTC_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")

_Violations = Iterator[FieldViolation]


def check_billed_request(request: BilledRequest) -> None:
    """Pass a billed request that is well-formed and within all limits.

    Raises: InvalidRequest with every violation found, its field paths as in SubmitUsageRequest.
    """
    _raise(_request("request", request))


def check_finding_id(finding_id: str) -> None:
    """Pass an id that may name a finding. Raises: InvalidRequest."""
    if not _FINDING_ID.fullmatch(finding_id):
        raise InvalidRequest.of("finding_id", "is not sha256: followed by 64 lower-case hex digits")


def check_account_key(key: AccountKey) -> None:
    """Pass a key that may name a finding; effort and calibration may be empty.

    Raises: InvalidRequest with every violation found.
    """
    _raise(_key("key", key))


def _request(path: str, request: BilledRequest) -> _Violations:
    yield from _name(f"{path}.request_id", request.request_id)
    yield from _name(f"{path}.account", request.account)
    yield from _name(f"{path}.provider", request.provider)
    yield from _name(f"{path}.model", request.model, in_cell=True)
    yield from _usage(f"{path}.usage", request.usage)
    if not _is_utc_time(request.observed_at):
        yield _bad(f"{path}.observed_at", "is no RFC 3339 time in UTC such as 2026-01-31T12:00:00Z")
    yield from _name(f"{path}.effort", request.effort, in_cell=True)
    yield from _name(f"{path}.domain", request.domain, in_cell=True)
    yield from _text(f"{path}.prompt", request.prompt)
    yield from _text(f"{path}.answer", request.answer)
    if request.streamed_usage is not None:
        yield from _usage(f"{path}.streamed_usage", request.streamed_usage)
    yield from _count(f"{path}.max_output_tokens", request.max_output_tokens, low=1)
    yield from _count(f"{path}.thinking_budget_tokens", request.thinking_budget_tokens)
    if request.timing is not None:
        yield from _timing(f"{path}.timing", request.timing)
    if request.opaque is not None:
        yield from _opaque(f"{path}.opaque", request.opaque)
    yield from _counts(f"{path}.reference_counts", request.reference_counts)
    yield from _text(f"{path}.disclosed_reasoning", request.disclosed_reasoning)


def _usage(path: str, usage: BilledUsage) -> _Violations:
    yield from _count(f"{path}.output_tokens", usage.output_tokens)
    yield from _count(f"{path}.prompt_tokens", usage.prompt_tokens)
    yield from _count(f"{path}.reasoning_tokens", usage.reasoning_tokens)
    yield from _count(f"{path}.total_tokens", usage.total_tokens)
    yield from _count(f"{path}.stated_completion_tokens", usage.stated_completion_tokens)


def _timing(path: str, timing: CallTiming) -> _Violations:
    # NaN fails every comparison here and below
    if not 0.0 < timing.elapsed_s <= MAX_ELAPSED_S:
        yield _bad(
            f"{path}.elapsed_s",
            f"is {timing.elapsed_s}; give seconds above 0 and at most {MAX_ELAPSED_S:.0f}",
        )
        return
    first_s = timing.first_answer_token_s
    if first_s is not None and not 0.0 <= first_s <= timing.elapsed_s:
        yield _bad(f"{path}.first_answer_token_s", f"is {first_s}; give seconds within elapsed_s")
    times_s = timing.chunk_times_s
    if len(times_s) > MAX_CHUNK_TIMES:
        yield _bad(
            f"{path}.chunk_times_s", f"has {len(times_s)} times; the limit is {MAX_CHUNK_TIMES}"
        )
        return
    previous_s = 0.0
    for position, time_s in enumerate(times_s):
        if not previous_s <= time_s <= timing.elapsed_s:
            # one violation a list: half a million bad times must not make as many of them
            yield _bad(
                f"{path}.chunk_times_s[{position}]",
                f"is {time_s}; give seconds that never fall and stay within elapsed_s",
            )
            return
        previous_s = time_s


def _opaque(path: str, opaque: OpaqueEvidence) -> _Violations:
    for name in ("blob_chars", "num_blobs", "signature_chars", "summary_chars"):
        yield from _count(f"{path}.{name}", getattr(opaque, name), high=MAX_EVIDENCE_CHARS)


def _counts(path: str, counts: tuple[int, ...]) -> _Violations:
    if len(counts) > MAX_REFERENCE_COUNTS:
        yield _bad(path, f"has {len(counts)} counts; the limit is {MAX_REFERENCE_COUNTS}")
        return
    for position, count in enumerate(counts):
        if not 0 <= count <= MAX_COUNT:
            yield from _count(f"{path}[{position}]", count)
            return


def _key(path: str, key: AccountKey) -> _Violations:
    yield from _name(f"{path}.account", key.account)
    yield from _name(f"{path}.provider", key.provider)
    yield from _name(f"{path}.model", key.model, in_cell=True)
    yield from _name(f"{path}.effort", key.effort or None, in_cell=True)
    yield from _name(f"{path}.domain", key.domain, in_cell=True)
    yield from _name(f"{path}.calibration_id", key.calibration_id or None)


def _name(path: str, name: str | None, *, in_cell: bool = False) -> _Violations:
    if name is None:
        return
    if not name:
        yield _bad(path, "is missing")
    elif len(name) > MAX_NAME_CHARS:
        yield _bad(path, f"has {len(name)} characters; the limit is {MAX_NAME_CHARS}")
    elif not name.isprintable():
        yield _bad(path, "holds a control character or other unprintable one; leave it out")
    elif name != name.strip():
        yield _bad(path, "begins or ends with a space; leave it out")
    elif in_cell and "|" in name:
        # calibration cells are named model|domain|effort
        yield _bad(path, "holds '|', which separates names; leave it out")


def _text(path: str, text: str | None) -> _Violations:
    if text is None:
        return
    try:
        num_bytes = len(text.encode())
    except UnicodeEncodeError:
        yield _bad(path, "holds half of a surrogate pair; send valid Unicode")
        return
    if num_bytes > MAX_TEXT_BYTES:
        yield _bad(path, f"has {num_bytes} bytes; the limit is {MAX_TEXT_BYTES}")


def _count(path: str, count: int | None, *, low: int = 0, high: int = MAX_COUNT) -> _Violations:
    if count is not None and not low <= count <= high:
        yield _bad(path, f"is {count}; give {low} to {high}")


def _is_utc_time(text: str) -> bool:
    if not _UTC_TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _bad(path: str, description: str) -> FieldViolation:
    return FieldViolation(field=path, description=description)


def _raise(violations: _Violations) -> None:
    found = tuple(violations)
    if found:
        raise InvalidRequest(*found)

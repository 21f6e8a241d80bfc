"""The parts of a submitted request, read strictly: each refusal names its field."""

import re
from dataclasses import fields
from datetime import datetime

from audit.billing_records import CallTiming, OpaqueEvidence
from audit.codec.json_access import Json, get_int, get_list, get_number, get_object, get_text
from audit.errors import InvalidRequest
from audit.hidden_tokens.usage import MAX_TOKENS, get_count

MAX_NAME_CHARS = 256
MAX_TEXT_CHARS = 16_000_000
MAX_CHUNKS = 1_000_000
MAX_REFERENCE_COUNTS = 10_000
MAX_ELAPSED_S = 7 * 86_400.0

#: Larger sizes are broken records; the largest blobs seen have a few hundred thousand characters.
_MAX_CHARS = 1_000_000_000
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z")


def get_timing(document: Json) -> CallTiming | None:
    """Return the client's clock. Raises: InvalidRequest for times that cannot be."""
    timing, path = get_object(document, "timing", "request"), "request.timing"
    if timing is None:
        return None
    refuse_unknown(timing, {field.name for field in fields(CallTiming)}, path)
    elapsed_s = get_number(timing, "elapsed_s", path)
    if elapsed_s is None:
        raise InvalidRequest.of(f"{path}.elapsed_s", "is missing")
    if not 0 < elapsed_s <= MAX_ELAPSED_S:
        raise InvalidRequest.of(
            f"{path}.elapsed_s", f"must be more than 0 and at most {MAX_ELAPSED_S:.0f} seconds"
        )
    first_s = get_number(timing, "first_answer_token_s", path)
    if first_s is not None and not 0 <= first_s <= elapsed_s:
        raise InvalidRequest.of(f"{path}.first_answer_token_s", "must lie between 0 and elapsed_s")
    return CallTiming(
        elapsed_s=elapsed_s,
        first_answer_token_s=first_s,
        chunk_times_s=_chunk_times(timing, elapsed_s, f"{path}.chunk_times_s"),
    )


def _chunk_times(timing: Json, elapsed_s: float, path: str) -> tuple[float, ...]:
    values = get_list(timing, "chunk_times_s", "request.timing") or []
    if len(values) > MAX_CHUNKS:
        raise InvalidRequest.of(path, f"holds more than {MAX_CHUNKS:,} times")
    times_s: list[float] = []
    previous_s = 0.0
    for position, value in enumerate(values):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # NaN fails the comparison too
        if not is_number or not previous_s <= value <= elapsed_s:
            raise InvalidRequest.of(
                f"{path}[{position}]", "must be seconds that never fall and stay within elapsed_s"
            )
        previous_s = float(value)
        times_s.append(previous_s)
    return tuple(times_s)


def get_opaque(document: Json) -> OpaqueEvidence | None:
    """Return the sizes of opaque evidence. Raises: InvalidRequest for sizes that cannot be."""
    opaque, path = get_object(document, "opaque", "request"), "request.opaque"
    if opaque is None:
        return None
    refuse_unknown(opaque, {field.name for field in fields(OpaqueEvidence)}, path)
    num_blobs = _chars(opaque, "num_blobs", path)
    return OpaqueEvidence(
        blob_chars=_chars(opaque, "blob_chars", path),
        num_blobs=1 if num_blobs is None else num_blobs,
        signature_chars=_chars(opaque, "signature_chars", path),
        summary_chars=_chars(opaque, "summary_chars", path),
        has_builtin_tools=get_flag(opaque, "has_builtin_tools", path),
    )


def _chars(parent: Json, key: str, path: str) -> int | None:
    value = get_int(parent, key, path)
    if value is not None and not 0 <= value <= _MAX_CHARS:
        raise InvalidRequest.of(f"{path}.{key}", f"must lie between 0 and {_MAX_CHARS:,}")
    return value


def get_reference_counts(document: Json) -> tuple[int, ...]:
    """Return the reference's reasoning counts. Raises: InvalidRequest for what is no count."""
    values = get_list(document, "reference_counts", "request") or []
    path = "request.reference_counts"
    if len(values) > MAX_REFERENCE_COUNTS:
        raise InvalidRequest.of(path, f"holds more than {MAX_REFERENCE_COUNTS:,} counts")
    for position, value in enumerate(values):
        is_count = isinstance(value, int) and not isinstance(value, bool)
        if not is_count or not 0 <= value <= MAX_TOKENS:
            raise InvalidRequest.of(
                f"{path}[{position}]", f"must be a count of tokens from 0 to {MAX_TOKENS:,}"
            )
    return tuple(values)


def get_name(
    document: Json, key: str, *, in_cell: bool = False, path: str = "request"
) -> str | None:
    """Return a printable name of 1 to 256 characters, or None where it is absent or null.

    `in_cell` refuses what would make names of cells ambiguous. Raises: InvalidRequest.
    """
    text = get_text(document, key, path)
    if text is None:
        return None
    where = f"{path}.{key}"
    if not text or text != text.strip() or not text.isprintable():
        raise InvalidRequest.of(
            where, "must be printable text that neither is empty nor begins or ends with a space"
        )
    if len(text) > MAX_NAME_CHARS:
        raise InvalidRequest.of(where, f"is longer than {MAX_NAME_CHARS} characters")
    # cells are named model|domain|effort
    if in_cell and "|" in text:
        raise InvalidRequest.of(where, "must not contain '|'")
    return text


def get_required_name(
    document: Json, key: str, *, in_cell: bool = False, path: str = "request"
) -> str:
    """Return a name as `get_name` does. Raises: InvalidRequest where it is absent too."""
    text = get_name(document, key, in_cell=in_cell, path=path)
    if text is None:
        raise InvalidRequest.of(f"{path}.{key}", "is missing")
    return text


def get_bounded_text(document: Json, key: str) -> str | None:
    """Return a text, or None where it is absent or null.

    Raises: InvalidRequest where it is too long, or holds what has no UTF-8 form.
    """
    text = get_text(document, key, "request")
    if text is not None and len(text) > MAX_TEXT_CHARS:
        raise InvalidRequest.of(f"request.{key}", f"is longer than {MAX_TEXT_CHARS:,} characters")
    if text is not None and any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidRequest.of(f"request.{key}", "holds half a surrogate pair, which is no text")
    return text


def get_observed_at(document: Json) -> str:
    """Return when the request was observed. Raises: InvalidRequest unless a time in UTC."""
    text = get_text(document, "observed_at", "request")
    if text is None:
        raise InvalidRequest.of("request.observed_at", "is missing")
    if not is_utc_time(text):
        raise InvalidRequest.of(
            "request.observed_at", "must be a time in UTC such as 2026-01-02T03:04:05Z"
        )
    return text


def is_utc_time(text: str) -> bool:
    """Return whether a text is an RFC 3339 time in UTC that exists in the calendar."""
    if _TIME.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def get_cap(document: Json, key: str) -> int | None:
    """Return a limit of 1 token or more, or None. Raises: InvalidRequest."""
    count = get_count(document, key, "request")
    if count == 0:
        raise InvalidRequest.of(f"request.{key}", "must be 1 or more: leave it out where none is")
    return count


def get_budget(document: Json) -> int | None:
    """Return the thinking budget, 0 where thinking is off, or None. Raises: InvalidRequest."""
    # Gemini calls a budget that the model chooses itself -1
    if document.get("thinking_budget_tokens") == -1:
        raise InvalidRequest.of(
            "request.thinking_budget_tokens",
            "-1 is no budget: leave it out where the model chooses",
        )
    return get_count(document, "thinking_budget_tokens", "request")


def get_flag(parent: Json, key: str, path: str) -> bool:
    """Return a truth value, False where it is absent or null. Raises: InvalidRequest."""
    value = parent.get(key)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidRequest.of(f"{path}.{key}", "must be true or false")


def refuse_unknown(parent: Json, known: set[str], path: str) -> None:
    """Raise InvalidRequest naming the first member that is not among the `known` ones."""
    unknown = sorted(set(parent) - known)
    if unknown:
        # a name from outside may be long, or hold what no message can carry
        name = ascii(unknown[0])[1 : MAX_NAME_CHARS + 1].removesuffix("'")
        raise InvalidRequest.of(
            f"{path}.{name}", f"is no known field: choose among {', '.join(sorted(known))}"
        )

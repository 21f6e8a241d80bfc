"""The one place where untrusted requests are checked.

Stands between the wire or a recording and everything else: whatever passes here is finite, bounded
and well-formed. It does not ask whether an exchange can be judged: a missing seed or an empty
output is a matter for the verdict.
"""

import math
import re
from collections.abc import Iterator
from datetime import datetime

from audit.errors import FieldViolation, InvalidRequest
from audit.records import (
    AuditRequest,
    Claim,
    Output,
    Prompt,
    ProviderClaims,
    SamplingRequest,
    Timing,
    Usage,
)

#: gRPC's own default; room for about a million token ids.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
#: The longest context windows on offer hold about a million tokens.
MAX_TOKENS = 1_000_000
#: A longer text could not be sent in one message of the default size.
MAX_TEXT_BYTES = MAX_MESSAGE_BYTES
#: Far above any real conversation, so that a list of empty messages stays cheap.
MAX_MESSAGES = 10_000
#: Names of models, engines and the like; they are stored, indexed and shown.
MAX_NAME_CHARS = 256
#: What browsers and proxies agree on as the longest address.
MAX_ENDPOINT_CHARS = 2048
#: Request bodies have some forty parameters in all.
MAX_UNSUPPORTED = 100
#: Holds a UUID, a digest or a trace id.
MAX_ID_CHARS = 128
#: Engines keep token ids in int32.
MAX_TOKEN_ID = 2**31 - 1
#: Engines refuse far lower ones; above it every token is as likely as any other.
MAX_TEMPERATURE = 100.0
#: AIP-158: 0 means the default, and above the maximum means the maximum.
DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)

Violations = Iterator[FieldViolation]


def check_request(request: AuditRequest) -> None:
    """Pass a request that is well-formed and within all limits.

    Raises: InvalidRequest with every violation found, its field paths as in the proto.
    """
    violations = tuple(_violations(request))
    if violations:
        raise InvalidRequest(*violations)


def check_audit_id(audit_id: str) -> None:
    """Pass an id that may name an audit. Raises: InvalidRequest."""
    violations = tuple(_id("audit_id", audit_id))
    if violations:
        raise InvalidRequest(*violations)


def check_model_filter(model: str | None) -> None:
    """Pass a model name to filter by. Raises: InvalidRequest."""
    violations = tuple(_name("filter.model", model))
    if violations:
        raise InvalidRequest(*violations)


def page_size_of(requested: int) -> int:
    """Return the page size to use for a requested one. Raises: InvalidRequest."""
    if requested < 0:
        raise InvalidRequest.of("page_size", f"is {requested}; give 0 to {MAX_PAGE_SIZE}")
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _violations(request: AuditRequest) -> Violations:
    exchange = request.exchange
    yield from _id("request_id", request.request_id)
    yield from _prompt("exchange.prompt", exchange.prompt)
    yield from _output("exchange.output", exchange.output)
    yield from _sampling("exchange.sampling", exchange.sampling)
    yield from _usage("exchange.usage", exchange.usage)
    yield from _timing("exchange.timing", exchange.timing)
    yield from _provider("exchange.provider", exchange.provider)
    yield from _claim("claim", request.claim)


def _id(path: str, value: str) -> Violations:
    if not 1 <= len(value) <= MAX_ID_CHARS:
        yield _bad(path, f"has {len(value)} characters; give 1 to {MAX_ID_CHARS}")
    elif not (value.isascii() and value.isprintable()):
        yield _bad(path, "holds a character that is not printable ASCII; a UUID will do")


def _prompt(path: str, prompt: Prompt) -> Violations:
    forms = (prompt.token_ids, prompt.text, prompt.messages)
    num_forms = sum(form is not None for form in forms)
    if num_forms != 1:
        yield _bad(path, f"has {num_forms} forms; give exactly one of token_ids, text and messages")
    yield from _token_ids(f"{path}.token_ids", prompt.token_ids)
    yield from _text(f"{path}.text", prompt.text)
    yield from _token_ids(f"{path}.echoed_token_ids", prompt.echoed_token_ids)
    messages = prompt.messages or ()
    if len(messages) > MAX_MESSAGES:
        yield _bad(f"{path}.messages", f"has {len(messages)} messages; the limit is {MAX_MESSAGES}")
        return
    for index, message in enumerate(messages):
        yield from _name(f"{path}.messages.messages[{index}].role", message.role)
        yield from _text(f"{path}.messages.messages[{index}].content", message.content)


def _output(path: str, output: Output) -> Violations:
    if output.token_ids is None and output.text is None:
        yield _bad(path, "is missing; give token_ids, or text where the provider returned no ids")
    yield from _token_ids(f"{path}.token_ids", output.token_ids)
    yield from _text(f"{path}.text", output.text)
    yield from _name(f"{path}.finish_reason", output.finish_reason)


def _sampling(path: str, sampling: SamplingRequest) -> Violations:
    yield from _real(f"{path}.temperature", sampling.temperature, MAX_TEMPERATURE)
    yield from _integer(f"{path}.top_k", sampling.top_k, -1)
    top_p = sampling.top_p
    if top_p is not None and not 0.0 < top_p <= 1.0:
        yield _bad(f"{path}.top_p", f"is {top_p}; give a number above 0 and at most 1")
    yield from _integer(f"{path}.seed", sampling.seed, _INT64_MIN)
    yield from _integer(f"{path}.max_tokens", sampling.max_tokens, 0)
    if len(sampling.unsupported) > MAX_UNSUPPORTED:
        num_names = len(sampling.unsupported)
        yield _bad(f"{path}.unsupported", f"has {num_names} names; the limit is {MAX_UNSUPPORTED}")
        return
    for index, name in enumerate(sampling.unsupported):
        yield from _name(f"{path}.unsupported[{index}]", name)


def _usage(path: str, usage: Usage) -> Violations:
    yield from _integer(f"{path}.prompt_tokens", usage.prompt_tokens, 0)
    yield from _integer(f"{path}.completion_tokens", usage.completion_tokens, 0)
    yield from _integer(f"{path}.reasoning_tokens", usage.reasoning_tokens, 0)


def _timing(path: str, timing: Timing) -> Violations:
    if timing.started_at is not None and not _is_rfc3339(timing.started_at):
        yield _bad(f"{path}.started_at", "is not RFC 3339; write it like 2026-01-31T12:00:00Z")
    yield from _real(f"{path}.elapsed_s", timing.elapsed_s, math.inf)


def _provider(path: str, provider: ProviderClaims) -> Violations:
    yield from _name(f"{path}.provider", provider.provider)
    yield from _name(f"{path}.endpoint", provider.endpoint, MAX_ENDPOINT_CHARS)
    yield from _name(f"{path}.engine", provider.engine)
    yield from _name(f"{path}.engine_version", provider.engine_version)
    yield from _name(f"{path}.device", provider.device)
    yield from _name(f"{path}.system_fingerprint", provider.system_fingerprint)


def _claim(path: str, claim: Claim) -> Violations:
    yield from _name(f"{path}.model", claim.model)
    if claim.weights_digest is not None and not _DIGEST.fullmatch(claim.weights_digest):
        yield _bad(f"{path}.weights_digest", "is not sha256: followed by 64 lower-case hex digits")
    yield from _name(f"{path}.precision", claim.precision)
    yield from _name(f"{path}.sampler_profile", claim.sampler_profile)


def _token_ids(path: str, ids: tuple[int, ...] | None) -> Violations:
    if not ids:
        return
    if len(ids) > MAX_TOKENS:
        yield _bad(path, f"has {len(ids)} ids; the limit is {MAX_TOKENS}")
    elif min(ids) < 0 or max(ids) > MAX_TOKEN_ID:
        # One violation a list: a million bad ids must not make a million of them.
        index = next(i for i, token_id in enumerate(ids) if not 0 <= token_id <= MAX_TOKEN_ID)
        yield _bad(f"{path}.ids[{index}]", f"is {ids[index]}; give 0 to {MAX_TOKEN_ID}")


def _text(path: str, text: str | None) -> Violations:
    if text is None:
        return
    try:
        num_bytes = len(text.encode())
    except UnicodeEncodeError:
        yield _bad(path, "holds half of a surrogate pair; send valid Unicode")
        return
    if num_bytes > MAX_TEXT_BYTES:
        yield _bad(path, f"has {num_bytes} bytes; the limit is {MAX_TEXT_BYTES}")


def _name(path: str, name: str | None, max_chars: int = MAX_NAME_CHARS) -> Violations:
    if name is None:
        return
    if len(name) > max_chars:
        yield _bad(path, f"has {len(name)} characters; the limit is {max_chars}")
    elif not name.isprintable():
        yield _bad(path, "holds a control character or other unprintable one; leave it out")


def _real(path: str, value: float | None, high: float) -> Violations:
    if value is not None and not (math.isfinite(value) and 0.0 <= value <= high):
        bounds = "a finite number from 0" + (f" to {high:g}" if math.isfinite(high) else "")
        yield _bad(path, f"is {value}; give {bounds}")


def _integer(path: str, value: int | None, low: int) -> Violations:
    if value is not None and not low <= value <= _INT64_MAX:
        yield _bad(path, f"is {value}; give an integer from {low} to {_INT64_MAX}")


def _is_rfc3339(text: str) -> bool:
    if not _RFC3339.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return True


def _bad(path: str, description: str) -> FieldViolation:
    return FieldViolation(field=path, description=description)

"""What an endpoint's address, key reference and route may hold: no secret, nothing of a probe.

Stands below `audit.codec.sweep_limits`. Specs are stored, listed and digested in the clear, so that
a key must never get into one; and a route that changed what is asked would make findings moot.
Descriptions never repeat a value that may be a key.
"""

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from audit.codec.limits import MAX_ENDPOINT_CHARS
from audit.codec.record_json import canonical_json, parse_members
from audit.codec.sampling_fields import HARMLESS, MAX_TOKENS_NAMES, MODELLED, NEUTRAL_VALUES
from audit.errors import FieldViolation, InvalidRequest

#: Room for every provider of a marketplace by name.
MAX_ROUTE_CHARS: Final = 16 << 10
MAX_KEY_REF_CHARS: Final = 1024

Violations = Iterator[FieldViolation]

_ENV_REF = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")

#: How keys of OpenAI, Anthropic, OpenRouter, Hugging Face, Groq, xAI, Together, Google and others
#: begin; and signed tokens (JWT).
_KEY_LIKE = re.compile(
    r"(?:^|[^A-Za-z0-9])"
    r"(?:(?:sk|gsk|xai|nvapi|pplx)-[A-Za-z0-9_-]{16,}"
    # ordinary names begin like these, and then are words with hyphens between
    r"|(?:sk|pk|rk|hf|gsk|xai|tgp|fw|key|api)[-_][A-Za-z0-9]{20,}"
    r"|AIza[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    r"|[Bb]earer\s+\S{8,})"
)
_SECRET_NAMES: Final = (
    *("apikey", "authorization", "authtoken", "accesstoken", "bearer", "credential"),
    *("password", "secret", "privatekey", "headers"),
)
#: Secret as whole names only: `max_tokens` or `keyboard` are not.
_SECRET_WORDS: Final = frozenset({"auth", "key", "token"})
#: Of a member's name, in a description.
_MAX_SHOWN_CHARS: Final = 64

#: Say who answers or how the request is booked, and nothing about its text or sampling.
_ROUTING: Final = frozenset(
    {"metadata", "priority", "provider", "routing", "safety_identifier", "service_tier", "user"}
)
#: Other members that change the prompt, the model or the form of the answer.
_OF_THE_PROBE: Final = frozenset(
    {
        *("chat_template", "chat_template_kwargs", "documents", "extra_body", "functions", "input"),
        *("instructions", "model_path", "models", "modalities", "plugins", "prefix", "reasoning"),
        *("reasoning_effort", "route", "structured_outputs", "system", "text", "thinking"),
        *("top_a", "transforms", "truncate_prompt_tokens", "verbosity", "web_search_options"),
        *("logits_processors", "lora", "adapter_id", "speculative", "guided_json"),
        *("guided_regex", "guided_choice", "guided_grammar", "function_call"),
    }
)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_REFUSED: Final = frozenset(
    _plain(name)
    for name in (
        (MODELLED | frozenset(MAX_TOKENS_NAMES) | NEUTRAL_VALUES.keys() | HARMLESS | _OF_THE_PROBE)
        - _ROUTING
    )
)


def base_url_violations(path: str, url: str) -> Violations:
    """Yield what is wrong with an endpoint's address."""
    if not url:
        yield _bad(path, "is missing; give it up to and without /completions")
        return
    if len(url) > MAX_ENDPOINT_CHARS:
        yield _bad(path, f"has {len(url)} characters; the limit is {MAX_ENDPOINT_CHARS}")
        return
    if not (url.isascii() and url.isprintable()) or " " in url:
        yield _bad(path, "holds a space or another character that no address has; escape it")
        return
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield _bad(path, "is no address; write it like https://host/v1")
        return
    if parts.scheme not in {"http", "https"} or not host:
        yield _bad(path, "must be http:// or https:// with a host, such as https://host/v1")
    if "@" in parts.netloc:
        yield _bad(path, "holds a user or password; put the key elsewhere and name it in key_ref")
    if "?" in url or "#" in url:
        yield _bad(path, "holds a query or fragment; leave it out, and name a key in key_ref")
    if _KEY_LIKE.search(parts.path) or (host and _KEY_LIKE.search(host)):
        yield _bad(path, "holds what looks like a key; put it elsewhere and name it in key_ref")
    if parts.path.rstrip("/").endswith("/completions"):
        yield _bad(path, "ends with /completions; leave that and what stands after /v1 out")


def key_ref_violations(path: str, key_ref: str | None) -> Violations:
    """Yield what is wrong with a key reference; never the reference itself, it may be a key."""
    if key_ref is None or _ENV_REF.fullmatch(key_ref):
        return
    file = key_ref.removeprefix("file:")
    if file == key_ref or not file:
        yield _bad(path, "must be env:NAME or file:PATH; the key itself must not be here")
    elif len(key_ref) > MAX_KEY_REF_CHARS or not file.isprintable():
        yield _bad(path, f"must be a printable path of at most {MAX_KEY_REF_CHARS} characters")


def route_violations(path: str, route_json: str) -> Violations:
    """Yield what is wrong with the JSON text of a route."""
    if len(route_json) > MAX_ROUTE_CHARS:
        yield _bad(path, f"has {len(route_json)} characters; the limit is {MAX_ROUTE_CHARS}")
        return
    try:
        route = parse_members(route_json, path)
        # lone surrogates and huge numbers pass as JSON and fail once the request is sent
        canonical_json(route, path)
    except InvalidRequest as error:
        yield from error.violations
        return
    for name in route:
        if _plain(name) in _REFUSED:
            yield _bad(f"{path}.{name}", "is the probe's own; a route may only say who answers")
    try:
        yield from list(_secret_violations(path, route))
    except RecursionError:
        yield _bad(path, "is nested too deeply")


def _secret_violations(path: str, value: Any) -> Violations:
    if isinstance(value, str) and _KEY_LIKE.search(value):
        yield _bad(path, "holds what looks like a key; keys go by key_ref")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _secret_violations(f"{path}[{index}]", item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if _KEY_LIKE.search(name):
                yield _bad(path, "has a member whose name looks like a key; keys go by key_ref")
                continue
            here = f"{path}.{name[:_MAX_SHOWN_CHARS]}"
            if _is_secret(_plain(name)):
                yield _bad(here, "is for secrets; keys go by key_ref")
            else:
                yield from _secret_violations(here, item)


def _is_secret(plain_name: str) -> bool:
    return plain_name in _SECRET_WORDS or any(part in plain_name for part in _SECRET_NAMES)


def _bad(path: str, description: str) -> FieldViolation:
    return FieldViolation(field=path, description=description)

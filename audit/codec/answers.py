"""Reads provider answers, plain or streamed, completions or chat.

Plain or streamed, completions or chat, with token ids wherever an engine puts them.

Accepts the OpenAI shapes of vLLM, SGLang, llama.cpp and transformers. Knows nothing of requests or
claims.
"""

import re
from dataclasses import dataclass
from typing import Any

from audit.codec.json_access import Json, get_int, get_list, get_object, get_text, get_token_ids
from audit.errors import InvalidRequest
from audit.records import Output, Usage

#: vLLM writes this instead of the token's text under `return_tokens_as_token_ids`.
_TOKEN_ID_TEXT = re.compile(r"token_id:(\d{1,10})\Z")

#: Members of a chat message that were drawn token by token like its content.
OTHER_TOKENS = ("reasoning_content", "reasoning", "tool_calls", "function_call", "refusal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one answer holds."""

    output: Output
    usage: Usage
    echoed_prompt_token_ids: tuple[int, ...] | None
    system_fingerprint: str | None
    model: str | None


def read_answer(response: Json) -> Answer:
    """Return the contents of a response body, or of `{"chunks": […]}` for a streamed one.

    Raises: InvalidRequest where the body holds no single answer.
    """
    bodies = _bodies(response)
    texts: list[str] = []
    ids: list[int] = []
    has_ids = True
    finish_reason = None
    for body in bodies:
        choice = _choice(body)
        if choice is None:
            continue
        text = _text(choice)
        found = _output_ids(choice, body)
        texts.append(text)
        if found is None:
            has_ids = has_ids and not text
        else:
            ids.extend(found)
        finish_reason = get_text(choice, "finish_reason", "response.choices[0]") or finish_reason
    if not texts:
        raise InvalidRequest.of(
            "response.choices", "holds no answer; record the whole response body"
        )
    if not ids and any(_has_other_tokens(body) for body in bodies):
        raise InvalidRequest.of(
            "response.choices[0].message",
            "holds reasoning or tool calls beside its text; record token ids",
        )
    return Answer(
        output=Output(
            token_ids=tuple(ids) if has_ids and (ids or not any(texts)) else None,
            text="".join(texts),
            finish_reason=finish_reason,
        ),
        usage=_usage(bodies),
        echoed_prompt_token_ids=_first(_echoed_prompt(body) for body in bodies),
        system_fingerprint=_first(get_text(b, "system_fingerprint", "response") for b in bodies),
        model=_first(get_text(b, "model", "response") for b in bodies),
    )


def _bodies(response: Json) -> list[Json]:
    chunks = get_list(response, "chunks", "response")
    bodies = [response] if chunks is None else [c for c in chunks if c != "[DONE]"]
    for position, body in enumerate(bodies):
        if not isinstance(body, dict):
            raise InvalidRequest.of(f"response.chunks[{position}]", "must be an object")
        if body.get("error") is not None or body.get("object") == "error":
            raise InvalidRequest.of(
                "response.error", "the provider answered with an error, not a completion"
            )
    return bodies


def _choice(body: Json) -> Json | None:
    choices = get_list(body, "choices", "response")
    if not choices:
        return None
    if len(choices) > 1 or not isinstance(choices[0], dict) or choices[0].get("index"):
        raise InvalidRequest.of(
            "response.choices",
            "must hold one answer; record each choice of n > 1 as its own request",
        )
    return choices[0]


def _text(choice: Json) -> str:
    path = "response.choices[0]"
    plain = get_text(choice, "text", path)
    if plain is not None:
        return plain
    message = get_object(choice, "message", path) or get_object(choice, "delta", path) or {}
    return get_text(message, "content", path) or ""


def _has_other_tokens(body: Json) -> bool:
    """Return whether the model drew tokens that are not part of the visible text."""
    choice = _choice(body) or {}
    parts = (choice.get("message"), choice.get("delta"))
    return any(part.get(name) for part in parts if isinstance(part, dict) for name in OTHER_TOKENS)


def _output_ids(choice: Json, body: Json) -> tuple[int, ...] | None:
    path = "response.choices[0]"
    for parent in (choice, *_extensions(choice), *_extensions(body)):
        for key in ("token_ids", "output_token_ids", "output_ids", "tokens"):
            ids = get_token_ids(parent, key, path)
            if ids is not None:
                return ids
    # llama.cpp's server puts them at the top level with `return_tokens`
    top_level = get_token_ids(body, "tokens", "response")
    return top_level if top_level is not None else _ids_from_logprobs(choice)


def _extensions(parent: Json) -> list[Json]:
    """Return nested objects with extra fields (SGLang `sglext`, llama.cpp `__verbose`)."""
    found = (get_object(parent, key, "response") for key in ("sglext", "meta_info", "__verbose"))
    return [value for value in found if value is not None]


def _ids_from_logprobs(choice: Json) -> tuple[int, ...] | None:
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict):
        return None
    tokens: list[Any] = get_list(logprobs, "tokens", "response.choices[0].logprobs") or []
    if not tokens and isinstance(logprobs.get("content"), list):
        tokens = [c.get("token") if isinstance(c, dict) else None for c in logprobs["content"]]
    matches = [_TOKEN_ID_TEXT.match(t) if isinstance(t, str) else None for t in tokens]
    if not matches or not all(matches):
        return None
    return tuple(int(m[1]) for m in matches if m is not None)


def _echoed_prompt(body: Json) -> tuple[int, ...] | None:
    ids = get_token_ids(body, "prompt_token_ids", "response")
    choice = _choice(body)
    if ids is None and choice is not None:
        ids = get_token_ids(choice, "prompt_token_ids", "response.choices[0]")
    return ids


def _usage(bodies: list[Json]) -> Usage:
    usage = None
    for body in bodies:
        usage = get_object(body, "usage", "response") or usage
    if usage is None:
        return Usage()
    details = get_object(usage, "completion_tokens_details", "response.usage") or {}
    return Usage(
        prompt_tokens=get_int(usage, "prompt_tokens", "response.usage"),
        completion_tokens=get_int(usage, "completion_tokens", "response.usage"),
        reasoning_tokens=get_int(details, "reasoning_tokens", "response.usage"),
    )


def _first(values: Any) -> Any:
    return next((value for value in values if value is not None), None)

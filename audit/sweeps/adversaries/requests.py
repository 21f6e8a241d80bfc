"""Reads the body of a request, strictly: what cannot be honoured is refused, never ignored."""

from collections.abc import Mapping
from typing import NamedTuple

from audit.sweep_records import ApiStyle
from audit.sweeps.adversaries.exchange import Ask

JsonMembers = dict[str, object]

MAX_LOGPROBS = 20
_MAX_SEED = (1 << 63) - 1

#: Members that change what is drawn and that nothing here models, with the values without effect.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": (None, ""),
    "min_p": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "repetition_penalty": (1, 1.0),
    "logit_bias": ({},),
    "min_tokens": (0,),
    "stop_token_ids": ([],),
    "tools": ([],),
    "response_format": ({"type": "text"},),
    "use_beam_search": (False,),
}


class RefusedRequest(Exception):
    """The request cannot be honoured; `status` is the HTTP status, `param` the bad member."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400) -> None:
        self.param = param
        self.status = status
        super().__init__(message)


class _Range(NamedTuple):
    low: float
    high: float


def parse_ask(api: ApiStyle, body: object) -> Ask:
    """Return what a request body asks for. Raises: RefusedRequest naming the bad member."""
    if not isinstance(body, dict):
        raise RefusedRequest("the body must be a JSON object")
    _refuse_unsupported(body)
    model = body.get("model")
    if not isinstance(model, str):
        raise RefusedRequest("model must be text", param="model")
    prompt = _messages(body) if api is ApiStyle.CHAT else _prompt(body)
    options = body.get("stream_options")
    max_tokens = _whole(body, "max_tokens", _Range(1, 1 << 31))
    if api is ApiStyle.CHAT:
        max_tokens = _whole(body, "max_completion_tokens", _Range(1, 1 << 31)) or max_tokens
    return Ask(
        api=api,
        model=model,
        prompt_token_ids=prompt.token_ids,
        text=prompt.text,
        messages=prompt.messages,
        temperature=_number(body, "temperature", _Range(0.0, 2.0)),
        top_p=_top_p(body),
        top_k=_whole(body, "top_k", _Range(-1, 1 << 31)),
        seed=_whole(body, "seed", _Range(-_MAX_SEED - 1, _MAX_SEED)),
        max_tokens=max_tokens,
        stop=_stop(body),
        ignores_end=_flag(body, "ignore_eos"),
        num_logprobs=_num_logprobs(api, body),
        wants_token_ids=_flag(body, "return_token_ids"),
        spells_ids=_flag(body, "return_tokens_as_token_ids"),
        is_streamed=_flag(body, "stream"),
        streams_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


class _Prompt(NamedTuple):
    token_ids: tuple[int, ...] | None = None
    text: str | None = None
    messages: tuple[tuple[str, str], ...] | None = None


def _refuse_unsupported(body: JsonMembers) -> None:
    for name, neutral in _NEUTRAL.items():
        value = body.get(name)
        if value is not None and value not in neutral:
            raise RefusedRequest(f"{name} is not supported here; leave it out", param=name)


def _prompt(body: JsonMembers) -> _Prompt:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and not _is_whole(prompt[0]):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return _Prompt(text=prompt)
    if isinstance(prompt, list) and prompt and all(_is_whole(item) for item in prompt):
        return _Prompt(token_ids=tuple(prompt))
    raise RefusedRequest("prompt must be one text, or one list of token ids", param="prompt")


def _messages(body: JsonMembers) -> _Prompt:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedRequest("messages must be a list of messages", param="messages")
    read: list[tuple[str, str]] = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(role, str) or not isinstance(content, str):
            raise RefusedRequest("a message needs role and content as text", param="messages")
        read.append((role, content))
    return _Prompt(messages=tuple(read))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(body: JsonMembers, name: str, allowed: _Range) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise RefusedRequest(f"{name} must be a whole number", param=name)
    if not allowed.low <= value <= allowed.high:
        raise RefusedRequest(f"{name} must be {_worded(allowed)}", param=name)
    return value


def _number(body: JsonMembers, name: str, allowed: _Range) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise RefusedRequest(f"{name} must be a number", param=name)
    if not allowed.low <= value <= allowed.high:
        raise RefusedRequest(f"{name} must be {_worded(allowed)}", param=name)
    return float(value)


def _worded(allowed: _Range) -> str:
    return f"at least {allowed.low:g} and at most {allowed.high:g}"


def _top_p(body: JsonMembers) -> float | None:
    value = _number(body, "top_p", _Range(0.0, 1.0))
    if value == 0.0:
        raise RefusedRequest("top_p must be above 0 and at most 1", param="top_p")
    return value


def _flag(body: JsonMembers, name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise RefusedRequest(f"{name} must be true or false", param=name)
    return value is True


def _stop(body: JsonMembers) -> tuple[str, ...]:
    value = body.get("stop")
    words = [value] if isinstance(value, str) else value or []
    if not isinstance(words, list) or not all(isinstance(w, str) and w for w in words):
        raise RefusedRequest("stop must be a text or a list of texts", param="stop")
    return tuple(words)


def _num_logprobs(api: ApiStyle, body: JsonMembers) -> int | None:
    if api is ApiStyle.COMPLETIONS:
        return _whole(body, "logprobs", _Range(0, MAX_LOGPROBS))
    top = _whole(body, "top_logprobs", _Range(0, MAX_LOGPROBS))
    if not _flag(body, "logprobs"):
        if top:
            raise RefusedRequest("top_logprobs needs logprobs: true", param="top_logprobs")
        return None
    return top or 0

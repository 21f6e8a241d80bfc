"""Reads answers of OpenAI-compatible endpoints strictly: an answer of this API, or GARBAGE.

Completions and chat, token ids and log-probabilities where engines put them (vLLM, SGLang,
llama.cpp, transformers). Nothing is repaired and nothing raises: whatever is not as the API says
becomes GARBAGE with a sentence that names the member.
"""

from dataclasses import dataclass

from audit.codec.json_access import (
    Json,
    get_int,
    get_list,
    get_object,
    get_text,
    get_token_ids,
    parse_object,
)
from audit.errors import InvalidRequest
from audit.sweep_records import (
    AnswerStatus,
    ApiStyle,
    PositionLogprobs,
    Probe,
    ProbeAnswer,
    RawAnswer,
)
from audit.sweeps.provider.answer_logprobs import read_logprobs

#: More tokens than any answer within the client's limit can have; beyond is no count.
MAX_TOKEN_COUNT = 10**8

#: Token ids are 32-bit numbers in every engine.
MAX_TOKEN_ID = 2**31 - 1

MAX_NAME_CHARS = 512

#: So much of an error message of the endpoint's is repeated.
_MAX_QUOTED_CHARS = 200

_MAX_ERROR_CHARS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    text: str | None
    token_ids: tuple[int, ...] | None
    finish_reason: str | None
    logprobs: tuple[PositionLogprobs, ...]


def parse_answer(probe: Probe, raw: RawAnswer) -> ProbeAnswer:
    """Return a raw answer as it reads; never raises."""
    if raw.status is not AnswerStatus.ANSWERED:
        return ProbeAnswer(status=raw.status, elapsed_s=raw.elapsed_s, error=raw.error)
    try:
        return _read(probe, raw)
    except InvalidRequest as error:
        return ProbeAnswer(
            status=AnswerStatus.GARBAGE,
            elapsed_s=raw.elapsed_s,
            error=f"the answer is none of this API: {error}"[:_MAX_ERROR_CHARS],
        )


def _read(probe: Probe, raw: RawAnswer) -> ProbeAnswer:
    if raw.is_cut:
        raise InvalidRequest.of("body", "is longer than the client reads")
    body = _body(raw.body)
    choice = _read_choice(probe, body)
    usage = get_object(body, "usage", "body") or {}
    return ProbeAnswer(
        status=AnswerStatus.ANSWERED,
        text=choice.text,
        token_ids=choice.token_ids,
        prompt_token_ids=_prompt_ids(body),
        finish_reason=choice.finish_reason,
        logprobs=choice.logprobs,
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        served_model=_name(body, "model"),
        upstream=_name(body, "provider"),
        system_fingerprint=_name(body, "system_fingerprint"),
        response_id=_name(body, "id"),
        elapsed_s=raw.elapsed_s,
    )


def _body(text: str) -> Json:
    start = text.lstrip("\ufeff \t\r\n")[:64]
    if not start:
        raise InvalidRequest.of("body", "is empty")
    if start.startswith("<"):
        raise InvalidRequest.of("body", "is a web page or XML, not JSON")
    if start.startswith(("data:", "event:")):
        raise InvalidRequest.of("body", "is a stream of events, which was not asked for")
    body = parse_object(text, "body")
    error = body.get("error")
    if error is not None or body.get("object") == "error":
        raise InvalidRequest.of("body.error", f"reports a failure: {_quoted(error, body)}")
    return body


def _quoted(error: object, body: Json) -> str:
    message = error.get("message") if isinstance(error, dict) else error or body.get("message")
    text = message if isinstance(message, str) else "no message that could be read"
    return text.encode("utf-8", "replace").decode()[:_MAX_QUOTED_CHARS]


def _read_choice(probe: Probe, body: Json) -> _Choice:
    choices = get_list(body, "choices", "body")
    if choices is None:
        raise InvalidRequest.of("body.choices", "is missing")
    if len(choices) != 1 or not isinstance(choices[0], dict):
        raise InvalidRequest.of("body.choices", f"must hold one object, found {len(choices)} items")
    choice: Json = choices[0]
    path = "body.choices[0]"
    if get_int(choice, "index", path) not in (None, 0):
        raise InvalidRequest.of(f"{path}.index", "must be 0")
    text = _message_text(choice, path) if probe.api is ApiStyle.CHAT else _plain_text(choice, path)
    ids = _token_ids(choice, path, "token_ids", "output_token_ids", "output_ids")
    logprobs = read_logprobs(get_object(choice, "logprobs", path), ids, f"{path}.logprobs")
    return _Choice(
        text=text,
        token_ids=ids if ids is not None else _ids_of(logprobs),
        finish_reason=_name(choice, "finish_reason", path),
        logprobs=logprobs,
    )


def _plain_text(choice: Json, path: str) -> str:
    text = get_text(choice, "text", path)
    if text is None:
        raise InvalidRequest.of(f"{path}.text", "is missing")
    return _valid(text, f"{path}.text")


def _message_text(choice: Json, path: str) -> str | None:
    message = get_object(choice, "message", path)
    if message is None:
        raise InvalidRequest.of(f"{path}.message", "is missing")
    # a model that only called a tool, or is still thinking, answers with null
    text = get_text(message, "content", f"{path}.message")
    return None if text is None else _valid(text, f"{path}.message.content")


def _token_ids(parent: Json, path: str, *keys: str) -> tuple[int, ...] | None:
    for key in keys:
        ids = get_token_ids(parent, key, path)
        if ids is None:
            continue
        if not all(0 <= token_id <= MAX_TOKEN_ID for token_id in ids):
            raise InvalidRequest.of(f"{path}.{key}", "holds a number that is no token id")
        return ids
    return None


def _ids_of(logprobs: tuple[PositionLogprobs, ...]) -> tuple[int, ...] | None:
    """Return the token ids that log-probabilities spell, where all of them do."""
    ids = [position.chosen.token_id for position in logprobs]
    known = tuple(token_id for token_id in ids if token_id is not None)
    return known if known and len(known) == len(ids) else None


def _prompt_ids(body: Json) -> tuple[int, ...] | None:
    ids = _token_ids(body, "body", "prompt_token_ids")
    if ids is not None:
        return ids
    # its shape was checked with the choice
    choice: Json = body["choices"][0]
    return _token_ids(choice, "body.choices[0]", "prompt_token_ids")


def _count(usage: Json, key: str) -> int | None:
    value = get_int(usage, key, "body.usage")
    if value is not None and not 0 <= value <= MAX_TOKEN_COUNT:
        raise InvalidRequest.of(f"body.usage.{key}", f"is no number of tokens: {value}")
    return value


def _name(parent: Json, key: str, path: str = "body") -> str | None:
    value = get_text(parent, key, path)
    if value is not None and len(value) > MAX_NAME_CHARS:
        raise InvalidRequest.of(f"{path}.{key}", f"is longer than {MAX_NAME_CHARS} characters")
    return None if value is None else _valid(value, f"{path}.{key}")


def _valid(text: str, path: str) -> str:
    """Return a text that can be written down. Raises: InvalidRequest for half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest.of(path, "is not valid Unicode") from error
    return text

"""Reads the log-probabilities of an answer, in the completions style and in the chat style.

Values are taken as they come, positive ones included: judging them is the pre-flight's business.
Not a number, or infinity, is no value at all.
"""

import re
from typing import Any

from audit.codec.json_access import Json, get_list, get_number, get_text
from audit.errors import InvalidRequest
from audit.sweep_records import PositionLogprobs, TokenLogprob

#: vLLM writes this instead of the token's text under `return_tokens_as_token_ids`.
_TOKEN_ID_TEXT = re.compile(r"token_id:(\d{1,10})")

#: No server returns more alternatives than it has tokens, or than anybody reads.
_MAX_TOP = 1 << 18


def read_logprobs(
    logprobs: Json | None, token_ids: tuple[int, ...] | None, path: str
) -> tuple[PositionLogprobs, ...]:
    """Return one record for each output token; empty where there are none.

    Token ids given beside them name the chosen tokens. Raises: InvalidRequest.
    """
    if logprobs is None:
        return ()
    positions = (
        _chat_style(logprobs, path)
        if logprobs.get("content") is not None
        else _completions_style(logprobs, path)
    )
    if token_ids is None or len(token_ids) != len(positions):
        return positions
    pairs = zip(positions, token_ids, strict=True)
    return tuple(_named(position, token_id) for position, token_id in pairs)


def _chat_style(logprobs: Json, path: str) -> tuple[PositionLogprobs, ...]:
    found: list[PositionLogprobs] = []
    for index, entry in enumerate(get_list(logprobs, "content", path) or []):
        here = f"{path}.content[{index}]"
        top = get_list(_object(entry, here), "top_logprobs", here) or []
        found.append(
            PositionLogprobs(
                chosen=_entry(entry, here),
                top=tuple(_entry(t, f"{here}.top_logprobs[{n}]") for n, t in enumerate(top)),
            )
        )
    return tuple(found)


def _entry(entry: Any, path: str) -> TokenLogprob:
    members = _object(entry, path)
    token = get_text(members, "token", path)
    if token is None:
        raise InvalidRequest.of(f"{path}.token", "is missing")
    return _token_logprob(token, _number(members, "logprob", path), f"{path}.token")


def _completions_style(logprobs: Json, path: str) -> tuple[PositionLogprobs, ...]:
    tokens = get_list(logprobs, "tokens", path)
    values = get_list(logprobs, "token_logprobs", path)
    tops = get_list(logprobs, "top_logprobs", path)
    if tokens is None and values is None and tops is None:
        return ()
    if tokens is None or values is None:
        raise InvalidRequest.of(path, "must hold tokens and token_logprobs")
    if len(tokens) != len(values) or (tops and len(tops) != len(tokens)):
        raise InvalidRequest.of(path, "holds lists of different lengths")
    found: list[PositionLogprobs] = []
    for index, (token, value) in enumerate(zip(tokens, values, strict=True)):
        here = f"{path}.tokens[{index}]"
        if not isinstance(token, str):
            raise InvalidRequest.of(here, "must be a string")
        number = _number({"value": value}, "value", f"{path}.token_logprobs[{index}]")
        top = _top(tops[index] if tops else None, f"{path}.top_logprobs[{index}]")
        found.append(PositionLogprobs(chosen=_token_logprob(token, number, here), top=top))
    return tuple(found)


def _top(top: Any, path: str) -> tuple[TokenLogprob, ...]:
    if top is None:
        return ()
    members = _object(top, path)
    if len(members) > _MAX_TOP:
        raise InvalidRequest.of(path, "holds too many alternatives")
    return tuple(_token_logprob(token, _number(members, token, path), path) for token in members)


def _token_logprob(token: str, logprob_nats: float, path: str) -> TokenLogprob:
    match = _TOKEN_ID_TEXT.fullmatch(token)
    if match is None:
        try:
            token.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest.of(path, "is not valid Unicode") from error
        return TokenLogprob(logprob_nats=logprob_nats, token=token)
    token_id = int(match[1])
    if token_id >= 2**31:
        raise InvalidRequest.of(path, "names a number that is no token id")
    return TokenLogprob(logprob_nats=logprob_nats, token_id=token_id)


def _named(position: PositionLogprobs, token_id: int) -> PositionLogprobs:
    chosen = position.chosen
    # the two may contradict each other; what the log-probabilities say themselves is kept
    named = token_id if chosen.token_id is None else chosen.token_id
    return PositionLogprobs(
        chosen=TokenLogprob(logprob_nats=chosen.logprob_nats, token=chosen.token, token_id=named),
        top=position.top,
    )


def _number(parent: Json, key: str, path: str) -> float:
    value = get_number(parent, key, path)
    if value is None:
        raise InvalidRequest.of(f"{path}.{key}", "must be a number, found null")
    return value


def _object(value: Any, path: str) -> Json:
    if not isinstance(value, dict):
        raise InvalidRequest.of(path, "must be an object")
    return value

"""Writes answers as OpenAI-compatible servers do: whole or streamed, completions or chat.

Log-probabilities and token ids go where vLLM 0.32 puts them.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from audit.sweep_records import ApiStyle, TokenLogprob
from audit.sweeps.adversaries.exchange import Answered, Ask, Row

JsonMembers = dict[str, object]

#: JSON has no minus infinity; servers write this instead.
_LOWEST_NATS = -9999.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What surrounds an answer."""

    response_id: str
    created_s: int
    """Seconds since 1970."""
    system_fingerprint: str | None = None


def answer_body(ask: Ask, answered: Answered, envelope: Envelope) -> JsonMembers:
    """Return the body of an answer that is not streamed."""
    kind = "chat.completion" if ask.api is ApiStyle.CHAT else "text_completion"
    body = _head(kind, ask, answered, envelope)
    choice = _choice_ids(ask, answered.token_ids)
    choice |= {"index": 0, "finish_reason": answered.finish_reason, "stop_reason": None}
    choice["logprobs"] = _logprobs(ask, answered.rows, 0)
    if ask.api is ApiStyle.CHAT:
        choice["message"] = {"role": "assistant", "content": answered.text}
    else:
        choice["text"] = answered.text
    _add_prompt_ids(ask, answered, body, choice)
    return body | {"choices": [choice], "usage": _usage(answered)}


def answer_chunks(ask: Ask, answered: Answered, envelope: Envelope) -> Iterator[str]:
    """Yield the lines of a streamed answer, one chunk a token, ended by `[DONE]`."""
    kind = "chat.completion.chunk" if ask.api is ApiStyle.CHAT else "text_completion"
    head = _head(kind, ask, answered, envelope)
    last = len(answered.pieces) - 1
    offset = 0
    for at, piece in enumerate(answered.pieces):
        choice = _choice_ids(ask, answered.token_ids[at : at + 1])
        choice |= {"index": 0, "finish_reason": answered.finish_reason if at == last else None}
        rows = None if answered.rows is None else answered.rows[at : at + 1]
        choice["logprobs"] = _logprobs(ask, rows, offset)
        if ask.api is ApiStyle.CHAT:
            role: JsonMembers = {"role": "assistant"} if at == 0 else {}
            choice["delta"] = role | {"content": piece}
        else:
            choice["text"] = piece
        chunk = dict(head)
        if at == 0:
            _add_prompt_ids(ask, answered, chunk, choice)
        yield _line(chunk | {"choices": [choice]})
        offset += len(piece)
    if ask.streams_usage:
        yield _line(head | {"choices": [], "usage": _usage(answered)})
    yield "data: [DONE]\n\n"


def error_body(message: str, *, status: int, param: str | None = None) -> JsonMembers:
    """Return the body of a refusal."""
    kinds = {401: "AuthenticationError", 404: "NotFoundError"}
    kind = kinds.get(status, "BadRequestError" if status < 500 else "InternalServerError")
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def models_body(model: str, *, created_s: int, max_positions: int) -> JsonMembers:
    """Return the list of the one model that is served."""
    served = {"id": model, "object": "model", "created": created_s, "owned_by": "inference-audit"}
    return {"object": "list", "data": [served | {"max_model_len": max_positions}]}


def _line(chunk: JsonMembers) -> str:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"


def _head(kind: str, ask: Ask, answered: Answered, envelope: Envelope) -> JsonMembers:
    head: JsonMembers = {
        "id": envelope.response_id,
        "object": kind,
        "created": envelope.created_s,
        "model": answered.served_model or ask.model,
        "system_fingerprint": envelope.system_fingerprint,
    }
    return head if answered.upstream is None else head | {"provider": answered.upstream}


def _choice_ids(ask: Ask, token_ids: Sequence[int]) -> JsonMembers:
    return {"token_ids": list(token_ids) if ask.wants_token_ids else None}


def _add_prompt_ids(ask: Ask, answered: Answered, body: JsonMembers, choice: JsonMembers) -> None:
    """Put the prompt's token ids where the route has them: in the choice, or beside it."""
    holder = body if ask.api is ApiStyle.CHAT else choice
    holder["prompt_token_ids"] = list(answered.prompt_token_ids) if ask.wants_token_ids else None


def _usage(answered: Answered) -> JsonMembers:
    return {
        "prompt_tokens": answered.prompt_tokens,
        "completion_tokens": answered.completion_tokens,
        "total_tokens": answered.prompt_tokens + answered.completion_tokens,
    }


def _logprobs(ask: Ask, rows: tuple[Row, ...] | None, offset: int) -> JsonMembers | None:
    if rows is None:
        return None
    if ask.api is ApiStyle.CHAT:
        return {"content": [_chat_row(ask, row) for row in rows]}
    offsets: list[int] = []
    for row in rows:
        offsets.append(offset)
        offset += len(_spelled(ask, row.chosen))
    return {
        "tokens": [_spelled(ask, row.chosen) for row in rows],
        "token_logprobs": [_finite(row.chosen) for row in rows],
        # the drawn token comes first, so a JSON object holds it once
        "top_logprobs": [
            {_spelled(ask, token): _finite(token) for token in (row.chosen, *row.top)}
            for row in rows
        ],
        "text_offset": offsets,
    }


def _chat_row(ask: Ask, row: Row) -> JsonMembers:
    return _chat_token(ask, row.chosen) | {
        "top_logprobs": [_chat_token(ask, token) for token in row.top]
    }


def _chat_token(ask: Ask, token: TokenLogprob) -> JsonMembers:
    spelled = _spelled(ask, token)
    return {"token": spelled, "logprob": _finite(token), "bytes": list(spelled.encode())}


def _spelled(ask: Ask, token: TokenLogprob) -> str:
    return f"token_id:{token.token_id}" if ask.spells_ids else token.token or ""


def _finite(token: TokenLogprob) -> float:
    return max(token.logprob_nats, _LOWEST_NATS)

"""From one recorded JSON object to an `AuditRequest`.

Knows the traffic line (`request`, `response`, `meta`, `claim`) and DiFR's sample; reads no
files and checks no limits.
"""

from typing import Any

from audit.codec.answers import read_answer
from audit.codec.json_access import (
    Json,
    get_number,
    get_object,
    get_text,
    get_token_ids,
    token_ids,
)
from audit.codec.sampling_fields import read_sampling
from audit.errors import InvalidRequest
from audit.records import (
    AuditRequest,
    Claim,
    Exchange,
    Message,
    Output,
    Prompt,
    ProviderClaims,
    Timing,
)


def parse_exchange(line: Json, request_id: str) -> AuditRequest:
    """Return the exchange in one traffic object, not yet checked for limits.

    Raises: InvalidRequest.
    """
    if "prompt_token_ids" in line and "output_token_ids" in line:
        return _parse_difr(line, request_id)
    request = get_object(line, "request", "line")
    response = get_object(line, "response", "line")
    if request is None or response is None:
        raise InvalidRequest.of(
            "line",
            'must hold "request" and "response", or "prompt_token_ids" and "output_token_ids"',
        )
    answer = read_answer(response)
    prompt = _read_prompt(request, answer.echoed_prompt_token_ids)
    return AuditRequest(
        request_id=request_id,
        exchange=Exchange(
            prompt=prompt,
            output=answer.output,
            sampling=read_sampling(request),
            usage=answer.usage,
            timing=_read_timing(line),
            provider=_read_provider(line, answer.system_fingerprint),
        ),
        claim=_read_claim(line, get_text(request, "model", "request") or answer.model),
    )


def _parse_difr(line: Json, request_id: str) -> AuditRequest:
    return AuditRequest(
        request_id=request_id,
        exchange=Exchange(
            prompt=Prompt(token_ids=get_token_ids(line, "prompt_token_ids", "line")),
            output=Output(token_ids=get_token_ids(line, "output_token_ids", "line")),
            sampling=read_sampling(
                {k: line.get(k) for k in ("temperature", "top_k", "top_p", "seed", "max_tokens")}
            ),
            timing=_read_timing(line),
            provider=_read_provider(line, None),
        ),
        claim=_read_claim(line, get_text(line, "model", "line")),
    )


def _read_prompt(request: Json, echoed: tuple[int, ...] | None) -> Prompt:
    messages = request.get("messages")
    if messages is not None:
        return Prompt(messages=_read_messages(messages), echoed_token_ids=echoed)
    prompt = request.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return Prompt(text=prompt, echoed_token_ids=echoed)
    if isinstance(prompt, list) and all(isinstance(item, int) for item in prompt):
        return Prompt(token_ids=token_ids(prompt, "request.prompt"), echoed_token_ids=echoed)
    raise InvalidRequest.of(
        "request.prompt", "must be one text or one list of token ids, or use request.messages"
    )


def _read_messages(messages: object) -> tuple[Message, ...]:
    if not isinstance(messages, list):
        raise InvalidRequest.of("request.messages", "must be a list")
    found = []
    for position, message in enumerate(messages):
        path = f"request.messages[{position}]"
        if not isinstance(message, dict):
            raise InvalidRequest.of(path, "must be an object")
        content = message.get("content")
        if isinstance(content, list):
            content = _join_text_parts(content, path)
        if not isinstance(message.get("role"), str) or not isinstance(content, str):
            raise InvalidRequest.of(path, "must hold a role and text content")
        found.append(Message(role=message["role"], content=content))
    return tuple(found)


def _join_text_parts(parts: list[Any], path: str) -> str:
    texts = []
    for part in parts:
        if (
            not isinstance(part, dict)
            or part.get("type") != "text"
            or not isinstance(part.get("text"), str)
        ):
            raise InvalidRequest.of(f"{path}.content", "only text parts can be replayed")
        texts.append(part["text"])
    return "\n".join(texts)


def _read_timing(line: Json) -> Timing:
    meta = get_object(line, "meta", "line") or {}
    return Timing(
        started_at=get_text(meta, "started_at", "meta"),
        elapsed_s=get_number(meta, "elapsed_s", "meta"),
    )


def _read_provider(line: Json, system_fingerprint: str | None) -> ProviderClaims:
    meta = get_object(line, "meta", "line") or {}
    return ProviderClaims(
        provider=get_text(meta, "provider", "meta"),
        endpoint=get_text(meta, "api_base", "meta"),
        engine=get_text(meta, "engine", "meta"),
        engine_version=get_text(meta, "engine_version", "meta"),
        device=get_text(meta, "device", "meta"),
        system_fingerprint=system_fingerprint,
    )


def _read_claim(line: Json, model: str | None) -> Claim:
    claim = get_object(line, "claim", "line") or {}
    meta = get_object(line, "meta", "line") or {}
    return Claim(
        model=get_text(claim, "model", "claim") or model,
        weights_digest=get_text(claim, "weights_digest", "claim"),
        precision=get_text(claim, "precision", "claim") or get_text(meta, "dtype", "meta"),
        sampler_profile=get_text(claim, "sampler_profile", "claim")
        or get_text(claim, "profile", "claim"),
    )

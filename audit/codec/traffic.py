"""Reads recorded traffic: JSON lines of real requests and answers, and DiFR's own JSON.

A file is read one line at a time, so memory does not grow with its length. What it yields is an `AuditRequest`
that `audit.codec.limits` has checked, or the error that names what is wrong with that line.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.codec.answers import read_answer
from audit.codec.json_access import (
    Json,
    get_number,
    get_object,
    get_text,
    get_token_ids,
    parse_object,
    token_ids,
)
from audit.codec.limits import check_request
from audit.codec.sampling_fields import read_sampling
from audit.errors import ConfigurationError, InvalidRequest
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

#: A longer line is refused unread: the longest honest exchange (a million token ids) stays far below it.
MAX_LINE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficLine:
    """One line of a traffic file: an exchange, or the reason why it is none."""

    index: int
    """Counts from 0 over all files in the order given."""
    source: str
    """`FILE:LINE`, for messages."""
    request_id: str
    request: AuditRequest | None
    error: InvalidRequest | None = None


def read_traffic(paths: list[Path]) -> Iterator[TrafficLine]:
    """Yield every exchange of the files, in order. Raises: ConfigurationError for an unreadable file."""
    index = 0
    for path in paths:
        for number, text in _read_lines(path):
            yield _read_line(text, index=index, source=f"{path}:{number}")
            index += 1
    if index == 0:
        raise ConfigurationError(
            f"no exchanges in {', '.join(map(str, paths))}: expected one JSON object a line"
        )


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        samples = _read_difr_file(path)
        if samples is not None:
            yield from enumerate(samples, start=1)
            return
        with path.open("rb") as file:
            for number, line in enumerate(_bounded_lines(file, path), start=1):
                if line.strip():
                    yield number, line.decode("utf-8", errors="replace")
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the traffic file {path}: {error.strerror}"
        ) from error


def _bounded_lines(file: Any, path: Path) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise ConfigurationError(
                f"{path} holds a line of more than {MAX_LINE_BYTES} bytes; is it JSON lines?"
            )
        yield line


def _read_difr_file(path: Path) -> list[str] | None:
    """Return the samples of a DiFR file (`{"config": …, "samples": […]}`) as lines, or None for other files."""
    import json

    with path.open("rb") as file:
        head = file.read(4096)
    if b'"samples"' not in head and b'"config"' not in head:
        return None
    if b'"request"' in head or path.stat().st_size > MAX_LINE_BYTES:
        return None
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return None
    if not isinstance(document, dict) or not isinstance(document.get("samples"), list):
        return None
    config = document.get("config") if isinstance(document.get("config"), dict) else {}
    shared = {
        k: config[k] for k in ("temperature", "top_k", "top_p", "seed", "model") if k in config
    }
    return [json.dumps(shared | s if isinstance(s, dict) else s) for s in document["samples"]]


def _read_line(text: str, *, index: int, source: str) -> TrafficLine:
    # the same line submitted twice is the same audit
    request_id = "line-" + hashlib.sha256(text.strip().encode()).hexdigest()[:32]
    try:
        line = parse_object(text, "line")
        request_id = get_text(line, "request_id", "line") or request_id
        request = parse_exchange(line, request_id)
        check_request(request)
    except InvalidRequest as error:
        return TrafficLine(
            index=index, source=source, request_id=request_id[:128], request=None, error=error
        )
    return TrafficLine(index=index, source=source, request_id=request_id, request=request)


def parse_exchange(line: Json, request_id: str) -> AuditRequest:
    """Return the exchange in one traffic object, not yet checked for limits. Raises: InvalidRequest."""
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

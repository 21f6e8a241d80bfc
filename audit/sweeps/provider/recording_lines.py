"""The lines of a recording: one JSON object each, canonical, and read back strictly."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.codec.json_access import Json, get_int, get_list, get_number, get_object, get_text
from audit.codec.json_access import get_token_ids as get_ids
from audit.errors import InvalidRequest
from audit.records import Message, Prompt, SamplingRequest
from audit.sweep_records import (
    AnswerStatus,
    ApiStyle,
    Probe,
    ProbeKind,
    RawAnswer,
    RecordedAnswer,
)
from audit.sweeps.probe import canonical_text, make_probe, probe_members

FORMAT = "inference-audit/sweep-recording/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingHeader:
    """Whose run it was, and of what."""

    run_id: str
    sweep_id: str
    slot_at: str
    spec_json: str = "{}"
    """The sweep as it was asked for, a JSON object; opaque here."""


def header_line(header: RecordingHeader) -> str:
    """Return the first line. Raises: InvalidRequest where `spec_json` is no JSON object."""
    try:
        spec = json.loads(header.spec_json)
    except ValueError as error:
        raise InvalidRequest.of("header.spec_json", "is not JSON") from error
    return canonical_text(
        {
            "type": "header",
            "format": FORMAT,
            "runId": header.run_id,
            "sweepId": header.sweep_id,
            "slotAt": header.slot_at,
            "spec": spec,
        }
    )


def probe_line(endpoint: str, position: int, probe: Probe) -> str:
    """Return the line of a planned probe."""
    return canonical_text(
        {
            "type": "probe",
            "endpoint": endpoint,
            "position": position,
            "probeId": probe.probe_id,
            "probe": probe_members(probe),
        }
    )


def answer_line(answer: RecordedAnswer) -> str:
    """Return the line of an answer."""
    raw = answer.raw
    members = {
        "status": raw.status.value,
        "httpStatus": raw.http_status,
        "body": raw.body,
        "isCut": raw.is_cut,
        "sentAt": raw.sent_at,
        "elapsedS": raw.elapsed_s,
        "numAttempts": raw.num_attempts,
        "numRateLimited": raw.num_rate_limited,
        "error": raw.error,
    }
    return canonical_text(
        {
            "type": "answer",
            "endpoint": answer.endpoint,
            "position": answer.position,
            "raw": members,
        }
    )


def end_line(num_answers: int, digest: str) -> str:
    """Return the last line of a run that came to its end."""
    return canonical_text({"type": "end", "numAnswers": num_answers, "digest": digest})


def digest_of(
    header: RecordingHeader,
    plans: Mapping[str, Sequence[Probe]],
    answers: Iterable[RecordedAnswer],
) -> str:
    """Return `sha256:<hex>` over all lines but the last; the order of the answers is no matter."""
    order = {name: index for index, name in enumerate(plans)}
    ordered = sorted(answers, key=lambda a: (order.get(a.endpoint, len(order)), a.position))
    sha256 = hashlib.sha256(header_line(header).encode() + b"\n")
    for name, probes in plans.items():
        for position, probe in enumerate(probes):
            sha256.update(probe_line(name, position, probe).encode() + b"\n")
    for answer in ordered:
        sha256.update(answer_line(answer).encode() + b"\n")
    return f"sha256:{sha256.hexdigest()}"


def read_header(line: Json, path: str) -> RecordingHeader:
    """Return the header. Raises: InvalidRequest."""
    check_members(line, ("type", "format", "runId", "sweepId", "slotAt", "spec"), path)
    if line["format"] != FORMAT:
        raise InvalidRequest.of(f"{path}.format", f"must be {FORMAT}")
    spec = get_object(line, "spec", path)
    if spec is None:
        raise InvalidRequest.of(f"{path}.spec", "must be an object")
    return RecordingHeader(
        run_id=needed_text(line, "runId", path),
        sweep_id=needed_text(line, "sweepId", path),
        slot_at=needed_text(line, "slotAt", path),
        spec_json=canonical_text(spec),
    )


def read_probe(line: Json, path: str) -> tuple[str, int, Probe]:
    """Return (endpoint, position, probe). Raises: InvalidRequest, also for a wrong id."""
    check_members(line, ("type", "endpoint", "position", "probeId", "probe"), path)
    members = get_object(line, "probe", path) or {}
    here = f"{path}.probe"
    names = ("kind", "detector", "group", "api", "prompt", "sampling")
    check_members(members, (*names, "wantsLogprobs", "stop", "extras", "expected"), here)
    stop = get_list(members, "stop", here) or []
    if not all(isinstance(text, str) for text in stop):
        raise InvalidRequest.of(f"{here}.stop", "must be a list of strings")
    probe = make_probe(
        kind=_member(ProbeKind, members, "kind", here),
        detector=needed_text(members, "detector", here),
        group=needed_text(members, "group", here, may_be_empty=True),
        api=_member(ApiStyle, members, "api", here),
        prompt=_prompt(get_object(members, "prompt", here) or {}, f"{here}.prompt"),
        sampling=_sampling(get_object(members, "sampling", here) or {}, f"{here}.sampling"),
        wants_logprobs=get_int(members, "wantsLogprobs", here),
        stop=tuple(stop),
        extras=dict(get_object(members, "extras", here) or {}),
        expected=dict(get_object(members, "expected", here) or {}),
    )
    if probe.probe_id != line["probeId"]:
        raise InvalidRequest.of(f"{path}.probeId", "is not that of the probe's content")
    return needed_text(line, "endpoint", path), _position(line, path), probe


def read_answer(line: Json, path: str) -> RecordedAnswer:
    """Return an answer. Raises: InvalidRequest."""
    check_members(line, ("type", "endpoint", "position", "raw"), path)
    raw, here = get_object(line, "raw", path) or {}, f"{path}.raw"
    names = ("status", "httpStatus", "body", "isCut", "sentAt", "elapsedS")
    check_members(raw, (*names, "numAttempts", "numRateLimited", "error"), here)
    if not isinstance(raw["isCut"], bool):
        raise InvalidRequest.of(f"{here}.isCut", "must be true or false")
    return RecordedAnswer(
        endpoint=needed_text(line, "endpoint", path),
        position=_position(line, path),
        raw=RawAnswer(
            status=_member(AnswerStatus, raw, "status", here),
            http_status=get_int(raw, "httpStatus", here),
            body=needed_text(raw, "body", here, may_be_empty=True),
            is_cut=raw["isCut"],
            sent_at=get_text(raw, "sentAt", here),
            elapsed_s=get_number(raw, "elapsedS", here),
            num_attempts=needed_int(raw, "numAttempts", here),
            num_rate_limited=needed_int(raw, "numRateLimited", here),
            error=get_text(raw, "error", here),
        ),
    )


def check_members(line: Json, names: Sequence[str], path: str) -> None:
    """Check that an object has these members and no other. Raises: InvalidRequest."""
    if set(line) != set(names):
        odd = ", ".join(sorted(set(line) ^ set(names)))
        raise InvalidRequest.of(path, f"has missing or unknown members: {odd}")


def needed_text(parent: Json, key: str, path: str, *, may_be_empty: bool = False) -> str:
    """Return a string member that must be there. Raises: InvalidRequest."""
    value = get_text(parent, key, path)
    if value is None or not (value or may_be_empty):
        raise InvalidRequest.of(f"{path}.{key}", "must be stated")
    return value


def needed_int(parent: Json, key: str, path: str) -> int:
    """Return a count that must be there. Raises: InvalidRequest."""
    value = get_int(parent, key, path)
    if value is None or value < 0:
        raise InvalidRequest.of(f"{path}.{key}", "must be a number from 0 on")
    return value


def _position(line: Json, path: str) -> int:
    return needed_int(line, "position", path)


def _member(kind: Any, parent: Json, key: str, path: str) -> Any:
    try:
        return kind(parent[key])
    except ValueError as error:
        raise InvalidRequest.of(f"{path}.{key}", "is none of the known values") from error


def _prompt(members: Json, path: str) -> Prompt:
    check_members(members, ("tokenIds", "text", "messages"), path)
    pairs = get_list(members, "messages", path)
    is_paired = all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, str) for t in pair)
        for pair in pairs or []
    )
    if not is_paired:
        raise InvalidRequest.of(f"{path}.messages", "must be pairs of role and content")
    return Prompt(
        token_ids=get_ids(members, "tokenIds", path),
        text=get_text(members, "text", path),
        messages=None
        if pairs is None
        else tuple(Message(role=role, content=content) for role, content in pairs),
    )


def _sampling(members: Json, path: str) -> SamplingRequest:
    check_members(members, ("temperature", "topK", "topP", "seed", "maxTokens"), path)
    return SamplingRequest(
        temperature=get_number(members, "temperature", path),
        top_k=get_int(members, "topK", path),
        top_p=get_number(members, "topP", path),
        seed=get_int(members, "seed", path),
        max_tokens=get_int(members, "maxTokens", path),
    )

"""Makes probes, and turns them into request bodies: one rule for planning, sending and scoring."""

import hashlib
import json
from dataclasses import replace

import rfc8785

from audit.records import Prompt, SamplingRequest
from audit.sweep_records import ApiStyle, Endpoint, Probe, ProbeKind

JsonMembers = dict[str, object]

#: Hex digits of a probe's id: enough that no two probes of a deployment share one.
_NUM_ID_DIGITS = 32


def make_probe(
    *,
    kind: ProbeKind,
    detector: str,
    group: str,
    api: ApiStyle,
    prompt: Prompt,
    sampling: SamplingRequest,
    wants_logprobs: int | None = None,
    stop: tuple[str, ...] = (),
    extras: JsonMembers | None = None,
    expected: JsonMembers | None = None,
) -> Probe:
    """Return a probe named by the digest of its content; JSON members must be JSON values."""
    draft = Probe(
        probe_id="",
        kind=kind,
        detector=detector,
        group=group,
        api=api,
        prompt=prompt,
        sampling=sampling,
        wants_logprobs=wants_logprobs,
        stop=stop,
        extras_json=canonical_text(extras or {}),
        expected_json=canonical_text(expected or {}),
    )
    digest = hashlib.sha256(canonical_text(probe_members(draft)).encode()).hexdigest()
    return replace(draft, probe_id=digest[:_NUM_ID_DIGITS])


def probe_members(probe: Probe) -> JsonMembers:
    """Return a probe as JSON members, its id left out."""
    return {
        "kind": probe.kind.value,
        "detector": probe.detector,
        "group": probe.group,
        "api": probe.api.value,
        "prompt": _prompt_members(probe.prompt),
        "sampling": _sampling_members(probe.sampling),
        "wantsLogprobs": probe.wants_logprobs,
        "stop": list(probe.stop),
        "extras": json.loads(probe.extras_json),
        "expected": json.loads(probe.expected_json),
    }


def request_body(probe: Probe, endpoint: Endpoint) -> JsonMembers:
    """Return what is posted: every sampling field written out, nothing left to a default.

    The endpoint's route comes last and may name an upstream, never change what is asked.
    """
    body: JsonMembers = {"model": endpoint.model, **_asked(probe)}
    sampling = probe.sampling
    stated = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": sampling.seed,
        "max_tokens": sampling.max_tokens,
    }
    body |= {name: value for name, value in stated.items() if value is not None}
    if probe.stop:
        body["stop"] = list(probe.stop)
    if probe.wants_logprobs is not None:
        body |= _logprob_fields(probe)
    if endpoint.offers_token_ids:
        body["return_token_ids"] = True
    extras: JsonMembers = json.loads(probe.extras_json)
    route: JsonMembers = json.loads(endpoint.route_json)
    return {**route, **body, **extras}


def request_path(probe: Probe) -> str:
    """Return the path below the endpoint's base URL."""
    return "/chat/completions" if probe.api is ApiStyle.CHAT else "/completions"


def canonical_text(value: object) -> str:
    """Return JSON as RFC 8785 writes it. Raises ValueError for what is no JSON value."""
    # whole numbers beyond 2^53 are no JSON for RFC 8785; seeds stay below
    return rfc8785.dumps(value).decode()  # type: ignore[arg-type]


def _asked(probe: Probe) -> JsonMembers:
    prompt = probe.prompt
    if probe.api is ApiStyle.CHAT:
        return {"messages": [{"role": m.role, "content": m.content} for m in prompt.messages or ()]}
    return {"prompt": list(prompt.token_ids) if prompt.token_ids is not None else prompt.text}


def _logprob_fields(probe: Probe) -> JsonMembers:
    if probe.api is ApiStyle.CHAT:
        return {"logprobs": True, "top_logprobs": probe.wants_logprobs}
    return {"logprobs": probe.wants_logprobs}


def _prompt_members(prompt: Prompt) -> JsonMembers:
    return {
        "tokenIds": None if prompt.token_ids is None else list(prompt.token_ids),
        "text": prompt.text,
        "messages": None
        if prompt.messages is None
        else [[message.role, message.content] for message in prompt.messages],
    }


def _sampling_members(sampling: SamplingRequest) -> JsonMembers:
    return {
        "temperature": sampling.temperature,
        "topK": sampling.top_k,
        "topP": sampling.top_p,
        "seed": sampling.seed,
        "maxTokens": sampling.max_tokens,
    }

"""Plans ordinary requests whose every token can be replayed: user-like, seeded or greedy.

Prompts are pieces of the texts at hand, cut at word boundaries; no two requests of a plan are the
same. Requests are sampled only where the endpoint's sampler is known: elsewhere a seed says nothing
and all are greedy.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from audit.ports import ProbeReference
from audit.records import Message, Prompt, SamplingRequest
from audit.sweep_records import ApiStyle, Endpoint, Probe, ProbeKind
from audit.sweeps.probe import JsonMembers, make_probe
from reference_runner.errors import BadSequence
from reference_runner.samplers.choose import choose_profiles

#: Answers have as many tokens as users mostly get from short questions.
MIN_OUTPUT_TOKENS = 64
MAX_OUTPUT_TOKENS = 128

MIN_PROMPT_CHARS = 120
MAX_PROMPT_CHARS = 480

TEMPERATURES = (0.7, 1.0)

#: Every so many-th request of a plan that may be sampled is greedy all the same.
GREEDY_EVERY = 4

MAX_SEED = 2**31 - 1

#: So many pieces are tried for each request; texts that are too short give fewer requests.
_TRIES_A_PROBE = 8

#: Servers apply these from the checkpoint unless a request states a value without effect.
_NEUTRAL = {"min_p": 0.0, "repetition_penalty": 1.0}


def plan_replays(
    detector: str,
    reference: ProbeReference,
    texts: Sequence[str],
    endpoint: Endpoint,
    seed: bytes,
    num_probes: int,
) -> tuple[Probe, ...]:
    """Return up to `num_probes` probes; the same seed gives the same ones."""
    draw = np.random.Generator(
        np.random.PCG64(int.from_bytes(hashlib.sha256(seed + b"replay").digest()))
    )
    is_sampled = knows_sampler(endpoint)
    found: list[Probe] = []
    for piece in _pieces(texts, draw, num_probes * _TRIES_A_PROBE):
        if len(found) == num_probes:
            break
        num_tokens = int(draw.integers(MIN_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS + 1))
        prompt = _prompt(endpoint, piece)
        if not _fits(reference, prompt, num_tokens):
            continue
        is_greedy = not is_sampled or len(found) % GREEDY_EVERY == GREEDY_EVERY - 1
        found.append(
            make_probe(
                kind=ProbeKind.REPLAY,
                detector=detector,
                group="greedy" if is_greedy else "seeded",
                api=endpoint.api,
                prompt=prompt,
                sampling=_sampling(draw, is_greedy=is_greedy, num_tokens=num_tokens),
                extras=_extras(reference),
            )
        )
    return tuple(found)


def knows_sampler(endpoint: Endpoint) -> bool:
    """Return whether a seed can be replayed: the profile is stated, or follows from the engine."""
    if endpoint.sampler_profile is not None:
        return endpoint.sampler_profile != "greedy"
    choice = choose_profiles(
        engine=endpoint.engine,
        version=endpoint.engine_version,
        device=endpoint.device,
        system_fingerprint=None,
    )
    return bool(choice.profile_ids) and choice.profile_ids != ("greedy",)


def _pieces(texts: Sequence[str], draw: np.random.Generator, num_tries: int) -> Iterator[str]:
    """Yield different pieces of the texts, none of them twice."""
    usable = [text for text in texts if len(text) >= MIN_PROMPT_CHARS]
    seen: set[str] = set()
    for _ in range(num_tries if usable else 0):
        text = usable[int(draw.integers(len(usable)))]
        length = int(draw.integers(MIN_PROMPT_CHARS, MAX_PROMPT_CHARS + 1))
        start = int(draw.integers(max(1, len(text) - length + 1)))
        piece = _at_words(text[start : start + length], starts_text=start == 0)
        if len(piece) >= MIN_PROMPT_CHARS // 2 and piece not in seen:
            seen.add(piece)
            yield piece


def _at_words(piece: str, *, starts_text: bool) -> str:
    """Return a piece without the halves of words at its ends."""
    if not starts_text:
        piece = piece.partition(" ")[2]
    return piece.rpartition(" ")[0].strip()


def _prompt(endpoint: Endpoint, piece: str) -> Prompt:
    if endpoint.api is ApiStyle.CHAT:
        return Prompt(messages=(Message(role="user", content=piece),))
    return Prompt(text=piece)


def _fits(reference: ProbeReference, prompt: Prompt, num_tokens: int) -> bool:
    try:
        if prompt.messages is not None:
            messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
            ids = reference.tokenize_messages(messages)
        else:
            ids = reference.tokenize_text(prompt.text or "")
    except BadSequence:
        return False
    return 0 < len(ids) <= reference.info.max_positions - num_tokens


def _sampling(draw: np.random.Generator, *, is_greedy: bool, num_tokens: int) -> SamplingRequest:
    # drawn in any case, so that one kind of request does not shift the next one's numbers
    temperature = TEMPERATURES[int(draw.integers(len(TEMPERATURES)))]
    seed = int(draw.integers(1, MAX_SEED))
    if is_greedy:
        return SamplingRequest(temperature=0.0, top_p=1.0, max_tokens=num_tokens)
    # filters are switched off in so many words: a server's defaults may not be neutral
    return SamplingRequest(
        temperature=temperature, top_k=0, top_p=1.0, seed=seed, max_tokens=num_tokens
    )


def _extras(reference: ProbeReference) -> JsonMembers:
    defaults = reference.generation_defaults
    return {
        name: neutral
        for name, neutral in _NEUTRAL.items()
        if defaults.get(name, neutral) != neutral
    }

"""Plans requests for log-probabilities: ordinary prompts, each asked once or a few times."""

from collections.abc import Sequence
from dataclasses import dataclass

from audit.records import Message, Prompt, SamplingRequest
from audit.sweep_records import ApiStyle, Endpoint, Probe, ProbeKind
from audit.sweeps.logprobs.prompts import cut_prompts, draw_seeds, generator
from audit.sweeps.probe import make_probe

KL_ID = "logprob-kl/1"
TRACKING_ID = "logprob-tracking/1"
BINDING_ID = "logprob-binding/1"

_MIN_CHARS, _MAX_CHARS = 80, 320

#: Hex digits of the number that decides where within its token's share a drawn token is put.
_NUM_SALT_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobSettings:
    """What is asked of each answer."""

    num_top: int = 5
    """Alternatives a token; what most endpoints allow at least."""
    kl_tokens: int = 8
    binding_tokens: int = 16
    repeats: int = 5
    """Requests for each prompt of tracking: endpoints that differ from request to request are
    averaged over."""


def plan_kl(
    endpoint: Endpoint, texts: Sequence[str], seed: bytes, num: int, settings: LogprobSettings
) -> tuple[Probe, ...]:
    """Return sampled answers of a few tokens, one to a prompt."""
    random = generator(seed, KL_ID)
    prompts = _prompts(endpoint, texts, seed, KL_ID, num)
    seeds = draw_seeds(random, len(prompts))
    return tuple(
        _probe(KL_ID, endpoint, prompt, _drawn(request_seed, settings.kl_tokens), settings)
        for prompt, request_seed in zip(prompts, seeds, strict=True)
    )


def plan_tracking(
    endpoint: Endpoint, texts: Sequence[str], seed: bytes, num: int, settings: LogprobSettings
) -> tuple[Probe, ...]:
    """Return one-token answers, `repeats` in a row to each prompt, only whole rows."""
    num_prompts = num // settings.repeats
    prompts = _prompts(endpoint, texts, seed, TRACKING_ID, num_prompts)
    seeds = iter(draw_seeds(generator(seed, TRACKING_ID), num))
    return tuple(
        _probe(
            TRACKING_ID,
            endpoint,
            prompt,
            _drawn(next(seeds), 1),
            settings,
            group=f"{index}",
            expected={"repeat": repeat, "repeats": settings.repeats},
        )
        for index, prompt in enumerate(prompts)
        for repeat in range(settings.repeats)
    )


def plan_binding(
    endpoint: Endpoint, texts: Sequence[str], seed: bytes, num: int, settings: LogprobSettings
) -> tuple[Probe, ...]:
    """Return sampled and greedy answers by turns; each keeps a number that nobody else knows."""
    random = generator(seed, BINDING_ID)
    prompts = _prompts(endpoint, texts, seed, BINDING_ID, num)
    seeds = draw_seeds(random, len(prompts))
    probes = []
    for index, (prompt, request_seed) in enumerate(zip(prompts, seeds, strict=True)):
        is_greedy = index % 2 == 1
        sampling = _drawn(request_seed, settings.binding_tokens)
        if is_greedy:
            sampling = SamplingRequest(
                temperature=0.0, top_p=1.0, max_tokens=settings.binding_tokens
            )
        salt = random.bytes(_NUM_SALT_DIGITS // 2).hex()
        probes.append(
            _probe(
                BINDING_ID,
                endpoint,
                prompt,
                sampling,
                settings,
                group="greedy" if is_greedy else "sampled",
                expected={"salt": salt},
            )
        )
    return tuple(probes)


def _drawn(seed: int, num_tokens: int) -> SamplingRequest:
    # at temperature 1 without filters, all servers mean the same law by "log-probability"
    return SamplingRequest(temperature=1.0, top_p=1.0, seed=seed, max_tokens=num_tokens)


def _prompts(
    endpoint: Endpoint, texts: Sequence[str], seed: bytes, label: str, num: int
) -> list[Prompt]:
    if not endpoint.offers_logprobs or num < 1:
        return []
    cuts = cut_prompts(
        texts, generator(seed, label + "/cut"), num, min_chars=_MIN_CHARS, max_chars=_MAX_CHARS
    )
    if endpoint.api is ApiStyle.CHAT:
        return [Prompt(messages=(Message(role="user", content=cut),)) for cut in cuts]
    return [Prompt(text=cut) for cut in cuts]


def _probe(
    detector: str,
    endpoint: Endpoint,
    prompt: Prompt,
    sampling: SamplingRequest,
    settings: LogprobSettings,
    *,
    group: str = "prompt",
    expected: dict[str, object] | None = None,
) -> Probe:
    return make_probe(
        kind=ProbeKind.LOGPROBS,
        detector=detector,
        group=group,
        api=endpoint.api,
        prompt=prompt,
        sampling=sampling,
        wants_logprobs=settings.num_top,
        expected=expected,
    )

"""Calls of made-up hosts, whose speed is known."""

from dataclasses import replace

import numpy as np

from audit.billing_records import BilledRequest, BilledUsage, CallTiming, UsageSchema
from audit.hidden_tokens.timing import SpeedLaws
from audit.hidden_tokens.timing_evidence import TimedSample, timed_sample
from audit.hidden_tokens.timing_fit import fit_speed_laws

ANSWER_CHARS = 800
ANSWER_TOKENS = 200


def made_up(num: int, seed: int, *, load: float, model: str = "host") -> list[BilledRequest]:
    """Return calls of a host whose speed varies by a factor e^load; 100 tokens/s, streamed."""
    rng = np.random.default_rng(seed)
    requests = []
    for index in range(num):
        tokens = int(64 * rng.integers(4, 60))
        speed = 100.0 * float(np.exp(-load * abs(rng.normal())))
        began = 0.5 + tokens / speed
        ticks = began + np.cumsum(rng.uniform(0.9, 1.1, size=40)) * (ANSWER_TOKENS / speed / 40)
        requests.append(
            BilledRequest(
                request_id=f"r-{seed}-{index}",
                account="acme",
                provider="openai",
                model=model,
                usage=BilledUsage(
                    schema=UsageSchema.OPENAI_CHAT,
                    output_tokens=tokens + ANSWER_TOKENS,
                    reasoning_tokens=tokens,
                ),
                observed_at="2026-01-02T03:04:05Z",
                answer="x" * ANSWER_CHARS,
                timing=CallTiming(
                    elapsed_s=float(ticks[-1]) + 0.1,
                    first_answer_token_s=began,
                    chunk_times_s=tuple(float(tick) for tick in ticks),
                ),
            )
        )
    return requests


def samples(requests: list[BilledRequest]) -> list[TimedSample]:
    """Return the samples of calls that can all be used."""
    found = [timed_sample(request, "math") for request in requests]
    return [sample for sample in found if isinstance(sample, TimedSample)]


def inflated(request: BilledRequest, factor: float) -> BilledRequest:
    """Return the call with more reasoning billed."""
    extra = round((request.usage.reasoning_tokens or 0) * (factor - 1.0))
    usage = replace(
        request.usage,
        reasoning_tokens=(request.usage.reasoning_tokens or 0) + extra,
        output_tokens=request.usage.output_tokens + extra,
    )
    return replace(request, usage=usage)


def loaded_laws() -> SpeedLaws:
    """Return the laws of a host under very different loads."""
    return fit_speed_laws(samples(made_up(200, 1, load=1.0)), samples(made_up(300, 2, load=1.0)))

"""Checked requests of one account, made up; tests of its evidence fold them."""

from collections.abc import Sequence

import numpy as np

from audit.billing_records import (
    AccountKey,
    Adversary,
    BilledRequest,
    BilledUsage,
    Controller,
    Reading,
    RequestCheck,
    Tier,
    Unchecked,
    UsageSchema,
    Violation,
)

KEY = AccountKey(
    tenant="tenant",
    account="account",
    provider="provider",
    model="model",
    effort="",
    domain="planning",
    calibration_id="sha256:calibration",
)

_BASIS = {
    Tier.TIMING: (Controller.CLIENT, Adversary.INFLATING_RESELLER),
    Tier.OPAQUE: (Controller.ORIGIN_PROVIDER, Adversary.INFLATING_RESELLER),
}


def reading(
    tier: Tier = Tier.REFERENCE_SAMPLING,
    *,
    p_over: float = 0.5,
    p_under: float | None = None,
    expected_tokens: float | None = 1000.0,
    channel: str = "law",
    dkw_epsilon: float | None = None,
    num_calibration: int = 1000,
) -> Reading:
    """Return a reading; calibrated tiers rest on 1,000 scores."""
    controller, stops = _BASIS.get(tier, (Controller.AUDITOR, Adversary.MALICIOUS_ORIGIN))
    is_exact = tier in (Tier.REFERENCE_SAMPLING, Tier.RECOUNT)
    return Reading(
        tier=tier,
        channel=channel,
        p_over=p_over,
        p_under=1.0 - p_over if p_under is None else p_under,
        dkw_epsilon=(0.0 if is_exact else 0.0587) if dkw_epsilon is None else dkw_epsilon,
        expected_tokens=expected_tokens,
        num_calibration=num_calibration,
        controller=controller,
        stops=stops,
    )


def check(
    number: int,
    *readings: Reading,
    billed_tokens: int = 1000,
    violations: Sequence[Violation] = (),
    unchecked: Sequence[Unchecked] = (),
    model: str = "model",
) -> RequestCheck:
    """Return a checked request."""
    usage = BilledUsage(
        schema=UsageSchema.OPENAI_CHAT,
        output_tokens=billed_tokens + 50,
        reasoning_tokens=billed_tokens,
    )
    request = BilledRequest(
        request_id=f"request-{number}",
        account="account",
        provider="provider",
        model=model,
        usage=usage,
        observed_at="2026-01-01T00:00:00Z",
    )
    return RequestCheck(
        request=request,
        domain="planning",
        violations=tuple(violations),
        readings=readings,
        unchecked=tuple(unchecked),
    )


def sampled_checks(
    num: int, factor: float, seed: int, *, num_reference: int = 4, begin: int = 0
) -> list[RequestCheck]:
    """Return requests whose honest and reference counts are log-normal around each prompt's own."""
    rng = np.random.default_rng(seed)
    checks = []
    for number in range(begin, begin + num):
        typical = np.exp(rng.normal(7.0, 0.8))
        counts = typical * np.exp(rng.normal(0.0, 0.4, num_reference + 1))
        billed, others = counts[0] * factor, counts[1:]
        p_over = (np.sum(others > billed) + rng.uniform()) / (num_reference + 1)
        one = reading(p_over=float(p_over), expected_tokens=float(others.mean()))
        checks.append(check(number, one, billed_tokens=round(billed)))
    return checks

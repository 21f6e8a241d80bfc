"""Verdicts of a window, made up: three providers, one of which substitutes a model."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from audit.reports.records import AttackFigure, StatisticFigure, VerdictLine

KEY_ID = hashlib.sha256(b"verdict key").hexdigest()
POLICY_ID = f"sha256:{hashlib.sha256(b'policy').hexdigest()}"
CALIBRATION_ID = f"sha256:{hashlib.sha256(b'calibration').hexdigest()}"
FAILED_AUDIT = "audit-0155"
PASSED_AUDIT = "audit-0010"
UNKNOWN_AUDIT = "audit-9999"
NUM_LINES = 420


@dataclass(frozen=True)
class Endpoint:
    """A provider's claim, and how it behaves."""

    provider: str | None
    uri: str | None
    model: str | None
    is_substituting: bool = False


HONEST = Endpoint("Northwind Inference", "https://api.northwind.example/v1", "meridian-8b-instruct")
OTHER = Endpoint("Halcyon Cloud", "https://llm.halcyon.example/v1", "meridian-8b-instruct")
CHEAT = Endpoint(
    "Brightline AI", "https://inference.brightline.example", "meridian-70b-instruct", True
)


def digest(text: str) -> str:
    """Return a digest of the right shape."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def moment(index: int) -> str:
    """Return a time within November 2026, eight verdicts an hour... by index."""
    minute = index * 37
    day, minute = divmod(minute, 1_440)
    return f"2026-11-{1 + day:02d}T{minute // 60:02d}:{minute % 60:02d}:{index % 60:02d}.250000Z"


def verdict_line(
    index: int, endpoint: Endpoint, evidence: float, num_exchanges: int
) -> VerdictLine:
    """Return the verdict of one exchange; its outcome follows from index and endpoint."""
    outcome, reasons = _outcome(index, endpoint)
    tokens = 180 + index * 53 % 420
    failed, judged = outcome == "FAILED", outcome != "INCONCLUSIVE"
    mismatches = tokens // 6 if failed else index % 3
    return VerdictLine(
        log_index=40 + 2 * index + 1,
        audit_id=f"audit-{index:04d}",
        request_id=f"req-{index:05d}",
        tenant="contoso",
        tenant_sequence=20 + 2 * index + 1,
        entry_digest=digest(f"verdict {index}"),
        exchange_digest=digest(f"exchange {index}"),
        verified_at=moment(index),
        observed_at=moment(max(index - 1, 0)),
        intent_index=40 + 2 * index,
        intent_digest=digest(f"intent {index}"),
        intent_announced_at=moment(max(index - 1, 0)),
        verdict=outcome,
        reasons=reasons,
        details=(
            f"{mismatches} of {tokens} tokens are not those that the claimed model draws; honest "
            "arithmetic explains at most 4.",
        )
        if failed
        else (),
        notes=("the request states no top_k; the server's default was assumed",)
        if index % 19 == 0
        else (),
        provider_name=endpoint.provider,
        provider_uri=endpoint.uri,
        claimed_model=endpoint.model,
        claimed_model_digest=digest(endpoint.model or "none"),
        claimed_precision="bf16",
        claimed_profile="vllm-v1-exponential/1",
        reference_model_digest=digest(endpoint.model or "none"),
        reference_precision="bf16",
        reference_profile="vllm-v1-exponential/1",
        num_tokens=tokens if judged else 0,
        num_matches=tokens - mismatches if judged else 0,
        mean_clipped_margin_logits=0.41 if failed else 0.003,
        statistics=(
            StatisticFigure(
                name="log10_e_value",
                value=9.4 if failed else 0.12,
                threshold=4.0,
                num_tokens=tokens,
                unit="1",
                false_alarm_rate=1e-4,
            ),
        )
        if judged
        else (),
        false_alarm_rate=1e-4 if judged else None,
        log10_e_value=9.4 if failed else 0.12,
        noise_logits=0.9 if failed else 0.021,
        noise_low_logits=0.6 if failed else 0.011,
        noise_high_logits=None if failed else 0.043,
        noise_confidence=0.95,
        sensitivity_power=0.9 if judged else None,
        sensitivity_noise_logits=0.18 if judged else None,
        sensitivity_substituted_share=0.03 if judged else None,
        sensitivity_statement="Noise of 0.18 logits would have been failed nine times out of ten."
        if judged
        else None,
        attacks=(
            AttackFigure(
                attack="int4",
                label="Weights quantised to 4 bits",
                power=0.93,
                num_tokens_needed=210,
            ),
        ),
        diagnosis_name="int4" if failed else None,
        diagnosis_statement="The tokens fit a 4-bit quantisation of the claimed model best."
        if failed
        else None,
        diagnosis_disposition="SUBSTITUTION" if failed else None,
        diagnosis_probability=0.81 if failed else None,
        calibration_id=CALIBRATION_ID,
        policy_id=POLICY_ID,
        stream_id=digest(f"stream {endpoint.provider} {endpoint.model}"),
        stream_verdict="FAILED" if evidence >= 4.0 else "PASSED",
        stream_log10_e_value=evidence,
        stream_log10_threshold=4.0,
        stream_num_exchanges=num_exchanges,
        stream_substituted_share_low=0.12 if evidence >= 4.0 else 0.0,
        runner_version="0.4.0",
        runner_device="cuda:0 (H200)",
        verifier_version="0.4.0",
        key_id=KEY_ID,
        tokens_digest=digest(f"tokens {index}"),
    )


def _outcome(index: int, endpoint: Endpoint) -> tuple[str, tuple[str, ...]]:
    if index % 17 == 4:
        return "INCONCLUSIVE", (("SEED_MISSING", "TOO_FEW_TOKENS", "PROFILE_UNKNOWN")[index % 3],)
    if endpoint.is_substituting and index > 150 and index % 2:
        return "FAILED", ("TOKEN_DIVERGENCE",)
    return "PASSED", ()


def tokens_content(num_tokens: int, num_mismatches: int, seed: int) -> bytes:
    """Return evidence per token of an answer that parts from the reference in its second half."""
    draw = random.Random(seed)  # noqa: S311  not a secret
    margins: list[float | None] = [
        round(draw.expovariate(0.4) + 0.02, 4) for _ in range(num_tokens)
    ]
    gaps = [abs(margin or 0.0) for margin in margins]
    differing = draw.sample(range(num_tokens // 3, num_tokens), num_mismatches)
    for position in differing:
        margins[position] = -round(draw.expovariate(0.7), 4)
    if differing:
        margins[differing[0]] = None
    columns = {
        "profile": "vllm-v1-exponential/1",
        "margin_logits": margins,
        "gap_logits": gaps,
        "rank": [0] * num_tokens,
        "is_mismatch": [int(i in set(differing)) for i in range(num_tokens)],
    }
    return json.dumps(columns, separators=(",", ":")).encode()


def make_verdicts(
    endpoints: Sequence[Endpoint] = (HONEST, OTHER, CHEAT), number: int = NUM_LINES
) -> tuple[VerdictLine, ...]:
    """Return the verdicts of a window, round robin over the endpoints."""
    evidence = dict.fromkeys(range(len(endpoints)), 0.0)
    verdicts = []
    for index in range(number):
        which = index % len(endpoints)
        endpoint = endpoints[which]
        outcome, _ = _outcome(index, endpoint)
        step = 0.31 if outcome == "FAILED" else -0.011
        evidence[which] = max(evidence[which] + step, -0.4)
        verdicts.append(
            verdict_line(index, endpoint, round(evidence[which], 4), index // len(endpoints) + 1)
        )
    return tuple(verdicts)

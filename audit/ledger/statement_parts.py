"""The members of a verdict's predicate: how each record of the judge reads in a statement.

`None` is "not stated" and leaves the member out. Names are lowerCamelCase and say their unit.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from audit.errors import InvalidRequest
from audit.findings import AttackPower, Explanation, NoiseEstimate, ProviderFinding
from audit.log_records import Artifact, ChainLink, Receipt
from audit.records import (
    AuditRequest,
    Outcome,
    ProviderClaims,
    RunnerBuild,
    Sensitivity,
    Statistic,
    Verdict,
)

JsonValue: TypeAlias = (
    bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None
)
JsonMembers: TypeAlias = dict[str, JsonValue]

METHOD_NAME = "token-divergence"
METHOD_VERSION = "0.2"
VERIFIER_ID = "inference-audit"

_VERDICTS = {
    Outcome.PASS: "PASSED",
    Outcome.FAIL: "FAILED",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
}
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
_ARTIFACT = re.compile(r"application/vnd\.inference-audit\.([a-z]+)\.v[0-9]+\+json")


def sha256_of(digest: str, field: str) -> JsonMembers:
    """Return a digest `sha256:<hex>` as in-toto writes it.

    Raises: InvalidRequest naming the field where it is none.
    """
    match = _SHA256.fullmatch(digest)
    if match is None:
        raise InvalidRequest.of(field, "must be sha256: and 64 lower-case hex digits")
    return {"sha256": match.group(1)}


def is_utc_time(text: str) -> bool:
    """Return whether a text is a time in UTC, such as 2026-01-02T03:04:05Z."""
    try:
        return text.endswith("Z") and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def chain_members(chain: ChainLink) -> JsonMembers:
    """Return where the statement stands among those of its tenant."""
    previous = chain.previous_digest
    return stated(
        {
            "tenant": chain.tenant,
            "sequence": chain.sequence,
            "previous": None if previous is None else sha256_of(previous, "previous_digest"),
        }
    )


def verifier_members(version: str) -> JsonMembers:
    """Return who made the statement."""
    return {"id": VERIFIER_ID, "version": version}


def intent_members(intent: Receipt | None) -> JsonMembers | None:
    """Return the entry in which the audit was announced."""
    if intent is None:
        return None
    return {
        "logIndex": intent.log_index,
        "digest": sha256_of(intent.entry_digest, "entry_digest"),
    }


def evidence_members(evidence: Sequence[Artifact]) -> JsonValue:
    """Return the files that back the statement; None where there are none."""
    return [
        {
            "name": _artifact_name(artifact.media_type),
            "digest": sha256_of(artifact.digest, "digest"),
            "mediaType": artifact.media_type,
        }
        for artifact in evidence
    ] or None


def judgement_members(verdict: Verdict) -> JsonMembers:
    """Return what the judge found."""
    return stated(
        {
            "verdict": _VERDICTS[verdict.outcome],
            "reasons": [reason.name for reason in verdict.reasons],
            "details": list(verdict.details),
            "notes": list(verdict.notes),
            "method": {"name": METHOD_NAME, "version": METHOD_VERSION},
            "numTokens": verdict.num_tokens,
            "numMatches": verdict.num_matches,
            "meanClippedMarginLogits": verdict.mean_clipped_margin_logits,
            "statistics": [_statistic(statistic) for statistic in verdict.statistics],
            "sensitivity": _sensitivity(verdict.sensitivity),
            "calibration": stated({"id": verdict.calibration_id}) or None,
            "policy": stated({"id": verdict.policy_id}) or None,
            "log10EValue": verdict.log10_e_value,
            "noise": _noise(verdict.noise),
            "diagnosis": [_explanation(cause) for cause in verdict.diagnosis] or None,
            "provider": _provider(verdict.provider),
            "reference": _reference(verdict),
            "runner": _runner(verdict.runner),
        }
    )


def claim_members(request: AuditRequest) -> JsonMembers:
    """Return what the provider is said to have run, and who that is."""
    claim = request.claim
    return stated(
        {
            "model": stated({"name": claim.model, **_digest(claim.weights_digest)}) or None,
            "precision": claim.precision,
            "samplerProfile": claim.sampler_profile,
            "provider": _provider_claim(request.exchange.provider),
        }
    )


def _provider_claim(provider: ProviderClaims) -> JsonMembers | None:
    return stated({"name": provider.provider, "uri": provider.endpoint}) or None


def _reference(verdict: Verdict) -> JsonMembers | None:
    # What the replay really ran: it may differ from the claim, and then that is the point.
    return (
        stated(
            {
                "model": _digest(verdict.model_digest) or None,
                "precision": verdict.precision,
                "samplerProfile": verdict.profile_id,
            }
        )
        or None
    )


def _digest(text: str | None) -> JsonMembers:
    if text is None:
        return {}
    digest = _SHA256.fullmatch(text)
    # A claim is repeated even where it is no digest: signing must not fail on what a client stated.
    return {"statedDigest": text} if digest is None else {"digest": {"sha256": digest.group(1)}}


def _statistic(statistic: Statistic) -> JsonMembers:
    return {
        "name": statistic.name,
        "value": statistic.value,
        "threshold": statistic.threshold,
        "comparison": "LE",
        "n": statistic.num_tokens,
        "unit": statistic.unit,
        "falsePositiveRate": statistic.false_alarm_rate,
    }


def _sensitivity(sensitivity: Sensitivity | None) -> JsonMembers | None:
    if sensitivity is None:
        return None
    return stated(
        {
            "power": sensitivity.power,
            "logitNoiseLogits": sensitivity.logit_noise_logits,
            "substitutedTokenShare": sensitivity.substituted_token_share,
            "statement": sensitivity.statement,
            "attacks": [_attack(attack) for attack in sensitivity.attacks] or None,
        }
    )


def _attack(attack: AttackPower) -> JsonMembers:
    return stated(
        {
            "attack": attack.attack,
            "label": attack.label,
            "power": attack.power,
            "numTokensNeeded": attack.num_tokens_needed,
        }
    )


def _noise(noise: NoiseEstimate | None) -> JsonMembers | None:
    if noise is None:
        return None
    return stated(
        {
            "estimateLogits": noise.estimate_logits,
            "lowLogits": noise.low_logits,
            "highLogits": noise.high_logits,
            "confidence": noise.confidence,
        }
    )


def _explanation(explanation: Explanation) -> JsonMembers:
    return stated(
        {
            "name": explanation.name,
            "statement": explanation.statement,
            "disposition": explanation.disposition.name,
            "probability": explanation.probability,
            "logLikelihoodNats": explanation.log_likelihood_nats,
            "estimate": explanation.estimate,
            "firstToken": explanation.first_token,
            "lastToken": explanation.last_token,
        }
    )


def _provider(finding: ProviderFinding | None) -> JsonMembers | None:
    if finding is None:
        return None
    return stated(
        {
            "streamId": finding.stream_id,
            "verdict": _VERDICTS[Outcome(finding.outcome)],
            "statement": finding.statement,
            "numExchanges": finding.num_exchanges,
            "numTokens": finding.num_tokens,
            "log10EValue": finding.log10_e_value,
            "log10Threshold": finding.log10_threshold,
            "failedAtExchange": finding.failed_at_exchange,
            "substitutedShareLow": finding.substituted_share_low,
            "numTells": finding.num_tells,
            "stickyLog10EValue": finding.sticky_log10_e_value,
            "noise": _noise(finding.noise),
        }
    )


def _runner(runner: RunnerBuild | None) -> JsonMembers | None:
    if runner is None:
        return None
    return {
        "version": runner.version,
        "device": runner.device,
        "numThreads": runner.num_threads,
        "libraries": dict(runner.libraries),
    }


def stated(values: Mapping[str, JsonValue]) -> JsonMembers:
    """Return the members that have a value."""
    return {name: value for name, value in values.items() if value is not None}


def _artifact_name(media_type: str) -> str:
    match = _ARTIFACT.fullmatch(media_type)
    return "artifact" if match is None else match.group(1)

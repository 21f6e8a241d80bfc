"""Job and Verdict to an in-toto Statement v1: what is signed, in the words of the predicate.

`audit.ledger.envelope` signs the result; `audit.ledger.verify` checks it. The predicate is
monotonic: consumers ask for PASSED, of the exchange or of its provider, so a dropped field never
turns a refusal into an acceptance. No prompt and no output token is in it; the exchange is named by
its digest alone.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from audit.errors import InvalidRequest
from audit.findings import AttackPower, Explanation, NoiseEstimate, ProviderFinding
from audit.ledger.verify import PREDICATE_TYPE, STATEMENT_TYPE
from audit.records import Claim, Job, Outcome, RunnerBuild, Sensitivity, Statistic, Verdict

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
_LARGEST_EXACT_INTEGER = 2**53 - 1


def build_statement(
    job: Job, verdict: Verdict, *, verified_at: str, verifier_version: str
) -> JsonMembers:
    """Return the in-toto Statement of one verdict; `verified_at` is RFC 3339 in UTC with `Z`.

    Raises: InvalidRequest when the job's digest of the exchange is not `sha256:<hex>`.
    """
    digest = _SHA256.fullmatch(job.request_digest)
    if digest is None:
        raise InvalidRequest.of("request_digest", "must be sha256: and 64 lower-case hex digits")
    statement: JsonMembers = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "exchange", "digest": {"sha256": digest.group(1)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            **_judgement(verdict),
            "claim": _claim(job.request.claim),
            "auditId": job.audit_id,
            "requestId": job.request.request_id,
            "verifiedAt": verified_at,
            "verifier": {"id": VERIFIER_ID, "version": verifier_version},
        },
    }
    return {name: _exact(value) for name, value in statement.items()}


def _judgement(verdict: Verdict) -> JsonMembers:
    return _stated(
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
            "calibration": _stated({"id": verdict.calibration_id}) or None,
            "policy": _stated({"id": verdict.policy_id}) or None,
            "log10EValue": verdict.log10_e_value,
            "noise": _noise(verdict.noise),
            "diagnosis": [_explanation(cause) for cause in verdict.diagnosis] or None,
            "provider": _provider(verdict.provider),
            "reference": _reference(verdict),
            "runner": _runner(verdict.runner),
        }
    )


def _claim(claim: Claim) -> JsonMembers:
    return _stated(
        {
            "model": _stated({"name": claim.model, **_digest(claim.weights_digest)}) or None,
            "precision": claim.precision,
            "samplerProfile": claim.sampler_profile,
        }
    )


def _reference(verdict: Verdict) -> JsonMembers | None:
    # What the replay really ran: it may differ from the claim, and then that is the point.
    return (
        _stated(
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
    return _stated(
        {
            "power": sensitivity.power,
            "logitNoiseLogits": sensitivity.logit_noise_logits,
            "substitutedTokenShare": sensitivity.substituted_token_share,
            "statement": sensitivity.statement,
            "attacks": [_attack(attack) for attack in sensitivity.attacks] or None,
        }
    )


def _attack(attack: AttackPower) -> JsonMembers:
    return _stated(
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
    return _stated(
        {
            "estimateLogits": noise.estimate_logits,
            "lowLogits": noise.low_logits,
            "highLogits": noise.high_logits,
            "confidence": noise.confidence,
        }
    )


def _explanation(explanation: Explanation) -> JsonMembers:
    return _stated(
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
    return _stated(
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


def _stated(values: Mapping[str, JsonValue]) -> JsonMembers:
    return {name: value for name, value in values.items() if value is not None}


def _exact(value: JsonValue) -> JsonValue:
    """Return the value with integers that a double cannot hold as strings."""
    if isinstance(value, Mapping):
        return {name: _exact(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_exact(item) for item in value]
    if isinstance(value, int) and abs(value) > _LARGEST_EXACT_INTEGER:
        return str(value)
    return value

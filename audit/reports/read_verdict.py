"""A signed verdict to a row of the report."""

import re
from typing import Any

from audit.errors import VerificationError
from audit.ledger.verify import VERDICTS
from audit.reports import members as m
from audit.reports.members import Members
from audit.reports.opening import Opened
from audit.reports.records import AttackFigure, StatisticFigure, VerdictLine
from audit.reports.tallies import RunnerKey

_WORD = re.compile(r"[A-Z][A-Z0-9_]*")
#: Name of the evidence that is one row per token.
_TOKENS = "tokens"


def read_verdict(opened: Opened) -> VerdictLine:
    """Return the row of a verdict, as yet without the time of its intent.

    Raises: VerificationError where the statement is not of the agreed form.
    """
    predicate = opened.predicate
    intent = m.child(predicate, "intent")
    runner = m.child(predicate, "runner")
    return VerdictLine(
        log_index=opened.log_index,
        audit_id=m.text(predicate, "auditId"),
        request_id=m.text(predicate, "requestId"),
        tenant=opened.tenant,
        tenant_sequence=opened.sequence,
        entry_digest=opened.entry_digest,
        exchange_digest=opened.subject_digest,
        verified_at=m.time(predicate, "verifiedAt"),
        observed_at=m.optional_text(predicate, "exchangeObservedAt"),
        intent_index=m.optional_integer(intent, "logIndex"),
        intent_digest=m.optional_digest(intent),
        intent_announced_at=None,
        verdict=_verdict(predicate),
        reasons=_reasons(predicate),
        details=m.texts(predicate, "details"),
        notes=m.texts(predicate, "notes"),
        num_tokens=m.integer(predicate, "numTokens"),
        num_matches=m.integer(predicate, "numMatches"),
        mean_clipped_margin_logits=m.optional_number(predicate, "meanClippedMarginLogits"),
        log10_e_value=m.optional_number(predicate, "log10EValue"),
        calibration_id=m.optional_text(m.child(predicate, "calibration"), "id"),
        policy_id=m.optional_text(m.child(predicate, "policy"), "id"),
        runner_version=m.optional_text(runner, "version"),
        runner_device=m.optional_text(runner, "device"),
        verifier_version=m.text(m.child(predicate, "verifier"), "version"),
        key_id=opened.key_id,
        tokens_digest=_tokens_digest(predicate),
        **_claim(m.child(predicate, "claim")),
        **_reference(m.child(predicate, "reference")),
        **_figures(predicate),
        **_stream(m.child(predicate, "provider")),
    )


def claimed(predicate: Members) -> tuple[str | None, str | None]:
    """Return provider and model as claimed. Raises: VerificationError."""
    claim = m.child(predicate, "claim")
    provider = m.optional_text(m.child(claim, "provider"), "name")
    return provider, m.optional_text(m.child(claim, "model"), "name")


def _verdict(predicate: Members) -> str:
    found = m.text(predicate, "verdict")
    if found not in VERDICTS:
        raise VerificationError(f"the verdict is {found!r}, none of {', '.join(VERDICTS)}")
    return found


def _reasons(predicate: Members) -> tuple[str, ...]:
    found = m.texts(predicate, "reasons")
    for reason in found:
        if not _WORD.fullmatch(reason):
            raise VerificationError(f"{reason!r} is not a name of a reason")
    return found


def _tokens_digest(predicate: Members) -> str | None:
    for item in m.children(predicate, "evidence"):
        if m.text(item, "name") == _TOKENS:
            return m.digest(item)
    return None


def _claim(claim: Members) -> dict[str, Any]:
    model, provider = m.child(claim, "model"), m.child(claim, "provider")
    return {
        "provider_name": m.optional_text(provider, "name"),
        "provider_uri": m.optional_text(provider, "uri"),
        "claimed_model": m.optional_text(model, "name"),
        # a claimed digest that is none is repeated as it was stated
        "claimed_model_digest": m.optional_digest(model) or m.optional_text(model, "statedDigest"),
        "claimed_precision": m.optional_text(claim, "precision"),
        "claimed_profile": m.optional_text(claim, "samplerProfile"),
    }


def _reference(reference: Members) -> dict[str, Any]:
    model = m.child(reference, "model")
    return {
        "reference_model_digest": m.optional_digest(model)
        or m.optional_text(model, "statedDigest"),
        "reference_precision": m.optional_text(reference, "precision"),
        "reference_profile": m.optional_text(reference, "samplerProfile"),
    }


def _figures(predicate: Members) -> dict[str, Any]:
    statistics = tuple(_statistic(item) for item in m.children(predicate, "statistics"))
    noise, seen = m.child(predicate, "noise"), m.child(predicate, "sensitivity")
    causes = m.children(predicate, "diagnosis")
    cause: Members = causes[0] if causes else {}
    false_alarm_rate = min(1.0, sum(figure.false_alarm_rate for figure in statistics))
    return {
        "statistics": statistics,
        "false_alarm_rate": false_alarm_rate if statistics else None,
        "noise_logits": m.optional_number(noise, "estimateLogits"),
        "noise_low_logits": m.optional_number(noise, "lowLogits"),
        "noise_high_logits": m.optional_number(noise, "highLogits"),
        "noise_confidence": m.optional_number(noise, "confidence"),
        "sensitivity_power": m.optional_number(seen, "power"),
        "sensitivity_noise_logits": m.optional_number(seen, "logitNoiseLogits"),
        "sensitivity_substituted_share": m.optional_number(seen, "substitutedTokenShare"),
        "sensitivity_statement": m.optional_text(seen, "statement"),
        "attacks": tuple(_attack(item) for item in m.children(seen, "attacks")),
        "diagnosis_name": m.optional_text(cause, "name"),
        "diagnosis_statement": m.optional_text(cause, "statement"),
        "diagnosis_disposition": m.optional_text(cause, "disposition"),
        "diagnosis_probability": m.optional_number(cause, "probability"),
    }


def _statistic(item: Members) -> StatisticFigure:
    return StatisticFigure(
        name=m.text(item, "name"),
        value=m.number(item, "value"),
        threshold=m.number(item, "threshold"),
        num_tokens=m.integer(item, "n"),
        unit=m.text(item, "unit"),
        false_alarm_rate=m.number(item, "falsePositiveRate"),
    )


def _attack(item: Members) -> AttackFigure:
    return AttackFigure(
        attack=m.text(item, "attack"),
        label=m.text(item, "label"),
        power=m.number(item, "power"),
        num_tokens_needed=m.optional_integer(item, "numTokensNeeded"),
    )


def _stream(finding: Members) -> dict[str, Any]:
    if not finding:
        return dict.fromkeys(
            (
                "stream_id",
                "stream_verdict",
                "stream_log10_e_value",
                "stream_log10_threshold",
                "stream_num_exchanges",
                "stream_substituted_share_low",
            )
        )
    # not in the row, but the provider's standing needs them: see `standings`
    m.text(finding, "statement"), m.integer(finding, "numTokens"), m.child(finding, "noise")
    return {
        "stream_id": m.text(finding, "streamId"),
        "stream_verdict": _verdict(finding),
        "stream_log10_e_value": m.number(finding, "log10EValue"),
        "stream_log10_threshold": m.number(finding, "log10Threshold"),
        "stream_num_exchanges": m.integer(finding, "numExchanges"),
        "stream_substituted_share_low": m.number(finding, "substitutedShareLow"),
    }


def read_runner(predicate: Members) -> RunnerKey | None:
    """Return the build that measured a verdict; None where no replay took place."""
    runner = m.child(predicate, "runner")
    if not runner:
        return None
    libraries = m.child(runner, "libraries")
    return (
        m.text(runner, "version"),
        m.text(runner, "device"),
        m.integer(runner, "numThreads"),
        tuple((name, m.text(libraries, name)) for name in sorted(libraries)),
    )

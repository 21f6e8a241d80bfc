"""Verdicts, from records to messages and back.

Stands at the edge of service and client. The message is for reading; what binds is the signed
envelope that travels beside it.
"""

from inference_audit.v1 import verdict_pb2 as pb

from audit.codec.wire_enums import (
    outcome_from_wire,
    outcome_to_wire,
    reason_from_wire,
    reason_to_wire,
)
from audit.codec.wire_findings import (
    attack_from_wire,
    attack_to_wire,
    explanation_from_wire,
    explanation_to_wire,
    finding_from_wire,
    finding_to_wire,
    noise_from_wire,
    noise_to_wire,
)
from audit.records import RunnerBuild, Sensitivity, Statistic, Verdict


def verdict_to_wire(verdict: Verdict) -> pb.Verdict:
    """Return the message for a verdict."""
    return pb.Verdict(
        outcome=outcome_to_wire(verdict.outcome),
        reasons=[reason_to_wire(reason) for reason in verdict.reasons],
        details=verdict.details,
        notes=verdict.notes,
        profile_id=verdict.profile_id,
        precision=verdict.precision,
        num_tokens=verdict.num_tokens,
        num_matches=verdict.num_matches,
        mean_clipped_margin_logits=verdict.mean_clipped_margin_logits,
        statistics=[_statistic_to_wire(statistic) for statistic in verdict.statistics],
        sensitivity=_sensitivity_to_wire(verdict.sensitivity),
        calibration_id=verdict.calibration_id,
        model_digest=verdict.model_digest,
        runner=_runner_to_wire(verdict.runner),
        policy_id=verdict.policy_id,
        log10_e_value=verdict.log10_e_value,
        noise=noise_to_wire(verdict.noise),
        diagnosis=[explanation_to_wire(explanation) for explanation in verdict.diagnosis],
        provider=finding_to_wire(verdict.provider),
    )


def verdict_from_wire(message: pb.Verdict) -> Verdict:
    """Return the record of a message. Raises: ConfigurationError for unknown enum values."""
    has = message.HasField
    margin = message.mean_clipped_margin_logits
    return Verdict(
        outcome=outcome_from_wire(message.outcome),
        reasons=tuple(reason_from_wire(reason) for reason in message.reasons),
        details=tuple(message.details),
        notes=tuple(message.notes),
        profile_id=message.profile_id if has("profile_id") else None,
        precision=message.precision if has("precision") else None,
        num_tokens=message.num_tokens,
        num_matches=message.num_matches,
        mean_clipped_margin_logits=margin if has("mean_clipped_margin_logits") else None,
        statistics=tuple(_statistic_from_wire(statistic) for statistic in message.statistics),
        sensitivity=_sensitivity_from_wire(message.sensitivity) if has("sensitivity") else None,
        calibration_id=message.calibration_id if has("calibration_id") else None,
        model_digest=message.model_digest if has("model_digest") else None,
        runner=_runner_from_wire(message.runner) if has("runner") else None,
        policy_id=message.policy_id if has("policy_id") else None,
        log10_e_value=message.log10_e_value if has("log10_e_value") else None,
        noise=noise_from_wire(message.noise) if has("noise") else None,
        diagnosis=tuple(explanation_from_wire(cause) for cause in message.diagnosis),
        provider=finding_from_wire(message.provider) if has("provider") else None,
    )


def _statistic_to_wire(statistic: Statistic) -> pb.Statistic:
    return pb.Statistic(
        name=statistic.name,
        value=statistic.value,
        threshold=statistic.threshold,
        num_tokens=statistic.num_tokens,
        unit=statistic.unit,
        false_alarm_rate=statistic.false_alarm_rate,
    )


def _statistic_from_wire(message: pb.Statistic) -> Statistic:
    return Statistic(
        name=message.name,
        value=message.value,
        threshold=message.threshold,
        num_tokens=message.num_tokens,
        unit=message.unit,
        false_alarm_rate=message.false_alarm_rate,
    )


def _sensitivity_to_wire(sensitivity: Sensitivity | None) -> pb.Sensitivity | None:
    if sensitivity is None:
        return None
    return pb.Sensitivity(
        power=sensitivity.power,
        logit_noise_logits=sensitivity.logit_noise_logits,
        substituted_token_share=sensitivity.substituted_token_share,
        statement=sensitivity.statement,
        attacks=[attack_to_wire(attack) for attack in sensitivity.attacks],
    )


def _sensitivity_from_wire(message: pb.Sensitivity) -> Sensitivity:
    noise, share = message.logit_noise_logits, message.substituted_token_share
    return Sensitivity(
        power=message.power,
        logit_noise_logits=noise if message.HasField("logit_noise_logits") else None,
        substituted_token_share=share if message.HasField("substituted_token_share") else None,
        statement=message.statement,
        attacks=tuple(attack_from_wire(attack) for attack in message.attacks),
    )


def _runner_to_wire(runner: RunnerBuild | None) -> pb.RunnerBuild | None:
    if runner is None:
        return None
    return pb.RunnerBuild(
        version=runner.version,
        device=runner.device,
        num_threads=runner.num_threads,
        libraries=[pb.Library(name=name, version=version) for name, version in runner.libraries],
    )


def _runner_from_wire(message: pb.RunnerBuild) -> RunnerBuild:
    return RunnerBuild(
        version=message.version,
        device=message.device,
        num_threads=message.num_threads,
        libraries=tuple((library.name, library.version) for library in message.libraries),
    )

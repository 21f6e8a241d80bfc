"""Findings beyond PASS and FAIL, from records to messages and back.

Stands below the messages of verdicts and providers, which both carry them.
"""

from inference_audit.v1 import findings_pb2 as pb

from audit.codec.wire_enums import disposition_from_wire, disposition_to_wire
from audit.findings import AttackPower, Explanation, NoiseEstimate, ProviderFinding


def noise_to_wire(noise: NoiseEstimate | None) -> pb.NoiseEstimate | None:
    """Return the message for a noise estimate, if there is one."""
    if noise is None:
        return None
    return pb.NoiseEstimate(
        estimate_logits=noise.estimate_logits,
        low_logits=noise.low_logits,
        high_logits=noise.high_logits,
        confidence=noise.confidence,
    )


def noise_from_wire(message: pb.NoiseEstimate) -> NoiseEstimate:
    """Return the record of a message."""
    return NoiseEstimate(
        estimate_logits=message.estimate_logits,
        low_logits=message.low_logits,
        high_logits=message.high_logits if message.HasField("high_logits") else None,
        confidence=message.confidence,
    )


def attack_to_wire(attack: AttackPower) -> pb.AttackPower:
    """Return the message for the power against one attack."""
    return pb.AttackPower(
        attack=attack.attack,
        label=attack.label,
        power=attack.power,
        num_tokens_needed=attack.num_tokens_needed,
    )


def attack_from_wire(message: pb.AttackPower) -> AttackPower:
    """Return the record of a message."""
    has_needed = message.HasField("num_tokens_needed")
    return AttackPower(
        attack=message.attack,
        label=message.label,
        power=message.power,
        num_tokens_needed=message.num_tokens_needed if has_needed else None,
    )


def explanation_to_wire(explanation: Explanation) -> pb.Explanation:
    """Return the message for one candidate cause."""
    return pb.Explanation(
        name=explanation.name,
        statement=explanation.statement,
        disposition=disposition_to_wire(explanation.disposition),
        probability=explanation.probability,
        log_likelihood_nats=explanation.log_likelihood_nats,
        estimate=explanation.estimate,
        first_token=explanation.first_token,
        last_token=explanation.last_token,
    )


def explanation_from_wire(message: pb.Explanation) -> Explanation:
    """Return the record of a message. Raises: ConfigurationError for an unknown disposition."""
    has = message.HasField
    return Explanation(
        name=message.name,
        statement=message.statement,
        disposition=disposition_from_wire(message.disposition),
        probability=message.probability,
        log_likelihood_nats=message.log_likelihood_nats,
        estimate=message.estimate if has("estimate") else None,
        first_token=message.first_token if has("first_token") else None,
        last_token=message.last_token if has("last_token") else None,
    )


def finding_to_wire(finding: ProviderFinding | None) -> pb.ProviderFinding | None:
    """Return the message for the evidence about a provider, if there is any."""
    if finding is None:
        return None
    return pb.ProviderFinding(
        stream_id=finding.stream_id,
        outcome=finding.outcome,
        statement=finding.statement,
        num_exchanges=finding.num_exchanges,
        num_tokens=finding.num_tokens,
        log10_e_value=finding.log10_e_value,
        log10_threshold=finding.log10_threshold,
        failed_at_exchange=finding.failed_at_exchange,
        substituted_share_low=finding.substituted_share_low,
        num_tells=finding.num_tells,
        sticky_log10_e_value=finding.sticky_log10_e_value,
        noise=noise_to_wire(finding.noise),
    )


def finding_from_wire(message: pb.ProviderFinding) -> ProviderFinding:
    """Return the record of a message."""
    has = message.HasField
    return ProviderFinding(
        stream_id=message.stream_id,
        outcome=message.outcome,
        statement=message.statement,
        num_exchanges=message.num_exchanges,
        num_tokens=message.num_tokens,
        log10_e_value=message.log10_e_value,
        log10_threshold=message.log10_threshold,
        failed_at_exchange=message.failed_at_exchange if has("failed_at_exchange") else None,
        substituted_share_low=message.substituted_share_low,
        num_tells=message.num_tells,
        sticky_log10_e_value=message.sticky_log10_e_value,
        noise=noise_from_wire(message.noise) if has("noise") else None,
    )

"""One row of a report: a verdict, as its signed statement has it.

The rows are many and never held in memory together: see `audit.reports.spool`. `None` means "not
stated", never zero.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticFigure:
    """One statistic of a verdict: it fails where value > threshold."""

    name: str
    value: float
    threshold: float
    num_tokens: int
    unit: str
    false_alarm_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackFigure:
    """How likely a named attack would have been failed by one audit."""

    attack: str
    label: str
    power: float
    num_tokens_needed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictLine:
    """One verdict, as its signed statement has it."""

    log_index: int
    audit_id: str
    request_id: str
    tenant: str
    tenant_sequence: int
    entry_digest: str
    """`sha256:<hex>`, as in the leaf."""
    exchange_digest: str
    """`sha256:<hex>` of the audited exchange."""
    verified_at: str
    observed_at: str | None
    """When the exchange took place, as its recorder said."""
    intent_index: int | None
    intent_digest: str | None
    """`sha256:<hex>` of the intent's entry, as the verdict names it."""
    intent_announced_at: str | None
    """As the intent's own entry says; None where that entry is not in the window."""
    verdict: str
    """PASSED, FAILED or INCONCLUSIVE."""
    reasons: tuple[str, ...]
    details: tuple[str, ...]
    notes: tuple[str, ...]
    provider_name: str | None
    provider_uri: str | None
    claimed_model: str | None
    claimed_model_digest: str | None
    claimed_precision: str | None
    claimed_profile: str | None
    reference_model_digest: str | None
    """What the replay really ran."""
    reference_precision: str | None
    reference_profile: str | None
    num_tokens: int
    num_matches: int
    mean_clipped_margin_logits: float | None
    statistics: tuple[StatisticFigure, ...]
    false_alarm_rate: float | None
    """Of the whole verdict: the sum over its statistics, at most 1; None where none was tested."""
    log10_e_value: float | None
    noise_logits: float | None
    noise_low_logits: float | None
    noise_high_logits: float | None
    """None where no noise level is ruled out from above."""
    noise_confidence: float | None
    sensitivity_power: float | None
    sensitivity_noise_logits: float | None
    """Smallest noise that would have been failed with `sensitivity_power`."""
    sensitivity_substituted_share: float | None
    """Smallest share of substituted tokens that would have been failed with that power."""
    sensitivity_statement: str | None
    attacks: tuple[AttackFigure, ...]
    diagnosis_name: str | None
    """The likeliest cause of a FAILED verdict."""
    diagnosis_statement: str | None
    diagnosis_disposition: str | None
    diagnosis_probability: float | None
    calibration_id: str | None
    policy_id: str | None
    stream_id: str | None
    """Of the provider's accumulated evidence, with its state after this exchange:"""
    stream_verdict: str | None
    stream_log10_e_value: float | None
    stream_log10_threshold: float | None
    stream_num_exchanges: int | None
    stream_substituted_share_low: float | None
    runner_version: str | None
    runner_device: str | None
    verifier_version: str
    key_id: str
    """Of the trust root's key that verified the signature."""
    tokens_digest: str | None
    """`sha256:<hex>` of the evidence per token, where it was kept."""

"""The columns of the verdict table, for CSV, Parquet and their dictionary.

One row per verdict, log index first. Column names are those of `VerdictLine`.
"""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from audit.reports.records import VerdictLine


class ColumnType(StrEnum):
    """What the values of a column are."""

    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    TIME = "time"
    """RFC 3339 in UTC."""
    WORDS = "words"
    """A list of words; separated by spaces in CSV."""
    JSON = "json"
    """A JSON document as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the table."""

    name: str
    type: ColumnType
    unit: str | None
    is_nullable: bool
    meaning: str


_I, _N, _T, _W = ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.TEXT, ColumnType.WORDS
_TIME, _JSON = ColumnType.TIME, ColumnType.JSON

#: Type, unit, whether it may be empty, meaning.
_MEANINGS: dict[str, tuple[ColumnType, str | None, bool, str]] = {
    "log_index": (_I, None, False, "Index of the verdict's entry in the log, from 0."),
    "audit_id": (_T, None, False, "Id of the audit."),
    "request_id": (_T, None, False, "Id that the client gave its request."),
    "tenant": (_T, None, False, "Whose audit it is."),
    "tenant_sequence": (_I, None, False, "Number of the entry in the tenant's own chain, from 1."),
    "entry_digest": (_T, None, False, "SHA-256 of what was signed; the log's leaf names it."),
    "exchange_digest": (_T, None, False, "SHA-256 of the audited exchange."),
    "verified_at": (_TIME, None, False, "When the verdict was reached, as signed."),
    "observed_at": (_T, None, True, "When the exchange took place, as its recorder said."),
    "intent_index": (_I, None, True, "Index of the intent that announced the audit."),
    "intent_digest": (_T, None, True, "Digest of that intent's entry."),
    "intent_announced_at": (_T, None, True, "When the audit was announced, as that entry says."),
    "verdict": (_T, None, False, "PASSED, FAILED or INCONCLUSIVE."),
    "reasons": (_W, None, False, "Why the verdict is not PASSED: names from a closed list."),
    "details": (_JSON, None, False, "Sentences: why, and what to do next."),
    "notes": (_JSON, None, False, "Sentences: what had to be assumed."),
    "provider_name": (_T, None, True, "Provider as the recorder named it."),
    "provider_uri": (_T, None, True, "Endpoint as the recorder named it."),
    "claimed_model": (_T, None, True, "Model that the provider is said to have run."),
    "claimed_model_digest": (_T, None, True, "Digest of its weights, as claimed."),
    "claimed_precision": (_T, None, True, "Precision, as claimed."),
    "claimed_profile": (_T, None, True, "Sampler profile, as claimed."),
    "reference_model_digest": (_T, None, True, "Digest of the weights that the replay ran."),
    "reference_precision": (_T, None, True, "Precision that the replay ran at."),
    "reference_profile": (_T, None, True, "Sampler profile that the replay ran."),
    "num_tokens": (_I, "tokens", False, "Output tokens that were judged."),
    "num_matches": (_I, "tokens", False, "Those that the reference would have chosen too."),
    "mean_clipped_margin_logits": (_N, "logits", True, "Mean distance to the reference's choice."),
    "statistics": (_JSON, None, False, "Statistics with threshold and false-alarm rate."),
    "false_alarm_rate": (_N, "probability", True, "Of the verdict, if the provider is honest."),
    "log10_e_value": (_N, "log10", True, "Evidence against an honest provider; 0 is none."),
    "noise_logits": (_N, "logits", True, "Estimated noise of the provider against the reference."),
    "noise_low_logits": (_N, "logits", True, "Lower confidence limit of the noise."),
    "noise_high_logits": (_N, "logits", True, "Upper limit; empty where none is ruled out."),
    "noise_confidence": (_N, "probability", True, "Confidence of these limits."),
    "sensitivity_power": (_N, "probability", True, "Power at which the next figures hold."),
    "sensitivity_noise_logits": (_N, "logits", True, "Smallest noise that would have been failed."),
    "sensitivity_substituted_share": (
        _N,
        "share",
        True,
        "Smallest share of substituted tokens that would have been failed.",
    ),
    "sensitivity_statement": (_T, None, True, "The same in a sentence."),
    "attacks": (_JSON, None, False, "Power against named attacks."),
    "diagnosis_name": (_T, None, True, "Likeliest cause of a FAILED verdict."),
    "diagnosis_statement": (_T, None, True, "The same in a sentence."),
    "diagnosis_disposition": (_T, None, True, "What that cause means to the buyer."),
    "diagnosis_probability": (_N, "probability", True, "Share of that cause among all candidates."),
    "calibration_id": (_T, None, True, "Calibration that the verdict rests on."),
    "policy_id": (_T, None, True, "Policy that the verdict rests on."),
    "stream_id": (_T, None, True, "Of the provider's accumulated evidence."),
    "stream_verdict": (_T, None, True, "Verdict on the provider after this exchange."),
    "stream_log10_e_value": (_N, "log10", True, "Evidence against the provider after it."),
    "stream_log10_threshold": (_N, "log10", True, "The provider is FAILED at this evidence."),
    "stream_num_exchanges": (_I, "exchanges", True, "Exchanges in that evidence."),
    "stream_substituted_share_low": (_N, "share", True, "Lower limit for substituted exchanges."),
    "runner_version": (_T, None, True, "Version of the reference runner."),
    "runner_device": (_T, None, True, "Device that it ran on."),
    "verifier_version": (_T, None, False, "Version of the auditor."),
    "key_id": (_T, None, False, "Key that signed the verdict: SHA-256 of its public half."),
    "tokens_digest": (_T, None, True, "Digest of the evidence per token, where it was kept."),
}


def _columns() -> tuple[Column, ...]:
    names = [field.name for field in dataclasses.fields(VerdictLine)]
    return tuple(
        Column(name=name, type=kind, unit=unit, is_nullable=is_nullable, meaning=meaning)
        for name in names
        for kind, unit, is_nullable, meaning in (_MEANINGS[name],)
    )


#: In the order of `VerdictLine`.
COLUMNS = _columns()

"""One frozen record per arrow of the data flow.

    AuditRequest --service--> Job --worker--> ReplayPlan --reference_runner--> Measurement
                 --judge--> Examination --ledger--> SignedVerdict --storage

`ReplayBatch` and `Evidence` belong to `reference_runner.records`; an Examination is a Verdict with
its Evidence. `None` always means "not stated", never zero.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from audit.findings import (
    AttackPower,
    Explanation,
    Growth,
    NoiseEstimate,
    ProviderFinding,
    StreamKey,
)
from reference_runner.records import Evidence, ReferenceInfo, ReplaySequence


class Outcome(StrEnum):
    """The three possible outcomes of an audit."""

    PASS = "PASS"  # noqa: S105  a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Reason(StrEnum):
    """Why a verdict is FAIL or INCONCLUSIVE: a closed list."""

    TOKEN_DIVERGENCE = "token_divergence"  # noqa: S105  a reason, not a password
    PROFILE_UNKNOWN = "profile_unknown"
    SEED_MISSING = "seed_missing"
    PARAMETER_MISSING = "parameter_missing"
    PARAMETER_UNSUPPORTED = "parameter_unsupported"
    INVALID_EXCHANGE = "invalid_exchange"
    OUTPUT_EMPTY = "output_empty"
    TOKEN_OUT_OF_VOCABULARY = "token_out_of_vocabulary"  # noqa: S105
    TOKENS_AMBIGUOUS = "tokens_ambiguous"
    PROMPT_TOKENS_DIFFER = "prompt_tokens_differ"
    CONTEXT_EXCEEDED = "context_exceeded"
    MODEL_UNAVAILABLE = "model_unavailable"
    WEIGHTS_DIGEST_MISMATCH = "weights_digest_mismatch"
    PRECISION_UNSUPPORTED = "precision_unsupported"
    UNCALIBRATED = "uncalibrated"
    CALIBRATION_TOO_NARROW = "calibration_too_narrow"
    OUTSIDE_POLICY = "outside_policy"
    OUTSIDE_CALIBRATION = "outside_calibration"
    TOO_FEW_TOKENS = "too_few_tokens"
    REPLAY_FAILED = "replay_failed"


class AuditState(StrEnum):
    """Where an audit stands; DONE audits carry a signed verdict."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the client sent: exactly one of token ids, text or messages."""

    token_ids: tuple[int, ...] | None = None
    text: str | None = None
    messages: tuple[Message, ...] | None = None
    echoed_token_ids: tuple[int, ...] | None = None
    """Prompt token ids that the provider says it used; compared with ours, never trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What the provider returned: token ids, or text where ids are missing."""

    token_ids: tuple[int, ...] | None = None
    text: str | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRequest:
    """Sampling parameters as the client stated them; `None` where the request is silent."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    unsupported: tuple[str, ...] = ()
    """Names of other stated parameters that change the sampling and that no profile here models."""
    stated_neutral: tuple[str, ...] = ()
    """Names of such parameters that the request states at a value without effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts that the provider billed."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When the client sent the request (RFC 3339) and how long the answer took."""

    started_at: str | None = None
    elapsed_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderClaims:
    """What provider and recorder say about the endpoint: claims, not facts."""

    provider: str | None = None
    endpoint: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    device: str | None = None
    system_fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request to a provider and its answer, as recorded."""

    prompt: Prompt
    output: Output
    sampling: SamplingRequest
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    provider: ProviderClaims = field(default_factory=ProviderClaims)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the provider is said to have run."""

    model: str | None = None
    weights_digest: str | None = None
    precision: str | None = None
    sampler_profile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """An exchange handed over for audit; `request_id` makes the submission idempotent."""

    request_id: str
    exchange: Exchange
    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An accepted audit that a worker has taken; `attempt` counts from 1."""

    audit_id: str
    request: AuditRequest
    request_digest: str
    attempt: int
    tenant: str = "default"
    """Whose audit it is; the log keeps a chain of its own for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """How one exchange is to be replayed, and what had to be assumed for it."""

    sequence: ReplaySequence
    ids_inferred: bool
    """Whether output token ids were recovered from text.

    Such an exchange is judged against its own kind.
    """
    assumed_parameters: tuple[str, ...]
    """Parameters that rest on a default the server may not have; a FAIL must not rest on them."""
    notes: tuple[str, ...]
    claimed_precision: str | None = None
    """None where the claim names none; then the reference's own counts as claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A replayed exchange, not yet judged: one Evidence per candidate profile of the plan."""

    plan: ReplayPlan
    evidences: tuple[Evidence, ...]
    info: ReferenceInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """A verdict together with the evidence behind it, where a replay took place."""

    verdict: "Verdict"
    evidence: Evidence | None = None
    growth: Growth | None = None
    """What the exchange adds to its provider's evidence; None where nothing was judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One number that decided a verdict, with the bound it was held against."""

    name: str
    value: float
    threshold: float
    num_tokens: int
    unit: str
    false_alarm_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What this audit could have seen: smaller deviations than these would mostly have passed.

    Both figures are the smallest deviation that would have been failed with probability `power`.
    """

    power: float
    logit_noise_logits: float | None
    """Standard deviation of noise on the difference of two logits.

    None where no noise would be seen.
    """
    substituted_token_share: float | None
    """Share of tokens replaced by unrelated ones; None where even all would not be seen."""
    statement: str
    """The same in a plain sentence, for people."""
    attacks: tuple[AttackPower, ...] = ()
    """Named attacks, where a study of this calibration measured them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerBuild:
    """Which software measured the evidence."""

    version: str
    device: str
    num_threads: int
    libraries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judged outcome of one exchange, with everything needed to question it."""

    outcome: Outcome
    reasons: tuple[Reason, ...] = ()
    details: tuple[str, ...] = ()
    """Plain sentences: why, and what to do next."""
    notes: tuple[str, ...] = ()
    """Assumptions made on the way, such as inferred token ids or a server's default."""
    profile_id: str | None = None
    precision: str | None = None
    num_tokens: int = 0
    num_matches: int = 0
    mean_clipped_margin_logits: float | None = None
    statistics: tuple[Statistic, ...] = ()
    sensitivity: Sensitivity | None = None
    calibration_id: str | None = None
    model_digest: str | None = None
    runner: RunnerBuild | None = None
    policy_id: str | None = None
    log10_e_value: float | None = None
    """Evidence against "honest", the largest over all prefixes of the answer."""
    noise: NoiseEstimate | None = None
    diagnosis: tuple[Explanation, ...] = ()
    """Candidate causes of a FAIL, likeliest first; empty unless the outcome is FAIL."""
    provider: ProviderFinding | None = None
    """The provider's evidence after this exchange, where it is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedVerdict:
    """A verdict with its DSSE envelope (JSON bytes)."""

    verdict: Verdict
    envelope: bytes
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStream:
    """A provider's evidence as stored; `state_json` is the judge's own, opaque to the store."""

    key: StreamKey
    finding: ProviderFinding
    state_json: str
    version: int
    """Counts the exchanges folded in; an update names the version that it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPage:
    """One page of providers, the most recently updated first."""

    streams: tuple[StoredStream, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """An audit as stored: its request, state and, when DONE, its signed verdict.

    Times are RFC 3339 UTC.
    """

    audit_id: str
    request: AuditRequest
    request_digest: str
    state: AuditState
    submitted_at: str
    finished_at: str | None = None
    signed: SignedVerdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which audits to list; None matches all."""

    outcome: Outcome | None = None
    state: AuditState | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """One page of audits, newest first; `next_cursor` is None on the last page."""

    audits: tuple[AuditRecord, ...]
    next_cursor: str | None

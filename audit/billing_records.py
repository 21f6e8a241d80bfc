"""The records of billing audits: what was billed, what each kind of evidence says, what is found.

    usage object --hidden_tokens.submission--> BilledRequest --channels--> RequestCheck
                 --hidden_tokens.account--> StoredAccount --ledger--> signed BillingFinding

Counts are tokens, money is exact decimal text. `None` always means "not stated" or "could not be
told", never zero.
"""

from dataclasses import dataclass
from enum import StrEnum


class UsageSchema(StrEnum):
    """Whose usage object it is: how its fields are named, and what they include."""

    OPENAI_CHAT = "openai_chat"
    OPENAI_RESPONSES = "openai_responses"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    DEEPSEEK = "deepseek"
    XAI = "xai"
    OPENROUTER = "openrouter"
    VLLM = "vllm"
    SGLANG = "sglang"


class Tier(StrEnum):
    """A kind of evidence about hidden tokens; a channel is one of them on one request."""

    ACCOUNTING = "accounting"
    TIMING = "timing"
    OPAQUE = "opaque"
    REFERENCE_SAMPLING = "reference_sampling"
    RECOUNT = "recount"
    ESTIMATOR = "estimator"
    PALACE = "palace"
    PROBE = "probe"
    COMMITMENT = "commitment"


class Controller(StrEnum):
    """Who could forge the evidence."""

    AUDITOR = "auditor"
    """Nobody but the auditor."""
    CLIENT = "client"
    """The client's clock: the billed party can only forge it by really taking the time."""
    ORIGIN_PROVIDER = "origin_provider"
    """Who runs the model; a reseller in between cannot."""
    BILLING_PARTY = "billing_party"
    """Whoever sends the bill."""


class Adversary(StrEnum):
    """Whom the evidence stops, from the least to the most able."""

    CARELESS_GATEWAY = "careless_gateway"
    INFLATING_RESELLER = "inflating_reseller"
    MALICIOUS_ORIGIN = "malicious_origin"


class Refusal(StrEnum):
    """Why a channel says nothing about a request: a closed list."""

    NO_EVIDENCE = "no_evidence"
    """The request does not carry what the channel reads."""
    UNKNOWN_MODEL = "unknown_model"
    UNSEEN_CELL = "unseen_cell"
    """Nothing was calibrated for this model, domain and effort."""
    TOO_LITTLE_CALIBRATION = "too_little_calibration"
    NO_SIGNAL = "no_signal"
    """What this model sends has nothing to do with the count."""
    NO_COUNT = "no_count"
    """No reasoning count was billed."""
    NOT_A_METER_READING = "not_a_meter_reading"
    """The count was made again by a middleman, with another tokenizer perhaps."""
    UNREADABLE_EVIDENCE = "unreadable_evidence"
    VOCABULARY_MISSING = "vocabulary_missing"
    REFERENCE_DIVERGED = "reference_diverged"


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledUsage:
    """One usage object, in the same terms for every provider."""

    schema: UsageSchema
    output_tokens: int
    """All billed output tokens, reasoning included, however the schema puts it."""
    prompt_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None
    stated_completion_tokens: int | None = None
    """The schema's own completion field, where it leaves the reasoning out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTiming:
    """Seconds on the client's clock, from sending the request."""

    elapsed_s: float
    first_answer_token_s: float | None = None
    chunk_times_s: tuple[float, ...] = ()
    """When each chunk of the visible answer arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaqueEvidence:
    """Sizes of what the provider sent in place of the reasoning; never its content."""

    blob_chars: int | None = None
    num_blobs: int = 1
    signature_chars: int | None = None
    summary_chars: int | None = None
    has_builtin_tools: bool = False
    """Whether results of the provider's own tools may be inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledRequest:
    """One billed request to a reasoning model, as the client recorded it."""

    request_id: str
    account: str
    provider: str
    model: str
    usage: BilledUsage
    observed_at: str
    """RFC 3339 UTC."""
    effort: str | None = None
    domain: str | None = None
    """As the client states it; the router decides where it does not."""
    prompt: str | None = None
    answer: str | None = None
    """The visible answer."""
    streamed_usage: BilledUsage | None = None
    """What the stream's last chunk said, where `usage` is from the invoice or another place."""
    max_output_tokens: int | None = None
    thinking_budget_tokens: int | None = None
    is_aggregator: bool = False
    """Whether a middleman reports the counts."""
    timing: CallTiming | None = None
    opaque: OpaqueEvidence | None = None
    reference_counts: tuple[int, ...] = ()
    """Reasoning counts of the auditor's own runs of the same prompt on the trusted reference."""
    disclosed_reasoning: str | None = None
    """The reasoning chain in plain text, where the provider shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something about a bill that cannot be, whatever the model thought."""

    identity: str
    """Short id such as `completion_sum`, `lattice`, `cap`, `recount`, `stream_differs`."""
    statement: str
    """The same in a plain sentence, with the figures."""
    excess_tokens: int | None = None
    """Tokens billed beyond what the identity allows; negative where too few are."""
    tier: Tier = Tier.ACCOUNTING


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one channel says about one request's reasoning count."""

    tier: Tier
    channel: str
    """The law, sample or estimator, with its version, such as `blob:gpt-5`."""
    p_over: float
    """P-value of "the bill is not too high", in (0, 1]; small where it is."""
    p_under: float
    """P-value of "the bill is not too low", in (0, 1]."""
    dkw_epsilon: float
    """How far p-values may stand too low altogether, for the finite calibration; 0 if exact."""
    expected_tokens: float | None = None
    """Mean-calibrated: sums of it are sums of tokens."""
    low_tokens: float | None = None
    high_tokens: float | None = None
    interval_confidence: float | None = None
    cell: str = ""
    """Where it was calibrated: `model|domain|effort`."""
    num_calibration: int = 0
    calibration_id: str = ""
    controller: Controller
    stops: Adversary


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """A channel that says nothing about a request, and why."""

    tier: Tier
    reason: Refusal
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCheck:
    """All evidence about one request."""

    request: BilledRequest
    domain: str
    """Stated, or as the router put it."""
    violations: tuple[Violation, ...]
    readings: tuple[Reading, ...]
    unchecked: tuple[Unchecked, ...]
    checked: tuple[str, ...] = ()
    """Identities that were checked and hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountKey:
    """Whose evidence is added up."""

    tenant: str
    account: str
    provider: str
    model: str
    effort: str
    domain: str
    calibration_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """An amount."""

    amount: str
    """Exact decimal."""
    currency: str
    """ISO 4217."""


class MeterOutcome(StrEnum):
    """What is said of a meter; the wording is never stronger than this."""

    AGREES = "AGREES"
    """The meter was not found to disagree, and a stated inflation would have been seen."""
    DISAGREES = "DISAGREES"
    """The meter disagrees with the reference."""
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStanding:
    """How one channel stands over all requests of an account."""

    tier: Tier
    controller: Controller
    stops: Adversary
    num_requests: int
    log10_e_over: float
    log10_e_under: float
    ratio_low: float | None
    """Confidence sequence for billed over expected tokens, valid at every look."""
    ratio_high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingFinding:
    """What is found about one account, model, effort and domain so far; this is what is signed."""

    finding_id: str
    """`sha256:<hex>` of the account's key."""
    outcome: MeterOutcome
    statement: str
    direction: str | None
    """`over`, `under` or None."""
    tier: Tier | None
    """The tier that the outcome rests on; the best one that the accused does not control."""
    controller: Controller | None
    stops: Adversary | None
    num_requests: int
    num_violations: int
    violations: tuple[Violation, ...]
    """The latest ones, twenty at most."""
    log10_e_over: float
    log10_e_under: float
    log10_threshold: float
    disagreed_at_request: int | None
    """Counted from 1."""
    billed_tokens: int
    expected_tokens: float | None
    overcharge_tokens_low: float | None
    """Confidence sequence for the tokens billed beyond what is expected."""
    overcharge_tokens_high: float | None
    overcharge_money_low: Money | None
    overcharge_money_high: Money | None
    channels: tuple[ChannelStanding, ...]
    agreement: str
    """Whether time and blob moved with the bill, in a plain sentence."""
    change_at_request: int | None
    """Where the meter began to disagree, as far as can be told."""
    not_checked: tuple[str, ...]
    calibration_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedRequest:
    """A request that an account's evidence holds; counted once, however often it is sent."""

    request_id: str
    request_digest: str
    """`sha256:<hex>` of the canonical request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPage:
    """A page of accounts, most recently updated first."""

    accounts: "tuple[StoredAccount, ...]"
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAccount:
    """An account's evidence as stored; `version` counts its requests' folds from 1."""

    key: AccountKey
    version: int
    state_json: str
    finding: BillingFinding

"""The records of sweeps: what is watched, what was asked and answered, what is concluded.

    Sweep --schedule--> Slot --plan--> Probe --provider client--> RawAnswer --parse--> ProbeAnswer
          --detector--> Reading --decide--> EndpointFinding --> SweepResult --ledger--> signed entry

Times are RFC 3339 UTC with `Z`, money is exact decimal text. `None` always means "not stated" or
"could not be told", never zero.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from audit.billing_records import Money
from audit.probe_records import (
    AnswerStatus,
    ApiStyle,
    Candidate,
    Misconfiguration,
    PositionLogprobs,
    Probe,
    ProbeAnswer,
    Probed,
    ProbeKind,
    RawAnswer,
    Reading,
    ReadingStatus,
    RecordedAnswer,
    TokenLogprob,
    Visible,
)
from audit.records import Claim

__all__ = [
    "AnswerStatus",
    "ApiStyle",
    "Budget",
    "Candidate",
    "CatchUpRule",
    "ChangeFinding",
    "ChangeKind",
    "Endpoint",
    "EndpointFinding",
    "EndpointRole",
    "Misconfiguration",
    "Opening",
    "OverlapRule",
    "PositionLogprobs",
    "Probe",
    "ProbeAnswer",
    "ProbeKind",
    "Probed",
    "RawAnswer",
    "Reading",
    "ReadingStatus",
    "RecordedAnswer",
    "Schedule",
    "Slot",
    "SlotState",
    "Spending",
    "Sweep",
    "SweepOutcome",
    "SweepResult",
    "SweepSpec",
    "SweepState",
    "TokenLogprob",
    "Visible",
]


class EndpointRole(StrEnum):
    """Why an endpoint is asked."""

    TARGET = "target"
    """It is what the sweep is about."""
    NEGATIVE_CONTROL = "negative_control"
    """Known to be honest: a sweep that accuses it is void."""
    POSITIVE_CONTROL = "positive_control"
    """Known to be a cheaper copy: a sweep that does not find it is void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An OpenAI-compatible endpoint that claims a model."""

    name: str
    """Unique within a sweep."""
    base_url: str
    """Up to and without `/completions`, such as `https://host/v1`."""
    model: str
    """The name that requests use."""
    key_ref: str | None = None
    """Where the API key is found, `env:NAME` or `file:PATH`; never the key itself."""
    role: EndpointRole = EndpointRole.TARGET
    route_json: str = "{}"
    """Members merged into every request body, such as a marketplace's pinned upstream."""
    expected_upstream: str | None = None
    """Who must have answered, where answers name an upstream."""
    engine: str | None = None
    engine_version: str | None = None
    device: str | None = None
    sampler_profile: str | None = None
    api: ApiStyle = ApiStyle.COMPLETIONS
    offers_logprobs: bool = True
    offers_token_ids: bool = True
    """Whether token ids may be asked for and sent; without, prompts are text."""
    max_concurrency: int = 4
    max_requests_per_s: float | None = None
    timeout_s: float = 60.0
    input_price: Money | None = None
    """Of a million prompt tokens."""
    output_price: Money | None = None
    """Of a million output tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that one run may spend on one endpoint; retries count."""

    max_requests: int
    max_tokens: int
    """Prompt and output tokens together."""
    max_cost: Money | None = None


class OverlapRule(StrEnum):
    """What happens to a slot whose sweep is still running the one before."""

    SKIP = "skip"
    WAIT = "wait"


class CatchUpRule(StrEnum):
    """What happens to slots that nobody was there to run."""

    NONE = "none"
    """All are recorded as not performed."""
    LATEST = "latest"
    """The latest is run late, the others are recorded as not performed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a sweep runs."""

    cron: str
    """Five fields, as cron reads them."""
    timezone: str = "UTC"
    jitter_s: float = 0.0
    """Each slot starts up to so many seconds late, drawn from the slot's own seed."""
    overlap: OverlapRule = OverlapRule.SKIP
    catch_up: CatchUpRule = CatchUpRule.NONE
    max_lateness_s: float = 3600.0
    """A slot that could not start by then is a missed one."""


class SweepState(StrEnum):
    """Whether a sweep's slots are run."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """What a user asks for."""

    name: str
    """Unique among a tenant's sweeps that are not deleted."""
    endpoints: tuple[Endpoint, ...]
    claim: Claim
    budget: Budget
    schedule: Schedule | None = None
    """None: it runs only when told to."""
    detectors: tuple[str, ...] = ()
    """Detector ids; empty means all that apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep as stored."""

    sweep_id: str
    tenant: str
    spec: SweepSpec
    state: SweepState
    created_at: str
    version: int = 1
    """Counts changes of state."""


class SlotState(StrEnum):
    """Where a slot stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    NOT_PERFORMED = "NOT_PERFORMED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One run of a sweep that is due, running or over; unique by (sweep_id, slot_at)."""

    run_id: str
    sweep_id: str
    tenant: str
    slot_at: str
    """The time that the schedule names."""
    start_at: str
    """`slot_at` with its jitter; not claimed before."""
    is_manual: bool = False
    state: SlotState = SlotState.PENDING
    attempt: int = 0
    """Counts claims; the fencing token of who holds it."""
    owner: str | None = None
    lease_until: str | None = None
    finished_at: str | None = None
    result_json: str | None = None
    """The run's `SweepResult`, once it ended."""
    log_index: int | None = None


class SweepOutcome(StrEnum):
    """What is concluded about an endpoint in one run."""

    CONSISTENT = "consistent"
    INCONSISTENT = "inconsistent"
    POLICY_DIFFERENT = "policy_different"
    """It runs something that is honest elsewhere and that the claim excludes."""
    MISCONFIGURED = "misconfigured"
    CHANGED = "changed"
    UNINFORMATIVE = "uninformative"
    NOT_APPLICABLE = "not_applicable"
    VOID = "void"
    """A control misbehaved, so nothing is said."""
    NOT_PERFORMED = "not_performed"


class ChangeKind(StrEnum):
    """How an endpoint's behaviour moved over time."""

    NONE = "none"
    BLIP = "blip"
    STEP = "step"
    RAMP = "ramp"
    ALTERNATION = "alternation"
    UNCONFIRMED = "unconfirmed"
    """An alarm, too young to be told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFinding:
    """What the history of an endpoint under one detector says."""

    detector: str
    kind: ChangeKind
    log_e_nats: float
    """The e-detector's value now."""
    threshold_nats: float
    epoch: int
    """Counts baselines; an alarm that is confirmed opens a new one."""
    since_run: str | None = None
    """The run in which the change most likely began."""
    since_low: str | None = None
    since_high: str | None = None
    statement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What one endpoint cost in one run."""

    num_requests: int = 0
    num_answered: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cost: Money | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFinding:
    """What one run concludes about one endpoint."""

    endpoint: str
    role: EndpointRole
    outcome: SweepOutcome
    statement: str
    readings: tuple[Reading, ...] = ()
    log_e_nats: float = 0.0
    """All detectors together, at the decision."""
    threshold_nats: float = 0.0
    decided_after: int | None = None
    """Requests until the evidence sufficed."""
    share_low: float = 0.0
    share_high: float = 1.0
    """Bounds on the share of requests that a substitute answered, both at every look."""
    sticky_log_e_nats: float = 0.0
    is_discovery: bool = False
    """Whether e-BH over all endpoints of the run rejects "honest" for it."""
    explanation: str | None = None
    """The likeliest named candidate, `unknown` where none stands out."""
    changes: tuple[ChangeFinding, ...] = ()
    spending: Spending = field(default_factory=Spending)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the commitment was made to; revealed once the run is over."""

    seed: str
    """Hex; decides probes, order and jitter."""
    salt: str
    plan_digest: str
    policy_id: str
    bundle_id: str
    code_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What one run concludes: the content of its signed entry."""

    run_id: str
    sweep_id: str
    tenant: str
    slot_at: str
    outcome: SweepOutcome
    """VOID, NOT_PERFORMED, or the gravest of the targets' outcomes."""
    statement: str
    findings: tuple[EndpointFinding, ...] = ()
    started_at: str | None = None
    finished_at: str | None = None
    commitment: str | None = None
    opening: Opening | None = None
    recording_digest: str | None = None
    policy_id: str = ""
    bundle_id: str = ""
    spec_digest: str = ""

"""The records of sweeps: what is watched, what was asked and answered, what is concluded.

    Sweep --schedule--> Slot --plan--> Probe --provider client--> RawAnswer --parse--> ProbeAnswer
          --detector--> Reading --decide--> EndpointFinding --> SweepResult --ledger--> signed entry

Times are RFC 3339 UTC with `Z`, money is exact decimal text. `None` always means "not stated" or
"could not be told", never zero.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from audit.billing_records import Money
from audit.records import Claim, Prompt, SamplingRequest


class EndpointRole(StrEnum):
    """Why an endpoint is asked."""

    TARGET = "target"
    """It is what the sweep is about."""
    NEGATIVE_CONTROL = "negative_control"
    """Known to be honest: a sweep that accuses it is void."""
    POSITIVE_CONTROL = "positive_control"
    """Known to be a cheaper copy: a sweep that does not find it is void."""


class ApiStyle(StrEnum):
    """Which OpenAI-compatible route a probe takes."""

    COMPLETIONS = "completions"
    CHAT = "chat"


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


class ProbeKind(StrEnum):
    """What a probe is for."""

    PREFLIGHT = "preflight"
    REPLAY = "replay"
    BORDER = "border"
    LOGPROBS = "logprobs"
    TEXT = "text"
    CELL = "cell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One request to be sent, and what the auditor knows about it and keeps to itself."""

    probe_id: str
    """Digest of all other members; `audit.sweeps.probe.make_probe` fills it in."""
    kind: ProbeKind
    detector: str
    """The id of the detector that reads the answer."""
    group: str
    """What belongs together: a check, a prompt, a cell, a band."""
    api: ApiStyle
    prompt: Prompt
    sampling: SamplingRequest
    wants_logprobs: int | None = None
    """How many alternatives with log-probabilities are asked for; 0 means the token's own only."""
    stop: tuple[str, ...] = ()
    extras_json: str = "{}"
    """Further members of the request body."""
    expected_json: str = "{}"
    """What the reference says about it; never sent."""


class AnswerStatus(StrEnum):
    """What became of a request; only ANSWERED carries evidence."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """The endpoint declined the request: 4xx."""
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    GARBAGE = "garbage"
    """What came back is no answer of this API: HTML, broken JSON, wrong types."""
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    NOT_SENT = "not_sent"
    """The budget was spent, or the run had been decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    """What came back for a probe, word for word; everything else is read from it."""

    status: AnswerStatus
    http_status: int | None = None
    body: str = ""
    """The body of the last response, cut at the client's limit; keys never occur in it."""
    is_cut: bool = False
    sent_at: str | None = None
    elapsed_s: float | None = None
    num_attempts: int = 0
    num_rate_limited: int = 0
    error: str | None = None
    """What went wrong, in a plain sentence without secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """One candidate token with its natural log-probability."""

    logprob_nats: float
    token: str | None = None
    token_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionLogprobs:
    """The log-probabilities that came with one output token."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """An answer as it reads; all members but the status are None or empty unless ANSWERED."""

    status: AnswerStatus
    text: str | None = None
    token_ids: tuple[int, ...] | None = None
    """As the endpoint gave them, or none; see `prompt_token_ids`."""
    prompt_token_ids: tuple[int, ...] | None = None
    finish_reason: str | None = None
    logprobs: tuple[PositionLogprobs, ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    served_model: str | None = None
    upstream: str | None = None
    """Who answered behind a marketplace, where the answer says so."""
    system_fingerprint: str | None = None
    response_id: str | None = None
    elapsed_s: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A probe with its answer."""

    probe: Probe
    answer: ProbeAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswer:
    """A raw answer with its place in the run."""

    endpoint: str
    position: int
    """Index of the probe in the endpoint's plan."""
    raw: RawAnswer


class ReadingStatus(StrEnum):
    """Whether a detector had anything to say."""

    READ = "read"
    NOT_APPLICABLE = "not_applicable"
    """The endpoint does not give what the detector reads."""
    UNCALIBRATED = "uncalibrated"
    """What honest endpoints look like was never measured for this model."""
    TOO_LITTLE = "too_little"
    """Too few answers came back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misconfiguration:
    """A cause that Tier 0 found by itself."""

    check: str
    is_decisive: bool
    """Whether it explains away what other detectors see, so that they may not accuse."""
    detail: str
    """What was sent, what came back, and what to do, in plain sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A named explanation of what a detector saw."""

    name: str
    """`honest`, a rounding such as `int4-g32`, a candidate substitute's name, or `unknown`."""
    log_likelihood_nats: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """What a detector could have seen with the budget that was spent."""

    power: float
    smallest_share: float | None
    """Smallest share of diverted requests that it would have found; None where not even all."""
    needed: tuple[tuple[str, int], ...] = ()
    """(named attack, requests that finding it would take at this power)."""
    statement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one detector says about one endpoint."""

    detector: str
    tier: int
    status: ReadingStatus
    reason: str = ""
    """Why there is no evidence, where there is none; in plain sentences."""
    log_e_nats_N: tuple[float, ...] = ()
    """Evidence against "honest" after each usable answer, an e-process in the plan's order."""
    tells: str = ""
    """One character a usable answer, `1` for a sign that honest answers show seldom, else `0`."""
    honest_tell_rate: float | None = None
    """Bound on the share of `1`s that an honest endpoint shows."""
    num_sent: int = 0
    num_used: int = 0
    statistics: tuple[tuple[str, float], ...] = ()
    candidates: tuple[Candidate, ...] = ()
    misconfigurations: tuple[Misconfiguration, ...] = ()
    visible: Visible | None = None
    notes: tuple[str, ...] = ()


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

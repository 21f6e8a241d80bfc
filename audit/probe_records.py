"""The records of probes: what was asked, what came back, and what a detector read from it.

They belong to the records of sweeps, which hand them on; `None` always means "not stated" or "could
not be told", never zero.
"""

from dataclasses import dataclass
from enum import StrEnum

from audit.records import Prompt, SamplingRequest


class ApiStyle(StrEnum):
    """Which OpenAI-compatible route a probe takes."""

    COMPLETIONS = "completions"
    CHAT = "chat"


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

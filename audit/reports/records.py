"""What a report says, collected once and rendered many times.

`audit.reports.collect` fills a `Report`, which is bounded in size, and a spool of `VerdictLine`s,
one per verdict in the window; every renderer reads these two and nothing else. All facts come from
signed envelopes and leaves, so that the evidence pack alone gives the same report again. `None`
means "not stated", never zero. Hashes are lower-case hex; times RFC 3339 UTC; indexes from 0.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Generic, Protocol, TypeAlias, TypeVar

from audit.reports.log_lines import (
    CheckpointLine,
    ContentState,
    DamagedEntry,
    DiscountedEntry,
    ErasureLine,
    GoneContent,
    KeyEventLine,
    KeyUse,
    LogIdentity,
    MeterLine,
    MissingVerdict,
    ReportLine,
    RunnerUse,
    SequenceGap,
    SightingLine,
    SourceUse,
    SweepLine,
    SweepRunLine,
    TimestampLine,
    WitnessLine,
)
from audit.reports.verdict_line import AttackFigure, StatisticFigure, VerdictLine

__all__ = [
    "REPORT_FORM",
    "AttackFigure",
    "AttackRange",
    "CheckpointLine",
    "ChosenExchange",
    "ContentState",
    "CountLine",
    "CountTable",
    "DamagedEntry",
    "DiscountedEntry",
    "ErasureLine",
    "EvidencePoint",
    "FamilyWiseError",
    "FigureRange",
    "GoneContent",
    "Item",
    "KeyEventLine",
    "KeyUse",
    "Limits",
    "Lines",
    "Listing",
    "LogIdentity",
    "MeterLine",
    "MissingVerdict",
    "ProviderStanding",
    "ReasonCount",
    "Renderer",
    "Report",
    "ReportLine",
    "ReportScope",
    "RunnerUse",
    "Sampling",
    "SequenceGap",
    "SightingLine",
    "SourceUse",
    "StatisticFigure",
    "SweepLine",
    "SweepRunLine",
    "TimestampLine",
    "Totals",
    "VerdictLine",
    "WitnessLine",
]

Item = TypeVar("Item")

#: Form of the report; a rebuilt report has the same bytes only under the same form.
REPORT_FORM = "inference-audit-report/v0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportScope:
    """Which part of the log a report is about; None does not restrict."""

    tenant: str | None = None
    provider: str | None = None
    """Provider's name as claimed."""
    model: str | None = None
    """Model's name as claimed."""
    since: str | None = None
    """Verdicts verified and intents announced at or after this time."""
    until: str | None = None
    """... and before this one."""
    first_index: int = 0
    end_index: int | None = None
    """First index that is not read; None stands for the last checkpoint's size. Always a number in
    a collected report."""
    exchanges: tuple[str, ...] = ()
    """Audit ids of the exchanges that are shown token by token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[Item]):
    """The first of many: `total` counts all, `items` is bounded."""

    total: int
    items: tuple[Item, ...]

    @property
    def num_unlisted(self) -> int:
        """How many are counted but not listed."""
        return self.total - len(self.items)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountLine:
    """Verdicts under one label."""

    label: str
    num_passed: int
    num_failed: int
    num_inconclusive: int
    num_tokens: int

    @property
    def num_verdicts(self) -> int:
        """All of them."""
        return self.num_passed + self.num_failed + self.num_inconclusive


@dataclass(frozen=True, slots=True, kw_only=True)
class CountTable:
    """Verdicts by label, the most frequent first (days: in order); what is over is in `others`."""

    lines: tuple[CountLine, ...]
    others: CountLine | None
    """Sum over the labels that are not shown."""
    num_labels: int
    """All labels, shown or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """Verdicts with one reason; a verdict with two reasons is counted under both."""

    verdict: str
    reason: str
    num_verdicts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePoint:
    """One bin of a provider's evidence, in log order."""

    first_index: int
    last_index: int
    first_verified_at: str
    last_verified_at: str
    num_verdicts: int
    num_failed: int
    num_inconclusive: int
    log10_e_value: float
    """After the last verdict of the bin."""
    max_log10_e_value: float
    num_exchanges: int
    """Exchanges in the evidence after the last verdict of the bin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStanding:
    """One provider's accumulated evidence, as its last verdict in the window states it."""

    stream_id: str
    provider_name: str | None
    provider_uri: str | None
    model: str | None
    verdict: str
    statement: str
    num_verdicts: int
    """Verdicts of this stream in the window."""
    num_exchanges: int
    num_tokens: int
    log10_e_value: float
    log10_threshold: float
    failed_at_exchange: int | None
    """Counted from 1."""
    failed_at_index: int | None
    """Log index of the first verdict in the window that states FAILED for the provider."""
    failed_at: str | None
    first_failed_exchange_at: str | None
    """When the first single exchange of this stream in the window was FAILED."""
    substituted_share_low: float
    noise_logits: float | None
    noise_low_logits: float | None
    noise_high_logits: float | None
    noise_confidence: float | None
    last_index: int
    points: tuple[EvidencePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How much of the traffic was audited, as far as the log knows."""

    population: int | None
    """Sum over the sweeps in the window, None where one of them states none."""
    num_intents: int
    num_verdicts: int
    achieved_fraction: float | None
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyWiseError:
    """How many FAILED verdicts honest providers would get by chance."""

    num_tested: int
    """Verdicts that tested a statistic."""
    expected_false_alarms: float
    """Sum of their false-alarm rates."""
    any_false_alarm_bound: float
    """Union bound on the chance of at least one, at most 1."""
    num_providers: int
    provider_false_alarm_bound: float
    """Union bound over the providers' sequential tests, valid however often one looks."""
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRange:
    """The range of one figure over the verdicts of the window."""

    name: str
    label: str
    unit: str
    low: float | None
    median: float | None
    high: float | None
    """None where no verdict states it."""
    num_stated: int
    num_unseen: int
    """Verdicts that state that not even the largest deviation would have been seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackRange:
    """How well the audits of the window would have seen one named attack."""

    attack: str
    label: str
    num_verdicts: int
    low_power: float
    mean_power: float
    high_power: float
    low_tokens_needed: int | None
    high_tokens_needed: int | None
    """None where a study saw no number of tokens that would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What could not be seen."""

    figures: tuple[FigureRange, ...]
    attacks: tuple[AttackRange, ...]
    statements: tuple[str, ...]
    """Plain sentences: limits of the method and of this report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenExchange:
    """An exchange that is shown token by token."""

    audit_id: str
    line: VerdictLine | None
    """None where no verdict of this id is in the window."""
    media_type: str | None
    tokens: bytes | None
    """The artifact with the evidence per token, checked against its digest."""
    problem: str | None
    """Why there is nothing to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The figures that must add up."""

    num_entries: int
    """Entries of the log in the window's index range."""
    num_foreign: int
    """Those of other tenants, which a report of one tenant does not open."""
    num_intents: int
    num_verdicts: int
    """Those in scope, one per VerdictLine."""
    num_passed: int
    num_failed: int
    num_inconclusive: int
    num_tokens: int
    num_outside: int
    """Verdicts in the index range that the scope's time, provider or model leaves out."""
    num_without_intent: int
    """Verdicts in scope that name no intent, or one that is not such an entry."""
    num_other_entries: int
    """Policies, calibrations, key events and the like."""
    num_discounted_verdicts: int
    """Verdicts that do not count for their key, and are in none of these figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a report says, but for the lines of single verdicts."""

    form: str
    report_id: str
    """UUIDv5 from the log's origin, last root and scope."""
    as_of: str
    """The latest time that anyone signed for in what was read; stands for "generated at"."""
    scope: ReportScope
    log: LogIdentity
    totals: Totals
    reasons: tuple[ReasonCount, ...]
    by_provider: CountTable
    by_model: CountTable
    by_day: CountTable
    standings: Listing[ProviderStanding]
    missing: Listing[MissingVerdict]
    erased: Listing[GoneContent]
    gone: Listing[GoneContent]
    """Content that is gone without an erasure."""
    damaged: Listing[DamagedEntry]
    discounted: Listing[DiscountedEntry]
    discounted_digest: str
    """`sha256:<hex>` over the indexes of all of them, listed or not: in decimal, a line each."""
    gaps: Listing[SequenceGap]
    policies: Listing[SourceUse]
    calibrations: Listing[SourceUse]
    key_uses: Listing[KeyUse]
    key_events: Listing[KeyEventLine]
    erasures: Listing[ErasureLine]
    reports: Listing[ReportLine]
    sweeps: Listing[SweepLine]
    meters: Listing[MeterLine]
    sweep_runs: Listing[SweepRunLine]
    runners: Listing[RunnerUse]
    sampling: Sampling
    error: FamilyWiseError
    limits: Limits
    exchanges: tuple[ChosenExchange, ...]
    control_mapping: str | None
    """Id and version of the control mapping that renderers use."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing, gone, damaged, discounted or out of sequence."""
        found = (self.missing, self.gone, self.damaged, self.discounted, self.gaps)
        return not any(listing.total for listing in found)


Lines: TypeAlias = Callable[[], Iterator[VerdictLine]]
"""Starts a fresh pass over the verdicts in scope, in log order."""


class Renderer(Protocol):
    """Writes one file of a report."""

    def __call__(self, report: Report, lines: Lines, out: BinaryIO) -> None:
        """Write the file; the same report and lines give the same bytes."""
        ...

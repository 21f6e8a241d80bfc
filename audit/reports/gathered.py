"""Everything that is kept in memory while a log is read."""

import hashlib
from dataclasses import dataclass, field

from audit.reports.records import (
    DamagedEntry,
    DiscountedEntry,
    ErasureLine,
    KeyEventLine,
    MeterLine,
    ReportLine,
    SequenceGap,
    SweepLine,
    SweepRunLine,
    VerdictLine,
)
from audit.reports.tallies import (
    KeyTally,
    LatestTime,
    Lister,
    PowerTally,
    RunnerTally,
    SourceTally,
)


@dataclass(slots=True)
class Gathered:
    """Counts, and the first of each kind of line."""

    num_entries: int = 0
    num_foreign: int = 0
    num_intents: int = 0
    num_outside: int = 0
    num_without_intent: int = 0
    num_other_entries: int = 0
    num_discounted_verdicts: int = 0
    damaged: Lister[DamagedEntry] = field(default_factory=Lister)
    discounted: Lister[DiscountedEntry] = field(default_factory=Lister)
    discounted_hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    gaps: Lister[SequenceGap] = field(default_factory=Lister)
    key_events: Lister[KeyEventLine] = field(default_factory=Lister)
    erasures: list[ErasureLine] = field(default_factory=list)
    """All of them: each explains content that is gone."""
    reports: Lister[ReportLine] = field(default_factory=Lister)
    sweeps: Lister[SweepLine] = field(default_factory=Lister)
    meters: Lister[MeterLine] = field(default_factory=Lister)
    sweep_runs: Lister[SweepRunLine] = field(default_factory=Lister)
    policies: SourceTally = field(default_factory=SourceTally)
    calibrations: SourceTally = field(default_factory=SourceTally)
    keys: KeyTally = field(default_factory=KeyTally)
    runners: RunnerTally = field(default_factory=RunnerTally)
    power: PowerTally = field(default_factory=PowerTally)
    latest: LatestTime = field(default_factory=LatestTime)

    def see(self, line: VerdictLine, *, has_intent: bool) -> None:
        """Take a verdict in scope."""
        self.num_without_intent += not has_intent
        self.policies.use(line.policy_id, line.log_index)
        self.calibrations.use(line.calibration_id, line.log_index)
        self.power.see(line)

    def discount(self, entry: DiscountedEntry, *, is_verdict: bool) -> None:
        """Take a sound entry that does not count for its key."""
        self.discounted.add(entry)
        self.discounted_hash.update(b"%d\n" % entry.log_index)
        self.num_discounted_verdicts += is_verdict

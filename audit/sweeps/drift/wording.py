"""Says in plain sentences what a history shows."""

from audit.sweep_records import ChangeFinding, ChangeKind
from audit.sweeps.drift.epochs import Baseline
from audit.sweeps.drift.localise import Onset
from audit.sweeps.policy import DriftRules

_KINDS = {
    ChangeKind.BLIP: "differed for a while and returned to what it was",
    ChangeKind.STEP: "changed from one run to the next and stayed so",
    ChangeKind.RAMP: "changed by and by",
    ChangeKind.ALTERNATION: "goes back and forth between two kinds of behaviour",
    ChangeKind.UNCONFIRMED: "differs from its own past; fresh runs will say whether that lasts",
}


def change_statement(finding: ChangeFinding, onset: Onset) -> str:
    """Return what a change was, where it began and how far it went."""
    between = (
        ""
        if finding.since_low == finding.since_high
        else (f" (95 % between {finding.since_low} and {finding.since_high})")
    )
    return (
        f"{finding.detector}: the endpoint {_KINDS[finding.kind]}, most likely since "
        f"{finding.since_run}{between}. Signs came at {onset.rate_before:.1%} before and "
        f"{onset.rate_after:.1%} after, against the baseline of epoch {finding.epoch}."
    )


def quiet_statement(
    detector: str,
    num_runs: int,
    baseline: Baseline | None,
    rules: DriftRules,
    runs_per_day: float | None,
) -> str:
    """Return what no change means: what is tolerated, and how rare false alarms are."""
    if baseline is None:
        return f"{detector}: {num_runs} of {rules.baseline_runs} runs of the baseline are in."
    low = "" if baseline.low is None else f"from {baseline.low:.1%} "
    every = f"{rules.arl_runs} runs"
    if runs_per_day:
        every += f" ({rules.arl_runs / runs_per_day:.0f} days)"
    return (
        f"{detector}: no change in {num_runs} runs. Signs came at {baseline.rate:.1%} in the "
        f"baseline, {low}up to {baseline.high:.1%} are tolerated; a false alarm comes once in "
        f"{every} at most, on average."
    )

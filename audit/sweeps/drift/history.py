"""All runs of an endpoint, folded into changes: baseline, watch, alarm, confirmation, new epoch.

An epoch's first runs are frozen as its baseline. Later runs are watched; an alarm waits for fresh
runs, which say whether it lasts. A change that lasts opens a new epoch with the fresh runs as its
first, after a blip the old baseline stands. Runs without usable answers are left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from audit.errors import InvalidRequest
from audit.sweep_records import ChangeFinding, ChangeKind
from audit.sweeps.drift.classify import classify
from audit.sweeps.drift.detector import Watch, fresh_watch, watch_run
from audit.sweeps.drift.epochs import Baseline, freeze
from audit.sweeps.drift.localise import Onset, locate
from audit.sweeps.drift.records import RunTells, check_tells
from audit.sweeps.drift.wording import change_statement, quiet_statement
from audit.sweeps.policy import DriftRules, SweepPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Where the fold stands within an epoch."""

    number: int = 1
    runs: tuple[RunTells, ...] = ()
    """All runs since the epoch began."""
    baseline: Baseline | None = None
    watch: Watch | None = None
    log_e_nats: float = 0.0
    alarm_at: int | None = None
    """Index into `runs` of the run that raised the alarm."""
    last_blip_at: int | None = None
    past: tuple[ChangeFinding, ...] = field(default=())
    """Changes that are over, of all epochs."""


def changes_of(
    history: Sequence[RunTells], policy: SweepPolicy, *, runs_per_day: float | None = None
) -> tuple[ChangeFinding, ...]:
    """Return the changes that an endpoint's runs show, oldest first, detector by detector.

    The last finding of each detector is its present state. `history` holds all runs in their order,
    of one endpoint. Raises: InvalidRequest for tells that are none, a run that comes twice, or a
    detector that the policy does not know.
    """
    _check(history)
    findings: list[ChangeFinding] = []
    for detector in dict.fromkeys(run.detector for run in history):
        threshold = _threshold_nats(detector, policy)
        if threshold is None:
            continue
        epoch, is_over = _fold(history, detector, threshold, policy.drift)
        findings += epoch.past
        if not is_over:
            findings.append(_present(detector, epoch, threshold, policy, runs_per_day))
    return tuple(findings)


def trim_history(
    history: Sequence[RunTells], policy: SweepPolicy, most: int
) -> tuple[RunTells, ...]:
    """Return what must be kept of a long history for its present state to stay what it is.

    A detector with more than `most` runs keeps the baseline of its present epoch and the latest
    `most` runs of it; changes before are forgotten, and epochs count from one again. Cutting off
    the oldest runs instead would move the baseline along with the endpoint. Errors as in
    `changes_of`.
    """
    _check(history)
    dropped: set[tuple[str, str]] = set()
    for detector in dict.fromkeys(run.detector for run in history):
        own = [run for run in history if run.detector == detector]
        threshold = _threshold_nats(detector, policy)
        if len(own) <= most:
            continue
        kept = own[-most:]
        if threshold is not None:
            runs = _fold(history, detector, threshold, policy.drift)[0].runs
            num_base = policy.drift.baseline_runs
            kept = [*runs[:num_base], *runs[num_base:][-most:]]
        dropped |= {(run.run_id, detector) for run in own} - {(r.run_id, detector) for r in kept}
    return tuple(run for run in history if (run.run_id, run.detector) not in dropped)


def alarm_query(history: Sequence[RunTells], policy: SweepPolicy) -> tuple[str, int] | None:
    """Return the run of one detector's first alarm, and after how many of its answers it came."""
    if not history:
        return None
    threshold = _threshold_nats(history[0].detector, policy)
    runs, num_base = [run for run in history if run.num_answers], policy.drift.baseline_runs
    if threshold is None or len(runs) <= num_base:
        return None
    baseline = freeze(runs[:num_base], policy.drift)
    watch = fresh_watch(baseline)
    for run in runs[num_base:]:
        watch, values_N = watch_run(watch, run.tells, baseline)
        if values_N.max() >= threshold:
            return run.run_id, int((values_N >= threshold).argmax()) + 1
    return None


def _fold(
    history: Sequence[RunTells], detector: str, threshold: float, rules: DriftRules
) -> tuple[Epoch, bool]:
    """Return the present epoch, and whether the last run ended a change."""
    epoch, is_over = Epoch(), False
    for run in history:
        if run.detector == detector and run.num_answers:
            epoch, is_over = _after(epoch, run, threshold, rules)
    return epoch, is_over


def _threshold_nats(detector: str, policy: SweepPolicy) -> float | None:
    # the promise is for all detectors together, so each may alarm as rarely as its weight allows
    weight = policy.rule_of(detector).weight
    if not weight:
        return None
    total = math.fsum(rule.weight for rule in policy.detectors)
    return math.log(policy.drift.arl_runs * total / weight)


def _after(epoch: Epoch, run: RunTells, threshold: float, rules: DriftRules) -> tuple[Epoch, bool]:
    """Return the epoch after one more run, and whether that run ended a change."""
    epoch = replace(epoch, runs=(*epoch.runs, run))
    if epoch.baseline is None or epoch.watch is None:
        if len(epoch.runs) == rules.baseline_runs:
            baseline = freeze(epoch.runs, rules)
            epoch = replace(epoch, baseline=baseline, watch=fresh_watch(baseline))
        return epoch, False
    if epoch.alarm_at is None:
        watch, values_N = watch_run(epoch.watch, run.tells, epoch.baseline)
        alarm_at = len(epoch.runs) - 1 if values_N.max() >= threshold else None
        value = float(values_N[-1] if alarm_at is None else values_N.max())
        return replace(epoch, watch=watch, log_e_nats=value, alarm_at=alarm_at), False
    if len(epoch.runs) - 1 - epoch.alarm_at < rules.confirm_runs:
        return epoch, False
    return _concluded(epoch, epoch.baseline, epoch.alarm_at, threshold, rules), True


def _concluded(
    epoch: Epoch, baseline: Baseline, alarm_at: int, threshold: float, rules: DriftRules
) -> Epoch:
    # the returned runs of a blip would pull the onset towards the baseline
    onset = locate(epoch.runs[: alarm_at + 1], baseline.dispersion)
    kind = classify(epoch.runs, onset, rules.confirm_runs, baseline)
    if kind in (ChangeKind.STEP, ChangeKind.RAMP):
        onset = locate(epoch.runs, baseline.dispersion)
    last = epoch.last_blip_at
    if kind is ChangeKind.BLIP and last is not None and alarm_at - last <= rules.alternation_runs:
        kind = ChangeKind.ALTERNATION
    past = (*epoch.past, _finding(epoch, onset, kind, threshold))
    if kind is ChangeKind.BLIP:
        return replace(
            epoch,
            watch=fresh_watch(baseline),
            log_e_nats=0.0,
            alarm_at=None,
            last_blip_at=alarm_at,
            past=past,
        )
    fresh = epoch.runs[alarm_at + 1 :]
    opened = Epoch(number=epoch.number + 1, runs=fresh, past=past)
    if len(fresh) < rules.baseline_runs:
        return opened
    frozen = freeze(fresh, rules)
    return replace(opened, baseline=frozen, watch=fresh_watch(frozen))


def _finding(epoch: Epoch, onset: Onset, kind: ChangeKind, threshold: float) -> ChangeFinding:
    finding = ChangeFinding(
        detector=epoch.runs[0].detector,
        kind=kind,
        log_e_nats=epoch.log_e_nats,
        threshold_nats=threshold,
        epoch=epoch.number,
        since_run=epoch.runs[onset.index].run_id,
        since_low=epoch.runs[onset.low].run_id,
        since_high=epoch.runs[onset.high].run_id,
    )
    return replace(finding, statement=change_statement(finding, onset))


def _present(
    detector: str,
    epoch: Epoch,
    threshold: float,
    policy: SweepPolicy,
    runs_per_day: float | None,
) -> ChangeFinding:
    if epoch.alarm_at is not None and epoch.baseline is not None:
        onset = locate(epoch.runs[: epoch.alarm_at + 1], epoch.baseline.dispersion)
        return _finding(epoch, onset, ChangeKind.UNCONFIRMED, threshold)
    return ChangeFinding(
        detector=detector,
        kind=ChangeKind.NONE,
        log_e_nats=epoch.log_e_nats,
        threshold_nats=threshold,
        epoch=epoch.number,
        statement=quiet_statement(
            detector, len(epoch.runs), epoch.baseline, policy.drift, runs_per_day
        ),
    )


def _check(history: Sequence[RunTells]) -> None:
    seen = set()
    for run in history:
        check_tells(run)
        if (run.run_id, run.detector) in seen:
            raise InvalidRequest.of(run.run_id, f"{run.detector}: the history holds it twice")
        seen.add((run.run_id, run.detector))

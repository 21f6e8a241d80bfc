"""Histories of runs: early alarms, delays, what kind of change it was, and since when."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from audit.errors import InvalidRequest
from audit.sweep_records import ChangeFinding, ChangeKind
from audit.sweeps.drift.detector import fresh_watch, watch_run
from audit.sweeps.drift.epochs import Baseline, freeze
from audit.sweeps.drift.history import alarm_query, changes_of, trim_history
from audit.sweeps.drift.localise import locate
from audit.sweeps.drift.records import RunTells
from audit.sweeps.policy import load_sweep_policy

POLICY = load_sweep_policy()
RULES = POLICY.drift


def history_of(
    rates: list[float], *, num: int = 160, seed: int = 1, detector: str = "border-greedy/1"
) -> list[RunTells]:
    rng = np.random.default_rng(seed)
    return [
        RunTells(
            run_id=f"r{day:02d}",
            detector=detector,
            tells="".join("1" if tell else "0" for tell in rng.random(num) < rate),
            honest_tell_rate=0.02,
        )
        for day, rate in enumerate(rates)
    ]


def kinds(findings: tuple[ChangeFinding, ...]) -> list[ChangeKind]:
    return [finding.kind for finding in findings]


def test_a_quiet_history_is_no_change_and_says_what_is_tolerated() -> None:
    (found,) = changes_of(history_of([0.015] * 40), POLICY, runs_per_day=2.0)
    assert found.kind is ChangeKind.NONE
    assert found.epoch == 1
    assert found.threshold_nats == pytest.approx(math.log(1000 * 16 / 3))
    assert found.log_e_nats < found.threshold_nats
    assert "no change in 40 runs" in found.statement
    assert "a false alarm comes once in 1000 runs (500 days) at most, on average" in found.statement


def test_the_first_runs_are_the_baseline() -> None:
    (found,) = changes_of(history_of([0.02] * 3), POLICY)
    assert found.statement == "border-greedy/1: 3 of 5 runs of the baseline are in."
    assert changes_of([], POLICY) == ()
    assert changes_of(history_of([0.5] * 9, detector="preflight/1"), POLICY) == ()


def test_a_step_is_found_told_since_when_and_opens_an_epoch() -> None:
    runs = history_of([0.015] * 15 + [0.35] * 10)
    assert changes_of(runs[:15], POLICY)[-1].kind is ChangeKind.NONE
    alarmed = changes_of(runs[:16], POLICY)
    assert kinds(alarmed) == [ChangeKind.UNCONFIRMED]
    assert (alarmed[0].since_run, alarmed[0].since_low, alarmed[0].since_high) == ("r15",) * 3
    (step,) = changes_of(runs[:18], POLICY)
    assert (step.kind, step.since_run, step.epoch) == (ChangeKind.STEP, "r15", 1)
    assert step.log_e_nats >= step.threshold_nats
    assert "changed from one run to the next and stayed so, most likely since r15" in step.statement
    after = changes_of(runs, POLICY)
    assert kinds(after) == [ChangeKind.STEP, ChangeKind.NONE]
    assert [f.epoch for f in after] == [1, 2]
    assert after[0] == step


def test_a_return_to_honest_answers_is_a_change_too() -> None:
    found = changes_of(history_of([0.5] * 12 + [0.01] * 3), POLICY)
    assert kinds(found) == [ChangeKind.STEP]
    assert found[0].since_run == "r12"


def test_a_blip_returns_and_the_old_baseline_stands() -> None:
    for length in (1, 2):
        found = changes_of(history_of([0.015] * 12 + [0.4] * length + [0.015] * 8), POLICY)
        assert kinds(found) == [ChangeKind.BLIP, ChangeKind.NONE], length
        assert [f.epoch for f in found] == [1, 1]
        assert found[0].since_run == "r12"


def test_going_back_and_forth_is_an_alternation() -> None:
    every_other = changes_of(history_of([0.015] * 10 + [0.4, 0.015, 0.4]), POLICY)
    assert kinds(every_other) == [ChangeKind.ALTERNATION]
    rates = [0.015] * 10 + [0.4] + [0.015] * 4 + [0.4] + [0.015] * 2
    found = changes_of(history_of(rates), POLICY)
    assert kinds(found) == [ChangeKind.BLIP, ChangeKind.ALTERNATION]
    later = [0.015] * 10 + [0.4] + [0.015] * 14 + [0.4] + [0.015] * 2
    assert kinds(changes_of(history_of(later), POLICY)) == [ChangeKind.BLIP, ChangeKind.BLIP]


def test_a_ramp_is_told_from_a_step() -> None:
    ramp = [0.02] * 10 + [0.02 + 0.02 * k for k in range(1, 21)]
    called = [changes_of(history_of(ramp, num=240, seed=s), POLICY)[0].kind for s in range(20)]
    assert called.count(ChangeKind.RAMP) >= 15
    step = [0.02] * 10 + [0.15] * 13
    called = [changes_of(history_of(step, num=240, seed=s), POLICY)[0].kind for s in range(20)]
    assert called.count(ChangeKind.STEP) >= 18


def test_the_interval_of_the_onset_holds_as_often_as_it_says() -> None:
    num_held = 0
    for seed in range(100):
        runs = history_of([0.05] * 12 + [0.16] * 8, num=60, seed=seed)
        onset = locate(runs, 1.0)
        num_held += onset.low <= 12 <= onset.high
    assert num_held >= stats.binom.ppf(0.01, 100, 0.95)
    assert locate(runs, 1.0) == locate(runs, 1.0)
    wide = locate(runs, 4.0)
    assert wide.low <= onset.low <= onset.high <= wide.high


def stepped(seed: int, num_days: int) -> list[RunTells]:
    """Return days of 200 answers whose honest rates spread by themselves, swapped on day 16."""
    rng = np.random.default_rng(seed)
    rates = np.clip(rng.gamma(4.0, 0.065 / 4.0, num_days), 0.02, 0.165)
    rates[9] = 0.165
    rates[16:] = 0.985
    return history_of(rates.tolist(), num=200, seed=seed, detector="one-token-cells/1")


def test_a_swap_is_found_within_twenty_requests_and_no_day_alarms_early() -> None:
    delays = []
    for seed in range(30):
        alarm = alarm_query(stepped(seed, 20), POLICY)
        assert alarm is not None
        assert alarm[0] == "r16"
        delays.append(alarm[1])
    assert max(delays) <= 20
    assert np.median(delays) <= 14


def test_an_alarm_query_needs_a_baseline_and_a_say() -> None:
    assert alarm_query([], POLICY) is None
    assert alarm_query(history_of([0.5] * 5), POLICY) is None
    assert alarm_query(history_of([0.015] * 9), POLICY) is None
    assert alarm_query(history_of([0.1] * 5 + [1.0], detector="preflight/1"), POLICY) is None


def test_runs_to_a_false_alarm_are_as_many_as_promised_at_the_tolerated_rate() -> None:
    rng = np.random.default_rng(3)
    baseline = Baseline(rate=0.02, high=0.1, low=0.01, dispersion=1.0)
    promise, alarms = 40, []
    for _ in range(150):
        watch, run = fresh_watch(baseline), 0
        while run < 20 * promise:
            run += 1
            tells = "".join("1" if tell else "0" for tell in rng.random(10) < baseline.high)
            watch, values_N = watch_run(watch, tells, baseline)
            if values_N.max() >= math.log(promise):
                break
        alarms.append(run)
    # the mean is at least the promise; its 1 % lower limit is what a test may ask for
    spread = np.std(alarms) / math.sqrt(len(alarms))
    assert np.mean(alarms) + 2.33 * spread >= promise


def test_the_detector_is_the_sum_of_evidence_since_each_run() -> None:
    runs = [run.tells for run in history_of([0.1, 0.3, 0.2], num=12)]
    baseline = Baseline(rate=0.05, high=0.15, low=0.02, dispersion=1.0)
    watch = fresh_watch(baseline)
    for number, tells in enumerate(runs):
        watch, values_N = watch_run(watch, tells, baseline)
        for look in range(len(tells)):
            total = 0.0
            for start in range(number + 1):
                alone, seen = fresh_watch(baseline), np.zeros(1)
                parts = [*runs[start:number], tells[: look + 1]]
                joined = "".join(parts)
                _, seen = watch_run(alone, joined, baseline)
                total += math.exp(seen[-1])
            assert values_N[look] == pytest.approx(math.log(total))


def test_baselines_tolerate_what_days_differ_by() -> None:
    runs = history_of([0.05] * 5, num=200)
    frozen = freeze(runs, RULES)
    odds = frozen.rate / (1 - frozen.rate)
    assert frozen.high / (1 - frozen.high) > RULES.tolerance_ratio * odds
    assert frozen.low is not None
    assert frozen.low / (1 - frozen.low) < odds / RULES.tolerance_ratio
    silent = freeze(history_of([0.0] * 5), RULES)
    assert (silent.rate, silent.high, silent.low) == (0.0, 0.02, None)
    bound = freeze([replace(run, honest_tell_rate=0.4) for run in runs], RULES)
    assert bound.high == 0.4
    full = freeze(history_of([1.0] * 5), RULES)
    assert full.high < 1.0
    assert freeze(history_of([0.02, 0.3, 0.02, 0.3], num=200), RULES).dispersion > 10


def test_a_late_change_in_a_long_history_is_told_in_little_time() -> None:
    found = changes_of(history_of([0.015] * 1500 + [0.35] * 3), POLICY)
    assert kinds(found) == [ChangeKind.STEP]
    assert found[0].since_run == "r1500"


def test_runs_without_answers_are_left_out() -> None:
    runs = history_of([0.015] * 15 + [0.35] * 10)
    empty = [replace(run, run_id=f"e{k}", tells="") for k, run in enumerate(runs)]
    mixed = [run for pair in zip(runs, empty, strict=True) for run in pair]
    assert changes_of(mixed, POLICY) == changes_of(runs, POLICY)


def test_a_trimmed_history_keeps_its_baseline() -> None:
    # so slow a rise would be lost on a baseline that moves along
    runs = history_of([0.02] * 10 + [0.02 + 0.0005 * k for k in range(50)])
    assert trim_history(runs, POLICY, 60) == tuple(runs)
    kept = trim_history(runs, POLICY, 20)
    assert [run.run_id for run in kept[:5]] == [run.run_id for run in runs[:5]]
    assert kept[5:] == tuple(runs[-20:])
    assert changes_of(kept, POLICY)[-1].kind is changes_of(runs, POLICY)[-1].kind
    stepped_runs = history_of([0.015] * 15 + [0.35] * 40)
    kept = trim_history(stepped_runs, POLICY, 20)
    assert kept == (*stepped_runs[16:21], *stepped_runs[-20:])
    assert kinds(changes_of(kept, POLICY)) == [ChangeKind.NONE]
    unheard = history_of([0.1] * 9, detector="preflight/1")
    assert trim_history(unheard, POLICY, 4) == tuple(unheard[-4:])


def test_detectors_are_told_apart_within_one_history() -> None:
    first = history_of([0.015] * 20)
    second = history_of([0.015] * 10 + [0.5] * 10, detector="replay/1")
    mixed = [run for pair in zip(first, second, strict=True) for run in pair]
    found = changes_of(mixed, POLICY)
    assert [(f.detector, f.kind) for f in found] == [
        ("border-greedy/1", ChangeKind.NONE),
        ("replay/1", ChangeKind.STEP),
        ("replay/1", ChangeKind.NONE),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tells": "012"}, "r01: border-greedy/1: tells must be a text of 0 and 1"),
        ({"honest_tell_rate": math.nan}, r"the honest rate must lie in \[0, 1\)"),
        ({"run_id": "r00"}, "r00: border-greedy/1: the history holds it twice"),
        ({"detector": "nobody/1"}, "'nobody/1' is not known"),
    ],
    ids=range(4),
)
def test_histories_that_make_no_sense_are_refused(change: dict[str, object], says: str) -> None:
    runs = history_of([0.02] * 2)
    bad = replace(runs[1], **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=says):
        changes_of([runs[0], bad], POLICY)

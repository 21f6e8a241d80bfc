"""A sweep of many runs with every outcome, to see pages on which something happens."""

import math
import random
from dataclasses import replace

from audit.billing_records import Money
from audit.sweep_records import (
    Candidate,
    ChangeFinding,
    ChangeKind,
    EndpointFinding,
    EndpointRole,
    Misconfiguration,
    Reading,
    ReadingStatus,
    Spending,
    SweepOutcome,
    SweepResult,
    Visible,
)
from audit.sweeps.commitment import commitment_of
from audit.sweeps.policy import load_sweep_policy
from tests.unit.sweeps.wire_examples import a_result

POLICY = load_sweep_policy()
DETECTORS = ("border-greedy/1", "logprob-kl/1", "conformal-rank/1", "text-mmd/1")
HOSTILE = "<script>alert(1)</script>\x1b[2J\u202egnp.$x_1$\"'&日本"

OUTCOMES = (
    *(SweepOutcome.CONSISTENT, SweepOutcome.UNINFORMATIVE, SweepOutcome.INCONSISTENT),
    *(SweepOutcome.POLICY_DIFFERENT, SweepOutcome.MISCONFIGURED, SweepOutcome.CHANGED),
    SweepOutcome.NOT_APPLICABLE,
)


def a_reading(detector: str, rate: float, seed: str, num: int = 60) -> Reading:
    """Return a reading whose signs come at a rate, with the evidence that they are worth."""
    draws = random.Random(f"{detector} {seed}")  # noqa: S311
    tells = "".join("1" if draws.random() < rate else "0" for _ in range(num))
    log_e, total = [], 0.0
    for tell in tells:
        total += math.log(0.3 / 0.02) if tell == "1" else math.log(0.7 / 0.98)
        log_e.append(total)
    return Reading(
        detector=detector,
        tier=1,
        status=ReadingStatus.READ,
        log_e_nats_N=tuple(log_e),
        tells=tells,
        honest_tell_rate=0.02,
        num_sent=num + 2,
        num_used=num,
        statistics=(("tell_rate:int4-g32", 0.3), ("mean", math.nan)),
        candidates=(Candidate(name="int4-g32", log_likelihood_nats=-3.0),),
        visible=Visible(
            power=0.9,
            smallest_share=0.25,
            needed=(("int4-g32", 16), ("int8-g32", 4_000)),
            statement="A quarter of diverted requests would mostly have been seen.",
        ),
    )


def a_finding(
    endpoint: str,
    outcome: SweepOutcome,
    run: int,
    *,
    role: EndpointRole = EndpointRole.TARGET,
    detectors: tuple[str, ...] = DETECTORS,
    num: int = 60,
) -> EndpointFinding:
    """Return what a run says about an endpoint."""
    is_found = outcome in (SweepOutcome.INCONSISTENT, SweepOutcome.POLICY_DIFFERENT)
    readings = tuple(
        a_reading(name, 0.3 if is_found else 0.01, f"{endpoint} {run}", num) for name in detectors
    )
    preflight = Reading(
        detector="preflight/1",
        tier=0,
        status=ReadingStatus.READ,
        num_sent=32,
        num_used=32,
        misconfigurations=(
            Misconfiguration(check="max_tokens", is_decisive=True, detail="4 asked for, 9 came."),
        )
        if outcome is SweepOutcome.MISCONFIGURED
        else (),
    )
    change = ChangeFinding(
        detector=detectors[0],
        kind=ChangeKind.STEP if outcome is SweepOutcome.CHANGED else ChangeKind.NONE,
        log_e_nats=run % 7 - 3.0,
        threshold_nats=6.9,
        epoch=1,
        since_run=f"run-{run - 4}" if outcome is SweepOutcome.CHANGED else None,
        since_low=f"run-{run - 6}",
        since_high=f"run-{run - 2}",
        statement="The endpoint changed from one run to the next and stayed so.",
    )
    return EndpointFinding(
        endpoint=endpoint,
        role=role,
        outcome=outcome,
        statement=f"In words: {outcome.value.replace('_', ' ')}.",
        readings=(preflight, *readings),
        log_e_nats=max(reading.log_e_nats_N[-1] for reading in readings),
        threshold_nats=4.89,
        decided_after=41 if is_found else None,
        share_low=0.31 if is_found else 0.0,
        share_high=1.0 if is_found else 0.04,
        is_discovery=is_found,
        explanation="int4-g32" if is_found else None,
        changes=(change,),
        spending=Spending(
            num_requests=280,
            num_answered=272,
            prompt_tokens=12_000,
            output_tokens=396,
            cost=Money(amount="0.0021", currency="USD"),
        ),
    )


def a_run(number: int, findings: tuple[EndpointFinding, ...], **changes: object) -> SweepResult:
    """Return a run of the day with this number, its commitment opened as it must be."""
    result = a_result(
        f"run-{number}",
        "sweep-1",
        slot_at=f"2026-{1 + number // 28:02}-{1 + number % 28:02}T12:00:00.000000Z",
        statement="4 endpoints: 1 inconsistent, 3 other.",
        findings=findings,
        policy_id=POLICY.policy_id,
    )
    assert result.opening is not None
    return replace(
        replace(result, commitment=commitment_of(result.opening)),
        **changes,  # type: ignore[arg-type]
    )


def many_runs(
    num_runs: int,
    names: tuple[str, ...] = ("host-a", "host-b", "host-c", "host-d"),
    *,
    num: int = 60,
    detectors: tuple[str, ...] = DETECTORS,
) -> list[SweepResult]:
    """Return runs with changing outcomes; every ninth void, every tenth not performed."""
    return [
        _run(number, names, num=num, detectors=detectors, is_last=number == num_runs - 1)
        for number in range(num_runs)
    ]


def _run(
    number: int, names: tuple[str, ...], *, num: int, detectors: tuple[str, ...], is_last: bool
) -> SweepResult:
    if number % 10 == 7 and not is_last:
        return a_run(
            number,
            (),
            outcome=SweepOutcome.NOT_PERFORMED,
            statement="No scheduler was there in time.",
            commitment=None,
            opening=None,
        )
    is_void = number % 9 == 5 and not is_last
    findings = tuple(
        a_finding(
            name,
            SweepOutcome.VOID if is_void else OUTCOMES[(k * 2 + number // 20) % len(OUTCOMES)],
            number,
            num=num,
            detectors=detectors,
        )
        for k, name in enumerate(names)
    )
    controls = (
        a_finding(
            "local",
            SweepOutcome.MISCONFIGURED if is_void else SweepOutcome.CONSISTENT,
            number,
            role=EndpointRole.NEGATIVE_CONTROL,
            num=num,
            detectors=detectors,
        ),
        a_finding(
            "copy",
            SweepOutcome.INCONSISTENT,
            number,
            role=EndpointRole.POSITIVE_CONTROL,
            num=num,
            detectors=detectors,
        ),
    )
    outcome = SweepOutcome.VOID if is_void else SweepOutcome.INCONSISTENT
    return a_run(number, (*findings, *controls), outcome=outcome)


def poisoned(finding: EndpointFinding) -> EndpointFinding:
    readings = tuple(
        replace(
            reading,
            reason=HOSTILE,
            statistics=((HOSTILE, 1.0),),
            notes=(HOSTILE,),
            misconfigurations=(Misconfiguration(check=HOSTILE, is_decisive=True, detail=HOSTILE),),
            candidates=tuple(replace(c, name=HOSTILE) for c in reading.candidates),
        )
        for reading in finding.readings
    )
    return replace(
        finding,
        endpoint=HOSTILE,
        statement=HOSTILE,
        explanation=HOSTILE,
        readings=readings,
        changes=tuple(replace(c, statement=HOSTILE, since_run=HOSTILE) for c in finding.changes),
    )


def hostile_runs() -> list[SweepResult]:
    return [
        a_run(
            k,
            (poisoned(a_finding("x", SweepOutcome.INCONSISTENT, k)),),
            run_id=f"{k}{HOSTILE}",
            statement=HOSTILE,
            recording_digest=HOSTILE,
        )
        for k in range(3)
    ]

"""Findings of a whole run: discoveries among its targets, and controls that make it void."""

import pytest

from audit.errors import InvalidRequest
from audit.sweep_records import (
    EndpointFinding,
    EndpointRole,
    Reading,
    ReadingStatus,
    SweepOutcome,
)
from audit.sweeps.decide.discovery import decide_run, discovery_level_nats
from audit.sweeps.policy import load_sweep_policy

POLICY = load_sweep_policy()
USED = Reading(detector="replay/1", tier=1, status=ReadingStatus.READ, num_sent=5, num_used=5)


def finding(
    name: str,
    outcome: SweepOutcome = SweepOutcome.CONSISTENT,
    log_e: float = 0.0,
    role: EndpointRole = EndpointRole.TARGET,
    readings: tuple[Reading, ...] = (USED,),
) -> EndpointFinding:
    return EndpointFinding(
        endpoint=name,
        role=role,
        outcome=outcome,
        statement=name,
        log_e_nats=log_e,
        readings=readings,
    )


GOOD = finding("own", role=EndpointRole.NEGATIVE_CONTROL)
COPY = finding("copy", SweepOutcome.INCONSISTENT, 9.0, EndpointRole.POSITIVE_CONTROL)


def test_the_gravest_target_speaks_for_the_run_and_discoveries_are_marked() -> None:
    targets = [
        finding("a"),
        finding("b", SweepOutcome.INCONSISTENT, 9.0),
        finding("c", SweepOutcome.POLICY_DIFFERENT, 5.0),
        finding("d", SweepOutcome.UNINFORMATIVE, 1.0),
    ]
    outcome, statement, marked = decide_run([*targets, GOOD, COPY], POLICY)
    assert outcome is SweepOutcome.INCONSISTENT
    assert [f.endpoint for f in marked if f.is_discovery] == ["b", "c"]
    assert "4 endpoints: 1 inconsistent, 1 policy different, 1 uninformative, 1 consistent." in (
        statement
    )
    assert "Discoveries at a false discovery rate of 5%: b, c." in statement
    assert marked[0] == targets[0]


def test_evidence_that_is_explained_away_is_no_discovery() -> None:
    targets = [finding("a", SweepOutcome.MISCONFIGURED, 30.0), finding("b", log_e=4.0)]
    outcome, statement, marked = decide_run([*targets, GOOD], POLICY)
    assert outcome is SweepOutcome.MISCONFIGURED
    assert not any(f.is_discovery for f in marked)
    assert "Discoveries" not in statement


def test_among_many_targets_a_discovery_takes_more_than_an_accusation() -> None:
    many = [finding(f"t{k}") for k in range(99)]
    _, _, marked = decide_run([finding("x", SweepOutcome.INCONSISTENT, 5.0), *many, GOOD], POLICY)
    assert not marked[0].is_discovery
    level = discovery_level_nats(POLICY, 1, 100)
    assert level > POLICY.log_threshold_nats(1)
    assert discovery_level_nats(POLICY, 1, 3) == POLICY.log_threshold_nats(1)
    _, _, marked = decide_run([finding("x", SweepOutcome.INCONSISTENT, level), *many, GOOD], POLICY)
    assert marked[0].is_discovery


@pytest.mark.parametrize(
    ("control", "says"),
    [
        (
            finding("own", SweepOutcome.INCONSISTENT, 9.0, EndpointRole.NEGATIVE_CONTROL),
            "ended inconsistent",
        ),
        (
            finding("own", SweepOutcome.MISCONFIGURED, 0.0, EndpointRole.NEGATIVE_CONTROL),
            "ended misconfigured",
        ),
        (
            finding("own", SweepOutcome.NOT_APPLICABLE, 0.0, EndpointRole.NEGATIVE_CONTROL),
            "ended not applicable",
        ),
        (finding("own", role=EndpointRole.NEGATIVE_CONTROL, readings=()), "gave no usable answer"),
        (finding("copy", role=EndpointRole.POSITIVE_CONTROL), "was not found (consistent)"),
        (
            finding("copy", SweepOutcome.UNINFORMATIVE, 0.0, EndpointRole.POSITIVE_CONTROL),
            "(uninformative)",
        ),
    ],
    ids=range(6),
)
def test_a_control_that_misbehaves_voids_the_run(control: EndpointFinding, says: str) -> None:
    target = finding("t", SweepOutcome.INCONSISTENT, 50.0)
    outcome, statement, marked = decide_run([target, control], POLICY)
    assert outcome is SweepOutcome.VOID
    assert says in statement
    assert marked[0].outcome is SweepOutcome.VOID
    assert not marked[0].is_discovery
    assert marked[0].readings == target.readings
    assert marked[1] == control


def test_a_run_without_controls_says_so() -> None:
    outcome, statement, _ = decide_run([finding("t")], POLICY)
    assert outcome is SweepOutcome.CONSISTENT
    assert statement == (
        "1 endpoint: 1 consistent. No control was asked along, so the sweep itself was not checked."
    )


def test_runs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="findings: name an endpoint twice"):
        decide_run([finding("t"), finding("t")], POLICY)
    with pytest.raises(InvalidRequest, match="endpoints: hold no target"):
        decide_run([GOOD], POLICY)

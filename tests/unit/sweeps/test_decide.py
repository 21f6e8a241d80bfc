"""Findings of one run: evidence put together, outcomes in their order, bounds, and stopping."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from audit.errors import InvalidRequest
from audit.judge.betting import log_bets
from audit.sweep_records import (
    Candidate,
    ChangeFinding,
    ChangeKind,
    Endpoint,
    Misconfiguration,
    Reading,
    ReadingStatus,
    SweepOutcome,
    Visible,
)
from audit.sweeps.decide.combine import combine, own_threshold_nats, taking_part, weight_shares
from audit.sweeps.decide.explain import UNKNOWN, explanation_of, sights_of
from audit.sweeps.decide.share import share_bounds
from audit.sweeps.decide.sticky import sticky_evidence
from audit.sweeps.decide.verdict import StopReason, decide_endpoint, should_stop
from audit.sweeps.policy import OverRuns, load_sweep_policy

#: Content to have seen 4-bit copies; the bundled policy asks for more.
POLICY = replace(load_sweep_policy(), must_see=("int4-g32",), max_blind_share=0.5)
ENDPOINT = Endpoint(name="shop", base_url="http://127.0.0.1:1/v1", model="m")
THRESHOLD = POLICY.log_threshold_nats(1)

SEES_INT4 = Visible(power=0.9, smallest_share=0.3, needed=(("int4-g32", 20), ("fp8-e4m3", 900)))


def reading(
    detector: str = "border-greedy/1",
    tells: str = "",
    honest: float = 0.02,
    **members: object,
) -> Reading:
    values = np.array([float(tell) for tell in tells])
    made = Reading(
        detector=detector,
        tier=1,
        status=ReadingStatus.READ,
        log_e_nats_N=tuple(log_bets(values, honest).tolist()) if tells else (),
        tells=tells,
        honest_tell_rate=honest,
        num_sent=len(tells),
        num_used=len(tells),
    )
    return replace(made, **members)  # type: ignore[arg-type]


def steps(detector: str, *log_e: float, num_sent: int | None = None) -> Reading:
    return Reading(
        detector=detector,
        tier=1,
        status=ReadingStatus.READ,
        log_e_nats_N=log_e,
        num_sent=len(log_e) if num_sent is None else num_sent,
        num_used=len(log_e),
    )


def test_one_detector_alone_is_its_own_evidence() -> None:
    found = combine([steps("replay/1", 1.0, 2.0, 0.5)], POLICY)
    assert found.log_e_nats_T == pytest.approx((0.0, 1.0, 2.0, 0.5))
    assert found.first_at(1.5) == 2
    assert found.first_at(3.0) is None
    assert found.stopped_at(1.5) == pytest.approx(2.0)
    assert found.stopped_at(3.0) == pytest.approx(0.5)


def test_evidence_is_the_weighted_mean_at_each_request() -> None:
    readings = [steps("border-greedy/1", 2.0, 4.0), steps("text-mmd/1", 1.0)]
    taken_in_turn = combine(readings, POLICY).log_e_nats_T
    means = [
        1.0,
        (3 * math.e**2 + 1) / 4,
        (3 * math.e**2 + math.e) / 4,
        (3 * math.e**4 + math.e) / 4,
    ]
    assert taken_in_turn == pytest.approx([math.log(x) for x in means])
    asked = ("text-mmd/1", "border-greedy/1", "preflight/1", "border-greedy/1")
    as_sent = combine(readings, POLICY, asked).log_e_nats_T
    means = [1.0, (3 + math.e) / 4, (3 * math.e**2 + math.e) / 4]
    assert as_sent[:3] == pytest.approx([math.log(x) for x in means])
    assert as_sent[2] == as_sent[3]
    assert as_sent[-1] == taken_in_turn[-1]


def test_unusable_answers_delay_evidence_and_add_none() -> None:
    found = combine([steps("replay/1", 1.0, 3.0, num_sent=4)], POLICY)
    assert found.log_e_nats_T == pytest.approx((0.0, 0.0, 0.0, 1.0, 3.0))
    # a request that was planned and not sent is one without a usable answer
    late = combine([steps("replay/1", 1.0, 3.0, num_sent=4)], POLICY, ("replay/1",) * 5)
    assert late.log_e_nats_T == pytest.approx((0.0, 0.0, 0.0, 0.0, 1.0, 3.0))


def test_who_reads_others_answers_counts_at_the_last_look_only() -> None:
    heavy = replace(POLICY.rule_of("text-classifier/1"), weight=1.0)
    policy = replace(POLICY, detectors=(*POLICY.detectors[:-1], heavy))
    asking = steps("text-mmd/1", 0.0, 0.0)
    readings = [asking, steps("text-classifier/1", 5.0, 9.0, num_sent=0)]
    found = combine(readings, policy).log_e_nats_T
    assert found == pytest.approx((math.log(0.5), math.log(0.5), math.log((1 + math.e**9) / 2)))
    assert decide_endpoint(ENDPOINT, readings, policy, 1).decided_after == 2
    # while the run goes on they are held back, and their weight is set aside
    assert should_stop(readings, policy, 1) is None
    for seen in (readings, [asking]):
        before = combine(seen, policy, is_over=False).log_e_nats_T
        assert before == pytest.approx((math.log(0.5),) * 3)
    assert set(combine([asking], policy).log_e_nats_T) == {0.0}


def test_who_takes_part_is_settled_before_the_answers() -> None:
    readings = [
        steps("replay/1", 1.0),
        replace(steps("text-mmd/1", 50.0), status=ReadingStatus.UNCALIBRATED),
        replace(steps("logprob-kl/1"), status=ReadingStatus.NOT_APPLICABLE),
        replace(steps("conformal-rank/1", num_sent=3), status=ReadingStatus.NOT_APPLICABLE),
        replace(steps("candidate-ratio/1", num_sent=3), status=ReadingStatus.TOO_LITTLE),
        steps("preflight/1", 90.0),
    ]
    names = [r.detector for r in taking_part(readings, POLICY)]
    assert names == ["replay/1", "conformal-rank/1", "candidate-ratio/1"]
    assert weight_shares(readings, POLICY) == {
        "replay/1": 0.5,
        "conformal-rank/1": 0.25,
        "candidate-ratio/1": 0.25,
    }
    assert combine(readings, POLICY).log_e_nats_T[-1] == pytest.approx(math.log((math.e + 1) / 2))
    assert set(combine([readings[1]], POLICY).log_e_nats_T) == {0.0}


def test_a_detectors_own_threshold_grows_with_its_company() -> None:
    alone = own_threshold_nats("text-mmd/1", ["text-mmd/1"], POLICY, 1)
    assert alone == pytest.approx(THRESHOLD)
    both = own_threshold_nats("text-mmd/1", ["text-mmd/1", "border-greedy/1"], POLICY, 1)
    assert both == pytest.approx(THRESHOLD + math.log(4))
    with pytest.raises(InvalidRequest, match="preflight/1 takes no part"):
        own_threshold_nats("preflight/1", ["preflight/1"], POLICY, 1)


@pytest.mark.parametrize(
    ("readings", "order", "says"),
    [
        ([steps("replay/1", 1.0), steps("replay/1", 2.0)], (), "two readings of one detector"),
        ([steps("replay/1", math.nan)], (), "replay/1: has evidence that is not a number"),
        ([steps("replay/1", 1.0, 2.0, num_sent=1)], (), "evidence for answers that nobody gave"),
        ([steps("replay/1", 1.0, 2.0)], ("replay/1",), "names replay/1 1 times, which used 2"),
        ([steps("nobody/1", 1.0)], (), "'nobody/1' is not known"),
    ],
    ids=range(5),
)
def test_readings_that_do_not_fit_are_refused(
    readings: list[Reading], order: tuple[str, ...], says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says):
        combine(readings, POLICY, order)


def test_honest_endpoints_at_the_bound_are_accused_no_more_often_than_promised() -> None:
    rng = np.random.default_rng(5)
    laws = {"border-greedy/1": 0.02, "replay/1": 0.1, "text-mmd/1": 0.4}
    num_accused = 0
    for _ in range(600):
        tells = {d: "".join(map(str, (rng.random(60) < h).astype(int))) for d, h in laws.items()}
        readings = [reading(d, tells[d], h) for d, h in laws.items()]
        num_accused += combine(readings, POLICY).first_at(THRESHOLD) is not None
    assert num_accused <= stats.binom.ppf(0.99, 600, POLICY.test_rate(1))


def test_enough_evidence_is_inconsistent_and_says_after_how_many_requests() -> None:
    found = decide_endpoint(ENDPOINT, [reading(tells="1" * 8)], POLICY, 1)
    assert found.outcome is SweepOutcome.INCONSISTENT
    assert found.decided_after == 3
    assert found.log_e_nats >= found.threshold_nats == THRESHOLD
    assert found.share_low > 0.3
    assert found.explanation == UNKNOWN
    assert "After 3 requests the answers were inconsistent with the claim" in found.statement
    assert "None of the candidates tried stands out" in found.statement


def test_evidence_that_was_reached_stays_reached() -> None:
    found = decide_endpoint(ENDPOINT, [reading(tells="111" + "0" * 200)], POLICY, 1)
    assert found.readings[0].log_e_nats_N[-1] < THRESHOLD
    assert found.outcome is SweepOutcome.INCONSISTENT
    assert found.log_e_nats >= THRESHOLD


def test_evidence_of_zero_is_reported_as_a_number() -> None:
    lost = decide_endpoint(ENDPOINT, [steps("replay/1", 0.0, -math.inf)], POLICY, 1)
    assert lost.log_e_nats == -700.0


def test_the_threshold_rises_where_the_promise_is_for_all_runs() -> None:
    ever = replace(POLICY, over_runs=OverRuns.ALL_RUNS)
    readings = [reading(tells="111")]
    assert decide_endpoint(ENDPOINT, readings, ever, 1).outcome is SweepOutcome.INCONSISTENT
    later = decide_endpoint(ENDPOINT, readings, ever, 365)
    assert later.outcome is SweepOutcome.UNINFORMATIVE
    assert later.threshold_nats == pytest.approx(THRESHOLD + math.log(365**2 * math.pi**2 / 6))


def test_an_explanation_is_named_only_by_a_margin() -> None:
    def scored(int4: float, sibling: float, honest: float = -50.0) -> Reading:
        candidates = {"honest": honest, "int4-g32": int4, "sibling": sibling}
        return reading(
            tells="1" * 8,
            candidates=tuple(
                Candidate(name=name, log_likelihood_nats=x) for name, x in candidates.items()
            ),
        )

    assert explanation_of([scored(-10.0, -14.0)], POLICY) == "int4-g32"
    assert explanation_of([scored(-10.0, -12.0)], POLICY) == UNKNOWN
    assert explanation_of([scored(-10.0, -14.0, honest=-1.0)], POLICY) == UNKNOWN
    assert explanation_of([], POLICY) == UNKNOWN
    other = replace(scored(-20.0, -11.0), detector="replay/1")
    assert explanation_of([scored(-10.0, -14.0), other], POLICY) == "sibling"
    apart = replace(other, candidates=(Candidate(name="x", log_likelihood_nats=0.0),) * 2)
    assert explanation_of([scored(-10.0, -14.0), apart], POLICY) == "int4-g32"
    found = decide_endpoint(ENDPOINT, [scored(-10.0, -14.0)], POLICY, 1)
    assert "Of the candidates tried, int4-g32 fits best." in found.statement


def test_a_copy_that_is_honest_elsewhere_is_policy_different() -> None:
    candidates = (
        Candidate(name="honest", log_likelihood_nats=-90.0),
        Candidate(name="fp8-e4m3", log_likelihood_nats=-5.0),
    )
    readings = [reading(tells="1" * 8, candidates=candidates)]
    found = decide_endpoint(ENDPOINT, readings, POLICY, 1)
    assert found.outcome is SweepOutcome.POLICY_DIFFERENT
    assert "honest where it is stated and which the claim excludes" in found.statement
    strict = replace(POLICY, excluded_variants=())
    assert decide_endpoint(ENDPOINT, readings, strict, 1).outcome is SweepOutcome.INCONSISTENT


def preflight(check: str, *, is_decisive: bool) -> Reading:
    cause = Misconfiguration(check=check, is_decisive=is_decisive, detail=f"{check}: mend it.")
    return replace(steps("preflight/1"), misconfigurations=(cause,))


def test_a_decisive_cause_comes_before_any_accusation() -> None:
    accused = reading(tells="1" * 8)
    found = decide_endpoint(ENDPOINT, [preflight("template", is_decisive=True), accused], POLICY, 1)
    assert found.outcome is SweepOutcome.MISCONFIGURED
    assert "template: mend it." in found.statement
    assert "not held against the endpoint" in found.statement
    found = decide_endpoint(ENDPOINT, [preflight("usage", is_decisive=False), accused], POLICY, 1)
    assert found.outcome is SweepOutcome.INCONSISTENT
    assert "Reported only: usage: mend it." in found.statement


def test_other_causes_count_where_nothing_else_was_found_unless_they_only_inform() -> None:
    quiet = reading(tells="0" * 160, visible=SEES_INT4)
    usage = preflight("usage", is_decisive=False)
    assert (
        decide_endpoint(ENDPOINT, [usage, quiet], POLICY, 1).outcome is SweepOutcome.MISCONFIGURED
    )
    identity = preflight("identity", is_decisive=False)
    found = decide_endpoint(ENDPOINT, [identity, quiet], POLICY, 1)
    assert found.outcome is SweepOutcome.CONSISTENT
    assert "Reported only: identity: mend it." in found.statement


def test_no_evidence_is_consistent_only_where_the_attacks_could_have_been_seen() -> None:
    quiet = reading(tells="0" * 60)
    blind = decide_endpoint(ENDPOINT, [quiet], POLICY, 1)
    assert blind.outcome is SweepOutcome.UNINFORMATIVE
    assert "No detector could tell what finding int4-g32 would take." in blind.statement
    sees = replace(quiet, visible=SEES_INT4)
    found = decide_endpoint(ENDPOINT, [sees], POLICY, 1)
    assert found.outcome is SweepOutcome.CONSISTENT
    assert (
        "Would have been found in 90% of runs, had it answered every request: int4-g32."
        in found.statement
    )
    assert "fp8-e4m3 would have taken 900 requests of border-greedy/1; 60 were answered" in (
        found.statement
    )
    few = replace(sees, num_used=19)
    assert decide_endpoint(ENDPOINT, [few], POLICY, 1).outcome is SweepOutcome.UNINFORMATIVE
    coarse = replace(sees, visible=replace(SEES_INT4, smallest_share=0.8))
    assert decide_endpoint(ENDPOINT, [coarse], POLICY, 1).outcome is SweepOutcome.UNINFORMATIVE
    anything = replace(POLICY, must_see=())
    assert decide_endpoint(ENDPOINT, [sees], anything, 1).outcome is SweepOutcome.CONSISTENT
    assert decide_endpoint(ENDPOINT, [few], anything, 1).outcome is SweepOutcome.UNINFORMATIVE


def test_what_cannot_be_asked_is_not_applicable_and_what_is_not_measured_is_no_pass() -> None:
    none = replace(
        steps("logprob-kl/1"), status=ReadingStatus.NOT_APPLICABLE, reason="No logprobs."
    )
    found = decide_endpoint(ENDPOINT, [none], POLICY, 1)
    assert found.outcome is SweepOutcome.NOT_APPLICABLE
    assert found.statement.endswith("No logprobs.")
    unmeasured = replace(
        steps("replay/1"), status=ReadingStatus.UNCALIBRATED, reason="Never measured."
    )
    found = decide_endpoint(ENDPOINT, [none, unmeasured], POLICY, 1)
    assert found.outcome is SweepOutcome.UNINFORMATIVE
    assert "replay/1: Never measured." in found.statement
    assert (found.log_e_nats, found.share_low, found.share_high) == (0.0, 0.0, 1.0)


def test_a_present_change_is_told_and_a_past_one_is_not() -> None:
    quiet = reading(tells="0" * 60, visible=SEES_INT4)
    step = ChangeFinding(
        detector="replay/1",
        kind=ChangeKind.STEP,
        log_e_nats=9.0,
        threshold_nats=8.0,
        epoch=1,
        statement="It changed.",
    )
    over = replace(step, kind=ChangeKind.NONE, epoch=2, statement="Quiet.")
    found = decide_endpoint(ENDPOINT, [quiet], POLICY, 1, changes=[step])
    assert (found.outcome, found.statement) == (SweepOutcome.CHANGED, "It changed.")
    found = decide_endpoint(ENDPOINT, [quiet], POLICY, 1, changes=[step, over])
    assert found.outcome is SweepOutcome.CONSISTENT
    assert len(found.changes) == 2
    blip = replace(step, kind=ChangeKind.BLIP)
    found = decide_endpoint(ENDPOINT, [quiet], POLICY, 1, changes=[blip])
    assert found.outcome is SweepOutcome.CONSISTENT


def test_asking_stops_at_the_decision_and_when_it_is_futile() -> None:
    assert should_stop([reading(tells="1" * 8)], POLICY, 1) is StopReason.DECIDED
    assert should_stop([reading(tells="1")], POLICY, 1) is None
    # twenty targets need more evidence for a discovery than one needs for an accusation
    assert should_stop([reading(tells="111")], POLICY, 1) is StopReason.DECIDED
    assert should_stop([reading(tells="111")], POLICY, 1, num_targets=2000) is None
    law = (("tell_rate:int4-g32", 0.5),)
    long = reading(tells="0" * 400, visible=SEES_INT4, statistics=law)
    assert should_stop([long], POLICY, 1) is StopReason.FUTILE
    assert should_stop([replace(long, visible=None)], POLICY, 1) is None
    found = decide_endpoint(ENDPOINT, [long], POLICY, 1)
    assert found.outcome is SweepOutcome.CONSISTENT
    assert found.share_high < POLICY.min_share
    assert "differs from the claim like int4-g32 or more answered fewer than" in found.statement
    with pytest.raises(InvalidRequest, match="num_targets: must count the endpoints"):
        decide_endpoint(ENDPOINT, [long], POLICY, 1, num_targets=0)


def test_share_bounds_hold_at_every_look() -> None:
    rng = np.random.default_rng(7)
    num_wrong, num = 0, 80
    for _ in range(num):
        tells = "".join(map(str, (rng.random(160) < 0.8 * 0.02 + 0.2 * 0.5).astype(int)))
        found = reading(tells=tells, statistics=(("tell_rate:int4-g32", 0.5),))
        bounds = share_bounds([found], POLICY)
        num_wrong += not bounds.low <= 0.2 <= bounds.high
    assert num_wrong <= stats.binom.ppf(0.99, num, 0.05)


def test_an_upper_bound_needs_all_attacks_that_must_be_seen() -> None:
    long = reading(tells="0" * 400)
    assert share_bounds([long], POLICY).high == 1.0
    law = (("tell_rate:int4-g32", 0.5), ("tell_rate:fp8-e4m3", 0.1))
    both = replace(POLICY, must_see=("int4-g32", "fp8-e4m3"))
    some = share_bounds([replace(long, statistics=law[:1])], both)
    assert some.high == 1.0
    all_of_them = share_bounds([replace(long, statistics=law)], both)
    assert (all_of_them.subtlest, all_of_them.subtlest_rate) == ("fp8-e4m3", 0.1)
    only = share_bounds([replace(long, statistics=law)], POLICY)
    assert only.high == pytest.approx(all_of_them.high / 5)
    with pytest.raises(InvalidRequest, match="tells that are neither 0 nor 1"):
        share_bounds([replace(long, tells="02")], POLICY)
    with pytest.raises(InvalidRequest, match=r"honest rate of tells in \[0, 1\)"):
        share_bounds([replace(long, honest_tell_rate=1.0)], POLICY)


def test_runs_of_tells_are_reported_and_accuse_nobody() -> None:
    blocks = reading(tells=("0" * 20 + "1" * 10) * 5, honest=0.5)
    spread = reading(tells="001" * 50, honest=0.5)
    assert sticky_evidence([blocks], POLICY) > math.log(100)
    assert sticky_evidence([replace(blocks, tells="")], POLICY) == 0.0
    assert sticky_evidence([spread, replace(blocks, detector="replay/1")], POLICY) > math.log(100)
    found = decide_endpoint(ENDPOINT, [replace(blocks, log_e_nats_N=(0.0,) * 150)], POLICY, 1)
    assert found.outcome is SweepOutcome.UNINFORMATIVE
    assert "Conspicuous answers come in runs" in found.statement


def test_the_detector_that_sees_an_attack_best_speaks_for_it() -> None:
    first = reading(tells="0" * 10, visible=SEES_INT4)
    second = replace(
        first,
        detector="text-mmd/1",
        visible=Visible(power=0.9, smallest_share=None, needed=(("int4-g32", 11),)),
    )
    assert sights_of([first, second], POLICY)["int4-g32"].detector == "text-mmd/1"
    assert not sights_of([first, second], POLICY)["int4-g32"].is_seen


def test_the_bundled_policy_passes_nobody_on_4_bit_copies_alone() -> None:
    strict = load_sweep_policy()
    assert "int8-g32" in strict.must_see
    readings = [replace(reading(tells="0" * 60), visible=SEES_INT4)]
    assert decide_endpoint(ENDPOINT, readings, POLICY, 1).outcome is SweepOutcome.CONSISTENT
    found = decide_endpoint(ENDPOINT, readings, strict, 1)
    assert found.outcome is SweepOutcome.UNINFORMATIVE

"""What a run asks is decided by its seed, committed to, and kept whole."""

from dataclasses import replace

import pytest

from audit.errors import InvalidRequest, VerificationError
from audit.sweep_records import Budget, ProbeKind
from audit.sweeps.commitment import check_opening, commitment_of
from audit.sweeps.plan import plan_run
from audit.sweeps.plan_file import plan_from_json, plan_to_json
from tests.unit.sweeps.small_run import SEED, ParityDetector, endpoint, stored_plan

BUDGET = Budget(max_requests=100, max_tokens=10_000)


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    detectors, counts = [ParityDetector()], {"border-greedy/1": 10}
    first = plan_run([endpoint()], detectors, counts, SEED, BUDGET)
    again = plan_run([endpoint()], detectors, counts, SEED, BUDGET)
    other = plan_run([endpoint()], detectors, counts, b"other", BUDGET)
    assert first == again
    assert first.digest() == again.digest() != other.digest()


def test_endpoints_of_one_kind_get_the_same_probes() -> None:
    plan = stored_plan([endpoint("a"), endpoint("b")]).plan
    assert plan.endpoints[0].probes == plan.endpoints[1].probes


def test_preflight_comes_first_and_other_detectors_overlap() -> None:
    detectors = [
        ParityDetector("text-mmd/1", ProbeKind.TEXT),
        ParityDetector("border-greedy/1"),
        ParityDetector("logprob-kl/1", ProbeKind.LOGPROBS),
        ParityDetector("preflight/1", ProbeKind.PREFLIGHT),
    ]
    counts = {detector.detector_id: 10 for detector in detectors}
    (part,) = plan_run([endpoint()], detectors, counts, SEED, BUDGET).endpoints
    order = [probe.detector for probe in part.probes]
    assert order[:10] == ["preflight/1"] * 10
    assert part.num_preflight == 10
    assert order.index("logprob-kl/1") < len(order) - 1 - order[::-1].index("border-greedy/1")
    assert order[-1] == "text-mmd/1"


def test_no_more_is_planned_than_the_budget_pays_for() -> None:
    budget = replace(BUDGET, max_requests=7)
    plan = plan_run([endpoint()], [ParityDetector()], {"border-greedy/1": 50}, SEED, budget)
    assert len(plan.endpoints[0].probes) == 7


def test_a_detector_without_requests_asks_nothing() -> None:
    assert plan_run([endpoint()], [ParityDetector()], {}, SEED, BUDGET).endpoints[0].probes == ()


def test_a_plan_is_read_back_as_it_was_written() -> None:
    stored = stored_plan([endpoint("a"), endpoint("b")])
    assert plan_from_json(plan_to_json(stored)) == stored
    assert plan_from_json(plan_to_json(stored)).plan.digest() == stored.opening.plan_digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"probes":[0,', '"probes":[99,'), "name a probe that the plan does not hold"),
        (("sweep-plan/v1", "sweep-plan/v9"), "which this version reads"),
        (('"runNumber":1', '"runNumber":"1"'), "runNumber"),
        (('"salt"', '"pepper"'), "pepper"),
    ],
)
def test_a_damaged_plan_is_refused(change: tuple[str, str], message: str) -> None:
    text = plan_to_json(stored_plan([endpoint()]))
    assert change[0] in text
    with pytest.raises(InvalidRequest, match=message):
        plan_from_json(text.replace(*change))


def test_an_opening_that_was_changed_is_not_what_was_committed_to() -> None:
    opening = stored_plan([endpoint()]).opening
    commitment = commitment_of(opening)
    check_opening(commitment, opening)
    for name in ("seed", "salt", "plan_digest", "policy_id", "bundle_id", "code_version"):
        changed = replace(opening, **{name: getattr(opening, name) + "0"})
        with pytest.raises(VerificationError, match="changed afterwards"):
            check_opening(commitment, changed)

"""The signed form of a sweep's result: what it says, and what it must never hold."""

import json
from dataclasses import replace

import pytest
import rfc8785

from audit.ledger.sweep_statement import PREDICATE_TYPE, sweep_result_statement
from audit.log_records import ChainLink
from audit.sweep_records import SweepOutcome, SweepResult
from tests.support.sweeps import DIGEST, example_finding, example_result


def statement(result: SweepResult) -> dict[str, object]:
    members = sweep_result_statement(
        result,
        logged_at="2026-11-11T09:05:01.000000Z",
        verifier_version="0.1.0",
        chain=ChainLink(tenant="default", sequence=3, previous_digest=DIGEST),
    )
    plain: dict[str, object] = json.loads(rfc8785.dumps(members))
    return plain


def test_it_tells_the_outcome_the_opening_and_every_detector() -> None:
    said = statement(example_result())
    assert said["predicateType"] == PREDICATE_TYPE
    predicate = said["predicate"]
    assert isinstance(predicate, dict)
    assert predicate["outcome"] == "inconsistent"
    assert predicate["opening"]["plan"] == DIGEST
    assert predicate["recording"] == DIGEST
    (endpoint,) = predicate["endpoints"]
    assert endpoint["decidedAfterRequests"] == 9
    assert [d["detector"] for d in endpoint["detectors"]] == ["preflight/1", "border-greedy/1"]
    assert endpoint["detectors"][1]["numTells"] == 2
    assert endpoint["detectors"][1]["couldHaveSeen"]["requestsNeeded"] == {"int4-g32": 9}
    assert endpoint["spending"]["cost"] == {"amount": "0.01", "currency": "USD"}


def test_runs_have_subjects_of_their_own() -> None:
    other = replace(example_result(), run_id="run-2")
    assert statement(example_result())["subject"] != statement(other)["subject"]


def test_a_run_that_was_not_performed_has_no_endpoints() -> None:
    missed = replace(
        example_result(),
        outcome=SweepOutcome.NOT_PERFORMED,
        findings=(),
        opening=None,
        commitment=None,
    )
    predicate = statement(missed)["predicate"]
    assert isinstance(predicate, dict)
    assert predicate["endpoints"] == []
    assert "opening" not in predicate


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_json_cannot_say_is_left_out(value: float) -> None:
    finding = replace(example_finding(), log_e_nats=value)
    predicate = statement(replace(example_result(), findings=(finding,)))["predicate"]
    assert isinstance(predicate, dict)
    assert "log10EValue" not in predicate["endpoints"][0]

"""OSCAL assessment results: valid by somebody else's model, with our findings and no more."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from audit.reports import groups, oscal
from audit.reports.controls import load_frameworks
from audit.reports.oscal_parts import entry_uri
from tests.support.vectors import load_json
from tests.unit.reports.pages import poisoned
from tests.unit.reports.sample_report import (
    Sample,
    make_clean_sample,
    make_empty_sample,
    make_sample,
)
from tests.unit.reports.sample_verdicts import CHEAT, HONEST, Endpoint

EXAMPLE = "oscal/ifa_assessment-results-example.json"


def document(sample: Sample) -> Any:
    out = io.BytesIO()
    oscal.render(sample.report, sample.lines, out)
    return json.loads(out.getvalue())["assessment-results"]


def result(sample: Sample) -> Any:
    return document(sample)["results"][0]


def states(sample: Sample) -> dict[str, str]:
    return {
        finding["title"]: finding["target"]["status"]["state"]
        for finding in result(sample)["findings"]
    }


def uuids(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "uuid" in value:
            yield value["uuid"]
        for item in value.values():
            yield from uuids(item)
    elif isinstance(value, list):
        for item in value:
            yield from uuids(item)


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample()


@pytest.mark.filterwarnings("ignore")  # the validator's own deprecations
@pytest.mark.parametrize(
    "made",
    [
        make_sample(),
        make_clean_sample(),
        make_empty_sample(),
        make_sample((Endpoint(None, None, None), HONEST), 40),
        make_sample((Endpoint(" \n ", "\u202e", "\x00", True), CHEAT), 400),
    ],
    ids=["sample", "clean", "empty", "unnamed", "odd names"],
)
def test_another_projects_model_accepts_it(made: Sample) -> None:
    results = pytest.importorskip("trestle.oscal.assessment_results")
    common = pytest.importorskip("trestle.oscal")
    assert common.OSCAL_VERSION == oscal.OSCAL_VERSION
    read = results.AssessmentResults.model_validate(document(made))
    assert read.results[0].reviewed_controls.control_selections


@pytest.mark.filterwarnings("ignore")
def test_that_model_refuses_what_is_no_assessment_result(sample: Sample) -> None:
    results = pytest.importorskip("trestle.oscal.assessment_results")
    broken = document(sample)
    broken["results"][0]["observations"][0]["methods"] = []
    with pytest.raises(ValueError, match="methods"):
        results.AssessmentResults.model_validate(broken)


def test_poisoned_texts_stay_one_line(sample: Sample) -> None:
    lines = tuple(
        replace(poisoned(line), verified_at=line.verified_at) for line in sample.verdicts[:30]
    )
    report = replace(poisoned(sample.report), as_of=sample.report.as_of, scope=sample.report.scope)
    for observation in result(Sample(report, lines))["observations"]:
        for prop in observation.get("props", []):
            assert re.fullmatch(r"\S(.*\S)?", prop["value"])
            assert "\u202e" not in prop["value"]


def test_it_has_the_shape_of_the_published_example(sample: Sample) -> None:
    example, ours = load_json(EXAMPLE)["assessment-results"], document(sample)
    assert set(example) - {"local-definitions"} <= set(ours)
    theirs, mine = example["results"][0], ours["results"][0]
    # activities and risks are the assessor's; we have neither
    assert set(theirs) - {"risks"} <= set(mine)
    finding, our_finding = theirs["findings"][0], mine["findings"][0]
    assert set(finding) - {"implementation-statement-uuid", "related-risks"} <= set(our_finding)
    assert set(finding["target"]) - {"description"} <= set(our_finding["target"])


def test_each_finding_follows_from_the_verdicts(sample: Sample) -> None:
    assert states(sample) == {
        "Brightline AI, meridian-70b-instruct": "not-satisfied",
        "Halcyon Cloud, meridian-8b-instruct": "satisfied",
        "Northwind Inference, meridian-8b-instruct": "satisfied",
        "Completeness of the record": "not-satisfied",
        "Witnesses of the last checkpoint": "satisfied",
    }
    assert set(states(make_clean_sample()).values()) == {"satisfied"}


def test_a_provider_that_failed_as_a_whole_is_not_satisfied_though_every_answer_passed() -> None:
    clean = make_clean_sample()
    last = replace(clean.verdicts[-1], stream_verdict="FAILED")
    found = states(Sample(clean.report, (*clean.verdicts[:-1], last)))
    assert "not-satisfied" in found.values()


def test_a_provider_nobody_could_judge_is_not_satisfied_and_said_to_be_undecided() -> None:
    clean = make_clean_sample()
    lines = tuple(replace(line, verdict="INCONCLUSIVE") for line in clean.verdicts)
    finding = result(Sample(clean.report, lines))["findings"][0]
    assert finding["target"]["status"] == {"state": "not-satisfied", "reason": "other"}
    assert "No answer could be judged" in finding["description"]


def test_no_finding_is_about_a_control(sample: Sample) -> None:
    controls = {c.oscal_id for framework in load_frameworks() for c in framework.controls}
    assert not controls & {f["target"]["target-id"] for f in result(sample)["findings"]}
    selections = result(sample)["reviewed-controls"]["control-selections"]
    listed = {c["control-id"] for selection in selections for c in selection["include-controls"]}
    assert listed == controls
    without = Sample(replace(sample.report, control_mapping=None), sample.verdicts)
    assert not controls & set(json.dumps(result(without)["reviewed-controls"]).split('"'))


def test_evidence_leads_to_entries_and_digests(sample: Sample) -> None:
    by_index = {line.log_index: line.entry_digest for line in sample.verdicts}
    checked = 0
    for observation in result(sample)["observations"][:-2]:
        assert observation["methods"] == ["TEST"]
        for evidence in observation["relevant-evidence"]:
            props = {prop["name"]: prop["value"] for prop in evidence["props"]}
            index = int(props["log-index"])
            assert props["entry-digest"] == by_index[index]
            assert evidence["href"] == entry_uri(sample.report.log.origin, index)
            checked += 1
    assert checked > 40


def test_ids_are_unique_resolve_and_stay_the_same(sample: Sample) -> None:
    made = document(sample)
    found = list(uuids(made))
    assert len(found) == len(set(found))
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-.*", one) for one in found)
    assert made["import-ap"]["href"].removeprefix("#") in found
    for finding in made["results"][0]["findings"]:
        for related in finding["related-observations"]:
            assert related["observation-uuid"] in found
    for observation in made["results"][0]["observations"]:
        for subject in observation.get("subjects", []):
            assert subject["subject-uuid"] in found
    assert document(make_sample()) == made


def test_the_window_bounds_the_result(sample: Sample) -> None:
    made = result(sample)
    assert (made["start"], made["end"]) == (sample.report.scope.since, sample.report.scope.until)
    scope = replace(sample.report.scope, since=None, until=None)
    open_ended = result(Sample(replace(sample.report, scope=scope), sample.verdicts))
    assert open_ended["start"] == sample.verdicts[0].verified_at
    assert open_ended["end"] == sample.report.as_of


def test_the_number_of_observations_is_bounded() -> None:
    endpoints = [Endpoint(f"p{i}", None, "m", is_substituting=True) for i in range(1_001)]
    made = result(make_sample(endpoints, 3_003))
    bound = groups.MAX_GROUPS + 1 + oscal.MAX_FAILED_OBSERVATIONS + 2
    assert len(made["observations"]) == bound
    assert made["findings"][groups.MAX_GROUPS]["title"] == (
        "All providers and models that are not listed"
    )


def test_entries_are_named_by_log_and_index() -> None:
    assert entry_uri("a.example/log b", 7) == "urn:inference-audit:entry:a.example%2Flog%20b:7"

"""Sweeps and results as canonical JSON: exact both ways, strict on reading."""

import json
import math
from dataclasses import replace

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.billing_records import Money
from audit.codec.sweep_json import (
    result_from_json,
    result_to_json,
    spec_digest,
    spec_from_json,
    spec_to_json,
)
from audit.errors import InvalidRequest
from audit.records import Claim
from audit.sweep_records import (
    Budget,
    Endpoint,
    EndpointFinding,
    EndpointRole,
    Reading,
    ReadingStatus,
    Schedule,
    SweepOutcome,
    SweepResult,
    SweepSpec,
)
from tests.unit.sweeps.record_strategies import records

A_SPEC = SweepSpec(
    name="three hosts",
    endpoints=(
        Endpoint(
            name="host-a",
            base_url="https://a.example/v1",
            model="m",
            key_ref="env:A_KEY",
            input_price=Money(amount="0.15", currency="USD"),
        ),
    ),
    claim=Claim(model="example/model"),
    budget=Budget(max_requests=400, max_tokens=100_000),
    schedule=Schedule(cron="17 */6 * * *"),
)
A_RESULT = SweepResult(
    run_id="run-1",
    sweep_id="sweep-1",
    tenant="default",
    slot_at="2026-01-31T12:00:00.000000Z",
    outcome=SweepOutcome.INCONSISTENT,
    statement="host-a differs from the claim",
    findings=(
        EndpointFinding(
            endpoint="host-a",
            role=EndpointRole.TARGET,
            outcome=SweepOutcome.INCONSISTENT,
            statement="found",
            readings=(
                Reading(
                    detector="border-greedy/1",
                    tier=1,
                    status=ReadingStatus.READ,
                    log_e_nats_N=(0.5, 4.0, 1e22),
                    statistics=(("share", 0.25),),
                ),
            ),
        ),
    ),
)


@settings(max_examples=60, deadline=None)
@given(records(SweepSpec))
def test_a_spec_survives_its_text(spec: SweepSpec) -> None:
    text = spec_to_json(spec)
    assert spec_from_json(text) == spec
    assert text == rfc8785.dumps(json.loads(text, parse_int=float)).decode()


@settings(max_examples=60, deadline=None)
@given(records(SweepResult))
def test_a_result_survives_its_text(result: SweepResult) -> None:
    text = result_to_json(result)
    assert result_from_json(text) == result
    assert result_to_json(result_from_json(text)) == text


def test_the_digest_of_a_spec_never_moves() -> None:
    """Commitments and stored runs name it: a change is a new format, not an edit."""
    assert spec_digest(A_SPEC) == (
        "sha256:e4b4f3764535db4516e512cb04fa721f9bc51ca0884a14257a8b2da7684aad0e"
    )


def test_equal_specs_have_one_digest_and_others_another() -> None:
    again = spec_from_json(json.dumps(json.loads(spec_to_json(A_SPEC)), indent=3))
    assert spec_digest(again) == spec_digest(A_SPEC)
    assert spec_digest(replace(A_SPEC, detectors=("x/1",))) != spec_digest(A_SPEC)


def test_infinite_evidence_is_written_and_read() -> None:
    (finding,) = A_RESULT.findings
    (reading,) = finding.readings
    endless = replace(reading, log_e_nats_N=(-math.inf, math.inf))
    result = replace(A_RESULT, findings=(replace(finding, readings=(endless,)),))
    text = result_to_json(result)
    assert '"logENatsN":["-Infinity","Infinity"]' in text
    assert result_from_json(text) == result


def test_what_is_no_number_is_not_written() -> None:
    (finding,) = A_RESULT.findings
    result = replace(A_RESULT, findings=(replace(finding, log_e_nats=math.nan),))
    with pytest.raises(InvalidRequest, match=r"result\.findings\[0\]\.logENats: is not a number"):
        result_to_json(result)


def test_a_number_that_json_cannot_hold_is_not_written() -> None:
    spec = replace(A_SPEC, budget=Budget(max_requests=1, max_tokens=2**53))
    with pytest.raises(InvalidRequest, match=r"spec\.budget\.maxTokens: is 9007199254740992"):
        spec_to_json(spec)


def test_half_a_surrogate_pair_is_not_written() -> None:
    with pytest.raises(InvalidRequest, match=r"spec: cannot be written as canonical JSON"):
        spec_to_json(replace(A_SPEC, name="\ud800"))


def edited(path: str, value: object) -> str:
    """Return the text of A_RESULT with one member replaced."""
    document = json.loads(result_to_json(A_RESULT))
    *parents, last = path.split("/")
    place = document
    for name in parents:
        place = place[int(name)] if name.isdecimal() else place[name]
    place[last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("outcome", "guilty", r"result\.outcome: is 'guilty'; known are consistent, inconsistent"),
        ("outcome", 3, r"result\.outcome: is 3; known are"),
        ("statement", None, r"result\.statement: must be a text, found null"),
        ("findings", {}, r"result\.findings: must be a list, found an object"),
        ("findings/0/isDiscovery", 1, r"\[0\]\.isDiscovery: must be true or false, found a whole"),
        ("findings/0/decidedAfter", True, r"decidedAfter: must be a whole number, found true"),
        ("findings/0/decidedAfter", 1.5, r"decidedAfter: must be a whole number, found a number"),
        ("findings/0/logENats", "1", r"logENats: must be a number, found a text"),
        ("findings/0/logENats", False, r"logENats: must be a number, found true or false"),
        ("findings/0/extra", 1, r"result\.findings\[0\]\.extra: is no member known here"),
        ("findings/0/spending", [], r"spending: must be an object, found a list"),
        (
            "findings/0/readings/0/statistics",
            [["share"]],
            r"readings\[0\]\.statistics\[0\]: has 1 members, not 2",
        ),
        ("format", "inference-audit/sweep-result/v9", r"result\.format: is 'inference-audit/sweep"),
    ],
)
def test_a_wrong_member_is_named(path: str, value: object, error: str) -> None:
    with pytest.raises(InvalidRequest, match=error):
        result_from_json(edited(path, value))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", r"result: is not valid JSON"),
        ("[]", r"result: must be an object, found a list"),
        ("{}", r"result\.format: is None, which this version cannot read"),
        ("[" * 100_000, r"result: is nested too deeply"),
        ('{"format":"x","format":"y"}', r"the member 'format' occurs twice"),
        ('{"format":NaN}', r"NaN is not a JSON number"),
    ],
)
def test_what_is_no_result_is_refused(text: str, error: str) -> None:
    with pytest.raises(InvalidRequest, match=error):
        result_from_json(text)


def test_a_number_beyond_all_numbers_is_refused() -> None:
    text = result_to_json(A_RESULT).replace('"logENats":0,', '"logENats":1e999,')
    with pytest.raises(InvalidRequest, match=r"logENats: is beyond the range of numbers"):
        result_from_json(text)


def test_a_missing_member_is_named() -> None:
    document = json.loads(spec_to_json(A_SPEC))
    del document["endpoints"][0]["keyRef"]
    with pytest.raises(InvalidRequest, match=r"spec\.endpoints\[0\]\.keyRef: is missing"):
        spec_from_json(json.dumps(document))


def test_a_text_of_the_other_kind_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"spec\.format: is 'inference-audit/sweep-result/v1'"):
        spec_from_json(result_to_json(A_RESULT))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_mangled_text_is_a_result_or_is_refused(data: st.DataObject) -> None:
    """What a database or an attacker made of it ends in no other error."""
    text = result_to_json(A_RESULT)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    pieces = st.sampled_from(["", "0", "-1", "NaN", '"', "[", "{", "true", "null", '"x"', "1e999"])
    mangled = text[:start] + data.draw(pieces | st.text(max_size=4)) + text[end:]
    try:
        result = result_from_json(mangled)
    except InvalidRequest:
        return
    assert result_from_json(result_to_json(result)) == result

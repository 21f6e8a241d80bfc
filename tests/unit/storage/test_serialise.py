"""Records survive the trip to JSON and back exactly; anything else is refused."""

import json
import math
from dataclasses import dataclass
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import StorageError
from audit.records import (
    AuditRequest,
    Message,
    Outcome,
    Reason,
    RunnerBuild,
    Sensitivity,
    Statistic,
    Verdict,
)
from storage.serialise import from_json, to_json
from tests.unit.storage.builders import a_request

# Hypothesis would otherwise try NaN, which no record may hold and which equals nothing.
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(int, st.integers(min_value=-(2**63), max_value=2**64 - 1))


@settings(max_examples=60, deadline=None)
@given(st.from_type(AuditRequest))
def test_any_request_round_trips_exactly(request: AuditRequest) -> None:
    assert from_json(AuditRequest, to_json(request)) == request


@settings(max_examples=60, deadline=None)
@given(st.from_type(Verdict))
def test_any_verdict_round_trips_exactly(verdict: Verdict) -> None:
    restored = from_json(Verdict, to_json(verdict))
    assert restored == verdict
    assert type(restored.outcome) is Outcome
    assert all(type(reason) is Reason for reason in restored.reasons)


def test_a_full_verdict_is_plain_readable_json() -> None:
    verdict = Verdict(
        outcome=Outcome.FAIL,
        reasons=(Reason.TOKEN_DIVERGENCE,),
        statistics=(
            Statistic(
                name="mean",
                value=0.1,
                threshold=0.05,
                num_tokens=9,
                unit="logits",
                false_alarm_rate=0.01,
            ),
        ),
        sensitivity=Sensitivity(
            power=0.9, logit_noise_logits=None, substituted_token_share=0.2, statement="café"
        ),
        runner=RunnerBuild(
            version="1", device="cpu", num_threads=2, libraries=(("torch", "2.7"), ("python", "3"))
        ),
    )
    text = to_json(verdict)
    assert text.isascii()
    assert json.loads(text)["runner"]["libraries"] == [["torch", "2.7"], ["python", "3"]]
    assert from_json(Verdict, text) == verdict


def test_text_that_is_not_valid_unicode_survives() -> None:
    message = Message(role="user", content="\ud800 \0")
    assert from_json(Message, to_json(message)) == message


def test_a_field_added_later_takes_its_default() -> None:
    assert from_json(Verdict, '{"outcome":"PASS"}') == Verdict(outcome=Outcome.PASS)


def test_an_exact_integer_is_read_as_a_float() -> None:
    restored = from_json(Verdict, '{"outcome":"PASS","mean_clipped_margin_logits":1}')
    assert type(restored.mean_clipped_margin_logits) is float


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"role":"user","content":"x","extra":1}', "unknown key 'extra'"),
        ('{"role":"user"}', "lacks the key 'content'"),
        ('{"role":"user","content":7}', "content is not a string"),
        ('{"role":"user","content":null}', "content is not a string"),
        ("[]", "the record is not an object"),
        ("{", "Expecting property name"),
    ],
)
def test_a_deviating_message_is_refused(text: str, problem: str) -> None:
    with pytest.raises(StorageError, match=problem):
        from_json(Message, text)


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ('"outcome":"MAYBE"', "outcome is not a Outcome"),
        ('"outcome":["PASS"]', "outcome is not a Outcome"),
        ('"reasons":"token_divergence"', "reasons is not a list"),
        ('"reasons":["nonsense"]', r"reasons\[0\] is not a Reason"),
        ('"num_tokens":true', "num_tokens is not an integer"),
        ('"num_tokens":1.5', "num_tokens is not an integer"),
        ('"mean_clipped_margin_logits":NaN', "NaN is not a finite number"),
        ('"mean_clipped_margin_logits":"1"', "is not an integer"),
        ('"mean_clipped_margin_logits":9007199254740993', "is not a floating-point number"),
        ('"runner":{"version":"1","device":"c","num_threads":1,"libraries":[["a"]]}', "1 items"),
    ],
)
def test_a_deviating_verdict_is_refused(member: str, problem: str) -> None:
    text = "{" + member + ("}" if '"outcome"' in member else ',"outcome":"PASS"}')
    with pytest.raises(StorageError, match=problem):
        from_json(Verdict, text)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_never_written(number: float) -> None:
    verdict = Verdict(outcome=Outcome.PASS, mean_clipped_margin_logits=number)
    with pytest.raises(StorageError, match="JSON cannot carry"):
        to_json(verdict)


def test_the_error_says_what_to_do_next() -> None:
    with pytest.raises(StorageError, match="upgrade inference-audit, or restore"):
        from_json(AuditRequest, "{}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unsupported:
    blob: bytes = b""
    either: int | str = 0


@pytest.mark.parametrize("name", get_type_hints(_Unsupported))
def test_a_field_type_that_is_not_supported_is_a_bug_not_a_guess(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        from_json(_Unsupported, json.dumps({name: 0}))


def test_a_request_that_names_everything_round_trips() -> None:
    assert from_json(AuditRequest, to_json(a_request("r"))) == a_request("r")

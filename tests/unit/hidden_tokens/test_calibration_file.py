"""A billing calibration is read back as it was written, and anything else is refused by name."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.billing_records import BilledRequest, BilledUsage, CallTiming, Refusal, Tier, UsageSchema
from audit.errors import CalibrationError
from audit.hidden_tokens.calibration_file import (
    BillingCalibration,
    dump_billing_calibration,
    load_billing_calibration,
    parse_billing_calibration,
)
from audit.hidden_tokens.check import MeterChecker
from audit.hidden_tokens.facts import load_facts
from audit.hidden_tokens.fitting import calibrate_billing


def timed(number: int) -> BilledRequest:
    """Return a call of a made-up host that writes 50 tokens a second, give or take."""
    tokens = 400 + 37 * (number % 41)
    return BilledRequest(
        request_id=f"r{number}",
        account="team-a",
        provider="direct",
        model="made-up",
        domain="planning",
        prompt=f"question {number}",
        answer="yes",
        usage=BilledUsage(
            schema=UsageSchema.VLLM, output_tokens=tokens + 1, reasoning_tokens=tokens
        ),
        observed_at="2026-11-01T00:00:00Z",
        timing=CallTiming(elapsed_s=tokens / 50 * (1 + 0.01 * (number % 7))),
    )


REQUESTS = [timed(number) for number in range(240)]


def made() -> BillingCalibration:
    calibration, notes = calibrate_billing(REQUESTS, salt="s", sources={"a": "sha256:00"})
    assert [note.split(":")[0] for note in notes] == ["sizes", "text"]
    return calibration


def test_it_is_read_back_with_the_digest_of_its_bytes_for_its_id(tmp_path: Path) -> None:
    path, content = tmp_path / "c.json", dump_billing_calibration(made())
    path.write_bytes(content)
    found = load_billing_calibration(path)
    assert found.calibration_id == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert dump_billing_calibration(found) == content
    assert found.opaque is None
    assert found.estimator is None
    assert found.sources == {"a": "sha256:00"}


def test_the_same_requests_give_the_same_bytes() -> None:
    assert dump_billing_calibration(made()) == dump_billing_calibration(made())


def test_a_check_names_the_calibration_and_every_channel_that_says_nothing() -> None:
    calibration = parse_billing_calibration(dump_billing_calibration(made()))
    checker = MeterChecker(facts=load_facts(), calibration=calibration)
    checked = checker.check(timed(5000))
    (reading,) = checked.readings
    assert reading.tier is Tier.TIMING
    assert reading.calibration_id == calibration.calibration_id
    reasons = {one.tier: one.reason for one in checked.unchecked if one.tier is not Tier.ACCOUNTING}
    assert reasons == {
        Tier.REFERENCE_SAMPLING: Refusal.NO_EVIDENCE,
        Tier.OPAQUE: Refusal.TOO_LITTLE_CALIBRATION,
        Tier.ESTIMATOR: Refusal.TOO_LITTLE_CALIBRATION,
    }


def test_a_bill_that_no_host_could_write_is_a_violation() -> None:
    calibration = parse_billing_calibration(dump_billing_calibration(made()))
    checker = MeterChecker(facts=load_facts(), calibration=calibration)
    quick = timed(1)
    impossible = CallTiming(elapsed_s=0.5)
    (violation,) = checker.check(
        BilledRequest(
            request_id="q",
            account="team-a",
            provider="direct",
            model="made-up",
            domain="planning",
            usage=quick.usage,
            observed_at=quick.observed_at,
            timing=impossible,
        )
    ).violations
    assert violation.identity == "top_speed"


def test_nothing_to_calibrate_on_is_an_error_that_says_what_lacks() -> None:
    with pytest.raises(CalibrationError, match="nothing could be calibrated: time: no cell"):
        calibrate_billing(REQUESTS[:5], salt="s", sources={})


def without(name: str) -> Callable[[Any], object]:
    return lambda document: {key: value for key, value in document.items() if key != name}


BAD: dict[str, tuple[Callable[[Any], object], str]] = {
    "another file": (lambda _: {"mediaType": "application/json"}, "no billing calibration"),
    "a list": (lambda document: [document], "no billing calibration"),
    "a missing member": (without("rank"), "must hold exactly"),
    "an unknown member": (lambda document: document | {"more": 1}, "must hold exactly"),
    "sources of another kind": (lambda document: document | {"sources": [1]}, "sources must"),
    "a rank without salt": (lambda document: document | {"rank": {}}, "rank channel"),
    "timing of another kind": (lambda document: document | {"timing": 3}, "timing"),
    "an estimator of another kind": (lambda document: document | {"estimator": []}, "estimator"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_calibration_is_refused_with_the_files_name(name: str, tmp_path: Path) -> None:
    change, problem = BAD[name]
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(change(json.loads(dump_billing_calibration(made())))))
    with pytest.raises(CalibrationError, match=problem) as refused:
        load_billing_calibration(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "no JSON"), (b"{", "no JSON"), (b"\xff\xfe", "no JSON"), (b'{"a": NaN}', "no JSON")],
)
def test_bytes_that_are_no_json_are_refused(content: bytes, problem: str) -> None:
    with pytest.raises(CalibrationError, match=problem):
        parse_billing_calibration(content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"cannot read .*nothing\.json"):
        load_billing_calibration(tmp_path / "nothing.json")

"""The estimating model as a calibrated channel, with estimates that are made up."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from audit.billing_records import (
    BilledRequest,
    BilledUsage,
    Controller,
    Reading,
    Refusal,
    Tier,
    Unchecked,
    UsageSchema,
)
from audit.errors import CalibrationError
from audit.hidden_tokens.palace.channel import (
    CountObservation,
    PalaceCalibration,
    PalaceChannel,
    calibrate_palace,
)
from audit.hidden_tokens.palace.prompts import PalaceQuestion


def observations(
    num: int, seed: int = 1, model: str = "o1", predicted: int | None = 1_000
) -> list[CountObservation]:
    draw = random.Random(seed)  # noqa: S311 (made-up bills, no secret)
    return [
        CountObservation(
            model=model,
            domain="math",
            effort="",
            billed_tokens=round(1_000 * math.exp(draw.gauss(0.1, 0.4))),
            predicted_tokens=predicted,
        )
        for _ in range(num)
    ]


def calibrated(num: int = 400) -> PalaceCalibration:
    return calibrate_palace(
        [*observations(num), *observations(7, model="o3")], adapters_digest="sha256:00"
    )


def always_a_thousand(questions: Sequence[PalaceQuestion]) -> list[int | None]:
    return [1_000 for _ in questions]


def request_of(billed: int | None, **parts: Any) -> BilledRequest:
    request = BilledRequest(
        request_id="r",
        account="a",
        provider="p",
        model="o1",
        usage=BilledUsage(
            schema=UsageSchema.OPENAI_CHAT, output_tokens=9_000, reasoning_tokens=billed
        ),
        observed_at="2026-01-01T00:00:00Z",
        prompt="What is 6 times 7?",
        answer="42",
    )
    return replace(request, **parts)


CHANNEL = PalaceChannel(calibration=calibrated(), predict=always_a_thousand, calibration_id="c")


def read(billed: int) -> Reading:
    reading = CHANNEL.read(request_of(billed), "math")
    assert isinstance(reading, Reading)
    return reading


def test_a_reading_says_how_rare_the_bill_is() -> None:
    reading = read(9_000)
    assert reading.p_over == pytest.approx(1 / 401)
    assert reading.p_under == 1.0
    assert (reading.tier, reading.controller) == (Tier.PALACE, Controller.AUDITOR)
    assert (reading.cell, reading.num_calibration) == ("o1|math|", 400)
    assert reading.dkw_epsilon == pytest.approx(math.sqrt(math.log(1_000) / 800))
    assert reading.calibration_id == "c"
    assert reading.channel == "palace:sha256:00"


def test_expected_tokens_sum_up_to_the_honest_bill() -> None:
    rows = observations(400)
    expected = read(500).expected_tokens
    assert expected is not None
    assert expected * len(rows) == pytest.approx(sum(row.billed_tokens for row in rows))


def test_intervals_hold_nine_of_ten_honest_bills() -> None:
    reading = read(1_000)
    assert reading.low_tokens is not None and reading.high_tokens is not None
    assert reading.interval_confidence == 0.9
    fresh = [row.billed_tokens for row in observations(2_000, seed=2)]
    inside = sum(reading.low_tokens <= billed <= reading.high_tokens for billed in fresh)
    assert 0.86 <= inside / len(fresh) <= 0.94


def test_p_values_of_honest_bills_are_uniform_within_the_dkw_bound() -> None:
    fresh = [read(row.billed_tokens) for row in observations(2_000, seed=3)]
    for p_values in ([r.p_over for r in fresh], [r.p_under for r in fresh]):
        assert abs(sum(p_values) / len(p_values) - 0.5) <= fresh[0].dkw_epsilon


@pytest.mark.parametrize(
    ("request_", "domain", "reason", "detail"),
    [
        (request_of(None), "math", Refusal.NO_COUNT, "no reasoning count was billed"),
        (
            request_of(5, is_aggregator=True),
            "math",
            Refusal.NOT_A_METER_READING,
            "a middleman counted the tokens once more",
        ),
        (
            request_of(5, prompt=None),
            "math",
            Refusal.NO_EVIDENCE,
            "the estimate needs both prompt and answer",
        ),
        (
            request_of(5),
            "code",
            Refusal.UNSEEN_CELL,
            "nothing was calibrated for o1|code|",
        ),
        (
            request_of(5, effort="high"),
            "math",
            Refusal.UNSEEN_CELL,
            "nothing was calibrated for o1|math|high",
        ),
        (
            request_of(5, model="o3"),
            "math",
            Refusal.TOO_LITTLE_CALIBRATION,
            "only 7 rows to calibrate o3|math| on",
        ),
    ],
)
def test_refusals(request_: BilledRequest, domain: str, reason: Refusal, detail: str) -> None:
    assert CHANNEL.read(request_, domain) == Unchecked(
        tier=Tier.PALACE, reason=reason, detail=detail
    )


def test_a_reply_without_a_count_is_no_evidence() -> None:
    channel = replace(CHANNEL, predict=lambda questions: [None for _ in questions])
    unchecked = channel.read(request_of(5), "math")
    assert isinstance(unchecked, Unchecked)
    assert unchecked.reason is Refusal.UNREADABLE_EVIDENCE


def test_the_model_is_asked_with_the_routed_domain() -> None:
    asked: list[PalaceQuestion] = []

    def note(questions: Sequence[PalaceQuestion]) -> list[int | None]:
        asked.extend(questions)
        return [1_000]

    replace(CHANNEL, predict=note).read(request_of(5, domain=None), "math")
    assert [question.domain for question in asked] == ["math"]


def test_few_scores_give_no_interval() -> None:
    calibration = calibrate_palace(observations(12), adapters_digest="d", min_cell=10)
    channel = PalaceChannel(calibration=calibration, predict=always_a_thousand)
    reading = channel.read(request_of(1_000), "math")
    assert isinstance(reading, Reading)
    assert (reading.low_tokens, reading.high_tokens, reading.interval_confidence) == (None,) * 3


def test_calibrations_survive_a_file() -> None:
    calibration = calibrated(40)
    again = PalaceCalibration.from_json(json.loads(json.dumps(calibration.to_json())))
    assert again == calibration


def test_too_few_rows_make_no_calibration() -> None:
    with pytest.raises(CalibrationError, match="no cell of model, domain and effort has 30 rows"):
        calibrate_palace(observations(29), adapters_digest="d")
    with pytest.raises(CalibrationError, match="no cell"):
        calibrate_palace(observations(99, predicted=None), adapters_digest="d")


def broken(**parts: Any) -> dict[str, object]:
    return {**calibrated(40).to_json(), **parts}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([], "palace must hold exactly adapters_digest, delta, cells, too_small"),
        (broken(more=1), "palace must hold exactly"),
        (broken(cells=[]), "palace.cells and palace.too_small must be objects"),
        (broken(too_small={"k": True}), "palace.too_small must hold whole numbers"),
        (broken(adapters_digest=1), "palace.adapters_digest must be a text"),
        (broken(delta=0.7), "palace.delta must be a number above 0"),
        (broken(delta="0.1"), "palace.delta must be a number above 0"),
        (broken(cells={"k": {}}), r"palace.cells\['k'\] must hold exactly scores, mean_factor"),
        (
            broken(cells={"k": {"scores": [0.1], "mean_factor": -1.0}}),
            r"palace.cells\['k'\].mean_factor must be a number from 0 up",
        ),
        (
            broken(cells={"k": {"scores": [0.2, 0.1], "mean_factor": 1.0}}),
            r"palace.cells\['k'\].scores must ascend",
        ),
        (
            broken(cells={"k": {"scores": [], "mean_factor": 1.0}}),
            r"palace.cells\['k'\].scores must not be empty",
        ),
    ],
)
def test_a_bad_file_is_refused_by_name(document: object, text: str) -> None:
    with pytest.raises(CalibrationError, match=text):
        PalaceCalibration.from_json(document)

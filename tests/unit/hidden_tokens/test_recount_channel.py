"""A recount becomes a violation, a reading, or a reason why there is none."""

from dataclasses import replace

import pytest

from audit.billing_records import (
    Adversary,
    BilledRequest,
    BilledUsage,
    Controller,
    Reading,
    Refusal,
    Tier,
    Unchecked,
    UsageSchema,
)
from audit.errors import ConfigurationError, InvalidRequest
from audit.hidden_tokens.recount import (
    RecountChannel,
    RecountRecord,
    hidden_exchange,
    violation_of,
)
from audit.hidden_tokens.recount_records import HiddenExchange, Recount, RecountMethod
from audit.hidden_tokens.recount_search import find_count
from audit.records import ReplayPlan
from tests.support.example_model import example_reference
from tests.unit.hidden_tokens.recount_cases import FLOAT32, SAMPLED, drawn, hide, runner

RECORD = RecountRecord(num_wrong=0, num_exchanges=300)


def bill(reasoning_tokens: int | None) -> BilledRequest:
    return BilledRequest(
        request_id="r-1",
        account="a",
        provider="p",
        model="example",
        usage=BilledUsage(
            schema=UsageSchema.VLLM, output_tokens=500, reasoning_tokens=reasoning_tokens
        ),
        observed_at="2026-11-21T00:00:00Z",
        effort="high",
    )


def found(method: RecountMethod, low: int, high: int, confidence: float = 1.0) -> Recount:
    return Recount(method=method, low_tokens=low, high_tokens=high, confidence=confidence)


def channel(billed: int, recount: Recount | Unchecked) -> RecountChannel:
    exchange = replace(hide(tuple(range(90)), 40, SAMPLED), billed_tokens=billed)
    return RecountChannel(
        exchanges={"r-1": exchange}, count=lambda _: recount, record=RECORD, calibration_id="c"
    )


def test_a_real_exchange_goes_from_bill_to_violation() -> None:
    exchange = replace(hide(drawn(SAMPLED, 70), 40, SAMPLED), billed_tokens=42)

    def count(hidden: HiddenExchange) -> Recount | Unchecked:
        return find_count(hidden, runner(), example_reference(), FLOAT32)

    real = RecountChannel(exchanges={"r-1": exchange}, count=count, record=RECORD)
    checked = real.check(bill(42), "code")
    assert checked.violation is not None and checked.violation.excess_tokens == 2
    assert checked.violation.tier is Tier.RECOUNT and checked.violation.identity == "recount"
    assert checked.reading is not None
    assert (checked.reading.low_tokens, checked.reading.high_tokens) == (40.0, 40.0)
    assert checked.reading.cell == "example|code|high"


@pytest.mark.parametrize(
    ("billed", "is_over", "is_under"),
    [(39, False, True), (40, False, False), (45, False, False), (46, True, False)],
)
def test_p_values_are_the_error_rate_outside_the_count_and_one_inside(
    billed: int, is_over: bool, is_under: bool
) -> None:
    recount = found(RecountMethod.BRANCHED, 40, 45)
    reading = channel(billed, recount).read(bill(billed), "code")
    assert isinstance(reading, Reading)
    rate = RECORD.error_rate
    assert (reading.p_over, reading.p_under) == (
        rate if is_over else 1.0,
        rate if is_under else 1.0,
    )
    assert reading.dkw_epsilon == 0.0 and reading.expected_tokens == 42.5
    assert reading.controller is Controller.AUDITOR and reading.num_calibration == 300


def test_the_error_rate_is_an_upper_limit_of_what_was_seen() -> None:
    # (1 - rate) ** 300 = delta where nothing was wrong
    assert (1.0 - RECORD.error_rate) ** 300 == pytest.approx(0.001)
    assert replace(RECORD, num_wrong=3).error_rate > RECORD.error_rate


def test_a_place_in_the_noise_does_not_stop_the_origin_and_its_own_error_is_paid() -> None:
    recount = found(RecountMethod.ALIGNED, 40, 40, confidence=0.99)
    reading = channel(60, recount).read(bill(60), "code")
    assert isinstance(reading, Reading)
    assert reading.stops is Adversary.INFLATING_RESELLER
    assert reading.p_over == pytest.approx(RECORD.error_rate + 0.01)
    regenerated = channel(60, found(RecountMethod.REGENERATED, 40, 40)).read(bill(60), "code")
    assert isinstance(regenerated, Reading)
    assert regenerated.stops is Adversary.MALICIOUS_ORIGIN


@pytest.mark.parametrize("method", [RecountMethod.BRANCHED, RecountMethod.ALIGNED])
def test_counts_that_are_not_deterministic_are_no_violation(method: RecountMethod) -> None:
    assert violation_of(999, found(method, 40, 40, confidence=0.9)) is None


def test_an_interval_is_named_in_the_violation() -> None:
    violation = violation_of(50, found(RecountMethod.REGENERATED, 40, 45))
    assert violation is not None and violation.excess_tokens == 5
    assert "draws 40 to 45 before the visible answer" in violation.statement


def test_what_cannot_be_recounted_says_why() -> None:
    refusal = Unchecked(tier=Tier.RECOUNT, reason=Refusal.REFERENCE_DIVERGED, detail="d")
    assert channel(40, refusal).read(bill(40), "code") == refusal
    unbilled = channel(40, refusal).read(bill(None), "code")
    assert isinstance(unbilled, Unchecked) and unbilled.reason is Refusal.NO_COUNT
    unknown = channel(40, refusal).read(replace(bill(40), request_id="r-2"), "code")
    assert isinstance(unknown, Unchecked) and unknown.reason is Refusal.NO_EVIDENCE


def test_an_exchange_of_another_bill_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="is 41, but the recorded exchange says 40"):
        channel(40, found(RecountMethod.REGENERATED, 40, 40)).read(bill(41), "code")


@pytest.mark.parametrize(
    "parts", [{"num_exchanges": 0}, {"num_wrong": -1}, {"num_wrong": 301}, {"delta": 0.0}]
)
def test_impossible_records_are_refused(parts: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        replace(RECORD, **parts)  # type: ignore[arg-type]


def plan() -> ReplayPlan:
    sequence = hide(tuple(range(20)), 10, SAMPLED).visible
    return ReplayPlan(sequence=sequence, ids_inferred=False, assumed_parameters=(), notes=())


def test_a_replay_plan_gives_the_exchange() -> None:
    exchange = hidden_exchange(plan(), 10, end_mark_ids=(7,), stops_at=(0,), max_output_tokens=20)
    assert exchange.visible == plan().sequence and exchange.billed_tokens == 10
    assert (exchange.end_mark_ids, exchange.stops_at) == ((7,), (0,))


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"ids_inferred": True}, "output.token_ids: are needed for a recount"),
        ({"assumed_parameters": ("top_k",)}, "sampling: must state top_k"),
        (
            {"sequence": replace(plan().sequence, profile_ids=("greedy", "vllm-cpu-splitmix64"))},
            "claim.sampler_profile: must name one sampler",
        ),
    ],
)
def test_plans_that_rest_on_guesses_are_refused(parts: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        hidden_exchange(replace(plan(), **parts), 10)  # type: ignore[arg-type]

"""The rank among reference runs: uniform to the letter, and strong on real counts."""

import math
import random
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.billing_records import (
    Adversary,
    BilledRequest,
    BilledUsage,
    Controller,
    Reading,
    Refusal,
    Unchecked,
    UsageSchema,
)
from audit.errors import CalibrationError, InvalidRequest
from audit.hidden_tokens.reference_sampling import RankChannel, rank_p_values, tie_uniform
from audit.judge.betting import BetGrid, log_bets
from tests.support.hidden_tokens import load_rows

CHANNEL = RankChannel(salt="audit-1")
REQUEST = BilledRequest(
    request_id="r-1",
    account="acme",
    provider="openai",
    model="o3-mini",
    effort="high",
    usage=BilledUsage(schema=UsageSchema.OPENAI_CHAT, output_tokens=700, reasoning_tokens=640),
    observed_at="2026-01-02T03:04:05Z",
    reference_counts=(512, 576, 640, 640),
)


def _read(request: BilledRequest) -> Reading:
    reading = CHANNEL.read(request, "math")
    assert isinstance(reading, Reading)
    return reading


def _refused(request: BilledRequest) -> Unchecked:
    refused = CHANNEL.read(request, "math")
    assert isinstance(refused, Unchecked)
    return refused


@given(st.lists(st.integers(0, 6).map(lambda step: 64 * step), min_size=3, max_size=9))
def test_over_all_orders_of_the_same_counts_p_is_exactly_uniform(counts: list[int]) -> None:
    # each count is the bill once; the ranges that p can take must cover [0, 1] evenly
    density: dict[int, float] = defaultdict(float)
    for place, billed in enumerate(counts):
        others = counts[:place] + counts[place + 1 :]
        low = rank_p_values(billed, others, 0.0)[0] * len(counts)
        high = rank_p_values(billed, others, 1.0)[0] * len(counts)
        for cell in range(round(low), round(high)):
            density[cell] += 1.0 / (high - low)
    assert dict(density) == pytest.approx({cell: 1.0 for cell in range(len(counts))})


@given(
    st.integers(0, 9), st.lists(st.integers(0, 9), min_size=2), st.floats(0.001, 0.999), st.text()
)
def test_p_values_mirror_each_other_inside_zero_and_one(
    billed: int, counts: list[int], uniform: float, request_id: str
) -> None:
    p_over, p_under = rank_p_values(billed, counts, uniform)
    assert p_over + p_under == pytest.approx(1.0)
    mirrored = rank_p_values(-billed, [-count for count in counts], 1.0 - uniform)
    assert mirrored == pytest.approx((p_under, p_over))
    assert 0.0 < p_over < 1.0
    assert 0.0 < tie_uniform("salt", request_id) < 1.0


def test_the_tie_breaker_is_reproducible_even_and_separates_salt_and_id() -> None:
    assert tie_uniform("audit-1", "r-1") == tie_uniform("audit-1", "r-1")
    assert tie_uniform("a", "bc") != tie_uniform("ab", "c")
    numbers = sorted(tie_uniform("audit-1", f"r-{number}") for number in range(4000))
    steps = [abs(number - (k + 0.5) / 4000) for k, number in enumerate(numbers)]
    assert max(steps) < 1.63 / math.sqrt(4000)  # Kolmogorov's bound at 1 %


def test_a_reading_says_who_controls_it_and_what_it_expects() -> None:
    reading = _read(REQUEST)
    uniform = tie_uniform("audit-1", "r-1")
    assert reading.p_over == pytest.approx(3 * uniform / 5)
    assert reading.p_under == pytest.approx(1 - 3 * uniform / 5)
    assert (reading.dkw_epsilon, reading.expected_tokens) == (0.0, 592.0)
    assert (reading.low_tokens, reading.high_tokens) == (512.0, 640.0)
    assert reading.interval_confidence == 0.6
    assert (reading.cell, reading.num_calibration) == ("o3-mini|math|high", 4)
    assert (reading.controller, reading.stops) == (Controller.AUDITOR, Adversary.MALICIOUS_ORIGIN)


def test_without_reference_runs_nothing_is_said() -> None:
    refused = _refused(replace(REQUEST, reference_counts=()))
    assert (refused.reason, refused.detail) == (
        Refusal.NO_EVIDENCE,
        "the prompt was not run on a reference",
    )


def test_one_reference_run_is_too_few() -> None:
    refused = _refused(replace(REQUEST, reference_counts=(640,)))
    assert refused.reason is Refusal.TOO_LITTLE_CALIBRATION
    assert "2 runs are the least" in refused.detail


def test_without_a_billed_count_nothing_is_said() -> None:
    refused = _refused(replace(REQUEST, usage=replace(REQUEST.usage, reasoning_tokens=None)))
    assert (refused.reason, refused.detail) == (Refusal.NO_COUNT, "no reasoning count was billed")


def test_a_middlemans_count_is_no_meter_reading() -> None:
    refused = _refused(replace(REQUEST, is_aggregator=True))
    assert refused.reason is Refusal.NOT_A_METER_READING
    assert "another tokenizer" in refused.detail


@pytest.mark.parametrize("billed, counts", [(640, (-1, 5)), (-1, (4, 5))])
def test_negative_counts_are_refused_by_name(billed: int, counts: tuple[int, ...]) -> None:
    usage = replace(REQUEST.usage, reasoning_tokens=billed)
    with pytest.raises(InvalidRequest, match="reference_counts: neither these nor the bill"):
        CHANNEL.read(replace(REQUEST, usage=usage, reference_counts=counts), "math")


def test_the_channel_goes_through_a_calibration_file() -> None:
    assert RankChannel.from_json(CHANNEL.to_json()) == CHANNEL


@pytest.mark.parametrize(
    "document, problem",
    [
        ([], "exactly `format` and `salt`"),
        ({"format": "rank-1"}, "exactly `format` and `salt`"),
        ({"format": "rank-1", "salt": "a", "more": 1}, "exactly `format` and `salt`"),
        ({"format": "rank-2", "salt": "a"}, "'rank-2', not 'rank-1'"),
        ({"format": "rank-1", "salt": ""}, "must be a text that is not empty"),
        ({"format": "rank-1", "salt": 5}, "must be a text that is not empty"),
    ],
)
def test_a_malformed_channel_is_refused(document: object, problem: str) -> None:
    with pytest.raises(CalibrationError, match=problem):
        RankChannel.from_json(document)


#: Even over all stakes: a rank that moves at all moves by much.
GRID = BetGrid(np.linspace(0.05, 0.9, 18), np.full(18, -math.log(18)))


def _real_groups(num_samples: int) -> list[list[int]]:
    """Return billed counts of several calls of one model with one prompt."""
    groups = defaultdict(list)
    for name in ("billed_train", "billed_calib"):
        for row in load_rows(name):
            if row["reasoning_tokens_billed"] is not None:
                key = (row["source"], row["model"], row["effort"], row["prompt"])
                groups[key].append(row["reasoning_tokens_billed"])
    return [counts for counts in groups.values() if len(counts) >= num_samples]


def _crossing(stream: random.Random, groups: list[list[int]], factor: float) -> int | None:
    """Return after how many requests alpha = 1 % is crossed, of 300; None if never."""
    observations = []
    for number in range(300):
        counts = list(stream.choice(groups))
        stream.shuffle(counts)
        billed = round(counts[0] * factor)
        usage = replace(REQUEST.usage, reasoning_tokens=billed)
        request = replace(
            REQUEST,
            request_id=f"{stream.random()}-{number}",
            usage=usage,
            reference_counts=tuple(counts[1:5]),
        )
        observations.append(_read(request).p_under)
    crossed = log_bets(observations, 0.5, GRID) >= math.log(100)
    return int(crossed.argmax()) + 1 if crossed.any() else None


def test_on_real_counts_honest_streams_pass_and_a_quarter_more_is_found() -> None:
    """Streams draw real groups of >= 5 calls with replacement; the bill is one, four are the K."""
    groups = _real_groups(5)
    assert len(groups) >= 100
    honest = [_crossing(random.Random(seed), groups, 1.0) for seed in range(60)]  # noqa: S311
    inflated = [_crossing(random.Random(seed), groups, 1.25) for seed in range(20)]  # noqa: S311
    assert sum(crossing is not None for crossing in honest) <= 2
    assert None not in inflated
    assert sorted(crossing or 0 for crossing in inflated)[10] <= 40

"""What is read off the client's clock, and what is refused."""

from dataclasses import replace

import pytest

from audit.billing_records import (
    BilledRequest,
    BilledUsage,
    CallTiming,
    Refusal,
    Unchecked,
    UsageSchema,
)
from audit.hidden_tokens.laws import Counted
from audit.hidden_tokens.timing_evidence import Clock, TimedSample, timed_sample

STREAM = CallTiming(
    elapsed_s=21.0,
    first_answer_token_s=10.0,
    chunk_times_s=tuple(10.0 + i for i in range(11)),
)
REQUEST = BilledRequest(
    request_id="r-1",
    account="acme",
    provider="openai",
    model="o1",
    usage=BilledUsage(
        schema=UsageSchema.OPENAI_CHAT, output_tokens=700, prompt_tokens=9, reasoning_tokens=640
    ),
    observed_at="2026-01-02T03:04:05Z",
    answer="x" * 220,
    timing=STREAM,
)


def _sample(request: BilledRequest) -> TimedSample:
    sample = timed_sample(request, "math")
    assert isinstance(sample, TimedSample)
    return sample


def test_a_stream_is_timed_in_characters_of_its_own_pace() -> None:
    sample = _sample(REQUEST)

    # 10 of 11 chunks, 200 characters, in 10 s: the 10 s before the answer were worth 200 more
    assert sample.time(Clock.STREAM) == pytest.approx(200.0)
    assert sample.time(Clock.WHOLE) == 21.0
    assert (sample.cell, sample.counted, sample.count) == ("o1|math|", Counted.REASONING, 640)


def test_without_a_mark_of_its_own_the_first_chunk_begins_the_answer() -> None:
    timing = replace(STREAM, first_answer_token_s=None)

    assert _sample(replace(REQUEST, timing=timing)).time(Clock.STREAM) == pytest.approx(200.0)


@pytest.mark.parametrize(
    ("timing", "answer"),
    [
        (replace(STREAM, chunk_times_s=()), "x" * 220),
        (replace(STREAM, chunk_times_s=tuple(20.0 + i / 100 for i in range(11))), "x" * 220),
        (STREAM, "C"),
        (STREAM, None),
    ],
    ids=["no chunks", "one burst", "short answer", "no answer"],
)
def test_no_pace_is_read_where_there_is_none(timing: CallTiming, answer: str | None) -> None:
    sample = _sample(replace(REQUEST, timing=timing, answer=answer))

    assert sample.time(Clock.STREAM) is None
    assert sample.time(Clock.WHOLE) == 21.0


def test_all_output_is_counted_where_reasoning_is_not_stated() -> None:
    usage = BilledUsage(schema=UsageSchema.ANTHROPIC, output_tokens=700)

    sample = _sample(replace(REQUEST, usage=usage))

    assert (sample.counted, sample.count) == (Counted.OUTPUT, 700)


@pytest.mark.parametrize(
    ("timing", "detail"),
    [
        (CallTiming(elapsed_s=0.0), "elapsed_s must be above 0"),
        (CallTiming(elapsed_s=float("inf")), "elapsed_s must be above 0"),
        (CallTiming(elapsed_s=2.0, first_answer_token_s=3.0), "after its end"),
        (CallTiming(elapsed_s=2.0, chunk_times_s=(-1.0, 1.0)), "before the request was sent"),
        (CallTiming(elapsed_s=2.0, chunk_times_s=(1.0, 0.5)), "must ascend"),
    ],
)
def test_times_that_contradict_each_other_are_refused(timing: CallTiming, detail: str) -> None:
    refused = timed_sample(replace(REQUEST, timing=timing), "math")

    assert isinstance(refused, Unchecked)
    assert refused.reason is Refusal.UNREADABLE_EVIDENCE
    assert detail in refused.detail


def test_nothing_is_read_without_a_clock_or_from_a_count_made_again() -> None:
    untimed = timed_sample(replace(REQUEST, timing=None), "math")
    recounted = timed_sample(replace(REQUEST, is_aggregator=True), "math")

    assert isinstance(untimed, Unchecked)
    assert untimed.reason is Refusal.NO_EVIDENCE
    assert isinstance(recounted, Unchecked)
    assert recounted.reason is Refusal.NOT_A_METER_READING

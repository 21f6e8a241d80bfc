"""Speed laws on made-up hosts whose truth is known."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from audit.billing_records import (
    Adversary,
    BilledRequest,
    CallTiming,
    Controller,
    Reading,
    Refusal,
    Tier,
    Unchecked,
)
from audit.errors import CalibrationError
from audit.hidden_tokens.timing import SpeedLaws
from audit.hidden_tokens.timing_evidence import Clock
from audit.hidden_tokens.timing_fit import SPEED_MARGIN, fit_speed_laws
from tests.unit.hidden_tokens.made_up_hosts import inflated, loaded_laws, made_up, samples


def reading(laws: SpeedLaws, request: BilledRequest) -> Reading:
    """Return the reading of a call that can be read."""
    found = laws.read(request, "math")
    assert isinstance(found, Reading)
    return found


@pytest.fixture(scope="module")
def loaded() -> SpeedLaws:
    """Laws of a host under very different loads."""
    return loaded_laws()


def test_the_pace_of_the_answer_makes_up_for_the_load(loaded: SpeedLaws) -> None:
    request = made_up(1, 3, load=1.0)[0]
    assert request.timing is not None
    whole_only = replace(request, timing=CallTiming(elapsed_s=request.timing.elapsed_s))

    by_stream, by_time = reading(loaded, request), reading(loaded, whole_only)

    assert by_stream.channel == "time:stream:host"
    assert by_time.channel == "time:whole:host"
    assert _width(by_stream) < 1.3
    # the load makes the whole time wide
    assert _width(by_time) > 3.0 * _width(by_stream)


def test_intervals_and_p_values_hold_under_load(loaded: SpeedLaws) -> None:
    readings = [
        (request.usage.reasoning_tokens or 0, reading(loaded, request))
        for request in made_up(600, 4, load=1.0)
    ]

    held = [(r.low_tokens or 0) <= count <= (r.high_tokens or 0) for count, r in readings]
    assert 0.85 <= np.mean(held) <= 0.95
    assert np.mean([r.p_over <= 0.05 for _, r in readings]) <= 0.08
    assert np.mean([r.p_over for _, r in readings]) >= 0.5 - readings[0][1].dkw_epsilon
    billed = sum(count for count, _ in readings)
    assert sum(r.expected_tokens or 0 for _, r in readings) == pytest.approx(billed, rel=0.05)


def test_inflation_is_seen_on_one_streamed_call(loaded: SpeedLaws) -> None:
    calls = made_up(100, 5, load=1.0)

    over = [reading(loaded, inflated(call, 1.25)).p_over for call in calls]
    under = [reading(loaded, inflated(call, 0.8)).p_under for call in calls]

    assert np.mean([p <= 0.01 for p in over]) >= 0.95
    assert np.mean([p <= 0.01 for p in under]) >= 0.95


def test_a_reading_says_that_the_clock_is_the_clients(loaded: SpeedLaws) -> None:
    found = reading(loaded, made_up(1, 6, load=1.0)[0])

    assert found.tier is Tier.TIMING
    assert (found.controller, found.stops) == (Controller.CLIENT, Adversary.INFLATING_RESELLER)
    assert (found.cell, found.num_calibration) == ("host|math|", 300)


def test_beyond_the_fitted_times_tokens_grow_in_proportion(loaded: SpeedLaws) -> None:
    curve = loaded.laws["host|math|", Clock.WHOLE].curve
    end = float(np.exp(curve.knots[-1][0]))

    assert curve.predict(4 * end) == pytest.approx(4 * curve.predict(end))
    grid = [curve.predict(time) for time in np.geomspace(0.01, 1e5, 200)]
    assert grid == sorted(grid)


def test_more_than_the_hardware_can_write_is_a_violation() -> None:
    laws = fit_speed_laws(samples(made_up(60, 1, load=0.0)), samples(made_up(60, 2, load=0.0)))
    honest = made_up(40, 3, load=0.0)

    assert [laws.impossible(call, "math") for call in honest] == [None] * 40
    violation = laws.impossible(inflated(honest[0], 4.0), "math")

    assert violation is not None
    assert (violation.identity, violation.tier) == ("top_speed", Tier.TIMING)
    timing = honest[0].timing
    assert timing is not None
    allowed = int(laws.top_speeds["host"] * timing.elapsed_s)
    billed = inflated(honest[0], 4.0).usage.output_tokens
    assert violation.excess_tokens == billed - allowed
    assert violation.statement == (
        f"{billed} output tokens were billed for {timing.elapsed_s:.3f} s; host writes "
        f"{laws.top_speeds['host']:.0f} tokens/s at most, {allowed} in that time"
    )
    assert 95.0 * SPEED_MARGIN < laws.top_speeds["host"] < 105.0 * SPEED_MARGIN


def test_nothing_is_impossible_where_no_speed_is_known(loaded: SpeedLaws) -> None:
    call = inflated(made_up(1, 3, load=0.0)[0], 50.0)

    assert loaded.impossible(call, "math") is not None
    assert loaded.impossible(replace(call, model="another"), "math") is None
    assert loaded.impossible(replace(call, timing=None), "math") is None


def _other_domain(laws: SpeedLaws, call: BilledRequest) -> Reading | Unchecked:
    return laws.read(call, "code")


def _other_model(laws: SpeedLaws, call: BilledRequest) -> Reading | Unchecked:
    return laws.read(replace(call, model="another"), "math")


def _no_reasoning(laws: SpeedLaws, call: BilledRequest) -> Reading | Unchecked:
    return laws.read(replace(call, usage=replace(call.usage, reasoning_tokens=None)), "math")


def _untimed(laws: SpeedLaws, call: BilledRequest) -> Reading | Unchecked:
    return laws.read(replace(call, timing=None), "math")


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (_other_domain, Refusal.UNSEEN_CELL),
        (_other_model, Refusal.UNKNOWN_MODEL),
        (_no_reasoning, Refusal.NO_COUNT),
        (_untimed, Refusal.NO_EVIDENCE),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    loaded: SpeedLaws,
    read: Callable[[SpeedLaws, BilledRequest], Reading | Unchecked],
    reason: Refusal,
) -> None:
    found = read(loaded, made_up(1, 7, load=1.0)[0])

    assert isinstance(found, Unchecked)
    assert found.reason is reason


def test_cells_with_too_few_calls_or_without_signal_are_refused_by_name() -> None:
    few = made_up(20, 5, load=0.0, model="few")
    shuffled = made_up(150, 6, load=0.0, model="queue")
    timings = [call.timing for call in shuffled]
    shuffled = [
        replace(call, timing=timing)
        for call, timing in zip(shuffled, timings[1:] + timings[:1], strict=True)
    ]
    known = made_up(100, 7, load=0.0)
    laws = fit_speed_laws(
        samples(few + shuffled[:75] + known[:50]), samples(few + shuffled[75:] + known[50:])
    )

    assert laws.refused == {
        "few|math|": Refusal.TOO_LITTLE_CALIBRATION,
        "queue|math|": Refusal.NO_SIGNAL,
    }
    refused = laws.read(shuffled[0], "math")
    assert isinstance(refused, Unchecked)
    assert refused.reason is Refusal.NO_SIGNAL


def test_no_law_at_all_is_an_error() -> None:
    with pytest.raises(CalibrationError, match="no cell has a speed law: it takes 25 timed"):
        fit_speed_laws([], samples(made_up(50, 1, load=0.0)))


def _width(found: Reading) -> float:
    assert found.low_tokens is not None
    assert found.high_tokens is not None
    return found.high_tokens / found.low_tokens

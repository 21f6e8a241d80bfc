"""Speed laws on real billed calls with real wall clocks.

Fitted on half of train's questions; calibrated on the other half and on half of calib's; tested on
calib's other half. A stream is drawn with replacement from a cell's test calls: it shows what bets
do given this calibration, not how calls of one account depend on each other.
"""

import functools
from collections import defaultdict

import numpy as np
import pytest

from audit.billing_records import BilledRequest, BilledUsage, CallTiming, Reading, UsageSchema
from audit.hidden_tokens.laws import counted_of
from audit.hidden_tokens.timing import SpeedLaws
from audit.hidden_tokens.timing_evidence import Clock, TimedSample, timed_sample
from audit.hidden_tokens.timing_fit import fit_speed_laws
from audit.judge.betting import log_bets
from tests.support.hidden_tokens import Row, load_rows, split_groups

Cell = tuple[str, str]

O1_PREVIEW = ("o1-preview-2024-09-12", "planning")
O1_MINI = ("o1-mini-2024-09-12", "planning")
REASONER = ("deepseek-reasoner", "planning")
R1_MEDICAL = ("deepseek-r1", "medical")
O1_MINI_MEDICAL = ("o1-mini", "medical")
O3_MINI_MEDICAL = ("o3-mini", "medical")
ALL_CELLS = (O1_PREVIEW, O1_MINI, REASONER, R1_MEDICAL, O1_MINI_MEDICAL, O3_MINI_MEDICAL)

LOG_THRESHOLD = float(np.log(100.0))


def billed(row: Row, factor: float = 1.0) -> BilledRequest:
    """Return the bill of a call, its reasoning (or all output, if that is all) times `factor`."""
    reasoning, output = row["reasoning_tokens_billed"], row["completion_tokens_billed"]
    base = output if reasoning is None else reasoning
    extra = round(base * (factor - 1.0))
    return BilledRequest(
        request_id=row["id"],
        account="acme",
        provider=row["source"],
        model=row["model"],
        usage=BilledUsage(
            schema=UsageSchema.OPENAI_CHAT,
            output_tokens=(reasoning if output is None else output) + extra,
            reasoning_tokens=None if reasoning is None else reasoning + extra,
        ),
        observed_at="2026-01-02T03:04:05Z",
        effort=row["effort"],
        answer=row["answer"],
        timing=CallTiming(elapsed_s=row["elapsed_s"]),
    )


def _timed(name: str) -> list[Row]:
    # failed calls were billed nothing at all
    return [
        row
        for row in load_rows(name)
        if row["elapsed_s"] and (row["completion_tokens_billed"] or row["reasoning_tokens_billed"])
    ]


def _samples(rows: list[Row]) -> list[TimedSample]:
    found = [timed_sample(billed(row), row["domain"]) for row in rows]
    assert all(isinstance(sample, TimedSample) for sample in found)
    return [sample for sample in found if isinstance(sample, TimedSample)]


@functools.cache
def study() -> tuple[SpeedLaws, dict[Cell, list[Row]]]:
    """Return the laws and each cell's test calls."""
    fit, rest = split_groups(_timed("billed_train"), "fit")
    calibration, test = split_groups(_timed("billed_calib"))
    cells: dict[Cell, list[Row]] = defaultdict(list)
    for row in test:
        cells[row["model"], row["domain"]].append(row)
    return fit_speed_laws(_samples(fit), _samples(rest + calibration)), cells


def readings(cell: Cell, factor: float = 1.0) -> list[tuple[int, Reading]]:
    """Return (count, reading) of every test call of a cell that the law can read."""
    laws, cells = study()
    found = []
    for row in cells[cell]:
        request = billed(row, factor)
        reading = laws.read(request, row["domain"])
        if isinstance(reading, Reading):
            found.append((counted_of(request)[1], reading))
    return found


def looks(cell: Cell, factor: float, num_streams: int, num_requests: int) -> list[int | None]:
    """Return, for streams of a cell, the request at which bets reach 100; None where never.

    Bets are on too low a bill where `factor` is below 1, and on too high a one otherwise.
    """
    found = readings(cell, factor)
    gains_N = 1.0 - np.array([r.p_under if factor < 1.0 else r.p_over for _, r in found])
    null_mean = 0.5 + found[0][1].dkw_epsilon
    rng = np.random.default_rng(7)
    firsts: list[int | None] = []
    for _ in range(num_streams):
        log_e_N = log_bets(rng.choice(gains_N, num_requests), null_mean)
        reached = np.flatnonzero(log_e_N >= LOG_THRESHOLD)
        firsts.append(int(reached[0]) + 1 if reached.size else None)
    return firsts


# no worse than what is known of such calls: median relative error, share within a third
@pytest.mark.parametrize(
    ("cell", "median_error", "within"),
    [
        (O1_PREVIEW, 0.125, 0.87),
        (O1_MINI, 0.23, 0.78),
        (REASONER, 0.07, 0.99),
        (R1_MEDICAL, 0.26, 0.61),
        (O1_MINI_MEDICAL, 0.25, 0.68),
        (O3_MINI_MEDICAL, 0.53, 0.28),
    ],
)
def test_errors_on_unseen_questions(cell: Cell, median_error: float, within: float) -> None:
    curve = study()[0].laws["|".join((*cell, "")), Clock.WHOLE].curve
    # curves are fitted on train alone: all of calib is unseen
    rows = [row for row in _timed("billed_calib") if (row["model"], row["domain"]) == cell]
    counts = [counted_of(billed(row))[1] for row in rows]
    errors = np.array(
        [
            abs(curve.predict(row["elapsed_s"]) / count - 1.0)
            for row, count in zip(rows, counts, strict=True)
            if count
        ]
    )

    assert np.median(errors) <= median_error
    assert np.mean(errors <= 1 / 3) >= within


@pytest.mark.parametrize("cell", ALL_CELLS)
def test_intervals_are_wide_on_loaded_hosts_and_right(cell: Cell) -> None:
    found = readings(cell)
    held = [(r.low_tokens or 0) <= count <= (r.high_tokens or 0) for count, r in found]
    widths = [(r.high_tokens or 0) / max(r.low_tokens or 0, 1) for _, r in found]

    assert np.mean(held) >= 0.85
    assert (np.median(widths) > 8) == (cell == O3_MINI_MEDICAL)


@pytest.mark.parametrize("cell", ALL_CELLS)
def test_sums_of_expectations_are_sums_of_bills(cell: Cell) -> None:
    found = readings(cell)
    ratio = sum(r.expected_tokens or 0 for _, r in found) / sum(count for count, _ in found)

    assert ratio == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("cell", ALL_CELLS)
def test_honest_streams_raise_no_alarm(cell: Cell) -> None:
    assert looks(cell, 1.0, 480, 300) == [None] * 480


@pytest.mark.parametrize(
    ("cell", "horizon", "median_look"),
    [(O1_PREVIEW, 100, 55), (O1_MINI, 300, 60), (R1_MEDICAL, 300, 60), (O1_MINI_MEDICAL, 300, 90)],
)
def test_a_quarter_more_is_found_in_every_stream(
    cell: Cell, horizon: int, median_look: int
) -> None:
    firsts = looks(cell, 1.25, 200, horizon)

    found = [first for first in firsts if first is not None]
    assert len(found) == 200
    assert np.median(found) <= median_look


def test_a_fifth_less_is_found_in_every_stream() -> None:
    assert None not in looks(O1_PREVIEW, 0.8, 200, 300)


def test_honest_streams_raise_no_alarm_from_below() -> None:
    # a hair below 1 changes no rounded count
    assert looks(O1_PREVIEW, 1.0 - 1e-12, 480, 300) == [None] * 480


def test_no_honest_call_is_impossible_and_instant_padding_is() -> None:
    laws, cells = study()
    rows = [row for cell in cells.values() for row in cell]

    assert [r["id"] for r in rows if laws.impossible(billed(r), r["domain"])] == []
    # as many tokens as ten times the time would have allowed
    long = [row for row in cells[O1_PREVIEW] if row["completion_tokens_billed"] >= 256]
    found = [laws.impossible(billed(row, 10.0), row["domain"]) for row in long]
    assert np.mean([violation is not None for violation in found]) >= 0.95

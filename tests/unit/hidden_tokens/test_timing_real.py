"""Speed laws on real billed calls with real wall clocks.

Fitted on half of train's questions; calibrated on the other half and on half of calib's; tested on
calib's other half. A stream is drawn with replacement from a cell's test calls: it shows what bets
do given this calibration, not how calls of one account depend on each other.
"""

import numpy as np
import pytest

from audit.judge.betting import log_bets
from tests.support.timed_rows import (
    Cell,
    timed_bill,
    timing_errors,
    timing_readings,
    timing_study,
)

O1_PREVIEW = ("o1-preview-2024-09-12", "planning", "")
O1_MINI = ("o1-mini-2024-09-12", "planning", "")
REASONER = ("deepseek-reasoner", "planning", "")
R1_MEDICAL = ("deepseek-r1", "medical", "")
O1_MINI_MEDICAL = ("o1-mini", "medical", "")
O3_MINI_MEDICAL = ("o3-mini", "medical", "")
ALL_CELLS = (O1_PREVIEW, O1_MINI, REASONER, R1_MEDICAL, O1_MINI_MEDICAL, O3_MINI_MEDICAL)

LOG_THRESHOLD = float(np.log(100.0))


def looks(cell: Cell, factor: float, num_streams: int, num_requests: int) -> list[int | None]:
    """Return, for streams of a cell, the request at which bets reach 100; None where never.

    Bets are on too low a bill where `factor` is below 1, and on too high a one otherwise.
    """
    found = timing_readings(cell, factor)
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
    errors = np.array(timing_errors(cell))

    assert np.median(errors) <= median_error
    assert np.mean(errors <= 1 / 3) >= within


@pytest.mark.parametrize("cell", ALL_CELLS)
def test_intervals_are_wide_on_loaded_hosts_and_right(cell: Cell) -> None:
    found = timing_readings(cell)
    held = [(r.low_tokens or 0) <= count <= (r.high_tokens or 0) for count, r in found]
    widths = [(r.high_tokens or 0) / max(r.low_tokens or 0, 1) for _, r in found]

    assert np.mean(held) >= 0.85
    assert (np.median(widths) > 8) == (cell == O3_MINI_MEDICAL)


@pytest.mark.parametrize("cell", ALL_CELLS)
def test_sums_of_expectations_are_sums_of_bills(cell: Cell) -> None:
    found = timing_readings(cell)
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
    laws, cells = timing_study()
    rows = [row for cell in cells.values() for row in cell]

    assert [r["id"] for r in rows if laws.impossible(timed_bill(r), r["domain"])] == []
    # as many tokens as ten times the time would have allowed
    long = [row for row in cells[O1_PREVIEW] if row["completion_tokens_billed"] >= 256]
    found = [laws.impossible(timed_bill(row, 10.0), row["domain"]) for row in long]
    assert np.mean([violation is not None for violation in found]) >= 0.95

"""Real billed calls with real wall clocks, and the speed laws of half of them.

Laws are fitted on half of train's questions, and calibrated on the other half and on half of
calib's; calib's other half is left to test.
"""

import functools
from collections import defaultdict
from collections.abc import Sequence

from audit.billing_records import BilledRequest, BilledUsage, CallTiming, Reading, UsageSchema
from audit.hidden_tokens.conformal import cell_key
from audit.hidden_tokens.laws import counted_of
from audit.hidden_tokens.timing import SpeedLaws
from audit.hidden_tokens.timing_evidence import Clock, TimedSample, timed_sample
from audit.hidden_tokens.timing_fit import fit_speed_laws
from tests.support.hidden_tokens import Row, load_rows, split_groups

Cell = tuple[str, str, str]
"""Model, domain, effort."""


def timed_bill(row: Row, factor: float = 1.0) -> BilledRequest:
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


def timed_rows(name: str) -> list[Row]:
    """Return the timed rows of a part of the data."""
    # failed calls were billed nothing at all
    return [
        row
        for row in load_rows(name)
        if row["elapsed_s"] and (row["completion_tokens_billed"] or row["reasoning_tokens_billed"])
    ]


def cell_of(row: Row) -> Cell:
    """Return the cell of a row."""
    return row["model"], row["domain"], row["effort"] or ""


@functools.cache
def timing_study() -> tuple[SpeedLaws, dict[Cell, list[Row]]]:
    """Return the laws and each cell's test calls."""
    fit, rest = split_groups(timed_rows("billed_train"), "fit")
    calibration, test = split_groups(timed_rows("billed_calib"))
    cells: dict[Cell, list[Row]] = defaultdict(list)
    for row in test:
        cells[cell_of(row)].append(row)
    return fit_speed_laws(_samples(fit), _samples([*rest, *calibration])), cells


def timing_readings(cell: Cell, factor: float = 1.0) -> list[tuple[int, Reading]]:
    """Return (count, reading) of every test call of a cell that the law can read."""
    laws, cells = timing_study()
    requests = [(timed_bill(row, factor), row["domain"]) for row in cells[cell]]
    return [
        (counted_of(request)[1], reading)
        for request, domain in requests
        if isinstance(reading := laws.read(request, domain), Reading)
    ]


def timing_errors(cell: Cell) -> list[float]:
    """Return the relative errors of a law on the cell's calls of all of calib.

    Curves are fitted on train alone, so that none of these questions was seen.
    """
    curve = timing_study()[0].laws[cell_key(*cell), Clock.WHOLE].curve
    rows = [row for row in timed_rows("billed_calib") if cell_of(row) == cell]
    pairs = [(row["elapsed_s"], counted_of(timed_bill(row))[1]) for row in rows]
    return [abs(curve.predict(time) / count - 1.0) for time, count in pairs if count]


def _samples(rows: Sequence[Row]) -> list[TimedSample]:
    found = [timed_sample(timed_bill(row), row["domain"]) for row in rows]
    samples = [sample for sample in found if isinstance(sample, TimedSample)]
    if len(samples) != len(found):
        raise ValueError("a real call cannot be read")
    return samples

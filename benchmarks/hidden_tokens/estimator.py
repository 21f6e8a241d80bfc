"""How well does text alone tell the billed count, and do its intervals hold?

Method: the booster is fitted on `billed_train` alone. `billed_calib` is split in two by question;
each half calibrates the intervals and mean factors under which the other is tested, so that every
row is tested once and never against itself. The figures of the two directions are given one by one
besides: errors of a mean factor have opposite signs in them and would cancel in the sum. A row's
count is its billed reasoning, or all its output tokens where no reasoning was stated.

The share within 33 % is of `centred` estimates: the median times sqrt(1 - 0.33^2). The band around
a count reaches from 0.67 to 1.33 times it and is not centred on it in logs; that constant centres
it, whatever the data. A call without any reasoning counts as missed. `all_rows` needs no
calibration and so leaves no row out: the centred estimates, the medians as they are, and as the
baseline the (centred) median of the row's cell in the training part.

    python benchmarks/hidden_tokens/estimator.py [--seed 7]
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from audit.billing_records import Reading, Unchecked
from audit.hidden_tokens.estimator.cells import EstimatorRow
from audit.hidden_tokens.estimator.core import EstimatorCore
from audit.hidden_tokens.estimator.files import row_of_record
from audit.hidden_tokens.estimator.training import calibrate_estimator, train_estimator
from tests.support.hidden_tokens import load_rows, split_groups

BAND = 0.33
#: Centres the band that is relative to the count on the estimate's log.
CENTRE = math.sqrt(1.0 - BAND**2)
LARGE_CELL = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """One honest row, with what an estimator says that was calibrated on other questions."""

    row: EstimatorRow
    median_tokens: float
    answer: Reading | Unchecked


def directions(core: EstimatorCore) -> tuple[list[Tested], list[Tested]]:
    """Return the rows of each half of the calibration part, tested by the other half."""
    first, second = (
        [row_of_record(record) for record in half]
        for half in split_groups(load_rows("billed_calib"))
    )
    return _tested(core, first, second), _tested(core, second, first)


def _tested(
    core: EstimatorCore, calibration: Sequence[EstimatorRow], test: Sequence[EstimatorRow]
) -> list[Tested]:
    answers = calibrate_estimator(core, calibration).read_rows(test)
    return [
        Tested(row=row, median_tokens=float(median), answer=answer)
        for row, median, answer in zip(test, core.median_tokens(test), answers, strict=True)
    ]


def share_within(estimates: Sequence[float], counts: Sequence[int]) -> float:
    """Return the share of estimates that are within the band of the count."""
    pairs = list(zip(estimates, counts, strict=True))
    return sum(abs(estimate - count) <= BAND * count for estimate, count in pairs) / len(pairs)


def figures(tested: Sequence[Tested]) -> dict[str, float | int]:
    """Return the measures of rows that were all answered."""
    readings = [test.answer for test in tested if isinstance(test.answer, Reading)]
    counts = [test.row.num_tokens for test in tested]
    covered = sum(
        (reading.low_tokens or 0.0) <= max(count, 1) <= (reading.high_tokens or math.inf)
        for reading, count in zip(readings, counts, strict=True)
    )
    expected = sum(reading.expected_tokens or 0.0 for reading in readings)
    return {
        "num_rows": len(tested),
        "num_questions": len({test.row.group for test in tested}),
        "within_33": round(share_within([CENTRE * t.median_tokens for t in tested], counts), 4),
        "aggregate_error": round(expected / sum(counts) - 1.0, 4),
        "coverage": round(covered / len(tested), 4),
        "over_at_5_percent": round(sum(r.p_over <= 0.05 for r in readings) / len(readings), 4),
        "over_at_1_percent": round(sum(r.p_over <= 0.01 for r in readings) / len(readings), 4),
    }


def figures_without_calibration(
    tested: Sequence[Tested], trained: Sequence[EstimatorRow]
) -> dict[str, float]:
    """Return the shares within the band over all rows, answered or refused."""
    of_cell: dict[str, list[int]] = defaultdict(list)
    for row in trained:
        of_cell[row.cell].append(row.num_tokens)
    typical = statistics.median(row.num_tokens for row in trained)
    medians = {cell: statistics.median(counts) for cell, counts in of_cell.items()}
    counts = [test.row.num_tokens for test in tested]
    shares = {
        "centred": [CENTRE * test.median_tokens for test in tested],
        "median": [test.median_tokens for test in tested],
        "cell_median": [CENTRE * medians.get(test.row.cell, typical) for test in tested],
    }
    return {name: round(share_within(shares[name], counts), 4) for name in shares}


def evaluate(seed: int) -> dict[str, object]:
    """Return all measures of one seed."""
    started = time.perf_counter()
    trained = [row_of_record(record) for record in load_rows("billed_train")]
    core = train_estimator(trained, seed)
    trained_s = time.perf_counter() - started
    halves = directions(core)
    tested = [test for half in halves for test in half]
    refused = Counter(t.answer.reason.value for t in tested if isinstance(t.answer, Unchecked))
    return {
        "seed": seed,
        "core_id": core.core_id,
        "trained_s": round(trained_s, 1),
        "booster_bytes": len(core.booster),
        "all_rows": {
            "num_rows": len(tested),
            **figures_without_calibration(tested, trained),
        },
        "answered": figures(answered(tested)),
        "directions": [figures(answered(half)) for half in halves],
        "refused": dict(sorted(refused.items())),
        "cells": figures_of_cells(tested),
        "cells_of_directions": [figures_of_cells(half) for half in halves],
        "router": router_accuracy(core),
    }


def answered(tested: Sequence[Tested]) -> list[Tested]:
    """Return the rows that were not refused."""
    return [test for test in tested if isinstance(test.answer, Reading)]


def figures_of_cells(tested: Sequence[Tested]) -> dict[str, dict[str, float | int]]:
    """Return the measures of each cell with enough answered rows."""
    cells: dict[str, list[Tested]] = defaultdict(list)
    for test in answered(tested):
        cells[test.row.cell].append(test)
    return {
        name: figures(tests) for name, tests in sorted(cells.items()) if len(tests) >= LARGE_CELL
    }


def router_accuracy(core: EstimatorCore) -> dict[str, float | int]:
    """Return how often the router is right on prompts of the calibration part, each once."""
    pairs = sorted({(record["prompt"], record["domain"]) for record in load_rows("billed_calib")})
    routes = [core.router.route(prompt) for prompt, _ in pairs]
    routed = [
        (route.domain, domain)
        for route, (_, domain) in zip(routes, pairs, strict=True)
        if route.domain is not None
    ]
    return {
        "num_prompts": len(pairs),
        "abstained": len(pairs) - len(routed),
        "accuracy": round(
            sum(routed_to == domain for routed_to, domain in routed) / len(routed), 4
        ),
    }


def main() -> None:
    """Print the measures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=7)
    print(json.dumps(evaluate(parser.parse_args().seed)))


if __name__ == "__main__":
    main()

"""Near-ties sorted into cells, and how often honest endpoints answer each kind otherwise.

A cell is a band of firmness, told in spacings of bfloat16 numbers, among spots where all known
substitutes choose clearly as the reference does ("plain"), or among those where some lean to
another token: places that turn when weights are rounded are places where rounding errors are large,
so they are counted apart. Within either kind an honest endpoint is assumed to turn no more often
where the call was firmer; a cell is therefore bounded by the smallest bound of the cells up to it.

Legend: C cells, N probes.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from audit.judge.intervals import upper_limit

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

#: Lower ends of the bands of plain and of leaning spots, in steps, and the end of the last. A part
#: of every section's format. Below the second leaning band only a reference that shares the
#: provider's engine finds honest endpoints steady.
PLAIN_EDGES_STEPS = (0.75, 1.25, 3.0)
LEANING_EDGES_STEPS = (-24.0, 0.45, 0.75, 1.25, 2.25, 24.0)

#: Stands for spots outside all bands: they are never evidence.
NO_CELL = -1

_NUM_PLAIN = len(PLAIN_EDGES_STEPS) - 1
NUM_CELLS = _NUM_PLAIN + len(LEANING_EDGES_STEPS) - 1
CELL_NAMES = tuple(
    f"{kind}[{low:g},{high:g})"
    for kind, edges in (("plain", PLAIN_EDGES_STEPS), ("leaning", LEANING_EDGES_STEPS))
    for low, high in pairwise(edges)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellCounts:
    """One honest variant's answers by cell."""

    num_calls_C: Int64Array
    num_tells_C: Int64Array
    """Answers with another token than the reference's first choice."""


def cell_of(firm_steps: float, is_leaning: bool) -> int:
    """Return the cell of a spot, or `NO_CELL`."""
    edges = LEANING_EDGES_STEPS if is_leaning else PLAIN_EDGES_STEPS
    band = bisect_right(edges, firm_steps) - 1
    if not 0 <= band < len(edges) - 1:
        return NO_CELL
    return band + (_NUM_PLAIN if is_leaning else 0)


def count(cell_N: Int64Array, tell_N: Int64Array) -> CellCounts:
    """Return the counts of answers; spots outside all cells are left out."""
    inside_N = cell_N != NO_CELL
    return CellCounts(
        num_calls_C=np.bincount(cell_N[inside_N], minlength=NUM_CELLS),
        num_tells_C=np.bincount(cell_N[inside_N & (tell_N > 0)], minlength=NUM_CELLS),
    )


def bound_rates(variants: Mapping[str, CellCounts], error: float) -> Float64Array:
    """Return upper bounds of the honest rates of tells, [C]; 1 where nothing was counted.

    They hold for all cells and variants together with probability 1 - `error`.
    """
    each = error / (NUM_CELLS * max(1, len(variants)))
    worst_C = np.zeros(NUM_CELLS)
    for name in sorted(variants):
        counts = variants[name]
        limit_C = upper_limit(counts.num_tells_C, counts.num_calls_C, each)
        worst_C = np.maximum(worst_C, _falling(limit_C))
    return worst_C if variants else np.ones(NUM_CELLS)


def likely_rates(counts: CellCounts) -> Float64Array:
    """Return each cell's rate as one variant showed it, kept off 0 and 1, [C]."""
    rate_C: Float64Array = (counts.num_tells_C + 0.5) / (counts.num_calls_C + 1.0)
    return rate_C


def _falling(limit_C: Float64Array) -> Float64Array:
    plain, leaning = limit_C[:_NUM_PLAIN], limit_C[_NUM_PLAIN:]
    fallen: Float64Array = np.concatenate(
        [np.minimum.accumulate(plain), np.minimum.accumulate(leaning)]
    )
    return fallen

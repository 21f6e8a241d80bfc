"""Honest mismatches counted by gap, and upper bounds for their rates that hold all at once.

The only assumption is that an honest engine errs no more often where the call was clearer. Then
the rate at a gap is at most the average rate over any range of smaller gaps, whatever prompts
filled that range, so each bin is bounded by the calls to its left and never by its own: a shift of
prompts inside a bin cannot break the bound. Far mismatches of near calls, which honest traffic
hardly ever holds, are bounded by their share among all near calls, and by the bound for mismatches
of calls with a gap that large, whichever is larger.

Legend: B gap bins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, Calls
from audit.judge.intervals import upper_limit

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

#: Twelve bins an octave, from well below to well above any engine's rounding; powers of two make
#: the far margin an edge. A part of every calibration's format.
SMALLEST_EDGE_STEPS = 2.0**-5
NUM_BINS_PER_OCTAVE = 12
NUM_OCTAVES = 10
EDGES_B: Float64Array = np.concatenate(
    [
        [0.0],
        SMALLEST_EDGE_STEPS
        * 2.0 ** (np.arange(NUM_OCTAVES * NUM_BINS_PER_OCTAVE + 1) / NUM_BINS_PER_OCTAVE),
    ]
)
NUM_BINS = len(EDGES_B)

#: Ranges of smaller gaps that a bin is bounded by, as numbers of bins.
WINDOWS = (2, 4, 6, 9, 14, 24, 48)

#: How the chance of a wrong bound is shared out: little where honest calls turn anyway, most where
#: cheats show first. (Gaps below so many steps, share of the error.)
ERROR_SHARES = ((1.0, 0.1), (8.0, 0.65), (np.inf, 0.2))

#: The rest is for far mismatches of near calls, all gaps together.
FAR_ERROR_SHARE = 0.05

#: What a bin is bounded by where nothing was counted.
UNBOUNDED_RATE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BinCounts:
    """Calls and mismatches of one honest variant, by gap."""

    num_calls_B: Int64Array
    num_mismatches_B: Int64Array
    num_far_B: Int64Array

    def __add__(self, other: "BinCounts") -> "BinCounts":
        """Return the counts of both together."""
        return BinCounts(
            num_calls_B=self.num_calls_B + other.num_calls_B,
            num_mismatches_B=self.num_mismatches_B + other.num_mismatches_B,
            num_far_B=self.num_far_B + other.num_far_B,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RateBounds:
    """Upper bounds for honest mismatch rates, by gap."""

    mismatch_B: Float64Array
    far_B: Float64Array


def bin_of(gap_steps_R: Float64Array) -> Int64Array:
    """Return the bin of each gap, shape [R]."""
    return np.searchsorted(EDGES_B, gap_steps_R, side="right") - 1


def no_counts() -> BinCounts:
    """Return the counts of no calls."""
    zeros_B = np.zeros(NUM_BINS, dtype=np.int64)
    return BinCounts(num_calls_B=zeros_B, num_mismatches_B=zeros_B, num_far_B=zeros_B)


def count_calls(calls: Calls) -> BinCounts:
    """Return one exchange's counts; calls that do not count are left out."""
    counted = calls.counted()
    bin_R = bin_of(counted.gap_steps_R)
    outcome_R = counted.outcome_R
    return BinCounts(
        num_calls_B=np.bincount(bin_R, minlength=NUM_BINS),
        num_mismatches_B=np.bincount(bin_R[outcome_R != MATCH], minlength=NUM_BINS),
        num_far_B=np.bincount(bin_R[outcome_R == FAR], minlength=NUM_BINS),
    )


def bound_rates(variants: tuple[BinCounts, ...], error: float) -> RateBounds:
    """Return bounds that all hold together with probability 1 - `error`, for every variant.

    The bound of a bin is the largest over the variants: whichever of them the provider runs, or
    any mixture of them, stays below.
    """
    error_B = error * _ERROR_SHARES_B / (len(WINDOWS) * max(1, len(variants)))
    far_error = error * FAR_ERROR_SHARE / max(1, len(variants))
    mismatch_B, far_B = np.zeros(NUM_BINS), np.zeros(NUM_BINS)
    is_near_B = EDGES_B < FAR_MARGIN_STEPS
    first_far = int(np.flatnonzero(~is_near_B)[0])
    for variant in variants:
        mismatch_B = np.maximum(mismatch_B, _bound(variant, error_B))
        num_far = variant.num_far_B[is_near_B].sum()
        far = upper_limit(num_far, variant.num_calls_B[is_near_B].sum(), far_error)
        far_B = np.maximum(far_B, far)
    # an error that makes a far mismatch would also turn a call whose gap is that large; and where
    # the gap itself is far, every mismatch is
    far_B = np.maximum(far_B, mismatch_B[first_far])
    far_B = np.where(is_near_B, np.minimum(far_B, mismatch_B), mismatch_B)
    return RateBounds(mismatch_B=mismatch_B, far_B=far_B)


def _bound(variant: BinCounts, error_B: Float64Array) -> Float64Array:
    """Return the smallest upper limit over the ranges to the left of each bin, never rising."""
    events, calls = _running(variant.num_mismatches_B), _running(variant.num_calls_B)
    ends_B = np.arange(NUM_BINS)
    best_B = np.full(NUM_BINS, UNBOUNDED_RATE)
    for width in WINDOWS:
        starts_B = np.maximum(ends_B - width, 0)
        limit_B = upper_limit(
            events[ends_B] - events[starts_B], calls[ends_B] - calls[starts_B], error_B
        )
        best_B = np.minimum(best_B, limit_B)
    return np.minimum.accumulate(best_B)


def _running(counts_B: Int64Array) -> Int64Array:
    return np.concatenate([[0], np.cumsum(counts_B)])


def _shares() -> Float64Array:
    shares_B = np.zeros(NUM_BINS)
    low = 0.0
    for high, share in ERROR_SHARES:
        inside_B = (low <= EDGES_B) & (high > EDGES_B)
        shares_B[inside_B] = share / inside_B.sum()
        low = high
    return shares_B


_ERROR_SHARES_B = _shares()

"""A confidence sequence for the ratio of billed to expected tokens, valid at every look.

What it bounds. The meter bills at a ratio r if, given the past, E[b_t] = r E[e_t] for each request:
billed count b, expected count e. Sums are compared, not quotients, so that an expectation that is
itself a mean of samples, noisy but unbiased, does no harm. If every request's ratio is r, both
bounds hold for r; if ratios change, the lower bound stays below the largest and the upper bound
above the smallest of them. That totals of e are right is the channel's claim; `margin` widens the
bounds by what it may be off.

How. For xi >= -1 and l in [0, 1): exp(l xi - psi(l) xi^2) <= 1 + l xi, psi(l) = -log(1 - l) - l
(Fan, Grama and Liu, "Exponential inequalities for martingales with applications", 2015). So with
E[xi_t | past] <= 0 the product of the left sides over requests is a nonnegative supermartingale,
and so is its average over a grid of l. In units of a scale that is fixed beforehand:

    against "the ratio is theta at most":    xi = b / theta - e      >= -1 as e <= 1
    against "the ratio is theta at least":   xi = theta e - min(b, 1) >= -1

Five sums each tell both for every theta. The scale is twice the largest expectation of the first
`NUM_WARM` requests, which only serve for that. A larger expectation counts in proportion, bill and
all: e <= 1; where ratios differ by size, the large ones thus weigh less. A bill beyond the scale
counts as the scale in the upper bound's bets, which therefore bound bills cut there; what was cut
off so far is added to the bound, but rare bills of that size that did not come yet are not. The
lower bound has no such cut.

Thetas are a fixed grid: the lower bound is the last of those that, with all below them, are ruled
out. It exceeds r only if the first point of the grid at or above r is ruled out, so no union over
points is needed; the upper bound mirrors.

Legend: G ratios, L rates l.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import special

Float64Array = NDArray[np.float64]

#: Requests whose expectations set the scale.
NUM_WARM = 8

#: How far the scale stands above the largest of them.
_HEADROOM = 2.0

#: From 1/16 to 16 in steps of 0.7 %.
RATIOS_G: Float64Array = np.exp(np.linspace(-math.log(16.0), math.log(16.0), 801))

_RATES_L: Float64Array = np.array([0.9, 0.6, 0.35, 0.2, 0.1, 0.05, 0.02])
_PSI_L: Float64Array = -np.log1p(-_RATES_L) - _RATES_L


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioSums:
    """What a confidence sequence remembers; sums are in units of the scale."""

    num_warm: int = 0
    scale_tokens: float = 0.0
    num: int = 0
    billed: float = 0.0
    expected: float = 0.0
    billed_squares: float = 0.0
    expected_squares: float = 0.0
    products: float = 0.0
    cut: float = 0.0
    """Bills cut at the scale."""
    cut_squares: float = 0.0
    cut_products: float = 0.0
    expected_tokens: float = 0.0
    """Of all requests, in tokens, those of the warm-up and what lies beyond the scale included."""

    def after(self, billed_tokens: int, expected_tokens: float) -> "RatioSums":
        """Return the sums after one more request. Raises ValueError for an impossible count."""
        if billed_tokens < 0 or not 0.0 < expected_tokens < math.inf:
            raise ValueError("tokens must be finite, and more than none expected")
        total = self.expected_tokens + expected_tokens
        if self.num_warm < NUM_WARM:
            return RatioSums(
                num_warm=self.num_warm + 1,
                scale_tokens=max(self.scale_tokens, _HEADROOM * expected_tokens),
                expected_tokens=total,
            )
        unit = max(self.scale_tokens, expected_tokens)
        billed, expected = billed_tokens / unit, expected_tokens / unit
        cut = min(billed, 1.0)
        return RatioSums(
            num_warm=self.num_warm,
            scale_tokens=self.scale_tokens,
            num=self.num + 1,
            billed=self.billed + billed,
            expected=self.expected + expected,
            billed_squares=self.billed_squares + billed**2,
            expected_squares=self.expected_squares + expected**2,
            products=self.products + billed * expected,
            cut=self.cut + cut,
            cut_squares=self.cut_squares + cut**2,
            cut_products=self.cut_products + cut * expected,
            expected_tokens=total,
        )

    def log_e_above_G(self) -> Float64Array:
        """Return log e-values against "the ratio is at most theta" for each of `RATIOS_G`."""
        sums_G = self.billed / RATIOS_G - self.expected
        squares_G = (
            self.billed_squares / RATIOS_G**2
            - 2.0 * self.products / RATIOS_G
            + self.expected_squares
        )
        return _log_e(sums_G, squares_G)

    def log_e_below_G(self) -> Float64Array:
        """Return log e-values against "the ratio is at least theta" for each of `RATIOS_G`."""
        sums_G = RATIOS_G * self.expected - self.cut
        squares_G = (
            RATIOS_G**2 * self.expected_squares
            - 2.0 * RATIOS_G * self.cut_products
            + self.cut_squares
        )
        return _log_e(sums_G, squares_G)

    def bounds(self, alpha: float, margin: float = 0.0) -> tuple[float | None, float | None]:
        """Return the lower and upper bound, each wrong with probability alpha / 2 at most.

        None where nothing is ruled out yet. `margin` is how far totals of expectations may be off.
        """
        threshold = math.log(2.0 / alpha)
        num_low = _leading(self.log_e_above_G() >= threshold)
        num_high = _leading(self.log_e_below_G()[::-1] >= threshold)
        low = float(RATIOS_G[num_low - 1]) / (1.0 + margin) if num_low else None
        if not num_high:
            return low, None
        # what was cut is added again as it was seen: the bound gets wider, and stays one
        cut_off = (self.billed - self.cut) / self.expected
        return low, (float(RATIOS_G[len(RATIOS_G) - num_high]) + cut_off) / (1.0 - margin)


RATIO_FIELDS = tuple(field.name for field in fields(RatioSums))


def _log_e(sums_G: Float64Array, squares_G: Float64Array) -> Float64Array:
    logs_GL = _RATES_L * sums_G[:, None] - _PSI_L * np.maximum(squares_G, 0.0)[:, None]
    return np.asarray(special.logsumexp(logs_GL, axis=1)) - math.log(len(_RATES_L))


def _leading(is_out_G: NDArray[np.bool_]) -> int:
    return len(is_out_G) if is_out_G.all() else int(np.argmin(is_out_G))

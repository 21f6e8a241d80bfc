"""Bets against "the mean is at most m", and the bounds on a mean that follow; valid at every look.

A bet stakes a fixed fraction b of the wealth: an observation x in [0, 1] multiplies the wealth by
1 - b + b x / m, whose expectation is at most 1 if the mean of x, given the past, is at most m. The
wealth averaged over a grid of fractions is an e-process, and it falls as m grows, so that the means
that it has not yet ruled out are a half-line. Source: Waudby-Smith and Ramdas, "Estimating means
of bounded random variables by betting" (2024), section 4.

Legend: N observations in order, B bets, K streams or looks, each a pair of counts.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Float64Array = NDArray[np.float64]

#: Halvings of [0, 1]; what is left is below the spacing of numbers near 1.
_NUM_HALVINGS = 52


class BetGrid(NamedTuple):
    """Fractions of the wealth that are staked, in (0, 1), and the logs of their weights."""

    fractions_B: Float64Array
    log_weights_B: Float64Array


def _default_grid() -> BetGrid:
    # even in log odds: a rate of 2 % doubled and a rate near 1 both meet a bet about right. The
    # weights lean towards small stakes, which small shares of substituted exchanges call for.
    fractions_B = special.expit(np.linspace(special.logit(1e-4), special.logit(0.97), 64))
    log_weights_B = 0.4 * np.log(fractions_B) + 3.0 * np.log1p(-fractions_B)
    return BetGrid(fractions_B, log_weights_B - special.logsumexp(log_weights_B))


DEFAULT_GRID = _default_grid()


def log_bets(
    observations_N: ArrayLike, null_mean: float, grid: BetGrid = DEFAULT_GRID
) -> Float64Array:
    """Return the log e-value against "every conditional mean is <= null_mean" at each look, [N].

    Raises ValueError for observations outside [0, 1], a null mean outside (0, 1), or a grid whose
    fractions lie outside (0, 1) or whose weights sum to more than 1.
    """
    values_N = np.asarray(observations_N, dtype=np.float64)
    if not ((values_N >= 0) & (values_N <= 1)).all():
        raise ValueError("observations must lie between 0 and 1")
    _check_inside(np.float64(null_mean), "null_mean")
    _check_inside(grid.fractions_B, "a staked fraction")
    if special.logsumexp(grid.log_weights_B) > 1e-9:
        raise ValueError("the weights of the bets sum to more than 1")
    gains_NB = np.log1p(grid.fractions_B * (values_N[:, None] / null_mean - 1.0))
    wealth_NB = np.cumsum(gains_NB, axis=0) + grid.log_weights_B
    return np.asarray(special.logsumexp(wealth_NB, axis=1), dtype=np.float64)


def log_e_of_counts(
    num_ones_K: ArrayLike, num_total_K: ArrayLike, null_mean_K: ArrayLike
) -> Float64Array:
    """Return `log_bets` after so many ones among so many observations, shape [K].

    The order of binary observations does not matter. Observations inside [0, 1] may be added as
    fractions of a one: the log of the wealth is concave in x, so the result is an underestimate
    and stays valid. Raises ValueError for impossible counts and a null mean outside (0, 1).
    """
    ones_K, total_K = _counts(num_ones_K, num_total_K)
    null_K = np.asarray(null_mean_K, dtype=np.float64)
    _check_inside(null_K, "null_mean")
    ones_K, total_K, null_K = np.broadcast_arrays(ones_K, total_K, null_K)
    return _log_e(ones_K, total_K - ones_K, null_K)


def lower_bound(num_ones_K: ArrayLike, num_total_K: ArrayLike, alpha: float) -> Float64Array:
    """Return a bound that exceeds the mean at any look ever with probability <= `alpha`, [K].

    The largest bound over all looks so far holds as well. Raises ValueError for impossible counts
    and alpha outside (0, 1). Scalars give an array without dimensions.
    """
    _check_inside(np.float64(alpha), "alpha")
    ones_K, total_K = _counts(num_ones_K, num_total_K)
    low_K, high_K = np.zeros(ones_K.shape), np.ones(ones_K.shape)
    for _ in range(_NUM_HALVINGS):
        middle_K = (low_K + high_K) / 2.0
        ruled_out_K = _log_e(ones_K, total_K - ones_K, middle_K) >= -np.log(alpha)
        low_K = np.where(ruled_out_K, middle_K, low_K)
        high_K = np.where(ruled_out_K, high_K, middle_K)
    return low_K


def upper_bound(num_ones_K: ArrayLike, num_total_K: ArrayLike, alpha: float) -> Float64Array:
    """Return what the mean exceeds at any look ever with probability <= `alpha`, shape [K].

    With `lower_bound` at the same alpha, both hold with probability 1 - 2 alpha. Errors as there.
    """
    ones_K, total_K = _counts(num_ones_K, num_total_K)
    return np.asarray(1.0 - lower_bound(total_K - ones_K, total_K, alpha))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanEvidence:
    """All that bets remember of a stream of observations in [0, 1]: two sums."""

    num_ones: float = 0.0
    num_total: float = 0.0

    def after(self, ones: float, zeros: float) -> "MeanEvidence":
        """Return the state after more ones and zeros; an observation x counts as (x, 1 - x).

        Raises ValueError for negative or infinite counts.
        """
        if not (0.0 <= ones < np.inf and 0.0 <= zeros < np.inf):
            raise ValueError("counts must be finite and not negative")
        num_ones = self.num_ones + ones
        return MeanEvidence(
            num_ones=num_ones, num_total=max(self.num_total + ones + zeros, num_ones)
        )

    def log_e(self, null_mean: float) -> float:
        """Return the log e-value against "every conditional mean is at most null_mean"."""
        return float(log_e_of_counts(self.num_ones, self.num_total, null_mean))

    def lower_bound(self, alpha: float) -> float:
        """Return `lower_bound` of the observations so far."""
        return float(lower_bound(self.num_ones, self.num_total, alpha))

    def upper_bound(self, alpha: float) -> float:
        """Return `upper_bound` of the observations so far."""
        return float(upper_bound(self.num_ones, self.num_total, alpha))


def _log_e(ones_K: Float64Array, zeros_K: Float64Array, null_K: Float64Array) -> Float64Array:
    fractions_B, log_weights_B = DEFAULT_GRID
    odds_K = (1.0 - null_K) / null_K
    wealth_KB = ones_K[..., None] * np.log1p(fractions_B * odds_K[..., None])
    wealth_KB += zeros_K[..., None] * np.log1p(-fractions_B) + log_weights_B
    top_K1 = wealth_KB.max(axis=-1, keepdims=True)
    return np.asarray(np.log(np.exp(wealth_KB - top_K1).sum(axis=-1)) + top_K1[..., 0])


def _counts(num_ones_K: ArrayLike, num_total_K: ArrayLike) -> tuple[Float64Array, Float64Array]:
    ones_K, total_K = np.broadcast_arrays(
        np.asarray(num_ones_K, dtype=np.float64), np.asarray(num_total_K, dtype=np.float64)
    )
    if not (np.isfinite(total_K).all() and ((ones_K >= 0) & (ones_K <= total_K)).all()):
        raise ValueError("ones must lie between 0 and a finite number of observations")
    return ones_K, total_K


def _check_inside(values: Float64Array | np.float64, name: str) -> None:
    if not ((values > 0) & (values < 1)).all():
        raise ValueError(f"{name} must lie strictly between 0 and 1")

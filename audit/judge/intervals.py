"""Exact confidence limits for a rate, from counts that were fixed beforehand.

Legend: K cells, each a count of successes among trials.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Float64Array = NDArray[np.float64]


def upper_limit(successes_K: ArrayLike, trials_K: ArrayLike, alpha: ArrayLike) -> Float64Array:
    """Return what the rate exceeds with probability `alpha` at most, shape [K].

    One-sided; the arguments broadcast. No trials, or nothing but successes, give 1. Raises
    ValueError for impossible counts and for alpha outside (0, 1). Source: Clopper and Pearson
    (1934), by way of beta quantiles.
    """
    successes, trials, tail = _checked(successes_K, trials_K, alpha)
    all_hit = successes == trials
    # the quantile has no meaning at zero failures, so a stand-in keeps it defined there
    failures = np.where(all_hit, 1.0, trials - successes)
    limit = special.betainccinv(successes + 1.0, failures, tail)
    return np.asarray(np.where(all_hit, 1.0, limit), dtype=np.float64)


def lower_limit(successes_K: ArrayLike, trials_K: ArrayLike, alpha: ArrayLike) -> Float64Array:
    """Return what the rate falls below with probability `alpha` at most, shape [K].

    One-sided; the arguments broadcast. No successes give 0. Errors and source as in `upper_limit`.
    """
    successes, trials, tail = _checked(successes_K, trials_K, alpha)
    none_hit = successes == 0
    limit = special.betaincinv(np.where(none_hit, 1.0, successes), trials - successes + 1.0, tail)
    return np.asarray(np.where(none_hit, 0.0, limit), dtype=np.float64)


def _checked(
    successes_K: ArrayLike, trials_K: ArrayLike, alpha: ArrayLike
) -> tuple[Float64Array, Float64Array, Float64Array]:
    successes, trials, tail = np.broadcast_arrays(
        np.asarray(successes_K, dtype=np.float64),
        np.asarray(trials_K, dtype=np.float64),
        np.asarray(alpha, dtype=np.float64),
    )
    if not (np.isfinite(trials).all() and ((successes >= 0) & (successes <= trials)).all()):
        raise ValueError("successes must lie between 0 and the number of trials")
    if not ((tail > 0) & (tail < 1)).all():
        raise ValueError("alpha must lie strictly between 0 and 1")
    return successes, trials, tail

"""Evidence put together: e-values of one claim, or of many claims at once.

All e-values come and go as natural logarithms; minus infinity stands for an e-value of zero. Those
of disjoint exchanges multiply, which is adding their logarithms (`audit.judge.stream`).

Legend: K e-values.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


def average_log_e(log_e_K: Sequence[float], weights_K: Sequence[float] | None = None) -> float:
    """Return the log of the weighted mean of e-values; valid however they depend on each other.

    The weights must be fixed before the data and are scaled to sum to one. Raises ValueError for
    an empty sequence, NaN, or weights that are negative, infinite, or all zero. Source: Vovk and
    Wang, "E-values: calibration, combination and applications" (2021), section 3.
    """
    values_K = _checked(log_e_K)
    weights = np.ones(len(values_K)) if weights_K is None else np.asarray(weights_K, np.float64)
    if weights.shape != values_K.shape or len(values_K) == 0:
        raise ValueError("an average needs one weight for each of one or more e-values")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError("weights must be finite, not negative, and not all zero")
    used = weights > 0
    log_weights = np.log(weights[used] / weights.sum())
    return float(np.logaddexp.reduce(values_K[used] + log_weights))


def e_bh(log_e: Mapping[str, float], fdr: float) -> frozenset[str]:
    """Return the names whose hypotheses are rejected at false discovery rate `fdr`.

    Valid however the e-values depend on each other. Raises ValueError for NaN and for a rate
    outside (0, 1). Source: Wang and Ramdas, "False discovery rate control with e-values" (2022),
    section 4.
    """
    if not 0.0 < fdr < 1.0:
        raise ValueError("the false discovery rate must lie strictly between 0 and 1")
    values_K = _checked(list(log_e.values()))
    num = len(values_K)
    thresholds_K = np.log(num / (fdr * np.arange(1, num + 1))) if num else np.zeros(0)
    reached = np.flatnonzero(np.sort(values_K)[::-1] >= thresholds_K)
    if not len(reached):
        return frozenset()
    threshold = thresholds_K[reached[-1]]
    return frozenset(name for name, value in log_e.items() if value >= threshold)


def _checked(log_e_K: Sequence[float]) -> Float64Array:
    values_K = np.asarray(log_e_K, dtype=np.float64)
    if np.isnan(values_K).any():
        raise ValueError("an e-value is not a number")
    return values_K

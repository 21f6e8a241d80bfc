"""The rule that the study compares with: a threshold for the mean deviation, whatever the prompts.

Method: the published statistic, the mean clipped margin, averaged over each exchange of honest
calibration traffic (Python at temperature 0.7); its threshold is an order statistic that a further
honest exchange exceeds with at most the stated rate (Wilks' distribution-free tolerance bound).
Where the windows are too few for that, the largest mean or a gamma tail, whichever is larger. For
longer streams, joined from whole exchanges, there are two thresholds: the same bound on disjoint
windows of the calibration, and the plain quantile of streams drawn from it.

Legend: W windows, E exchanges, S streams, N exchanges of a stream.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Float64Array = NDArray[np.float64]

#: With which the bound's rate is at most the stated one, over the calibration itself.
CONFIDENCE = 0.95


def long_thresholds(
    means_E: Float64Array, num_joined: int, rate: float, num_streams: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return the thresholds for the mean over streams of so many exchanges."""
    num_windows = max(2, len(means_E) // num_joined)
    means_W = np.array([part.mean() for part in np.array_split(means_E, num_windows)])
    return {
        "quantile": float(
            np.quantile(stream_means(means_E, num_joined, num_streams, rng), 1.0 - rate)
        ),
        "tolerance": upper_tolerance_bound(means_W, rate=rate, confidence=CONFIDENCE),
    }


def stream_means(
    means_E: Float64Array, num_joined: int, num_streams: int, rng: np.random.Generator
) -> Float64Array:
    """Return the means over exchanges drawn with replacement and joined, shape [S]."""
    picks_SN = rng.integers(len(means_E), size=(num_streams, num_joined))
    means_S: Float64Array = means_E[picks_SN].mean(axis=1)
    return means_S


def upper_tolerance_bound(means_W: Float64Array, *, rate: float, confidence: float) -> float:
    """Return a value that a further honest window exceeds with probability `rate` at most."""
    ordered = np.sort(means_W)[::-1]
    # the r-th largest is a bound if r or more of the windows above the true quantile is likely
    # enough
    ranks = np.arange(1, len(ordered) + 1)
    usable = ranks[stats.binom.cdf(ranks - 1, len(ordered), rate) <= 1.0 - confidence]
    if len(usable):
        return float(ordered[usable[-1] - 1])
    return max(float(ordered[0]), _gamma_bound(means_W, rate=rate, confidence=confidence))


def _gamma_bound(means_W: Float64Array, *, rate: float, confidence: float) -> float:
    num = len(means_W)
    mean, deviation = float(means_W.mean()), float(means_W.std(ddof=1)) if num > 1 else 0.0
    if deviation == 0.0:
        return mean
    mean += float(stats.t.ppf(confidence, num - 1)) * deviation / num**0.5
    deviation *= float((num - 1) / stats.chi2.ppf(1.0 - confidence, num - 1)) ** 0.5
    shape = (mean / deviation) ** 2
    return float(stats.gamma.isf(rate, shape, scale=mean / shape))

"""In which run a change most likely began, with an interval.

Legend: K runs of an epoch in order, J possible first runs after the change, R bootstrap draws.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.sweeps.drift.records import RunTells

Float64Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

_NUM_DRAWS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Onset:
    """The first run after the change, as an index into the runs, with its 95 % interval."""

    index: int
    low: int
    high: int
    rate_before: float
    rate_after: float


def locate(runs: Sequence[RunTells], dispersion: float) -> Onset:
    """Return where one step in the rate of tells fits two or more runs best.

    The interval is the middle 95 % of the same estimate on series drawn from the fit, with counts
    that spread as the baseline's did. The draws depend on the counts alone.
    """
    ones_K = np.array([run.num_tells for run in runs], dtype=np.float64)
    total_K = np.array([run.num_answers for run in runs], dtype=np.float64)
    index = int(_first_after(ones_K[None], total_K)[0])
    before, after = _rate(ones_K[:index], total_K[:index]), _rate(ones_K[index:], total_K[index:])
    # over-dispersed runs are as good as smaller ones
    effective_K = np.maximum(np.rint(total_K / dispersion), 1.0).astype(np.int64)
    rate_K = np.where(np.arange(len(runs)) < index, before, after)
    drawn_RK = _rng(ones_K, total_K).binomial(effective_K, rate_K, (_NUM_DRAWS, len(runs)))
    drawn_R = np.sort(_first_after(drawn_RK.astype(np.float64), effective_K.astype(np.float64)))
    cut = int(0.025 * _NUM_DRAWS)
    return Onset(
        index=index,
        low=min(index, int(drawn_R[cut])),
        high=max(index, int(drawn_R[-1 - cut])),
        rate_before=before,
        rate_after=after,
    )


def _first_after(ones_RK: Float64Array, total_K: Float64Array) -> IntArray:
    """Return for each series the split of largest likelihood, between 1 and K - 1, [R]."""
    left_RJ = np.cumsum(ones_RK, axis=1)[:, :-1]
    left_total_J = np.cumsum(total_K)[:-1]
    right_RJ = ones_RK.sum(axis=1, keepdims=True) - left_RJ
    log_likelihood_RJ = _log_likelihood(left_RJ, left_total_J)
    log_likelihood_RJ += _log_likelihood(right_RJ, total_K.sum() - left_total_J)
    return np.asarray(log_likelihood_RJ.argmax(axis=1) + 1)


def _log_likelihood(ones: Float64Array, total: Float64Array) -> Float64Array:
    rate = ones / total
    return np.asarray(special.xlogy(ones, rate) + special.xlog1py(total - ones, -rate))


def _rate(ones_K: Float64Array, total_K: Float64Array) -> float:
    return float(ones_K.sum() / total_K.sum())


def _rng(ones_K: Float64Array, total_K: Float64Array) -> np.random.Generator:
    digest = hashlib.sha256(b"drift-onset" + ones_K.tobytes() + total_K.tobytes()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))

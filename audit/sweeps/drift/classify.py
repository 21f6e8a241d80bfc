"""What kind of change an alarm was, once fresh runs are in.

Legend: K runs of an epoch in order, G values on a grid.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.sweep_records import ChangeKind
from audit.sweeps.drift.epochs import Baseline
from audit.sweeps.drift.localise import Onset
from audit.sweeps.drift.records import RunTells

Float64Array = NDArray[np.float64]

#: How much likelier (nats) a ramp must be than a step: both have a place and a height to choose.
_RAMP_MARGIN_NATS = 3.0

#: A ramp takes at least so many runs from its first rise to its height.
_MIN_RAMP_RUNS = 3

#: Shapes are fitted to so many of the latest runs; longer ones would take minutes for no gain.
_MAX_SHAPE_RUNS = 60

_RATES_G = np.linspace(0.005, 0.995, 100)


def classify(
    runs: Sequence[RunTells], onset: Onset, num_fresh: int, baseline: Baseline
) -> ChangeKind:
    """Return the kind of a change that began at `onset`, of which the last runs are fresh ones.

    Fresh runs that are closer to the baseline than to the excursion have returned: all of them, or
    the last, a blip; returned and gone again, an alternation.
    """
    excursion = runs[onset.index : -num_fresh] or runs[-num_fresh - 1 : -num_fresh]
    away_rate = _away_rate(excursion, baseline)
    is_away = [_is_away(run, away_rate, baseline) for run in runs[-num_fresh:]]
    if any(later and not earlier for earlier, later in itertools.pairwise(is_away)):
        return ChangeKind.ALTERNATION
    if not is_away[-1]:
        return ChangeKind.BLIP
    return ChangeKind.RAMP if _is_ramp(runs, onset, baseline) else ChangeKind.STEP


def _away_rate(runs: Sequence[RunTells], baseline: Baseline) -> float:
    ones, total = sum(r.num_tells for r in runs), sum(r.num_answers for r in runs)
    rate = (ones + 0.5) / (total + 1.0)
    if rate >= baseline.rate or baseline.low is None:
        return max(rate, baseline.high)
    return min(rate, baseline.low)


def _is_away(run: RunTells, away_rate: float, baseline: Baseline) -> bool:
    near_rate = min(max(baseline.rate, 1e-3), 1.0 - 1e-3)
    ones, zeros = run.num_tells, run.num_answers - run.num_tells
    log_ratio = ones * np.log(away_rate / near_rate)
    log_ratio += zeros * (np.log1p(-away_rate) - np.log1p(-near_rate))
    return bool(log_ratio > 0.0)


def _is_ramp(runs: Sequence[RunTells], onset: Onset, baseline: Baseline) -> bool:
    runs = runs[-_MAX_SHAPE_RUNS:]
    ones_K = np.array([run.num_tells for run in runs], dtype=np.float64)
    zeros_K = np.array([run.num_answers for run in runs], dtype=np.float64) - ones_K
    before = min(max(onset.rate_before, 1e-3), 1.0 - 1e-3)
    num = len(runs)
    step = max(
        _best(ones_K, zeros_K, before, (np.arange(num) >= first).astype(np.float64))
        for first in range(1, num)
    )
    ramp = -np.inf
    for first in range(1, num - _MIN_RAMP_RUNS + 1):
        for last in range(first + _MIN_RAMP_RUNS - 1, num):
            risen_K = np.clip((np.arange(num) - first + 1) / (last - first + 1), 0.0, 1.0)
            ramp = max(ramp, _best(ones_K, zeros_K, before, risen_K))
    # days that differ by themselves look like ramps too
    return bool((ramp - step) / baseline.dispersion > _RAMP_MARGIN_NATS)


def _best(
    ones_K: Float64Array, zeros_K: Float64Array, before: float, risen_K: Float64Array
) -> float:
    """Return the largest log likelihood over the heights that a change of this shape may have."""
    rates_GK = before + (_RATES_G[:, None] - before) * risen_K
    log_likelihood_G = (special.xlogy(ones_K, rates_GK) + special.xlog1py(zeros_K, -rates_GK)).sum(
        axis=1
    )
    return float(log_likelihood_G.max())

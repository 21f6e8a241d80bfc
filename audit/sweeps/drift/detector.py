"""A restarting e-detector: finds that tells became more, or fewer, than the baseline tolerates.

For each run an e-process against "tells stay within what is tolerated" is started at the run's
first answer, and all that were ever started are added up (Shiryaev and Roberts). If nothing
changes, the sum at any look has no larger expectation than the number of runs begun by then, so the
mean number of runs to an alarm at level c is c at least, though it is looked at after every answer.
A plain e-process would bank the evidence of all the runs before the change and be slow. Source:
Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection"
(2023), sections 2 and 3.

Legend: N answers of a run in order, B bets, upwards and downwards.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.judge.betting import DEFAULT_GRID
from audit.sweeps.drift.epochs import Baseline

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """The sums so far, one for each bet; logs, and minus infinity before the first run."""

    log_sums_B: Float64Array


def fresh_watch(baseline: Baseline) -> Watch:
    """Return the state before any run that is held against this baseline."""
    return Watch(np.full(len(_log_weights_B(baseline)), -np.inf))


def watch_run(watch: Watch, tells: str, baseline: Baseline) -> tuple[Watch, Float64Array]:
    """Return the state after one more run, and the detector's log value after each answer, [N]."""
    tells_N = np.frombuffer(tells.encode(), dtype=np.uint8) == ord("1")
    started_B = np.logaddexp(watch.log_sums_B, 0.0)
    log_sums_NB = started_B + _log_gains_NB(tells_N, baseline)
    weighted_NB = log_sums_NB + _log_weights_B(baseline)
    top_N1 = weighted_NB.max(axis=1, keepdims=True, initial=-np.inf)
    values_N = np.log(np.exp(weighted_NB - top_N1).sum(axis=1)) + top_N1[:, 0]
    return Watch(log_sums_NB[-1] if len(tells_N) else watch.log_sums_B), values_N


def _log_gains_NB(tells_N: NDArray[np.bool_], baseline: Baseline) -> Float64Array:
    stakes_B = DEFAULT_GRID.fractions_B
    parts = [_gains(tells_N, stakes_B, baseline.high)]
    if baseline.low is not None:
        parts.append(_gains(~tells_N, stakes_B, 1.0 - baseline.low))
    return np.concatenate(parts, axis=1)


def _gains(ones_N: NDArray[np.bool_], stakes_B: Float64Array, null_mean: float) -> Float64Array:
    """Return what each bet has gained after each answer of the run, [N, B]."""
    won_B, lost_B = np.log1p(stakes_B * (1.0 / null_mean - 1.0)), np.log1p(-stakes_B)
    num_ones_N1 = np.cumsum(ones_N)[:, None]
    num_zeros_N1 = np.arange(1, len(ones_N) + 1)[:, None] - num_ones_N1
    return np.asarray(num_ones_N1 * won_B + num_zeros_N1 * lost_B)


def _log_weights_B(baseline: Baseline) -> Float64Array:
    if baseline.low is None:
        return DEFAULT_GRID.log_weights_B
    half_B = DEFAULT_GRID.log_weights_B - np.log(2.0)
    return np.concatenate([half_B, half_B])

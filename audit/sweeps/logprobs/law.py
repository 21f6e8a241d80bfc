"""How large a distance honest endpoints show, as counts above fixed thresholds, and bets on it.

For each threshold the share of honest answers above it is bounded for every variant at once. An
answer above a threshold wins the bet against that bound, one below loses it; the bets on all
thresholds are averaged. The thresholds are powers of two, fixed before any measurement, so that
the bounds may be taken from the same answers that the counts are.

Legend: N answers in order, C thresholds, V variants, B bets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.errors import CalibrationError
from audit.judge.betting import log_bets
from audit.judge.intervals import upper_limit

Float64Array = NDArray[np.float64]

#: Exponents of the thresholds in nats: from float32's last bits to "another model".
LOG2_THRESHOLDS = tuple(range(-36, 4))
THRESHOLDS_C = np.exp2(np.asarray(LOG2_THRESHOLDS, dtype=np.float64))

#: Fewer honest answers of a variant bound nothing that is of use.
MIN_ANSWERS = 20

#: A bound above this leaves a bet nothing to win.
_MAX_RATE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class DistanceLaw:
    """Bounds on how often an honest distance exceeds a threshold."""

    thresholds_C: Float64Array
    """Nats, increasing; only those whose bound is below that of all smaller ones."""
    max_rates_C: Float64Array
    """All hold for every variant with probability 1 - error."""
    log_cell_probabilities_C: Float64Array
    """Log share of pooled honest distances between neighbouring fixed thresholds, smoothed."""

    @property
    def tell_threshold_nats(self) -> float:
        """The distance above which an answer is a sign of another model."""
        return float(self.thresholds_C[-1])

    @property
    def honest_tell_rate(self) -> float:
        """Bound on the share of honest answers above it."""
        return float(self.max_rates_C[-1])

    def log_e(self, distances_N: Sequence[float] | Float64Array) -> Float64Array:
        """Return the log e-value against "honest" after each answer, shape [N]."""
        values_N = np.asarray(distances_N, dtype=np.float64)
        if not len(values_N):
            return np.zeros(0)
        wealth_CN = [
            log_bets((values_N > threshold).astype(np.float64), float(rate))
            for threshold, rate in zip(self.thresholds_C, self.max_rates_C, strict=True)
        ]
        mixed_N = special.logsumexp(np.stack(wealth_CN), axis=0) - np.log(len(wealth_CN))
        return np.asarray(mixed_N, dtype=np.float64)

    def log_likelihood(self, distances_N: Sequence[float] | Float64Array) -> float:
        """Return how likely honest distances fall into the same cells, in nats."""
        cells_N = np.searchsorted(THRESHOLDS_C, np.asarray(distances_N, dtype=np.float64))
        return float(self.log_cell_probabilities_C[cells_N].sum())


def count_above(distances: Mapping[str, Sequence[float]]) -> dict[str, object]:
    """Return the variants' part of a section. Raises: CalibrationError for too few answers."""
    if not distances:
        raise CalibrationError("no honest variant was measured; record at least one")
    for name, values in distances.items():
        if len(values) < MIN_ANSWERS:
            raise CalibrationError(
                f"variant {name} gave {len(values)} usable answers with log-probabilities; at "
                f"least {MIN_ANSWERS} are needed"
            )
    return {
        name: {
            "num": len(values),
            "above": [int(np.sum(np.asarray(values) > threshold)) for threshold in THRESHOLDS_C],
        }
        for name, values in distances.items()
    }


def read_law(variants: object, error: object) -> DistanceLaw:
    """Return the law that `count_above` wrote. Raises: CalibrationError for anything else."""
    if not isinstance(variants, Mapping) or not variants:
        raise CalibrationError("the section names no variants; calibrate anew")
    if isinstance(error, bool) or not isinstance(error, float) or not 0.0 < error < 1.0:
        raise CalibrationError("the section's error is no number between 0 and 1; calibrate anew")
    counts = [_variant(str(name), body) for name, body in variants.items()]
    num_V = np.asarray([num for num, _ in counts])
    above_VC = np.asarray([above for _, above in counts])
    tail = error / above_VC.size
    max_rates_C = upper_limit(above_VC, num_V[:, None], tail).max(axis=0)
    # a higher threshold with the same bound wins less often and nothing more
    smaller_C = np.concatenate([[_MAX_RATE], np.minimum.accumulate(max_rates_C)[:-1]])
    kept_C = (max_rates_C < _MAX_RATE) & (max_rates_C < smaller_C)
    if not kept_C.any():
        raise CalibrationError("honest answers differ too much for any bet; measure more answers")
    return DistanceLaw(
        thresholds_C=THRESHOLDS_C[kept_C],
        max_rates_C=max_rates_C[kept_C],
        log_cell_probabilities_C=_log_cells(num_V, above_VC),
    )


def uniform_log_likelihood(num_answers: int) -> float:
    """Return what an explanation that knows nothing gives to so many distances, in nats."""
    return -num_answers * float(np.log(len(THRESHOLDS_C) + 1))


def _log_cells(num_V: NDArray[np.int64], above_VC: NDArray[np.int64]) -> Float64Array:
    above_C = np.concatenate([[num_V.sum()], above_VC.sum(axis=0), [0]])
    cells = -np.diff(above_C) + 0.5
    return np.asarray(np.log(cells / cells.sum()), dtype=np.float64)


def _variant(name: str, body: object) -> tuple[int, list[int]]:
    """Return a variant's number of answers and its counts above each threshold."""
    problem = CalibrationError(f"the counts of variant {name} are malformed; calibrate anew")
    if not isinstance(body, Mapping) or set(body) != {"num", "above"}:
        raise problem
    num, above = body["num"], body["above"]
    if not isinstance(above, (list, tuple)) or len(above) != len(THRESHOLDS_C):
        raise problem
    counts = [num, *above]
    if not all(isinstance(count, int) and not isinstance(count, bool) for count in counts):
        raise problem
    if num < MIN_ANSWERS or counts != sorted(counts, reverse=True) or counts[-1] < 0:
        raise problem
    return num, list(above)

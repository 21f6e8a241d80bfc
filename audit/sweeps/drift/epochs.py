"""Baselines: what an endpoint did in the first runs of an epoch, frozen, and what is tolerated.

Days differ though nothing changed, so a change is told against rates that the baseline's odds of a
tell are multiplied, or divided, to by the policy's ratio. The bounds of the baseline are exact ones
for the pooled counts, and the ratio is there for what one day has and another has not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from audit.judge.intervals import lower_limit, upper_limit
from audit.sweeps.drift.records import RunTells
from audit.sweeps.policy import DriftRules

#: Chance that a baseline's rate lies above, and that it lies below, its pooled exact limit.
_LIMIT_ERROR = 0.01

#: Rates closer to 0 and 1 than this cannot be undercut, or exceeded, within a sensible history.
_LEAST_TOLERATED = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The frozen rates of an epoch."""

    rate: float
    high: float
    """Rates of tells up to this are no change."""
    low: float | None
    """Nor are rates down to this; None where there is no less."""
    dispersion: float
    """How many times more than binomially the runs' counts spread, 1 at least."""


def freeze(runs: Sequence[RunTells], rules: DriftRules) -> Baseline:
    """Return the baseline of the first runs of an epoch, which must hold answers."""
    ones, total = sum(r.num_tells for r in runs), sum(r.num_answers for r in runs)
    shift = math.log(rules.tolerance_ratio)
    upper = float(upper_limit(ones, total, _LIMIT_ERROR))
    lower = float(lower_limit(ones, total, _LIMIT_ERROR))
    honest = max((r.honest_tell_rate or 0.0 for r in runs), default=0.0)
    high = max(_moved(upper, shift), rules.min_tolerated_rate, honest)
    low = _moved(lower, -shift)
    return Baseline(
        rate=ones / total,
        high=min(high, 1.0 - _LEAST_TOLERATED),
        low=low if low > _LEAST_TOLERATED else None,
        dispersion=_dispersion(runs, ones / total),
    )


def _moved(rate: float, shift: float) -> float:
    return float(special.expit(special.logit(rate) + shift))


def _dispersion(runs: Sequence[RunTells], rate: float) -> float:
    if len(runs) < 2 or not 0.0 < rate < 1.0:
        return 1.0
    # Pearson's statistic over its degrees of freedom
    excess = sum((r.num_tells - rate * r.num_answers) ** 2 / r.num_answers for r in runs)
    return max(1.0, excess / (rate * (1.0 - rate) * (len(runs) - 1)))

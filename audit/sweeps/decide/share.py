"""Bounds on the share of requests that a substitute answered, from tells.

The lower bound holds for any substitute. The upper bound needs to know how seldom a substitute
shows a tell; it is stated for the attacks that a detector measured, and says nothing about subtler
ones. Both hold at every look, for the share among the requests that were sent: where customers stay
on the machine that they are sent to, other customers may meet another share.

Legend: N usable answers of one detector, in the plan's order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audit.errors import InvalidRequest
from audit.judge.betting import upper_bound
from audit.judge.substitution import share_lower_bound
from audit.sweep_records import Reading
from audit.sweeps.decide.combine import weight_shares
from audit.sweeps.policy import SweepPolicy

#: A reading's statistic of this name and an attack's says how often the attack shows a tell.
TELL_RATE_PREFIX = "tell_rate:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareBounds:
    """What tells say about the share of diverted requests."""

    low: float = 0.0
    high: float = 1.0
    low_detector: str | None = None
    high_detector: str | None = None
    subtlest: str | None = None
    """The attack with the fewest tells that `high` holds for; None where it is no bound."""
    subtlest_rate: float | None = None
    """How often that attack shows a tell."""


def share_bounds(
    readings: Sequence[Reading], policy: SweepPolicy, *, every_look: bool = True
) -> ShareBounds:
    """Return the best bounds over all detectors that take part, together at the confidence.

    With `every_look` false only the last look is taken, which costs less and bounds less. Raises:
    InvalidRequest for tells that are no text of 0 and 1, or an honest rate outside [0, 1).
    """
    bounds = ShareBounds()
    error = (1.0 - policy.share_confidence) / 2.0
    # each side's error is split over the detectors, so that the best of them may be taken
    for name, part in weight_shares(readings, policy).items():
        reading = next(r for r in readings if r.detector == name)
        if reading.honest_tell_rate is not None and reading.tells:
            bounds = _better(bounds, _bounds_of(reading, error * part, policy, every_look))
    return bounds


def _bounds_of(
    reading: Reading, error: float, policy: SweepPolicy, every_look: bool
) -> ShareBounds:
    honest = reading.honest_tell_rate
    if set(reading.tells) - {"0", "1"}:
        raise InvalidRequest.of(reading.detector, "has tells that are neither 0 nor 1")
    if honest is None or not 0.0 <= honest < 1.0:
        raise InvalidRequest.of(reading.detector, "needs an honest rate of tells in [0, 1)")
    tells_N = np.frombuffer(reading.tells.encode(), dtype=np.uint8) == ord("1")
    looks_N = slice(None) if every_look else slice(-1, None)
    ones_N, total_N = np.cumsum(tells_N)[looks_N], np.arange(1, len(tells_N) + 1)[looks_N]
    low = float(share_lower_bound(ones_N, total_N, honest, error).max())
    subtlest = _subtlest(reading, policy)
    if subtlest is None or not subtlest[1] > honest:
        return ShareBounds(low=low, low_detector=reading.detector)
    # tells come at the attack's rate on its share at least, however seldom honest answers show any
    high = float(np.minimum(upper_bound(ones_N, total_N, error) / subtlest[1], 1.0).min())
    return ShareBounds(
        low=low,
        high=high,
        low_detector=reading.detector,
        high_detector=reading.detector,
        subtlest=subtlest[0],
        subtlest_rate=subtlest[1],
    )


def _subtlest(reading: Reading, policy: SweepPolicy) -> tuple[str, float] | None:
    rates = {
        name.removeprefix(TELL_RATE_PREFIX): value
        for name, value in reading.statistics
        if name.startswith(TELL_RATE_PREFIX)
    }
    named = {name: rates[name] for name in policy.must_see if name in rates}
    # a bound for some of the attacks that must be seen is none for the others
    if len(named) < max(len(policy.must_see), 1):
        return None
    return min(named.items(), key=lambda item: (item[1], item[0]))


def _better(first: ShareBounds, second: ShareBounds) -> ShareBounds:
    low = second if second.low > first.low else first
    high = second if second.high < first.high else first
    return ShareBounds(
        low=low.low,
        low_detector=low.low_detector,
        high=high.high,
        high_detector=high.high_detector,
        subtlest=high.subtlest,
        subtlest_rate=high.subtlest_rate,
    )

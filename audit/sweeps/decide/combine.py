"""The evidence of all detectors about one endpoint, put together as it comes in.

The weighted mean of e-processes is an e-process if all of them are so with regard to everything
that is known at each look, not only to their own answers. Detectors with probes of their own are:
each bounds its bets over every honest variant and whatever came before, and what an honest variant
answers to one probe does not depend on what it answered to others. So the order in which probes of
several detectors are interleaved does not matter as long as it is fixed before the answers, and the
peak of the mean may be compared with the threshold at every look.

Detectors that read the answers to others' probes are no such processes: what they will say is
partly known before. They count as zero until the last look, and with their last value there; a mean
with one term held back has no larger expectation at any stopping time.

Which detectors take part is settled before the answers: those with a weight that are calibrated and
that had anything to ask. One that was asked and could not read its answers stays in, at one.

Legend: D detectors, S requests in the order sent, T looks: one after each request, and one before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.errors import InvalidRequest
from audit.sweep_records import Reading, ReadingStatus
from audit.sweeps.policy import SweepPolicy

Float64Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """The common evidence of a run's detectors at every look."""

    log_e_nats_T: tuple[float, ...]
    """Before any request and after each one."""

    def first_at(self, level_nats: float) -> int | None:
        """Return after how many requests the evidence first reached a level, None for never."""
        return next((t for t, x in enumerate(self.log_e_nats_T) if x >= level_nats), None)

    def stopped_at(self, level_nats: float) -> float:
        """Return the evidence at the first look that reaches the level, or at the last look.

        Such a look is a stopping time, so this is the log of an e-value.
        """
        first = self.first_at(level_nats)
        return self.log_e_nats_T[-1 if first is None else first]


def taking_part(readings: Sequence[Reading], policy: SweepPolicy) -> tuple[Reading, ...]:
    """Return the readings whose detectors have a say in the common evidence."""
    return tuple(
        reading
        for reading in readings
        if policy.rule_of(reading.detector).weight > 0
        and reading.status is not ReadingStatus.UNCALIBRATED
        and (reading.status is not ReadingStatus.NOT_APPLICABLE or reading.num_sent > 0)
    )


def weight_shares(readings: Sequence[Reading], policy: SweepPolicy) -> dict[str, float]:
    """Return each taking part detector's share of the weights; they sum to one."""
    weights = {r.detector: policy.rule_of(r.detector).weight for r in taking_part(readings, policy)}
    total = sum(weights[name] for name in sorted(weights))
    return {name: weight / total for name, weight in weights.items()}


def combine(
    readings: Sequence[Reading],
    policy: SweepPolicy,
    order: Sequence[str] = (),
    *,
    is_over: bool = True,
) -> Combined:
    """Return the weighted mean of the e-processes after each request.

    `order` names the detector of each request as they were sent; without it the detectors are taken
    in turn, one request each. Until a run is over, those that read others' answers stay held back.
    Raises: InvalidRequest for two readings of one detector, evidence
    that is NaN or longer than its requests, or an order that does not fit the readings.
    """
    _check(readings, policy)
    asking = [reading for reading in readings if policy.rule_of(reading.detector).num_probes]
    sent = tuple(order) or _in_turn(asking)
    shares = weight_shares(readings, policy)
    if not is_over:
        shares = _beside_readers(shares, policy)
    if not shares:
        return Combined(log_e_nats_T=(0.0,) * (len(sent) + 1))
    sent_S = np.asarray(sent, dtype=np.str_)
    log_terms_DT = np.stack(
        [
            _term(reading, sent_S, policy, is_over) + np.log(shares[reading.detector])
            for reading in taking_part(readings, policy)
        ]
    )
    return Combined(log_e_nats_T=tuple(np.logaddexp.reduce(log_terms_DT, axis=0).tolist()))


def own_threshold_nats(
    detector: str, active: Sequence[str], policy: SweepPolicy, run_number: int
) -> float:
    """Return the evidence at which a detector decides alone in the company of the active ones.

    Raises: InvalidRequest for a detector without weight, or one that is not active.
    """
    total = sum(policy.rule_of(name).weight for name in active)
    weight = policy.rule_of(detector).weight
    if detector not in active or not weight:
        raise InvalidRequest.of("detector", f"{detector} takes no part; name an active one")
    return policy.log_threshold_nats(run_number) + float(np.log(total / weight))


def _term(
    reading: Reading, sent_S: NDArray[np.str_], policy: SweepPolicy, is_over: bool
) -> Float64Array:
    """Return one detector's log e-value at each look, [T]."""
    values_N = np.concatenate([[0.0], np.asarray(reading.log_e_nats_N, dtype=np.float64)])
    if not policy.rule_of(reading.detector).num_probes:
        held_back_T = np.full(len(sent_S) + 1, -np.inf)
        if is_over:
            held_back_T[-1] = values_N[-1]
        return held_back_T
    asked_T = np.concatenate([[0], np.cumsum(sent_S == reading.detector)])
    # which requests gave no usable answer is not told; taking them first never looks ahead
    num_unused = int(asked_T[-1]) - len(reading.log_e_nats_N)
    if num_unused < 0:
        raise InvalidRequest.of(
            "order",
            f"names {reading.detector} {asked_T[-1]} times, which used {len(values_N) - 1} answers",
        )
    return np.asarray(values_N[np.maximum(asked_T - num_unused, 0)])


def _beside_readers(shares: dict[str, float], policy: SweepPolicy) -> dict[str, float]:
    """Return the shares that are left if all that read others' answers were to take part too."""
    total = sum(policy.rule_of(name).weight for name in shares)
    rules = (rule for rule in policy.detectors if rule.detector not in shares)
    joining = sum(rule.weight for rule in rules if not rule.num_probes)
    return {name: share * total / (total + joining) for name, share in shares.items()}


def _in_turn(readings: Sequence[Reading]) -> tuple[str, ...]:
    longest = max((reading.num_sent for reading in readings), default=0)
    return tuple(
        reading.detector for k in range(longest) for reading in readings if reading.num_sent > k
    )


def _check(readings: Sequence[Reading], policy: SweepPolicy) -> None:
    names = [reading.detector for reading in readings]
    if len(set(names)) < len(names):
        raise InvalidRequest.of("readings", "hold two readings of one detector; join them first")
    for reading in readings:
        if np.isnan(np.asarray(reading.log_e_nats_N, dtype=np.float64)).any():
            raise InvalidRequest.of(reading.detector, "has evidence that is not a number")
        asks = policy.rule_of(reading.detector).num_probes > 0
        if asks and len(reading.log_e_nats_N) > reading.num_sent:
            raise InvalidRequest.of(reading.detector, "has evidence for answers that nobody gave")

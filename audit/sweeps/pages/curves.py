"""Evidence over requests as curves of few points.

Legend: N usable answers of one detector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from audit.sweep_records import EndpointFinding, Reading
from audit.sweeps.plan_file import StoredPlan
from audit.sweeps.policy import SweepPolicy

#: More points than pixels only make a page heavy.
MAX_POINTS = 400

NATS_PER_LOG10 = math.log(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Evidence as a power of ten, by requests."""

    name: str
    requests: tuple[int, ...]
    log10_e: tuple[float, ...]


def order_of(
    finding: EndpointFinding, policy: SweepPolicy, plan: StoredPlan | None
) -> tuple[str, ...]:
    """Return the detector of each request as sent, nothing where the plan does not tell it."""
    parts = () if plan is None else plan.plan.endpoints
    probes = next((p.probes for p in parts if p.endpoint.name == finding.endpoint), ())
    asked = _asked(finding, policy)
    order = tuple(probe.detector for probe in probes[: sum(asked.values())])
    fits = all(order.count(detector) == num for detector, num in asked.items())
    return order if fits and len(order) == sum(asked.values()) else ()


def _asked(finding: EndpointFinding, policy: SweepPolicy) -> dict[str, int]:
    """Return how many requests each detector sent; those that read others' answers are left out."""
    known = {rule.detector for rule in policy.detectors if rule.num_probes > 0}
    return {r.detector: r.num_sent for r in finding.readings if r.detector in known}


def in_turn(finding: EndpointFinding, policy: SweepPolicy) -> tuple[str, ...]:
    """Return the order that evidence is put together in where none is known."""
    asked = _asked(finding, policy)
    longest = max(asked.values(), default=0)
    return tuple(name for k in range(longest) for name, num in asked.items() if num > k)


def curve_of(reading: Reading, order: Sequence[str]) -> Curve:
    """Return a detector's curve over all requests; over its own where it sent none itself."""
    num_used = len(reading.log_e_nats_N)
    places = [t + 1 for t, detector in enumerate(order) if detector == reading.detector]
    # unusable answers count as the first ones, as where the evidence is put together
    at = places[len(places) - num_used :] if len(places) >= num_used else range(1, num_used + 1)
    return thin(reading.detector, [0, *at], (0.0, *reading.log_e_nats_N))


def thin(name: str, requests: Sequence[int], log_e_nats: Sequence[float]) -> Curve:
    """Return a curve of few points that keeps each stretch's lowest and highest."""
    stretch = max(1, math.ceil(len(requests) * 2 / MAX_POINTS))
    kept = {0, len(requests) - 1}
    for first in range(0, len(requests), stretch):
        places = range(first, min(first + stretch, len(requests)))
        kept |= {min(places, key=log_e_nats.__getitem__), max(places, key=log_e_nats.__getitem__)}
    return Curve(
        name=name,
        requests=tuple(requests[k] for k in sorted(kept)),
        log10_e=tuple(log_e_nats[k] / NATS_PER_LOG10 for k in sorted(kept)),
    )

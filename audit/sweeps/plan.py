"""What a run will ask of each endpoint, in which order: decided by its seed before it begins.

All endpoints of a run, controls among them, are planned from the same seed, so that those that
take the same kind of prompt get the same probes in the same order.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from audit.sweep_records import Budget, Endpoint, EndpointRole, Probe, ProbeKind
from audit.sweeps.commitment import digest_of
from audit.sweeps.detector import Detector
from audit.sweeps.probe import canonical_text, probe_members

#: When each kind starts, as a share of a run: pre-flight alone, then the cheapest strong evidence.
#: Each kind spreads over the next `_SPREAD`, so that later ones begin before earlier ones end.
_STARTS: Mapping[ProbeKind, float] = {
    ProbeKind.PREFLIGHT: -2.0,
    ProbeKind.BORDER: 0.0,
    ProbeKind.LOGPROBS: 0.5,
    ProbeKind.REPLAY: 0.7,
    ProbeKind.CELL: 1.0,
    ProbeKind.TEXT: 1.2,
}
_SPREAD = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPlan:
    """What one endpoint is asked, in order."""

    endpoint: Endpoint
    probes: tuple[Probe, ...]

    @property
    def num_preflight(self) -> int:
        """How many probes come before all others."""
        return sum(probe.kind is ProbeKind.PREFLIGHT for probe in self.probes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run asks of all its endpoints."""

    endpoints: tuple[EndpointPlan, ...]

    def digest(self) -> str:
        """Return `sha256:<hex>` over endpoints and probes, expectations included."""
        return digest_of(self._lines())

    def _lines(self) -> Iterator[str]:
        for plan in self.endpoints:
            endpoint = plan.endpoint
            yield canonical_text([endpoint.name, endpoint.base_url, endpoint.model])
            for probe in plan.probes:
                yield canonical_text(probe_members(probe))


class _Placed(NamedTuple):
    place: float
    detector: int
    turn: int
    probe: Probe


def plan_run(
    endpoints: Sequence[Endpoint],
    detectors: Sequence[Detector],
    num_probes: Mapping[str, int],
    seed: bytes,
    budget: Budget,
) -> RunPlan:
    """Return the plan that a seed gives; `num_probes` says how many each detector may spend."""
    planned: dict[Endpoint, tuple[Probe, ...]] = {}
    parts = []
    for endpoint in endpoints:
        kind = _anonymous(endpoint)
        if kind not in planned:
            planned[kind] = _probes(kind, detectors, num_probes, seed, budget)
        parts.append(EndpointPlan(endpoint=endpoint, probes=planned[kind]))
    return RunPlan(endpoints=tuple(parts))


def detector_seed(seed: bytes, detector_id: str) -> bytes:
    """Return the part of a run's seed that one detector plans with."""
    return hashlib.sha256(seed + b"\0detector\0" + detector_id.encode()).digest()


def _anonymous(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint without what no probe may depend on: who it is, and how it is reached."""
    return replace(
        endpoint,
        name="",
        base_url="",
        key_ref=None,
        role=EndpointRole.TARGET,
        route_json="{}",
        max_concurrency=1,
        max_requests_per_s=None,
        timeout_s=1.0,
        input_price=None,
        output_price=None,
    )


def _probes(
    endpoint: Endpoint,
    detectors: Sequence[Detector],
    num_probes: Mapping[str, int],
    seed: bytes,
    budget: Budget,
) -> tuple[Probe, ...]:
    placed: list[_Placed] = []
    for number, detector in enumerate(detectors):
        most = num_probes.get(detector.detector_id, 0)
        if not most:
            continue
        probes = detector.plan(endpoint, detector_seed(seed, detector.detector_id), most)
        for index, probe in enumerate(probes):
            place = _STARTS[probe.kind] + _SPREAD * (index + 0.5) / len(probes)
            placed.append(_Placed(place, number, index, probe))
    # what the budget cannot pay for is not planned; the client guards tokens and money as it goes
    placed.sort(key=lambda item: item[:3])
    return tuple(item.probe for item in placed[: budget.max_requests])

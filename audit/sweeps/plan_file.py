"""A run's plan as text: what storage keeps before the first request, and a recording begins with.

It holds all that scoring needs beside the answers, so that a run that was broken off is gone on
with, and a recorded one scored again, without planning anew. It also holds the seed and what the
reference expects: secrets until the run is over.
"""

from dataclasses import dataclass

from audit.codec.record_json import canonical_json, members_of, parse_members, record_of
from audit.errors import InvalidRequest
from audit.records import Claim
from audit.sweep_records import Budget, Endpoint, Opening, Probe
from audit.sweeps.plan import EndpointPlan, RunPlan

FORMAT = "inference-audit/sweep-plan/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlan:
    """A plan with what it was committed under."""

    run_id: str
    sweep_id: str
    tenant: str
    slot_at: str
    run_number: int
    """Counts the runs of a sweep from 1; later ones may have to be surer."""
    spec_digest: str
    claim: Claim
    detectors: tuple[str, ...]
    """As in the spec: empty means all that apply."""
    budget: Budget
    opening: Opening
    commitment: str
    started_at: str
    earlier_runs: tuple[str, ...]
    """Ids of the runs that changes are told from, in their order."""
    plan: RunPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    endpoint: Endpoint
    probes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """A `StoredPlan` whose endpoints share one list of probes."""

    run_id: str
    sweep_id: str
    tenant: str
    slot_at: str
    run_number: int
    spec_digest: str
    claim: Claim
    detectors: tuple[str, ...]
    budget: Budget
    opening: Opening
    commitment: str
    started_at: str
    earlier_runs: tuple[str, ...]
    probes: tuple[Probe, ...]
    endpoints: tuple[_Asked, ...]


def plan_to_json(stored: StoredPlan) -> str:
    """Return a plan as RFC 8785 JSON; equal plans give equal texts. Raises: InvalidRequest."""
    places: dict[str, int] = {}
    probes: list[Probe] = []
    for part in stored.plan.endpoints:
        for probe in part.probes:
            if probe.probe_id not in places:
                places[probe.probe_id] = len(probes)
                probes.append(probe)
    text = _Text(
        run_id=stored.run_id,
        sweep_id=stored.sweep_id,
        tenant=stored.tenant,
        slot_at=stored.slot_at,
        run_number=stored.run_number,
        spec_digest=stored.spec_digest,
        claim=stored.claim,
        detectors=stored.detectors,
        budget=stored.budget,
        opening=stored.opening,
        commitment=stored.commitment,
        started_at=stored.started_at,
        earlier_runs=stored.earlier_runs,
        probes=tuple(probes),
        endpoints=tuple(
            _Asked(
                endpoint=part.endpoint,
                probes=tuple(places[probe.probe_id] for probe in part.probes),
            )
            for part in stored.plan.endpoints
        ),
    )
    return canonical_json({"format": FORMAT, **members_of(text, "plan")}, "plan")


def plan_from_json(text: str) -> StoredPlan:
    """Return the plan of a text. Raises: InvalidRequest naming the member that is wrong."""
    members = parse_members(text, "plan")
    if members.pop("format", None) != FORMAT:
        raise InvalidRequest.of("plan.format", f"is not {FORMAT!r}, which this version reads")
    read = record_of(_Text, members, "plan")
    for asked in read.endpoints:
        if not all(0 <= place < len(read.probes) for place in asked.probes):
            raise InvalidRequest.of("plan.endpoints", "name a probe that the plan does not hold")
    return StoredPlan(
        run_id=read.run_id,
        sweep_id=read.sweep_id,
        tenant=read.tenant,
        slot_at=read.slot_at,
        run_number=read.run_number,
        spec_digest=read.spec_digest,
        claim=read.claim,
        detectors=read.detectors,
        budget=read.budget,
        opening=read.opening,
        commitment=read.commitment,
        started_at=read.started_at,
        earlier_runs=read.earlier_runs,
        plan=RunPlan(
            endpoints=tuple(
                EndpointPlan(
                    endpoint=asked.endpoint,
                    probes=tuple(read.probes[place] for place in asked.probes),
                )
                for asked in read.endpoints
            )
        ),
    )

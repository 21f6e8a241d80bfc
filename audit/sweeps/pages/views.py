"""What the page shows, gathered: nothing is decided here that a run did not conclude."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audit.errors import InvalidRequest
from audit.sweep_records import (
    ChangeFinding,
    ChangeKind,
    EndpointFinding,
    EndpointRole,
    Reading,
    SweepResult,
)
from audit.sweeps.decide.explain import Sight, sights_of, smallest_share
from audit.sweeps.pages.canvas import Drawing
from audit.sweeps.pages.evidence import Evidence, evidence_of
from audit.sweeps.pages.rows import Row
from audit.sweeps.pages.signs import Signs, signs_of
from audit.sweeps.pages.signs_drawing import drawing_of
from audit.sweeps.plan_file import StoredPlan
from audit.sweeps.policy import SweepPolicy

#: Endpoints with a part of their own; the table of findings holds all.
MAX_CARDS = 30
#: Room for drawings, so that a page stays light to open and to send.
MAX_DRAWING_BYTES = 1_100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """An endpoint's own part of the page."""

    anchor: str
    finding: EndpointFinding
    evidence: Evidence | None
    """None where the page's room for drawings is used up."""
    sights: tuple[Sight, ...]
    smallest_share: float | None
    problem: str | None
    """Why what could have been seen is not put together, where it is not."""
    signs: tuple[Signs, ...]
    signs_drawing: Drawing | None
    changes: tuple[ChangeFinding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An endpoint as it was asked."""

    name: str
    base_url: str
    model: str
    api: str
    role: EndpointRole
    expected_upstream: str | None
    num_probes: tuple[tuple[str, int], ...]
    """Requests planned for each detector."""


def cards_of(
    shown: SweepResult,
    rows: Sequence[Row],
    results: Sequence[SweepResult],
    policy: SweepPolicy,
    plan: StoredPlan | None,
) -> tuple[Card, ...]:
    """Return the parts of the shown run's endpoints, in the order of its findings.

    Raises: ConfigurationError where matplotlib is missing.
    """
    by_name = {row.endpoint: row for row in rows}
    room = MAX_DRAWING_BYTES
    cards = []
    for number, finding in enumerate(shown.findings[:MAX_CARDS]):
        evidence = (
            evidence_of(finding, policy, plan, f"evidence-{number + 1}") if room > 0 else None
        )
        row = by_name[finding.endpoint]
        signs = signs_of(row, results)
        drawing = None
        if len(results) > 1 and room > 0:
            drawing = drawing_of(row, signs, results, f"signs-{number + 1}")
        drawn = [drawing, evidence.drawing if evidence else None]
        room -= sum(len(one.inline) for one in drawn if one)
        sights, smallest, problem = _sight(finding.readings, policy)
        cards.append(
            Card(
                anchor=f"endpoint-{number + 1}",
                finding=finding,
                evidence=evidence,
                sights=sights,
                smallest_share=smallest,
                problem=problem,
                signs=signs,
                signs_drawing=drawing,
                changes=tuple(c for c in finding.changes if c.kind is not ChangeKind.NONE),
            )
        )
    return tuple(cards)


def asked_of(plan: StoredPlan) -> tuple[Asked, ...]:
    """Return the endpoints of a plan with what each was to be asked."""
    return tuple(
        Asked(
            name=part.endpoint.name,
            base_url=part.endpoint.base_url,
            model=part.endpoint.model,
            api=part.endpoint.api.value,
            role=part.endpoint.role,
            expected_upstream=part.endpoint.expected_upstream,
            num_probes=tuple(
                (detector, sum(probe.detector == detector for probe in part.probes))
                for detector in dict.fromkeys(probe.detector for probe in part.probes)
            ),
        )
        for part in plan.plan.endpoints
    )


def _sight(
    readings: Sequence[Reading], policy: SweepPolicy
) -> tuple[tuple[Sight, ...], float | None, str | None]:
    try:
        sights: Mapping[str, Sight] = sights_of(readings, policy)
        return tuple(sights.values()), smallest_share(readings, policy), None
    except InvalidRequest as error:
        return (), None, f"What could have been seen is not put together here: {error}."

"""What one run concludes about one endpoint.

1. Evidence of all detectors that take part, put together (`combine`).
2. A decisive cause that Tier 0 found explains away whatever else was seen: misconfigured.
3. Evidence that reached the threshold at any look: inconsistent, or policy-different where it is
   explained best by a copy that is honest elsewhere and that the claim excludes.
4. Another cause that Tier 0 found: misconfigured.
5. A change against the endpoint's own past: changed.
6. Nothing was seen: consistent if the run could have seen the attacks that the policy names, and
   otherwise uninformative, with what it would take. Nothing could be asked: not applicable.
"""

from collections.abc import Sequence
from enum import StrEnum

from audit.errors import InvalidRequest
from audit.sweep_records import (
    ChangeFinding,
    ChangeKind,
    Endpoint,
    EndpointFinding,
    Misconfiguration,
    Reading,
    ReadingStatus,
    Spending,
    SweepOutcome,
)
from audit.sweeps.decide.combine import Combined, combine
from audit.sweeps.decide.discovery import discovery_level_nats
from audit.sweeps.decide.explain import explanation_of, sights_of, smallest_share
from audit.sweeps.decide.share import ShareBounds, share_bounds
from audit.sweeps.decide.statements import statement_of
from audit.sweeps.decide.sticky import sticky_evidence
from audit.sweeps.policy import SweepPolicy

#: The least log e-value that is reported, near the logarithm of the least positive number.
_LEAST_NATS = -700.0


class StopReason(StrEnum):
    """Why an endpoint is asked no further."""

    DECIDED = "decided"
    """The evidence against it suffices, also for a discovery."""
    FUTILE = "futile"
    """The share of diverted requests surely lies below what the policy cares for."""


def should_stop(
    readings: Sequence[Reading],
    policy: SweepPolicy,
    run_number: int,
    *,
    num_targets: int = 1,
    order: Sequence[str] = (),
) -> StopReason | None:
    """Return why an endpoint need not be asked further, None where it must be.

    The readings are those of all detectors that ask; what is decided here is then decided in
    `decide_endpoint` too. Raises: InvalidRequest as `combine` and `share_bounds` do.
    """
    level = discovery_level_nats(policy, run_number, num_targets)
    if combine(readings, policy, order, is_over=False).first_at(level) is not None:
        return StopReason.DECIDED
    if _sees_all(readings, policy):
        # earlier looks were taken when they were the last
        bounds = share_bounds(readings, policy, every_look=False)
        if bounds.high < policy.min_share:
            return StopReason.FUTILE
    return None


def decide_endpoint(
    endpoint: Endpoint,
    readings: Sequence[Reading],
    policy: SweepPolicy,
    run_number: int,
    *,
    num_targets: int = 1,
    order: Sequence[str] = (),
    changes: Sequence[ChangeFinding] = (),
    spending: Spending | None = None,
) -> EndpointFinding:
    """Return what the readings of one run say about one endpoint.

    `run_number` is 1 for a sweep's first run; `order` names the detector of each request as sent;
    of `changes`, the last one of each detector is its present state. Raises: InvalidRequest as
    `combine` and `share_bounds` do.
    """
    if num_targets < 1:
        raise InvalidRequest.of("num_targets", "must count the endpoints that the run is about")
    combined = combine(readings, policy, order)
    threshold = policy.log_threshold_nats(run_number)
    decided_after = combined.first_at(threshold)
    bounds = share_bounds(readings, policy)
    explanation = None if decided_after is None else explanation_of(readings, policy)
    outcome = _outcome(readings, policy, decided_after, explanation, bounds, changes)
    finding = EndpointFinding(
        endpoint=endpoint.name,
        role=endpoint.role,
        outcome=outcome,
        statement="",
        readings=tuple(readings),
        log_e_nats=_reported(combined, policy, run_number, num_targets),
        threshold_nats=threshold,
        decided_after=decided_after,
        share_low=bounds.low,
        share_high=bounds.high,
        sticky_log_e_nats=sticky_evidence(readings, policy),
        explanation=explanation,
        changes=tuple(changes),
        spending=spending or Spending(),
    )
    return statement_of(finding, bounds, policy)


def _reported(combined: Combined, policy: SweepPolicy, run_number: int, num_targets: int) -> float:
    # an e-value of zero has no logarithm that JSON could hold
    return max(
        combined.stopped_at(discovery_level_nats(policy, run_number, num_targets)), _LEAST_NATS
    )


def _outcome(
    readings: Sequence[Reading],
    policy: SweepPolicy,
    decided_after: int | None,
    explanation: str | None,
    bounds: ShareBounds,
    changes: Sequence[ChangeFinding],
) -> SweepOutcome:
    causes = [cause for reading in readings for cause in reading.misconfigurations]
    if any(cause.is_decisive for cause in causes):
        return SweepOutcome.MISCONFIGURED
    if decided_after is not None:
        if explanation in policy.excluded_variants:
            return SweepOutcome.POLICY_DIFFERENT
        return SweepOutcome.INCONSISTENT
    if any(_counts(cause, policy) for cause in causes):
        return SweepOutcome.MISCONFIGURED
    present = {change.detector: change.kind for change in changes}
    if any(kind not in (ChangeKind.NONE, ChangeKind.BLIP) for kind in present.values()):
        return SweepOutcome.CHANGED
    if all(reading.status is ReadingStatus.NOT_APPLICABLE for reading in readings):
        return SweepOutcome.NOT_APPLICABLE
    if _has_bound(readings, policy, bounds) and _sees_all(readings, policy):
        return SweepOutcome.CONSISTENT
    return SweepOutcome.UNINFORMATIVE


def _counts(cause: Misconfiguration, policy: SweepPolicy) -> bool:
    return cause.is_decisive or cause.check not in policy.informative_checks


def _has_bound(readings: Sequence[Reading], policy: SweepPolicy, bounds: ShareBounds) -> bool:
    smallest = smallest_share(readings, policy)
    return bounds.high < policy.min_share or (
        smallest is not None and smallest <= policy.max_blind_share
    )


def _sees_all(readings: Sequence[Reading], policy: SweepPolicy) -> bool:
    """Return whether every attack that must be seen could have been; one at least must be."""
    sights = sights_of(readings, policy)
    if not policy.must_see:
        return any(sight.is_seen for sight in sights.values())
    return all(name in sights and sights[name].is_seen for name in policy.must_see)

"""Says in plain sentences what a finding means, and what the run could have seen."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from audit.sweep_records import EndpointFinding, Reading, ReadingStatus, SweepOutcome
from audit.sweeps.decide.explain import UNKNOWN, Sight, sights_of, smallest_share
from audit.sweeps.decide.share import ShareBounds
from audit.sweeps.policy import SweepPolicy

#: Sticky evidence from here on is worth a sentence: an e-value of 100.
_STICKY_NATS = math.log(100.0)


def statement_of(
    finding: EndpointFinding, bounds: ShareBounds, policy: SweepPolicy
) -> EndpointFinding:
    """Return the finding with its statement."""
    say: Mapping[SweepOutcome, Callable[[], list[str]]] = {
        SweepOutcome.INCONSISTENT: lambda: _accused(finding),
        SweepOutcome.POLICY_DIFFERENT: lambda: _accused(finding),
        SweepOutcome.MISCONFIGURED: lambda: _misconfigured(finding, policy),
        SweepOutcome.CHANGED: lambda: _changed(finding),
        SweepOutcome.NOT_APPLICABLE: lambda: _not_applicable(finding.readings),
        SweepOutcome.CONSISTENT: lambda: _consistent(finding, bounds, policy),
        SweepOutcome.UNINFORMATIVE: lambda: _uninformative(finding, policy),
    }
    sentences = say[finding.outcome]() + _asides(finding, policy)
    return replace(finding, statement=" ".join(sentences))


def _accused(finding: EndpointFinding) -> list[str]:
    sentences = [
        f"After {_times(finding.decided_after or 0, 'request')} the answers were inconsistent "
        f"with the claim: evidence of {_e_value(finding)} against every honest variant."
    ]
    if finding.outcome is SweepOutcome.POLICY_DIFFERENT:
        sentences.append(
            f"They differ from it as {finding.explanation} does, which is honest where it is "
            "stated and which the claim excludes."
        )
    elif finding.explanation not in (None, UNKNOWN):
        sentences.append(f"Of the candidates tried, {finding.explanation} fits best.")
    else:
        sentences.append("None of the candidates tried stands out as the explanation.")
    if finding.share_low > 0.0:
        sentences.append(
            f"At least {finding.share_low:.1%} of the requests were answered by something else."
        )
    return sentences


def _misconfigured(finding: EndpointFinding, policy: SweepPolicy) -> list[str]:
    causes = [
        cause
        for reading in finding.readings
        for cause in reading.misconfigurations
        if cause.is_decisive or cause.check not in policy.informative_checks
    ]
    sentences = [f"The endpoint is not set up as claimed. {' '.join(c.detail for c in causes)}"]
    if finding.decided_after is not None:
        sentences.append(
            "The other detectors' answers differ from the claim too; with this cause at hand that "
            "is not held against the endpoint."
        )
    return sentences


def _changed(finding: EndpointFinding) -> list[str]:
    present = {change.detector: change for change in finding.changes}
    return [change.statement for change in present.values() if change.statement] or [
        "The endpoint's behaviour changed against its own past."
    ]


def _not_applicable(readings: Sequence[Reading]) -> list[str]:
    reasons = sorted({reading.reason for reading in readings if reading.reason})
    return ["The endpoint offers nothing that any detector of this sweep reads.", *reasons]


def _consistent(finding: EndpointFinding, bounds: ShareBounds, policy: SweepPolicy) -> list[str]:
    sentences = ["Nothing was found that differs from the claim."]
    if bounds.high < 1.0 and bounds.subtlest is not None:
        sentences.append(
            f"At {policy.share_confidence:.0%} confidence a substitute that differs from the "
            f"claim like {bounds.subtlest} or more answered fewer than {bounds.high:.1%} of the "
            "requests."
        )
    smallest = smallest_share(finding.readings, policy)
    if smallest is not None:
        sentences.append(
            f"A diverted share of {smallest:.0%} would have been found {_chance(policy)}, for the "
            "attack that shows best."
        )
    return sentences + _seen(finding.readings, policy)


def _uninformative(finding: EndpointFinding, policy: SweepPolicy) -> list[str]:
    sentences = ["Nothing was found, and this run could not have seen enough to say more."]
    sentences += _seen(finding.readings, policy)
    sights = sights_of(finding.readings, policy)
    unknown = [name for name in policy.must_see if name not in sights]
    if unknown:
        sentences.append(f"No detector could tell what finding {', '.join(unknown)} would take.")
    silent = [r for r in finding.readings if r.status is not ReadingStatus.READ and r.reason]
    return sentences + [f"{reading.detector}: {reading.reason}" for reading in silent]


def _seen(readings: Sequence[Reading], policy: SweepPolicy) -> list[str]:
    sights = sights_of(readings, policy).values()
    seen = [sight.attack for sight in sights if sight.is_seen]
    sentences = []
    if seen:
        sentences.append(
            f"Would have been found {_chance(policy)}, had it answered every request: "
            f"{', '.join(seen)}."
        )
    sentences += [_lacking(sight) for sight in sights if not sight.is_seen]
    return sentences


def _lacking(sight: Sight) -> str:
    return (
        f"{sight.attack} would have taken {_times(sight.needed, 'request')} of {sight.detector}; "
        f"{sight.used} were answered."
    )


def _asides(finding: EndpointFinding, policy: SweepPolicy) -> list[str]:
    sentences = []
    if finding.sticky_log_e_nats >= _STICKY_NATS:
        sentences.append(
            "Conspicuous answers come in runs, as where requests stay on the machine that they "
            "were sent to; other customers may see more or fewer of them."
        )
    if finding.outcome is not SweepOutcome.MISCONFIGURED:
        sentences += [
            f"Reported only: {cause.detail}"
            for reading in finding.readings
            for cause in reading.misconfigurations
        ]
    return sentences


def _e_value(finding: EndpointFinding) -> str:
    # the evidence may have fallen below the threshold again after it was reached
    return f"10^{max(finding.log_e_nats, finding.threshold_nats) / math.log(10):.1f} to 1"


def _chance(policy: SweepPolicy) -> str:
    return f"in {policy.power:.0%} of runs"


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

"""Whether the endpoints behaved whose truth is known: a run that gets them wrong is void."""

from collections.abc import Sequence

from audit.sweep_records import EndpointFinding, EndpointRole, SweepOutcome

_FOUND = (SweepOutcome.INCONSISTENT, SweepOutcome.POLICY_DIFFERENT)
_QUIET = (SweepOutcome.CONSISTENT, SweepOutcome.UNINFORMATIVE)


def trouble_with_controls(findings: Sequence[EndpointFinding]) -> tuple[str, ...]:
    """Return a sentence for each control that misbehaved, none where all is well.

    A negative control must have given usable answers and be neither accused, nor misconfigured, nor
    changed; a positive control must be found.
    """
    return tuple(sentence for finding in findings if (sentence := _trouble(finding)))


def _trouble(finding: EndpointFinding) -> str:
    if finding.role is EndpointRole.POSITIVE_CONTROL and finding.outcome not in _FOUND:
        return (
            f"The positive control {finding.endpoint} is known to differ from the claim and was "
            f"not found ({_worded(finding)})."
        )
    if finding.role is not EndpointRole.NEGATIVE_CONTROL:
        return ""
    if finding.outcome not in _QUIET:
        return (
            f"The negative control {finding.endpoint} is known to be honest and ended "
            f"{_worded(finding)}."
        )
    if not any(reading.num_used for reading in finding.readings):
        return f"The negative control {finding.endpoint} gave no usable answer."
    return ""


def _worded(finding: EndpointFinding) -> str:
    return finding.outcome.value.replace("_", " ")

"""Who was in which run of a sweep, and what was concluded about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from audit.sweep_records import EndpointFinding, EndpointRole, SweepOutcome, SweepResult

#: The latest runs that drawings show: a daily sweep's year and more.
MAX_RUNS_DRAWN = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An endpoint with what each run concluded about it."""

    endpoint: str
    role: EndpointRole
    findings: tuple[EndpointFinding | None, ...]
    """One a run; None where the run says nothing about it."""
    outcomes: tuple[SweepOutcome | None, ...]
    """One a run; a run that did not take place is one for all."""


def rows_of(results: Sequence[SweepResult]) -> tuple[Row, ...]:
    """Return every endpoint that any run knew: the latest run's first, targets before controls."""
    by_run = [{finding.endpoint: finding for finding in r.findings} for r in results]
    latest: dict[str, EndpointFinding] = {}
    for findings in reversed(by_run):
        for name, finding in findings.items():
            latest.setdefault(name, finding)
    ordered = sorted(latest, key=lambda name: latest[name].role is not EndpointRole.TARGET)
    return tuple(
        Row(
            endpoint=name,
            role=latest[name].role,
            findings=tuple(findings.get(name) for findings in by_run),
            outcomes=tuple(
                _outcome(result, findings.get(name))
                for result, findings in zip(results, by_run, strict=True)
            ),
        )
        for name in ordered
    )


def _outcome(result: SweepResult, finding: EndpointFinding | None) -> SweepOutcome | None:
    if finding is not None:
        return finding.outcome
    return result.outcome if result.outcome is SweepOutcome.NOT_PERFORMED else None

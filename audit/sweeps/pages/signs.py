"""An endpoint's signs over the runs: their share beside the honest bound, and the change detector.

Legend: R runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from audit.sweep_records import ChangeFinding, Reading, SweepResult
from audit.sweeps.pages.rows import Row
from audit.sweeps.record import has_history

_NATS_PER_LOG10 = math.log(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What one detector saw of an endpoint, run by run."""

    detector: str
    rates_R: tuple[float, ...]
    """Share of signs among usable answers; NaN where there was none."""
    bounds_R: tuple[float, ...]
    """What honest endpoints show at most; NaN where it was not stated."""
    log10_e_R: tuple[float, ...]
    """The change detector's value; NaN where it said nothing."""
    thresholds_R: tuple[float, ...]
    changes: tuple[ChangeFinding, ...]
    """As the latest run tells them."""
    num_signs: int
    num_answers: int


def signs_of(row: Row, results: Sequence[SweepResult]) -> tuple[Signs, ...]:
    """Return the signs of every detector that counts any, in the order of first sight.

    Void runs are left out, as they are where changes are told.
    """
    findings = [
        finding if has_history(result) else None
        for finding, result in zip(row.findings, results, strict=True)
    ]
    readings = [
        {reading.detector: reading for reading in (finding.readings if finding else ())}
        for finding in findings
    ]
    changes = [finding.changes if finding else () for finding in findings]
    latest = next((found for found in reversed(changes) if found), ())
    names = dict.fromkeys(
        name
        for run in readings
        for name, reading in run.items()
        if reading.tells and reading.honest_tell_rate is not None
    )
    return tuple(
        _signs(
            name,
            [run.get(name) for run in readings],
            [_present(found, name) for found in changes],
            tuple(change for change in latest if change.detector == name),
        )
        for name in names
    )


def _signs(
    name: str,
    readings: Sequence[Reading | None],
    present: Sequence[ChangeFinding | None],
    changes: tuple[ChangeFinding, ...],
) -> Signs:
    return Signs(
        detector=name,
        rates_R=tuple(
            r.tells.count("1") / len(r.tells) if r and r.tells else math.nan for r in readings
        ),
        bounds_R=tuple(
            math.nan if r is None or r.honest_tell_rate is None else r.honest_tell_rate
            for r in readings
        ),
        log10_e_R=tuple(c.log_e_nats / _NATS_PER_LOG10 if c else math.nan for c in present),
        thresholds_R=tuple(c.threshold_nats / _NATS_PER_LOG10 if c else math.nan for c in present),
        changes=changes,
        num_signs=sum(r.tells.count("1") for r in readings if r),
        num_answers=sum(len(r.tells) for r in readings if r),
    )


def _present(changes: Sequence[ChangeFinding], detector: str) -> ChangeFinding | None:
    return next((c for c in reversed(changes) if c.detector == detector), None)

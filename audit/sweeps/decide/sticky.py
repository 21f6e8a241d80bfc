"""Whether tells come in runs, as where requests are sent to a substitute for a while.

Reported and never an accusation: an honest endpoint whose probes grow easier, or whose load
changes, shows runs as well.
"""

import itertools
from collections.abc import Sequence

from audit.judge.combine import average_log_e
from audit.judge.substitution import Transitions, sticky_log_e
from audit.sweep_records import Reading
from audit.sweeps.decide.combine import taking_part
from audit.sweeps.policy import SweepPolicy


def transitions_of(tells: str) -> Transitions:
    """Return how often a tell or none followed a tell or none."""
    pairs = list(itertools.pairwise(tells))
    return Transitions(
        n00=pairs.count(("0", "0")),
        n01=pairs.count(("0", "1")),
        n10=pairs.count(("1", "0")),
        n11=pairs.count(("1", "1")),
        first=tells[0] == "1" if tells else None,
        last=tells[-1] == "1" if tells else None,
    )


def sticky_evidence(readings: Sequence[Reading], policy: SweepPolicy) -> float:
    """Return the log e-value against tells that come independently, detectors weighted evenly.

    Streams of different detectors are never joined: their honest rates differ, and a change from
    one to the other would look like a run.
    """
    values = [
        sticky_log_e(transitions_of(reading.tells))
        for reading in taking_part(readings, policy)
        if reading.tells
    ]
    return average_log_e(values) if values else 0.0

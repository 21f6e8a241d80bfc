"""Leave one variant out: would a calibration of the others fail this honest one?

A calibration promises something about honest providers that it has not seen. The nearest thing to
them are its own variants, each audited with bounds made of all the others.
"""

from collections.abc import Mapping, Sequence

from audit.judge.alternatives import EvidenceLaw
from audit.judge.bins import BinCounts, bound_rates
from audit.judge.calibration import Holdout
from audit.judge.calls import Calls
from audit.judge.eprocess import weigh
from audit.judge.policy import Policy


def hold_out(
    counts: Mapping[str, BinCounts], exchanges: Mapping[str, Sequence[Calls]], policy: Policy
) -> tuple[Holdout, ...]:
    """Return the false alarms on each variant, judged by the others; nothing for a single one."""
    if len(counts) < 2:
        return ()
    found = []
    for name in counts:
        others = tuple(count for other, count in counts.items() if other != name)
        law = EvidenceLaw(bound_rates(others, policy.calibration_rate))
        alarms = [
            weigh(calls, law).peak_log_e_nats >= policy.log_threshold_nats
            for calls in exchanges[name]
        ]
        found.append(
            Holdout(
                variant=name,
                num_exchanges=len(alarms),
                num_false_alarms=sum(alarms),
                false_alarm_rate=policy.false_alarm_rate,
            )
        )
    return tuple(found)

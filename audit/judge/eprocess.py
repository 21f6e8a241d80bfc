"""The evidence of one exchange against "honest": an e-process over its calls.

By Ville's inequality a process that is 1 in expectation at most, whatever came before, reaches
1/alpha with probability alpha at most, at any time. So the largest value over all prefixes may
decide, and no length has to be fixed beforehand.

Legend: R calls, K alternatives.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.judge.alternatives import EvidenceLaw, mix
from audit.judge.calls import Calls

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeEvidence:
    """How much one exchange speaks against "honest", in nats."""

    log_e_nats_K: Float64Array
    """At the end, under each alternative."""
    log_e_nats: float
    """At the end, mixed over the alternatives."""
    peak_log_e_nats: float
    """The largest mixed value over all prefixes, the empty one included."""
    peak_token: int
    """Number of tokens after which it was reached."""


def weigh(calls: Calls, law: EvidenceLaw) -> ExchangeEvidence:
    """Return the evidence of one exchange."""
    running_KR = np.cumsum(law.log_e_KR(calls), axis=1)
    mixed_R = np.concatenate([[0.0], mix(running_KR)])
    peak = int(np.argmax(mixed_R))
    return ExchangeEvidence(
        log_e_nats_K=running_KR[:, -1],
        log_e_nats=float(mixed_R[-1]),
        peak_log_e_nats=float(mixed_R[peak]),
        peak_token=peak,
    )

"""How many tokens, or exchanges, a FAIL takes; and the power table that verdicts quote.

Method: streams of whole exchanges of one attack, drawn with replacement and joined, followed until
the evidence reaches the threshold. A provider's stream adds exchanges up as the service does. The
power table states the lower 95 % limit of the share failed, so that nothing is overstated.

Legend: S streams, N exchanges.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.judge.power import PowerCurve
from benchmarks.study.arms import Arm
from benchmarks.study.counting import at_least, quantile
from benchmarks.study.false_alarms import follow
from benchmarks.study.sizes import Size
from benchmarks.study.walks import draw_exchanges, walk

Float64Array = NDArray[np.float64]

#: Where the power table states a figure.
POWER_TOKENS = (
    *(20, 30, 40, 50, 60, 80, 100, 130, 160, 200, 250, 300, 400, 500, 600, 800),
    *(1000, 1300, 1600, 2000, 2500, 3000, 4000, 5000, 6000, 8000, 10_000, 13_000, 16_000, 20_000),
)


def first_tokens(
    arm: Arm, size: Size, threshold_nats: float, rng: np.random.Generator
) -> Float64Array:
    """Return the tokens up to the FAIL of each stream, infinity beyond the cap, shape [S]."""
    picks_SN = draw_exchanges(
        rng, size.num_attack_streams, arm.num_exchanges, size.num_cap_tokens, arm.num_tokens_each
    )
    return walk(arm.log_e_EKR, picks_SN, size.num_cap_tokens, threshold_nats)[1]


def token_row(arm: Arm, first_S: Float64Array, num_cap: int) -> dict[str, Any]:
    """Return what one attack's streams took."""
    missed = ~np.isfinite(first_S)
    return {
        "arm": arm.name,
        "label": arm.label,
        "num_exchanges": arm.num_exchanges,
        "num_streams": len(first_S),
        "median": quantile(first_S, 0.5),
        "mean_capped": float(np.minimum(first_S, num_cap).mean()),
        "p90": quantile(first_S, 0.9),
        "share_not_failed": float(missed.mean()),
    }


def provider_row(
    arm: Arm, size: Size, threshold_nats: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Return how many exchanges of an always cheating provider its FAIL takes."""
    num_each = max(1, size.num_cap_tokens // arm.num_tokens_each)
    picks_SN = rng.integers(arm.num_exchanges, size=(size.num_provider_streams, num_each))
    failed_S = np.array(
        [
            follow(arm.growths, picks.tolist(), threshold_nats, to_the_end=False).failed_at_exchange
            or math.inf
            for picks in picks_SN
        ]
    )
    return {
        "arm": arm.name,
        "label": arm.label,
        "num_streams": len(failed_S),
        "median": quantile(failed_S, 0.5),
        "p90": quantile(failed_S, 0.9),
        "share_not_failed": float(np.isinf(failed_S).mean()),
        "num_cap_exchanges": num_each,
    }


def power_curve(arm: Arm, first_S: Float64Array, num_tokens: Sequence[int]) -> PowerCurve:
    """Return the lower limit of the share failed at each number of tokens."""
    limits = [at_least(int((first_S <= n).sum()), len(first_S)) for n in num_tokens]
    # rounded down: nothing is overstated
    return PowerCurve(
        attack=arm.name,
        label=arm.label,
        power=tuple(math.floor(p * 1e4) / 1e4 for p in np.maximum.accumulate(limits)),
        num_streams=len(first_S),
    )

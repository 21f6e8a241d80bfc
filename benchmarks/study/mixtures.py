"""A provider that substitutes only some exchanges: how soon it is failed, and what share is stated.

Method: honest exchanges with a share of another checkpoint's mixed in, each drawn independently or
in runs, added up as the service does. The lower bound for the share is taken at every look. The
two-sided interval for a known substitute is simulated, with Gaussian log-likelihood ratios.

Legend: S streams, N exchanges in order, G shares on a grid.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.judge.policy import Policy
from audit.judge.substitution import (
    Transitions,
    share_interval,
    share_log_likelihood,
    share_lower_bound,
    sticky_log_e,
)
from benchmarks.study.arms import Arm, joined
from benchmarks.study.counting import quantile, share_row
from benchmarks.study.false_alarms import follow
from benchmarks.study.sizes import Size

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

SHARES = (0.05, 0.1, 0.2, 0.4)
LOOKS = (100, 500)
NUM_IN_A_RUN = 20
STICKY_LOG_E = math.log(100.0)

#: How far apart, in standard deviations, the two laws of a simulated log ratio lie.
DISTANCE = 2.0

#: Looks at which the evidence for runs is taken.
_STRIDE = 10


def draw_substituted(
    share: float, num_streams: int, num_exchanges: int, run: int, rng: np.random.Generator
) -> BoolArray:
    """Return which exchanges are substituted, in runs of `run`, shape [S, N]."""
    num_runs = -(-num_exchanges // run)
    chosen = rng.random((num_streams, num_runs)) < share
    return np.repeat(chosen, run, axis=1)[:, :num_exchanges]


def _picks(
    honest: Arm, other: Arm, substituted_SN: BoolArray, rng: np.random.Generator
) -> Int64Array:
    """Return positions in the two arms joined, honest first."""
    shape = substituted_SN.shape
    return np.where(
        substituted_SN,
        honest.num_exchanges + rng.integers(other.num_exchanges, size=shape),
        rng.integers(honest.num_exchanges, size=shape),
    )


def share_rows(
    honest: Arm, other: Arm, policy: Policy, size: Size, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return for each share how soon the provider is failed, and the lower bound's coverage."""
    both = joined("both", "both", [honest, other])
    tells_E = np.array([g.is_tell for g in both.growths])
    fails_E = both.peaks_E >= policy.log_threshold_nats
    rows = []
    for share in SHARES:
        num_streams, num_exchanges = size.num_share_streams, size.num_share_exchanges
        is_sub_SN = draw_substituted(share, num_streams, num_exchanges, 1, rng)
        picks_SN = _picks(honest, other, is_sub_SN, rng)
        failed_S = np.array(
            [
                follow(
                    both.growths, p.tolist(), policy.log_threshold_nats, to_the_end=False
                ).failed_at_exchange
                or math.inf
                for p in picks_SN
            ]
        )
        low_SN = _running_bound(tells_E[picks_SN], policy)
        rows.append(
            {
                "share": share,
                "num_streams": num_streams,
                "num_exchanges": num_exchanges,
                "median": quantile(failed_S, 0.5),
                "p90": quantile(failed_S, 0.9),
                "share_not_failed": float(np.isinf(failed_S).mean()),
                "first_exchange_failed_p90": quantile(_first(fails_E[picks_SN]), 0.9),
                "bound_wrong_ever": share_row(int((low_SN[:, -1] > share).sum()), num_streams),
                "alpha": policy.test_rate,
                "mean_bound": {str(n): float(low_SN[:, n - 1].mean()) for n in _looks(size)},
            }
        )
    return rows


def _looks(size: Size) -> list[int]:
    return [min(n, size.num_share_exchanges) for n in LOOKS]


def _first(is_hit_SN: BoolArray) -> Float64Array:
    return np.where(is_hit_SN.any(axis=1), is_hit_SN.argmax(axis=1) + 1.0, np.inf)


def _running_bound(tells_SN: BoolArray, policy: Policy) -> Float64Array:
    """Return the largest lower bound up to each look, shape [S, N]."""
    counts_SN = np.cumsum(tells_SN, axis=1)
    num_SN = np.broadcast_to(np.arange(1, tells_SN.shape[1] + 1), counts_SN.shape)
    pairs, where = np.unique(
        np.stack([counts_SN.ravel(), num_SN.ravel()]), axis=1, return_inverse=True
    )
    bounds = np.concatenate(
        [
            share_lower_bound(tells, num, policy.tell_rate, policy.test_rate)
            for tells, num in zip(
                *(np.array_split(row, len(row) // 2000 + 1) for row in pairs), strict=True
            )
        ]
    )
    return np.maximum.accumulate(bounds[where].reshape(counts_SN.shape), axis=1)


def sticky_rows(
    honest: Arm, other: Arm, size: Size, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return how often runs of substituted exchanges are told from independent ones."""
    tells_E = np.array([g.is_tell for arm in (honest, other) for g in arm.growths])
    rows = []
    for share in SHARES:
        for run in (1, NUM_IN_A_RUN):
            is_sub_SN = draw_substituted(
                share, size.num_share_streams, size.num_share_exchanges, run, rng
            )
            tells_SN = tells_E[_picks(honest, other, is_sub_SN, rng)]
            reached = sum(bool(_sticky_peak(t) >= STICKY_LOG_E) for t in tells_SN)
            rows.append(
                {
                    "share": share,
                    "run": run,
                    "num_exchanges": size.num_share_exchanges,
                    "num_events": reached,
                    "num_trials": len(tells_SN),
                    "share_of_streams": reached / len(tells_SN),
                }
            )
    return rows


def _sticky_peak(tells_N: BoolArray) -> float:
    """Return the largest evidence for runs at every tenth look."""
    transitions, peak = Transitions(), 0.0
    for position, tell in enumerate(tells_N.tolist(), start=1):
        transitions = transitions.after(tell)
        if position % _STRIDE == 0:
            peak = max(peak, sticky_log_e(transitions))
    return peak


def known_rows(policy: Policy, size: Size, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return coverage and width of the two-sided interval for a known substitute."""
    rows = []
    for share in SHARES:
        num_streams, num_exchanges = size.num_share_streams, size.num_share_exchanges
        is_sub_SN = draw_substituted(share, num_streams, num_exchanges, 1, rng)
        mean_SN = np.where(is_sub_SN, 0.5, -0.5) * DISTANCE**2
        ratio_SN = rng.normal(mean_SN, DISTANCE)
        limits = [known_limits(ratio_N, policy.test_rate) for ratio_N in ratio_SN]
        low_SN, high_SN = (np.stack(side) for side in zip(*limits, strict=True))
        wrong = int(((low_SN[:, -1] > share) | (high_SN[:, -1] < share)).sum())
        rows.append(
            {
                "share": share,
                "num_exchanges": num_exchanges,
                "alpha": policy.test_rate,
                "wrong_ever": share_row(wrong, num_streams),
                "mean_width": {
                    str(n): float((high_SN - low_SN)[:, n - 1].mean()) for n in _looks(size)
                },
            }
        )
    return rows


def known_limits(ratio_N: Float64Array, alpha: float) -> tuple[Float64Array, Float64Array]:
    """Return what `KnownSubstitute` states after each exchange, all at once, both [N]."""
    log_likelihood_NG = np.cumsum(share_log_likelihood(ratio_N), axis=0)
    low_N, high_N = share_interval(log_likelihood_NG, alpha)
    return np.maximum.accumulate(low_N), np.minimum.accumulate(high_N)

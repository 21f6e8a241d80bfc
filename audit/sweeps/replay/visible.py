"""What replayed answers could have shown: named attacks, played on the calls at hand.

The calls of the answers are kept, and their outcomes replaced: all as the reference draws, as an
honest endpoint would mostly answer, or turned wherever a candidate draws another token. Runs are
then drawn from these answers, each diverted with the share in question, and added up by the same
rule as the evidence itself.

Legend: K alternatives, S stakes, M runs drawn, N requests, A answers.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audit.judge.alternatives import LOG_PRIOR_K, EvidenceLaw
from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, NEAR, Calls
from audit.judge.eprocess import weigh
from audit.judge.stream import STAKES_S
from audit.sweep_records import Visible

Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: Runs drawn for each question; enough for a probability of nine in ten within 3 %.
NUM_RUNS = 100

#: Attacks that take more requests than this are told as not found.
MAX_REQUESTS = 512

SHARES = (1.0, 0.7, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)

#: Stands for a model that has nothing to do with the claimed one: half of its tokens are others.
UNRELATED = "unrelated-model"
_UNRELATED_RATE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Gains:
    """What each answer adds to the evidence under one kind of endpoint."""

    log_e_nats_AK: Float64Array
    log_e_nats_A: Float64Array


def honest_gains(calls_A: Sequence[Calls], laws_A: Sequence[EvidenceLaw]) -> Gains:
    """Return the gains where every token is the reference's own."""
    none_A = [np.zeros(calls.num_tokens, dtype=np.bool_) for calls in calls_A]
    return attacked_gains(calls_A, laws_A, none_A)


def attacked_gains(
    calls_A: Sequence[Calls], laws_A: Sequence[EvidenceLaw], turned_A: Sequence[BoolArray]
) -> Gains:
    """Return the gains where these calls of each answer turn out otherwise."""
    weights = [
        weigh(_turned(calls, turned_R), law)
        for calls, law, turned_R in zip(calls_A, laws_A, turned_A, strict=True)
    ]
    return Gains(
        log_e_nats_AK=np.array([weight.log_e_nats_K for weight in weights]),
        log_e_nats_A=np.array([weight.log_e_nats for weight in weights]),
    )


def unrelated_turns(calls_A: Sequence[Calls]) -> list[BoolArray]:
    """Return turns of calls as of a model that has nothing to do with the claimed one."""
    draw = _generator(b"unrelated")
    return [draw.random(calls.num_tokens) < _UNRELATED_RATE for calls in calls_A]


def what_was_visible(
    honest: Gains, attacks: Mapping[str, Gains], *, threshold_nats: float, power: float
) -> Visible:
    """Return what as many answers as these would have shown with probability `power`."""
    num_used = len(honest.log_e_nats_A)
    needed = {
        name: _needed(honest, gains, threshold_nats=threshold_nats, power=power)
        for name, gains in attacks.items()
    }
    shares = {
        name: _smallest_share(honest, gains, num_used, threshold_nats=threshold_nats, power=power)
        for name, gains in attacks.items()
    }
    seen = {name: share for name, share in shares.items() if share is not None}
    return Visible(
        power=power,
        # the attack that is easiest to see bounds what can be said about shares at all
        smallest_share=min(seen.values(), default=None),
        needed=tuple((name, num) for name, num in needed.items() if num is not None),
        statement=_statement(num_used, seen, needed, power),
    )


def _turned(calls: Calls, turned_R: BoolArray) -> Calls:
    is_far_R = calls.gap_steps_R >= FAR_MARGIN_STEPS
    outcome_R = np.where(turned_R, np.where(is_far_R, FAR, NEAR), MATCH).astype(np.int8)
    return replace(calls, outcome_R=outcome_R)


def _runs_MN(
    honest: Gains, attack: Gains, share: float, num_requests: int, label: bytes
) -> Float64Array:
    """Return the evidence after each request of each run drawn, in nats, shape [M, N]."""
    draw = _generator(label)
    index_MN = draw.integers(len(honest.log_e_nats_A), size=(NUM_RUNS, num_requests))
    is_diverted_MN = draw.random((NUM_RUNS, num_requests)) < share
    each_MN = np.where(is_diverted_MN, attack.log_e_nats_A[index_MN], honest.log_e_nats_A[index_MN])
    carried_MN = np.full(each_MN.shape, -np.inf)
    for k in range(len(LOG_PRIOR_K)):
        one_MN = np.where(
            is_diverted_MN, attack.log_e_nats_AK[index_MN, k], honest.log_e_nats_AK[index_MN, k]
        )
        carried_MN = np.logaddexp(carried_MN, LOG_PRIOR_K[k] + np.cumsum(one_MN, axis=1))
    staked_MN = np.full(each_MN.shape, -np.inf)
    for stake in STAKES_S:
        grown_MN = np.cumsum(np.logaddexp(np.log1p(-stake), np.log(stake) + each_MN), axis=1)
        staked_MN = np.logaddexp(staked_MN, grown_MN - np.log(len(STAKES_S)))
    both_MN: Float64Array = np.logaddexp(carried_MN, staked_MN) - np.log(2.0)
    return both_MN


def _needed(honest: Gains, attack: Gains, *, threshold_nats: float, power: float) -> int | None:
    runs_MN = _runs_MN(honest, attack, 1.0, MAX_REQUESTS, b"needed")
    peak_MN = np.maximum.accumulate(runs_MN, axis=1)
    found = np.flatnonzero((peak_MN >= threshold_nats).mean(axis=0) >= power)
    return int(found[0]) + 1 if len(found) else None


def _smallest_share(
    honest: Gains, attack: Gains, num_requests: int, *, threshold_nats: float, power: float
) -> float | None:
    smallest = None
    for share in SHARES:
        runs_MN = _runs_MN(honest, attack, share, num_requests, b"share")
        if (runs_MN.max(axis=1) >= threshold_nats).mean() < power:
            break
        smallest = share
    return smallest


def _statement(
    num_used: int, seen: Mapping[str, float], needed: Mapping[str, int | None], power: float
) -> str:
    if seen:
        name = min(seen, key=lambda n: (seen[n], n))
        found = f"{num_used} answers would have shown {name} behind {seen[name]:.0%} of requests"
    else:
        found = f"{num_used} answers would have shown none of the named attacks"
    parts = [
        f"{name} takes {num} requests" if num is not None else f"{name} more than {MAX_REQUESTS}"
        for name, num in needed.items()
    ]
    return f"With probability {power:.0%}, {found}; behind all requests, {', '.join(parts)}."


def _generator(label: bytes) -> np.random.Generator:
    digest = hashlib.sha256(b"replay visible " + label).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))

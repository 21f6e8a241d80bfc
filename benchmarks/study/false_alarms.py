"""How often honest traffic is failed: exchanges, streams, providers, and the worst case.

Method: streams are honest exchanges of one arm, drawn with replacement and joined; a false alarm is
a stream that ever reaches the threshold, at any of its tokens. The marginal threshold judges the
same exchanges by the mean of the published statistic. The worst honest provider is simulated: calls
with the gaps of honest traffic, mismatching exactly as often as the calibrated bounds allow.

Legend: S streams, E exchanges, K alternatives, R calls, P pool of gaps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.findings import Growth
from audit.judge.alternatives import MAX_RATE, EvidenceLaw
from audit.judge.bins import RateBounds, bin_of
from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, NEAR, Calls
from audit.judge.stream import StreamState, add_exchange, empty_state
from benchmarks.study.arms import STATISTICS_X, Arm
from benchmarks.study.counting import share_row
from benchmarks.study.marginal import stream_means
from benchmarks.study.sizes import Size
from benchmarks.study.walks import draw_exchanges, mix_SR, walk

Float64Array = NDArray[np.float64]

#: Gaps that the worst honest provider's calls are drawn from.
_NUM_POOL = 20_000
_NUM_AT_ONCE = 20


def exchange_row(arm: Arm, threshold_nats: float, marginal_logits: float) -> dict[str, Any]:
    """Return the share of single exchanges that each rule fails."""
    means_E = published_means(arm)
    return {
        "arm": arm.name,
        "label": arm.label,
        "num_exchanges": arm.num_exchanges,
        "ours": share_row(int((arm.peaks_E >= threshold_nats).sum()), arm.num_exchanges),
        "marginal": share_row(int((means_E > marginal_logits).sum()), arm.num_exchanges),
        "mean_published_logits": float(means_E.mean()),
    }


def published_means(arm: Arm) -> Float64Array:
    """Return the published statistic of each exchange, shape [E]."""
    means_E: Float64Array = arm.statistics_ERX[:, :, STATISTICS_X.index("published")].mean(axis=1)
    return means_E


def marginal_stream_row(
    arm: Arm, size: Size, thresholds: Mapping[str, float], rng: np.random.Generator
) -> dict[str, Any]:
    """Return the share of streams whose mean exceeds each marginal threshold at their end."""
    num_joined = size.num_stream_tokens // arm.num_tokens_each
    means_S = stream_means(published_means(arm), num_joined, size.num_streams, rng)
    return {
        "arm": arm.name,
        "label": arm.label,
        **{
            name: share_row(int((means_S > limit).sum()), len(means_S))
            for name, limit in thresholds.items()
        },
    }


def stream_row(
    arm: Arm, size: Size, threshold_nats: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Return the share of streams that ever cross the threshold."""
    picks_SN = draw_exchanges(
        rng, size.num_streams, arm.num_exchanges, size.num_stream_tokens, arm.num_tokens_each
    )
    peak_S, first_S = walk(arm.log_e_EKR, picks_SN, size.num_stream_tokens, threshold_nats)
    return {
        "arm": arm.name,
        "label": arm.label,
        "num_tokens": size.num_stream_tokens,
        **share_row(int(np.isfinite(first_S).sum()), len(first_S)),
        "largest_log10_e": float(peak_S.max() / math.log(10)),
    }


def follow(
    growths: Sequence[Growth], picks: Sequence[int], threshold_nats: float, *, to_the_end: bool
) -> StreamState:
    """Return a provider's state after these exchanges, each taken as a new question."""
    state = empty_state()
    for position, pick in enumerate(picks):
        growth = replace(growths[pick], exchange_digest=str(position))
        state = add_exchange(state, growth, threshold_nats)
        if state.failed_at_exchange is not None and not to_the_end:
            break
    return state


def provider_row(
    arm: Arm, size: Size, threshold_nats: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Return the share of honest providers that are ever failed."""
    picks_SN = rng.integers(
        arm.num_exchanges, size=(size.num_provider_streams, size.num_provider_exchanges)
    )
    states = [
        follow(arm.growths, picks.tolist(), threshold_nats, to_the_end=True) for picks in picks_SN
    ]
    failed = sum(state.failed_at_exchange is not None for state in states)
    return {
        "arm": arm.name,
        "label": arm.label,
        "num_exchanges": size.num_provider_exchanges,
        **share_row(failed, len(states)),
        "largest_log10_e": max(state.peak_log_e_nats for state in states) / math.log(10),
    }


def boundary(
    arm: Arm,
    law: EvidenceLaw,
    bounds: RateBounds,
    size: Size,
    threshold_nats: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the share of streams of the worst honest provider that ever cross the threshold."""
    gap_P = np.concatenate([c.counted().gap_steps_R for c in arm.calls])
    gap_P = rng.choice(gap_P, size=_NUM_POOL)
    near_P, far_P = _worst_rates(gap_P, bounds)
    log_e_OPK = np.stack([law.log_e_KR(_calls(gap_P, outcome)).T for outcome in (MATCH, NEAR, FAR)])
    crossed, largest = 0, 0.0
    for _ in range(size.num_streams // _NUM_AT_ONCE):
        drawn_SR = rng.integers(_NUM_POOL, size=(_NUM_AT_ONCE, size.num_looks))
        chance_SR = rng.random(drawn_SR.shape)
        far_SR = chance_SR < far_P[drawn_SR]
        outcome_SR = np.where(chance_SR < (far_P + near_P)[drawn_SR], NEAR, MATCH)
        outcome_SR[far_SR] = FAR
        walked_SRK = np.cumsum(log_e_OPK[outcome_SR, drawn_SR], axis=1)
        peak_S = mix_SR(walked_SRK.transpose(0, 2, 1)).max(axis=1)
        crossed += int((peak_S >= threshold_nats).sum())
        largest = max(largest, float(peak_S.max()))
    return {
        "num_looks": size.num_looks,
        **share_row(crossed, size.num_streams),
        "largest_log10_e": largest / math.log(10),
        "mean_mismatch_rate": float((near_P + far_P).mean()),
    }


def _worst_rates(gap_P: Float64Array, bounds: RateBounds) -> tuple[Float64Array, Float64Array]:
    """Return the highest rates of near and far mismatches that the bounds allow."""
    bin_P = bin_of(gap_P)
    far_P = np.minimum(bounds.far_B[bin_P], MAX_RATE)
    near_P = np.where(gap_P >= FAR_MARGIN_STEPS, 0.0, bounds.mismatch_B[bin_P])
    return np.minimum(near_P, 1.0 - far_P), far_P


def _calls(gap_P: Float64Array, outcome: int) -> Calls:
    return Calls(
        gap_logits_R=gap_P,
        gap_steps_R=gap_P,
        outcome_R=np.full(len(gap_P), outcome, dtype=np.int8),
        counts_R=np.ones(len(gap_P), dtype=np.bool_),
    )

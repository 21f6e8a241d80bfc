"""Streams of evidence: whole exchanges drawn at random and joined, or tokens resampled singly.

Method: exchanges are drawn with replacement and joined in the order drawn, so that what hangs
together inside an exchange stays together. Tokens resampled singly make every token independent of
the others: easier on every statistic, and the way that the design's targets are stated.

Legend: S streams, N exchanges of a stream, E exchanges of an arm, K alternatives, R calls, T tokens
of an arm, C checkpoints, X statistics.
"""

import numpy as np
from numpy.typing import NDArray

from audit.judge.alternatives import LOG_PRIOR_K

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

#: Streams walked, or draws summed, at once.
_NUM_AT_ONCE = 100


def mix_SR(log_e_SKR: Float64Array) -> Float64Array:
    """Return `audit.judge.alternatives.mix` over the middle axis, faster, shape [S, R]."""
    weighted_SKR = log_e_SKR + LOG_PRIOR_K[None, :, None]
    top_SR = weighted_SKR.max(axis=1)
    mixed_SR: Float64Array = top_SR + np.log(np.exp(weighted_SKR - top_SR[:, None, :]).sum(axis=1))
    return mixed_SR


def draw_exchanges(
    rng: np.random.Generator, num_streams: int, num_exchanges: int, num_tokens: int, each: int
) -> Int64Array:
    """Return which exchanges each stream joins, enough for `num_tokens`, shape [S, N]."""
    return rng.integers(num_exchanges, size=(num_streams, -(-num_tokens // each)))


def walk(
    log_e_EKR: Float64Array, picks_SN: Int64Array, num_tokens: int, threshold_nats: float
) -> tuple[Float64Array, Float64Array]:
    """Return each stream's largest log e-value, and its tokens up to the threshold, both [S].

    A stream that reaches the threshold is followed no further. One that never does has infinity.
    """
    running_EKR = np.cumsum(log_e_EKR, axis=2)
    peak_S = np.zeros(len(picks_SN))
    first_S = np.full(len(picks_SN), np.inf)
    for start in range(0, len(picks_SN), _NUM_AT_ONCE):
        _walk_some(
            running_EKR,
            picks_SN[start : start + _NUM_AT_ONCE],
            num_tokens,
            threshold_nats,
            peak_S[start : start + _NUM_AT_ONCE],
            first_S[start : start + _NUM_AT_ONCE],
        )
    return peak_S, first_S


def _walk_some(
    running_EKR: Float64Array,
    picks_SN: Int64Array,
    num_tokens: int,
    threshold_nats: float,
    peak_S: Float64Array,
    first_S: Float64Array,
) -> None:
    carried_SK = np.zeros((len(picks_SN), running_EKR.shape[1]))
    each, active = running_EKR.shape[2], np.arange(len(picks_SN))
    for n in range(picks_SN.shape[1]):
        left = min(each, num_tokens - n * each)
        picked_S = picks_SN[active, n]
        mixed_SR = mix_SR(running_EKR[picked_S, :, :left] + carried_SK[active, :, None])
        peak_S[active] = np.maximum(peak_S[active], mixed_SR.max(axis=1))
        crossed_SR = mixed_SR >= threshold_nats
        has_S = crossed_SR.any(axis=1)
        first_S[active[has_S]] = n * each + crossed_SR[has_S].argmax(axis=1) + 1
        carried_SK[active] += running_EKR[picked_S, :, -1]
        active = active[~has_S]
        if len(active) == 0:
            return


def paths(log_e_EKR: Float64Array, picks_SN: Int64Array) -> Float64Array:
    """Return the mixed log e-value of each stream at each of its tokens, shape [S, N * R]."""
    stream_SNKR = log_e_EKR[picks_SN]
    num_streams, _, num_alternatives, _ = stream_SNKR.shape
    joined_SKT = stream_SNKR.transpose(0, 2, 1, 3).reshape(num_streams, num_alternatives, -1)
    return mix_SR(np.cumsum(joined_SKT, axis=2))


def resampled_sums(
    values_TX: Float64Array, checkpoints_C: Int64Array, num_draws: int, rng: np.random.Generator
) -> Float64Array:
    """Return sums over single tokens drawn with replacement, at each length, shape [S, C, X].

    The lengths of one draw share their tokens; the draws do not.
    """
    starts_C = np.concatenate([[0], checkpoints_C[:-1]])
    sums = []
    for start in range(0, num_draws, _NUM_AT_ONCE):
        count = min(_NUM_AT_ONCE, num_draws - start)
        drawn_ST = rng.integers(len(values_TX), size=(count, int(checkpoints_C[-1])))
        parts_SCX = np.add.reduceat(values_TX[drawn_ST], starts_C, axis=1)
        sums.append(np.cumsum(parts_SCX, axis=1))
    return np.concatenate(sums)


def block_sums(
    values_ERX: Float64Array, checkpoints_C: Int64Array, num_draws: int, rng: np.random.Generator
) -> Float64Array:
    """Return sums over whole exchanges drawn with replacement and joined, shape [S, C, X]."""
    each = values_ERX.shape[1]
    running_ERX = np.concatenate(
        [np.zeros_like(values_ERX[:, :1]), np.cumsum(values_ERX, axis=1)], axis=1
    )
    picks_SN = rng.integers(len(values_ERX), size=(num_draws, int(checkpoints_C[-1]) // each + 1))
    totals_SNX = np.cumsum(running_ERX[picks_SN, -1], axis=1)
    sums = []
    for length in checkpoints_C:
        whole, rest = divmod(int(length), each)
        part_SX = running_ERX[picks_SN[:, whole], rest]
        sums.append(part_SX + (totals_SNX[:, whole - 1] if whole else 0.0))
    return np.stack(sums, axis=1)

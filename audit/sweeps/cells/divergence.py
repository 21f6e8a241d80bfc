"""Jensen-Shannon divergence of two counted laws, in nats, with what chance alone adds taken off.

Legend: K tokens, B permutations.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]


class Divergence(NamedTuple):
    """A divergence beside what permuted answers give."""

    excess_nats: float
    """The plug-in value less the mean over permutations; near 0 for equal laws, may be below."""
    plug_in_nats: float
    permuted_nats_B: Float64Array


def jsd_nats(first: ArrayLike, second: ArrayLike) -> Float64Array:
    """Return the divergence of the frequencies of counts [..., K], at most log 2."""
    p, q = _shares(first), _shares(second)
    middle = (p + q) / 2.0
    return np.asarray(_entropy(middle) - (_entropy(p) + _entropy(q)) / 2.0)


def corrected_jsd_nats(first: Mapping[str, int], second: Mapping[str, int]) -> float:
    """Return the divergence less the bias of first order that equal laws have; may be below 0.

    (K - 1) (1 / n + 1 / m) / 8 for K tokens that either side said, after Miller (1955). Raises
    ValueError where one side has no counts.
    """
    first_K, second_K = aligned(first, second)
    bias = (len(first_K) - 1) * (1.0 / first_K.sum() + 1.0 / second_K.sum()) / 8.0
    return float(jsd_nats(first_K, second_K) - bias)


def permuted_jsd(
    first: Mapping[str, int],
    second: Mapping[str, int],
    num_permutations: int,
    rng: np.random.Generator,
) -> Divergence:
    """Return the divergence beside those of answers that change sides at random.

    Raises ValueError where one side has no counts.
    """
    first_K, second_K = aligned(first, second)
    # who sits on which side is one draw without replacement: no need to shuffle answer by answer
    pooled_K = (first_K + second_K).astype(np.int64)
    drawn_BK = rng.multivariate_hypergeometric(
        pooled_K, int(first_K.sum()), size=num_permutations, method="marginals"
    )
    permuted_B = jsd_nats(drawn_BK, pooled_K - drawn_BK)
    observed = float(jsd_nats(first_K, second_K))
    return Divergence(observed - float(permuted_B.mean()), observed, permuted_B)


def aligned(
    first: Mapping[str, int], second: Mapping[str, int]
) -> tuple[Float64Array, Float64Array]:
    """Return the counts of all tokens of both sides, in one order.

    Raises ValueError where one side has no counts.
    """
    tokens = sorted(set(first) | set(second))
    sides = [
        np.asarray([side.get(token, 0) for token in tokens], dtype=np.float64)
        for side in (first, second)
    ]
    if not (sides[0].sum() > 0 and sides[1].sum() > 0):
        raise ValueError("both sides need at least one answer")
    return sides[0], sides[1]


def _shares(counts: ArrayLike) -> Float64Array:
    values = np.asarray(counts, dtype=np.float64)
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def _entropy(shares: Float64Array) -> Float64Array:
    # 0 log 0 is 0
    logs = np.log(np.where(shares > 0.0, shares, 1.0))
    return np.asarray(-(shares * logs).sum(axis=-1))

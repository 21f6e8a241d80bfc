"""One-token tracking: mean log-probabilities of a few prompts, set against another time's.

An endpoint names the k likeliest tokens only. A token that one side does not name is taken to be as
likely as the least likely one that this side names: its true value lies below, so differences are
understated. Source: "Token log-probability tracking" (arXiv 2512.03816); own code, with ranks that
count the observed order too.

Legend: N answers to one prompt, K tokens, B permutations.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

#: One answer's tokens with their natural log-probabilities.
Row = Mapping[str, float]


def mean_distance(before: Sequence[Row], after: Sequence[Row]) -> float:
    """Return the mean over tokens of the difference of mean log-probabilities, in nats.

    Raises ValueError where one side has no answers, or an answer no tokens.
    """
    if not before or not after:
        raise ValueError("both sides need at least one answer")
    # in a fixed order, so that sums come out the same everywhere
    tokens = sorted({token for row in (*before, *after) for token in row})
    gaps_K = _filled(before, tokens).mean(axis=0) - _filled(after, tokens).mean(axis=0)
    return float(np.abs(gaps_K).mean())


def change_p_value(
    before: Mapping[str, Sequence[Row]],
    after: Mapping[str, Sequence[Row]],
    random: np.random.Generator,
    num_permutations: int = 999,
) -> float:
    """Return the chance that answers in random order differ as much between two times.

    The statistic is the mean distance over prompts that both times hold; answers change sides
    within their prompt only. For one look; never 0. Raises ValueError without a common prompt.
    """
    common = sorted(set(before) & set(after))
    if not common:
        raise ValueError("the two times have no prompt in common")
    filled = [_sides(before[prompt], after[prompt]) for prompt in common]
    observed = sum(_gap(rows_NK, num, np.arange(len(rows_NK))) for rows_NK, num in filled)
    num_reached = 0
    for _ in range(num_permutations):
        permuted = sum(
            _gap(rows_NK, num, random.permutation(len(rows_NK))) for rows_NK, num in filled
        )
        # the same sum in another order of its terms is no smaller sum
        num_reached += bool(permuted >= observed - 1e-12)
    return (1 + num_reached) / (num_permutations + 1)


def _sides(before: Sequence[Row], after: Sequence[Row]) -> tuple[Float64Array, int]:
    tokens = sorted({token for row in (*before, *after) for token in row})
    return np.concatenate([_filled(before, tokens), _filled(after, tokens)]), len(before)


def _gap(rows_NK: Float64Array, num_before: int, order_N: NDArray[np.int64]) -> float:
    before_K = rows_NK[order_N[:num_before]].mean(axis=0)
    return float(np.abs(before_K - rows_NK[order_N[num_before:]].mean(axis=0)).mean())


def _filled(rows: Sequence[Row], tokens: Sequence[str]) -> Float64Array:
    """Return the answers' log-probabilities of all tokens, [N, K], missing ones filled in."""
    if not all(rows):
        raise ValueError("an answer names no tokens")
    lowest = [min(row.values()) for row in rows]
    return np.asarray(
        [[row.get(token, low) for token in tokens] for row, low in zip(rows, lowest, strict=True)]
    )

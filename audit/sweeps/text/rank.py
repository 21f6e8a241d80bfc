"""The place of an answer among local answers to the same prompt, and what can be bet on it.

Among m answers of the same law, (#less + U (#ties + 1)) / (m + 1) is exactly uniform on [0, 1] for
every m, so it may be bet on one answer after another. Dividing by m alone, as published for the
rank-based uniformity test (arXiv 2506.06975), is not uniform: with many more queries than local
answers it rejects honest endpoints for sure. Source: Vovk, Gammerman and Shafer, "Algorithmic
Learning in a Random World" (2005), section 2.5, smoothed conformal predictors.

Legend: M local answers, N answers in order, F features of a rank.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.judge.betting import BetGrid

Float64Array = NDArray[np.float64]

#: What is bet on, with its share of the wealth. Low ranks get most: text of another model is less
#: likely under the claimed one.
FEATURES: tuple[tuple[str, float], ...] = (
    ("low-0.05", 0.15),
    ("low-0.1", 0.15),
    ("low-0.25", 0.15),
    ("low-0.5", 0.15),
    ("high-0.05", 0.08),
    ("high-0.25", 0.08),
    ("high-0.5", 0.08),
    ("mean-low", 0.08),
    ("outward", 0.08),
)

#: Features that are 0 or 1, whose honest rate has exact limits.
IS_BINARY = {name: name.startswith(("low", "high")) for name, _ in FEATURES}


def conformal_rank(score: float, local_M: ArrayLike, uniform: float) -> float:
    """Return the share of local scores below `score`, ties split by `uniform` in [0, 1)."""
    values_M = np.asarray(local_M, dtype=np.float64)
    num_less = int((values_M < score).sum())
    num_ties = int((values_M == score).sum())
    return (num_less + uniform * (num_ties + 1)) / (len(values_M) + 1)


def features_of(rank_N: ArrayLike) -> Float64Array:
    """Return what is bet on for each rank, all in [0, 1], shape [N, F]."""
    ranks_N = np.asarray(rank_N, dtype=np.float64)
    columns = [_feature(name, ranks_N) for name, _ in FEATURES]
    return np.stack(columns, axis=1) if len(ranks_N) else np.zeros((0, len(FEATURES)))


def _feature(name: str, ranks_N: Float64Array) -> Float64Array:
    if name == "mean-low":
        return 1.0 - ranks_N
    if name == "outward":
        return np.abs(2.0 * ranks_N - 1.0)
    side, _, share = name.partition("-")
    values_N = ranks_N if side == "low" else 1.0 - ranks_N
    return (values_N <= float(share)).astype(np.float64)


def text_grid() -> BetGrid:
    """Return stakes from small to almost all, evenly weighted: shifts of text are of any size."""
    fractions_B = np.geomspace(0.01, 0.95, 24)
    return BetGrid(fractions_B, np.full(24, -np.log(24.0)))

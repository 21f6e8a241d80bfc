"""Bets on how much better a known substitute explains an answer than the claimed model does.

With L = log p_substitute - log p_claimed of an answer, exp(s L) has a mean of at most 1 where the
claimed model answered exactly and 0 < s <= 1; for s = 1/2 it is smaller, the affinity of the two
laws, which leaves room for the arithmetic of honest variants. How large the mean really is on
honest variants is measured. Source of s = 1/2: Bhattacharyya (1943); of betting: Waudby-Smith and
Ramdas (2024).

Legend: N answers in order, F features.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]

#: Exponent s, and the largest |L| that counts, in nats. Narrow clips let small honest samples bound
#: their mean closely, wide ones let a substitute that answers quite differently be found at once.
TEMPERS: tuple[tuple[float, float], ...] = ((0.5, 0.5), (0.5, 2.0), (0.5, 6.0), (1.0, 2.0))

#: An answer that some substitute explains so much better, in nats, is a sign.
TELL_NATS = 1.0


def tempered(log_ratio_N: ArrayLike) -> Float64Array:
    """Return the clipped and tempered ratios, moved into [0, 1], shape [N, F]."""
    values_N = np.asarray(log_ratio_N, dtype=np.float64)
    columns = []
    for exponent, clip in TEMPERS:
        low, high = np.exp(-exponent * clip), np.exp(exponent * clip)
        clipped_N = np.exp(exponent * np.clip(values_N, -clip, clip))
        columns.append(np.clip((clipped_N - low) / (high - low), 0.0, 1.0))
    return np.stack(columns, axis=-1)


def temper_names() -> tuple[str, ...]:
    """Return a name for each feature."""
    return tuple(f"power-{exponent:g}-within-{clip:g}" for exponent, clip in TEMPERS)

"""A slow and obvious twin of filters and scoring: Python loops over rows and columns, float64.

Divide by T, keep the top k with ties, drop the light end up to 1 - p, add the noise, and let the
lowest id win. Distances to the cuts are taken token by token. Only the division by T is float32, as
in engines.

Legend: V vocabulary.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reference_runner.records import NO_RIVAL_LOGITS, Sampling

Row = NDArray[np.float32]
Noise = NDArray[np.float64] | None
Distances = dict[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinScores:
    """What the twin says about one claimed token; distances in logits."""

    matched: bool
    excluded: bool
    rank: int
    logprob: float
    gap: float
    """Smallest change of logits that draws another token, by trying every token."""
    margin: float
    """The gap where matched, else minus the claimed token's shortfall."""
    ambiguous: bool
    """Whether a cumulative mass lies so close to the cut that float32 may decide otherwise."""


def kept_columns(scaled: list[float], *, top_k: int, top_p: float) -> tuple[set[int], bool]:
    """Return the surviving columns, and whether rounding could change them."""
    columns = list(range(len(scaled)))
    if 0 < top_k < len(scaled):
        kth = sorted(scaled, reverse=True)[top_k - 1]
        columns = [c for c in columns if scaled[c] >= kth]
    if top_p >= 1.0:
        return set(columns), False
    top = max(scaled)
    weight = {c: math.exp(scaled[c] - top) for c in columns}
    total = math.fsum(weight.values())
    ascending = sorted(columns, key=lambda c: (scaled[c], c))
    mass, kept, ambiguous = 0.0, set(), False
    for column in ascending:
        mass += weight[column] / total
        is_last = column == ascending[-1]
        ambiguous = ambiguous or (abs(mass - (1.0 - top_p)) < 1e-5 and not is_last)
        if mass > 1.0 - top_p or is_last:
            kept.add(column)
    return kept, ambiguous


def cut_distances(scaled: list[float], *, top_k: int, top_p: float) -> tuple[Distances, Distances]:
    """Return per column how far it is from being dropped, and from being kept."""
    everything = set(range(len(scaled)))
    inside, _ = kept_columns(scaled, top_k=top_k, top_p=1.0)
    leave, enter = _swaps(scaled, inside)
    if top_p < 1.0:
        kept, _ = kept_columns(scaled, top_k=top_k, top_p=top_p)
        top = max(scaled)
        total = math.fsum(math.exp(scaled[c] - top) for c in inside)
        leave_p, enter_p = _swaps(scaled, kept)
        for c in everything:
            lighter = [i for i in inside if (scaled[i], i) < (scaled[c], c)] if c in inside else []
            mass = math.fsum(math.exp(scaled[i] - top) for i in [*lighter, c]) / total
            shift = abs(mass - (1.0 - top_p)) / max(top_p * (1.0 - top_p), 1e-30)
            if c in kept:
                leave[c] = min(leave[c], leave_p[c], shift)
            else:
                enter[c] = max(enter[c], min(enter_p[c], shift))
    return leave, enter


def _swaps(scaled: list[float], kept: set[int]) -> tuple[Distances, Distances]:
    """Return each column's distance to the nearest one on the other side of a cut."""
    dropped = [x for c, x in enumerate(scaled) if c not in kept]
    best_dropped, worst_kept = max(dropped, default=-math.inf), min(scaled[c] for c in kept)
    leave = {c: max(0.0, x - best_dropped) for c, x in enumerate(scaled) if c in kept}
    enter = {c: 0.0 if c in kept else max(0.0, worst_kept - x) for c, x in enumerate(scaled)}
    return leave, enter


def score_row(logits: Row, claimed: int, noise: Noise, sampling: Sampling) -> TwinScores:
    """Score one claimed token by loops."""
    temperature = 1.0 if noise is None else sampling.temperature
    scaled = [float(np.float32(x) / np.float32(temperature)) for x in logits]
    kept, ambiguous = set(range(len(scaled))), False
    noised = list(scaled)
    if noise is not None:
        kept, ambiguous = kept_columns(scaled, top_k=sampling.top_k, top_p=sampling.top_p)
        noised = [s + float(g) for s, g in zip(scaled, noise, strict=True)]
    best = min(kept, key=lambda c: (-noised[c], c))
    leave, enter = dict.fromkeys(kept, math.inf), dict.fromkeys(range(len(scaled)), 0.0)
    if noise is not None:
        leave, enter = cut_distances(scaled, top_k=sampling.top_k, top_p=sampling.top_p)
    changes = [
        max(min(max(0.0, noised[best] - noised[c]), leave[best]), enter[c])
        for c in range(len(scaled))
        if c != best
    ]
    gap = min(min(changes, default=math.inf) * temperature, NO_RIVAL_LOGITS)
    ahead = [min(max(0.0, noised[c] - noised[claimed]), leave[c]) for c in kept]
    shortfall = max(max(ahead), enter[claimed]) * temperature
    exact = [float(x) for x in logits]
    total = math.fsum(math.exp(x - max(exact)) for x in exact)
    return TwinScores(
        matched=best == claimed,
        excluded=claimed not in kept,
        rank=sum(x > exact[claimed] for x in exact),
        logprob=exact[claimed] - max(exact) - math.log(total),
        gap=gap,
        margin=gap if best == claimed else -min(shortfall, NO_RIVAL_LOGITS),
        ambiguous=ambiguous,
    )


def draw(logits: Row, noise: Noise, sampling: Sampling) -> int:
    """Return the token that the twin's sampler picks."""
    return next(c for c in range(len(logits)) if score_row(logits, c, noise, sampling).matched)


def random_logits(rng: np.random.Generator, num_rows: int, vocab_size: int) -> NDArray[np.float32]:
    """Return logits on bfloat16's grid, where exact ties are common."""
    raw = rng.normal(0.0, 3.0, (num_rows, vocab_size)).astype(np.float32)
    rounded: NDArray[np.float32] = (raw.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return rounded


def gumbel(rng: np.random.Generator, num_rows: int, vocab_size: int) -> NDArray[np.float64]:
    """Return seeded Gumbel noise."""
    return rng.gumbel(size=(num_rows, vocab_size))

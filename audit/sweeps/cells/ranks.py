"""The place of a token among a cell's frozen baseline, and what can be bet on it.

A token is the stranger the rarer it is among the baseline with itself added. Were baseline and
token drawn alike, (#stranger + U #ties) / (n + 1) would be uniform. The baseline is frozen, and
honest endpoints are not all alike, so what honest endpoints show given this baseline is measured on
answers that are not in it. Source: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random
World" (2005), section 2.5.

Legend: N answers in order, F features in [0, 1].
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audit.sweeps.cells.cells import Law, log_probability

Float64Array = NDArray[np.float64]

#: What is bet on without a candidate, with its share of the wealth. Ties are not split by chance
#: but by their shares: that is less noise in the same rate.
AGNOSTIC: tuple[tuple[str, float], ...] = (
    ("rare-0.05", 0.25),
    ("rare-0.15", 0.2),
    ("rare-0.4", 0.15),
    ("strange", 0.15),
    ("unseen", 0.15),
    ("common", 0.1),
)

#: Share of the wealth that is bet on named candidates, where there are any.
_NAMED_SHARE = 0.5

_TOWARD = "toward:"

#: Stands for all rare tokens; no server says it.
_OTHER = "\ufffd"

#: Ratios are cut here: one token decides nothing, and honest means can be measured.
_MOST_RATIO = 4.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a token stands in its cell."""

    below: float
    """Share of the baseline, the token itself included, that is stranger."""
    tied: float
    """Share that is as strange; above 0, for the token is among them."""
    is_unseen: bool

    def rank(self, uniform: float) -> float:
        """Return the conformal rank, in (0, 1], for a number in [0, 1)."""
        return self.below + (1.0 - uniform) * self.tied

    def share_below(self, level: float) -> float:
        """Return the chance, over the splitting of ties, that the rank is at most `level`."""
        return min(max((level - self.below) / self.tied, 0.0), 1.0)

    @property
    def middle(self) -> float:
        """The mean rank over the splitting of ties."""
        return self.below + self.tied / 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell's prompt, its frozen baseline of all honest variants, and laws by name."""

    prompt: str
    baseline: Mapping[str, int]
    honest: Law
    attacks: Mapping[str, Law]
    _places: dict[str, Place] = field(default_factory=dict, compare=False)
    _ratios: dict[tuple[str, str], float] = field(default_factory=dict, compare=False)

    def place(self, token: str) -> Place:
        """Return where a token stands; remembered, for tokens come again."""
        known = self._places.get(token)
        if known is None:
            known = self._places[token] = _place(self.baseline, token)
        return known

    def toward(self, attack: str, token: str) -> float:
        """Return the likelihood ratio of an attack to honest, capped and scaled to [0, 1].

        A bet that stakes all on it is that ratio over its honest mean: the best there is.
        """
        known = self._ratios.get((attack, token))
        if known is None:
            gap = log_probability(self.attacks[attack], token) - log_probability(self.honest, token)
            known = self._ratios[attack, token] = min(math.exp(gap), _MOST_RATIO) / _MOST_RATIO
        return known

    def common(self, token: str) -> str:
        """Return a token as divergences count it: all that is rare is one."""
        return token if token in self.honest else _OTHER

    def common_baseline(self) -> Counter[str]:
        """Return the baseline as divergences count it."""
        counts: Counter[str] = Counter()
        for token, count in self.baseline.items():
            counts[self.common(token)] += count
        return counts


def feature_names(attacks: Sequence[str]) -> tuple[str, ...]:
    """Return the names of what is bet on, in order."""
    return (*(name for name, _ in AGNOSTIC), *(f"{_TOWARD}{attack}" for attack in attacks))


def feature_weights(attacks: Sequence[str]) -> tuple[float, ...]:
    """Return each feature's share of the wealth; they sum to 1."""
    named = _NAMED_SHARE if attacks else 0.0
    return (
        *((1.0 - named) * weight for _, weight in AGNOSTIC),
        *(named / len(attacks) for _ in attacks),
    )


def features_of(answers: Iterable[tuple[Cell, str]], attacks: Sequence[str]) -> Float64Array:
    """Return what is bet on for each answer, given by cell and token, shape [N, F]."""
    rows = [
        [
            *(_agnostic(name, cell.place(token)) for name, _ in AGNOSTIC),
            *(cell.toward(attack, token) for attack in attacks),
        ]
        for cell, token in answers
    ]
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), len(AGNOSTIC) + len(attacks))


def _agnostic(name: str, place: Place) -> float:
    if name == "unseen":
        return float(place.is_unseen)
    if name == "strange":
        return 1.0 - place.middle
    if name == "common":
        return place.middle
    return place.share_below(float(name.partition("-")[2]))


def _place(baseline: Mapping[str, int], token: str) -> Place:
    counts = Counter(baseline)
    counts[token] += 1
    total = sum(counts.values())
    own = counts[token]
    below = sum(count for count in counts.values() if count < own)
    tied = sum(count for count in counts.values() if count == own)
    return Place(below / total, tied / total, is_unseen=token not in baseline)

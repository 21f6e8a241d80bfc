"""How far two endpoints of a run are apart, by their first words and by their texts.

Legend: C cells, B permutations, N answers.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.sweeps.cells.divergence import Divergence, permuted_jsd
from audit.sweeps.compare.safe import log_e_of_samples
from audit.sweeps.compare.samples import Answers, Said, common
from audit.sweeps.text.kernels import KERNELS
from audit.sweeps.text.mmd import permutation_test

Float64Array = NDArray[np.float64]

#: Texts are compared by shared character runs; positions say little about texts of other lengths.
_KERNEL = "spectrum-5"

#: Fewer answers of one side to a prompt say nothing about its law.
MIN_PER_PROMPT = 2

#: Answers of one side beyond which no further texts are compared: time grows with the square.
_MOST_TEXTS = 300

_CONFIDENCE = 0.95

#: Sums differ in their last bits between machines.
_TIE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class CellGap:
    """A mean divergence over cells, less what chance adds; near 0 for equal laws."""

    excess_nats: float
    low_nats: float
    high_nats: float
    """A 95 % interval over cells as a sample of prompts."""
    p_value: float
    num_cells: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextGap:
    """A squared mean discrepancy of texts: half an energy distance."""

    squared: float
    p_value: float
    num_answers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Two endpoints; None where they have no questions in common."""

    cells: CellGap | None
    texts: TextGap | None
    log_e_nats: float
    """Against "both follow one law for each cell"."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing could be compared."""
        return self.cells is None and self.texts is None


def gap_between(
    first: Said,
    second: Said,
    num_permutations: int,
    label: str,
    baseline: Mapping[str, Mapping[str, int]] | None = None,
) -> Gap:
    """Return how far two endpoints are apart; random numbers depend on the label alone."""
    return Gap(
        cells=cell_gap(
            first.counts(), second.counts(), first.cells, second.cells, num_permutations, label
        ),
        texts=text_gap(first.texts, second.texts, num_permutations, label),
        log_e_nats=log_e_of_samples((first.cells, second.cells), baseline),
    )


def cell_gap(
    first: Mapping[str, Mapping[str, int]],
    second: Mapping[str, Mapping[str, int]],
    first_answers: Answers,
    second_answers: Answers,
    num_permutations: int,
    label: str,
) -> CellGap | None:
    """Return the mean divergence over common cells, or None where there are fewer than two."""
    prompts = common(first_answers, second_answers, MIN_PER_PROMPT)
    if len(prompts) < MIN_PER_PROMPT:
        return None
    rng = _rng(label)
    found = [permuted_jsd(first[p], second[p], num_permutations, rng) for p in prompts]
    return _averaged(found)


def text_gap(first: Answers, second: Answers, num_permutations: int, label: str) -> TextGap | None:
    """Return the discrepancy over prompts that both answered twice, or None where none was."""
    prompts = common(first, second, MIN_PER_PROMPT)
    texts: list[str] = []
    prompt: list[int] = []
    is_first: list[bool] = []
    for number, question in enumerate(prompts):
        if len(texts) >= 2 * _MOST_TEXTS:
            break
        for side, own in ((True, first[question]), (False, second[question])):
            texts += own
            prompt += [number] * len(own)
            is_first += [side] * len(own)
    if not texts:
        return None
    test = permutation_test(
        KERNELS[_KERNEL](texts),
        np.asarray(prompt),
        np.asarray(is_first),
        num_permutations=num_permutations,
        rng=_rng(label + "/texts"),
    )
    return TextGap(squared=test.statistic, p_value=test.p_value, num_answers=len(texts))


def _averaged(found: list[Divergence]) -> CellGap:
    excess_C = np.asarray([one.excess_nats for one in found])
    observed = float(np.mean([one.plug_in_nats for one in found]))
    permuted_B = np.mean([one.permuted_nats_B for one in found], axis=0)
    num_reached = int((permuted_B >= observed - _TIE).sum())
    half = float(stats.t.ppf((1.0 + _CONFIDENCE) / 2.0, len(found) - 1))
    half *= float(excess_C.std(ddof=1)) / np.sqrt(len(found))
    mean = float(excess_C.mean())
    return CellGap(
        excess_nats=mean,
        low_nats=mean - half,
        high_nats=mean + half,
        p_value=(1.0 + num_reached) / (len(permuted_B) + 1.0),
        num_cells=len(found),
    )


def _rng(label: str) -> np.random.Generator:
    digest = hashlib.sha256(b"provider-compare/1" + label.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))

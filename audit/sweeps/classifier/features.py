"""What a text classifier looks at: short runs of characters, and words, weighted by rarity.

Written out here, so that reading answers needs no machine-learning library and gives the same
numbers everywhere; training checks nothing else.

Legend: N texts, V terms of the vocabulary.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

#: Lengths of the runs of characters.
_RUNS = (1, 2, 3, 4)

_WORD = re.compile(r"\w+")

#: Characters beyond which a text is not read.
_MAX_CHARACTERS = 4000


def terms_of(text: str) -> list[str]:
    """Return the terms of a text, as often as they occur; words are marked by a leading NUL."""
    cut = text[:_MAX_CHARACTERS].encode("utf-8", "replace").decode().replace("\0", " ")
    runs = [cut[i : i + size] for size in _RUNS for i in range(len(cut) - size + 1)]
    return runs + [f"\0{word.lower()}" for word in _WORD.findall(cut)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The terms that count, with the weight of each."""

    terms: tuple[str, ...]
    rarity_V: Float64Array
    """The logarithm of how rare a term is among the texts of the training, plus 1."""

    def features(self, texts: Sequence[str]) -> Float64Array:
        """Return each text's weighted terms at length 1, shape [N, V]; zeros where none occurs."""
        index = {term: column for column, term in enumerate(self.terms)}
        values_NV = np.zeros((len(texts), len(self.terms)))
        for row, text in enumerate(texts):
            for term, count in Counter(terms_of(text)).items():
                column = index.get(term)
                if column is not None:
                    values_NV[row, column] = 1.0 + math.log(count)
        values_NV *= self.rarity_V
        length_N1 = np.sqrt((values_NV**2).sum(axis=1, keepdims=True))
        return np.asarray(values_NV / np.where(length_N1 > 0.0, length_N1, 1.0))


def learn_vocabulary(texts: Sequence[str], most: int) -> Vocabulary:
    """Return the `most` terms that occur in most texts, two at least, with their rarity."""
    occurs = Counter(term for text in texts for term in set(terms_of(text)))
    frequent = [item for item in occurs.items() if item[1] > 1]
    chosen = sorted(frequent, key=lambda item: (-item[1], item[0]))[:most]
    terms = tuple(sorted(term for term, _ in chosen))
    rarity = [math.log((1.0 + len(texts)) / (1.0 + occurs[term])) + 1.0 for term in terms]
    return Vocabulary(terms=terms, rarity_V=np.round(np.asarray(rarity), 6))

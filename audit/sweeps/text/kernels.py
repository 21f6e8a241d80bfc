"""Kernels between answers, as whole matrices: computed once, permuted as often as one likes.

Answers are lists of codes, one a character. Every kernel is scaled to 1 on its diagonal. Source:
Gao, Liang and Guestrin, "Model equality testing" (arXiv 2410.20247), section 4; written anew.

Legend: N answers, L positions, G different grams.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
Int32Array = NDArray[np.int32]

#: Fills short answers; no character has this code.
PADDING = -1

#: Characters beyond which answers are not compared.
MAX_CHARACTERS = 1000


def codes_of(texts_N: Sequence[str], length: int = MAX_CHARACTERS) -> Int32Array:
    """Return the characters' code points, cut or filled up to one length, shape [N, L]."""
    codes_NL = np.full((len(texts_N), length), PADDING, dtype=np.int32)
    for row, text in enumerate(texts_N):
        codes = [ord(character) for character in text[:length]]
        codes_NL[row, : len(codes)] = codes
    return codes_NL


def hamming(texts_N: Sequence[str], length: int = MAX_CHARACTERS) -> Float64Array:
    """Return the share of positions that agree, padding included, [N, N]; N > 0.

    Two short answers agree in their padding, so this kernel sees lengths first of all.
    """
    codes_NL = codes_of(texts_N, length)
    return np.stack([(codes_NL == row_L).mean(axis=1) for row_L in codes_NL])


def hamming_pad_free(texts_N: Sequence[str], length: int = MAX_CHARACTERS) -> Float64Array:
    """Return the agreeing positions over the geometric mean of both lengths, [N, N].

    Padding agrees with nothing. Two empty answers count as equal.
    """
    codes_NL = codes_of(texts_N, length)
    filled_NL = codes_NL != PADDING
    agreeing_NN = np.stack(
        [
            ((codes_NL == row_L) & filled_L).sum(axis=1)
            for row_L, filled_L in zip(codes_NL, filled_NL, strict=True)
        ]
    )
    return _scaled(agreeing_NN.astype(np.float64))


def spectrum(
    texts_N: Sequence[str], *, longest: int = 5, length: int | None = None
) -> Float64Array:
    """Return the cosine of the counts of all grams of up to `longest` characters, [N, N].

    With `length`, answers are filled up to it and grams of padding count, as published.
    """
    if length is None:
        sequences = [tuple(ord(c) for c in text[:MAX_CHARACTERS]) for text in texts_N]
    else:
        sequences = [tuple(row_L.tolist()) for row_L in codes_of(texts_N, length)]
    counts = [_grams(sequence, longest) for sequence in sequences]
    vocabulary = {gram: None for count in counts for gram in count}
    columns = {gram: column for column, gram in enumerate(vocabulary)}
    counts_NG = np.zeros((len(counts), max(1, len(columns))))
    for row, count in enumerate(counts):
        counts_NG[row, [columns[gram] for gram in count]] = list(count.values())
    # whole numbers below 2^53: exact in any order of summation
    return _scaled(counts_NG @ counts_NG.T)


def _grams(sequence: tuple[int, ...], longest: int) -> Counter[tuple[int, ...]]:
    counts: Counter[tuple[int, ...]] = Counter()
    for size in range(1, longest + 1):
        counts.update(zip(*(sequence[start:] for start in range(size)), strict=False))
    return counts


def _scaled(kernel_NN: Float64Array) -> Float64Array:
    """Return the kernel with ones on its diagonal; what equals nothing equals itself."""
    own_N = np.sqrt(np.diag(kernel_NN))
    is_empty_N = own_N == 0.0
    own_N[is_empty_N] = 1.0
    scaled_NN = kernel_NN / np.outer(own_N, own_N)
    scaled_NN[np.ix_(is_empty_N, is_empty_N)] = 1.0
    return np.asarray(scaled_NN, dtype=np.float64)


#: The kernels that a detector compares answers with.
KERNELS: dict[str, Callable[[Sequence[str]], Float64Array]] = {
    "hamming": hamming,
    "hamming-pad-free": hamming_pad_free,
    "spectrum-5": spectrum,
}

"""Prompt-stratified maximum mean discrepancy, its permutation p-value, and the e-value of that.

Only answers to the same prompt are compared, and labels are permuted within each prompt: permuting
across prompts is invalid where the mix of prompts differs. Sources: Gretton et al., "A kernel
two-sample test" (2012); Vovk and Wang, "E-values: calibration, combination and applications"
(2021), section 2, for the calibrator.

Legend: N answers of both sides, P permutations.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

#: Statistics closer than this count as equal: sums differ in their last bits between machines.
_TIE = 1e-9

#: Permutations that are scored in one matrix product.
_CHUNK = 512


class MmdTest(NamedTuple):
    """A statistic with its permutation p-value."""

    statistic: float
    p_value: float


def mmd_squared(kernel_NN: Float64Array, prompt_N: Int64Array, is_first_N: BoolArray) -> float:
    """Return the unbiased estimate over pairs of answers to the same prompt.

    Raises ValueError where a side has no such pair, or none across.
    """
    masked_NN = _within_prompts(kernel_NN, prompt_N)
    num_first, num_across, num_second = _num_pairs(prompt_N, is_first_N)
    if not (num_first and num_across and num_second):
        raise ValueError("each side needs two answers to one prompt, and a prompt to share")
    labels_1N = is_first_N[None, :].astype(np.float64)
    return float(_statistics(masked_NN, labels_1N, (num_first, num_across, num_second))[0])


def permutation_test(
    kernel_NN: Float64Array,
    prompt_N: Int64Array,
    is_first_N: BoolArray,
    *,
    num_permutations: int,
    rng: np.random.Generator,
) -> MmdTest:
    """Return the statistic and p = (1 + #{permuted >= observed}) / (P + 1), never zero.

    Labels are permuted within each prompt. Raises ValueError as `mmd_squared`.
    """
    observed = mmd_squared(kernel_NN, prompt_N, is_first_N)
    masked_NN = _within_prompts(kernel_NN, prompt_N)
    pairs = _num_pairs(prompt_N, is_first_N)
    order_N = np.argsort(prompt_N, kind="stable")
    num_above = 0
    for start in range(0, num_permutations, _CHUNK):
        num_now = min(_CHUNK, num_permutations - start)
        labels_PN = np.empty((num_now, len(prompt_N)))
        labels_PN[:, order_N] = _shuffled(
            is_first_N[order_N].astype(np.float64), prompt_N[order_N], num_now, rng
        )
        num_above += int((_statistics(masked_NN, labels_PN, pairs) >= observed - _TIE).sum())
    return MmdTest(observed, (1.0 + num_above) / (num_permutations + 1.0))


def log_e_of_p(p_value: float) -> float:
    """Return the log e-value that a p-value is worth, in nats.

    The average of k p^(k - 1) over all k in [0, 1], which is (1 - p + p log p) / (p log^2 p): no
    exponent needs to be chosen. Raises ValueError for p outside (0, 1].
    """
    if not 0.0 < p_value <= 1.0:
        raise ValueError("a p-value must lie above 0 and not above 1")
    log_p = float(np.log(p_value))
    if log_p > -1e-4:
        # the quotient loses all digits here; its limit at 1 is one half
        return float(np.log(0.5 - log_p / 6.0))
    return float(np.log1p(p_value * (log_p - 1.0)) - log_p - 2.0 * np.log(-log_p))


def _within_prompts(kernel_NN: Float64Array, prompt_N: Int64Array) -> Float64Array:
    masked_NN = np.where(prompt_N[:, None] == prompt_N[None, :], kernel_NN, 0.0)
    np.fill_diagonal(masked_NN, 0.0)
    return masked_NN


def _num_pairs(prompt_N: Int64Array, is_first_N: BoolArray) -> tuple[int, int, int]:
    same_NN = prompt_N[:, None] == prompt_N[None, :]
    first_N, second_N = is_first_N, ~is_first_N
    num_first = int((same_NN & first_N[:, None] & first_N).sum()) - int(first_N.sum())
    num_second = int((same_NN & second_N[:, None] & second_N).sum()) - int(second_N.sum())
    return num_first, int((same_NN & first_N[:, None] & second_N).sum()), num_second


def _statistics(
    masked_NN: Float64Array, labels_PN: Float64Array, pairs: Sequence[int]
) -> Float64Array:
    num_first, num_across, num_second = pairs
    rows_PN = labels_PN @ masked_NN
    first_P = (rows_PN * labels_PN).sum(axis=1)
    across_P = rows_PN.sum(axis=1) - first_P
    second_P = masked_NN.sum() - first_P - 2.0 * across_P
    result_P = first_P / num_first - 2.0 * across_P / num_across + second_P / num_second
    return np.asarray(result_P, dtype=np.float64)


def _shuffled(
    labels_N: Float64Array, prompt_N: Int64Array, num: int, rng: np.random.Generator
) -> Float64Array:
    """Return labels permuted within runs of equal prompts, [P, N]."""
    keys_PN = rng.random((num, len(labels_N)))
    # the whole part keeps each prompt in its place, the fraction shuffles within it
    _, run_N = np.unique(prompt_N, return_inverse=True)
    return labels_N[np.argsort(keys_PN + run_N, axis=1)]

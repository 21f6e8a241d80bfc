"""Kernels and permutation test: public vectors, slow twins, and rates under the null."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate

from audit.sweeps.text.kernels import (
    KERNELS,
    PADDING,
    codes_of,
    hamming,
    hamming_pad_free,
    spectrum,
)
from audit.sweeps.text.mmd import log_e_of_p, mmd_squared, permutation_test
from audit.sweeps.text.samples import derived_rng

MET = Path(__file__).parents[2] / "assets" / "met" / "samples.json"


def _published() -> tuple[list[str], NDArray[np.int64], NDArray[np.bool_]]:
    data = json.loads(MET.read_text(encoding="utf-8"))
    rows = data["fp32"] + data["perplexity"]
    is_first_N = np.arange(len(rows)) < len(data["fp32"])
    return [text for _, text in rows], np.asarray([prompt for prompt, _ in rows]), is_first_N


def test_the_published_hamming_vector() -> None:
    texts, prompt_N, is_first_N = _published()
    assert mmd_squared(hamming(texts, 1000), prompt_N, is_first_N) == pytest.approx(
        0.10485250008350289, abs=1e-14
    )


def test_the_published_spectrum_vector() -> None:
    texts, prompt_N, is_first_N = _published()
    kernel_NN = spectrum(texts, longest=5, length=620)
    assert mmd_squared(kernel_NN, prompt_N, is_first_N) == pytest.approx(
        -0.009526041981972044, abs=1e-14
    )


def test_the_published_samples_are_told_apart() -> None:
    texts, prompt_N, is_first_N = _published()
    test = permutation_test(
        hamming(texts), prompt_N, is_first_N, num_permutations=20_000, rng=derived_rng(b"", "met")
    )
    assert 0.0 < test.p_value <= 2e-4


def test_kernels_equal_their_definitions() -> None:
    texts = ["abcabc", "abcab", "", "xbcabcz", ""]
    slow = np.asarray([[_slow_pad_free(a, b) for b in texts] for a in texts])
    np.testing.assert_allclose(hamming_pad_free(texts, 9), slow, rtol=0, atol=1e-15)
    slow = np.asarray([[_slow_spectrum(a, b, 3) for b in texts] for a in texts])
    np.testing.assert_allclose(spectrum(texts, longest=3), slow, rtol=0, atol=1e-15)
    codes_NL = codes_of(texts, 9)
    assert codes_NL[1].tolist() == [97, 98, 99, 97, 98, *[PADDING] * 4]
    assert hamming(texts, 9)[0, 1] == pytest.approx(8 / 9)


def test_every_kernel_is_one_on_its_diagonal_and_symmetric() -> None:
    texts = ["one", "", "another answer", "one more \U0001f600"]
    for kernel in KERNELS.values():
        kernel_NN = kernel(texts)
        np.testing.assert_allclose(np.diag(kernel_NN), 1.0)
        np.testing.assert_array_equal(kernel_NN, kernel_NN.T)


def test_statistic_and_p_value_equal_a_slow_twin() -> None:
    for seed in range(4):
        rng = derived_rng(b"twin", f"{seed}")
        texts = ["".join(rng.choice(list("abc"), size=6)) for _ in range(45)]
        prompt_N = rng.integers(5, size=45)
        is_first_N = np.arange(45) < 20
        kernel_NN = spectrum(texts)
        fast = permutation_test(
            kernel_NN, prompt_N, is_first_N, num_permutations=1000, rng=derived_rng(b"t", "fast")
        )
        assert fast.statistic == pytest.approx(
            _slow_mmd(kernel_NN, prompt_N, is_first_N), abs=1e-12
        )
        slow_rng, above = derived_rng(b"t", "slow"), 0
        for _ in range(300):
            labels_N = is_first_N.copy()
            for prompt in range(5):
                places = np.flatnonzero(prompt_N == prompt)
                labels_N[places] = slow_rng.permutation(labels_N[places])
            above += _slow_mmd(kernel_NN, prompt_N, labels_N) >= fast.statistic - 1e-9
        # two estimates of one chance, from 1,000 and 300 permutations
        assert fast.p_value == pytest.approx((1 + above) / 301, abs=0.11)


def test_uneven_prompts_are_no_finding_only_if_labels_stay_within_prompts() -> None:
    rng = derived_rng(b"fpr", "uneven")
    num_repeats, rejected = 200, Counter[str]()
    for _ in range(num_repeats):
        mixes = [rng.dirichlet(np.full(10, 0.7)) for _ in range(2)]
        prompt_N = np.concatenate([rng.choice(10, 60, p=mix) for mix in mixes])
        kinds_N = np.asarray([rng.integers(1 + 3 * prompt) for prompt in prompt_N])
        kernel_NN = (kinds_N[:, None] == kinds_N).astype(np.float64)
        is_first_N = np.arange(120) < 60
        test = permutation_test(kernel_NN, prompt_N, is_first_N, num_permutations=99, rng=rng)
        rejected["within"] += test.p_value <= 0.05
    # 200 trials at 5 %: at most 20 with probability 0.999
    assert rejected["within"] <= 20


def test_p_values_are_never_zero_and_equal_samples_give_large_ones() -> None:
    kernel_NN = np.ones((8, 8))
    prompt_N = np.zeros(8, dtype=np.int64)
    test = permutation_test(
        kernel_NN, prompt_N, np.arange(8) < 4, num_permutations=99, rng=derived_rng(b"", "equal")
    )
    assert test.p_value == 1.0
    with pytest.raises(ValueError, match="two answers to one prompt"):
        mmd_squared(kernel_NN, np.arange(8), np.arange(8) < 4)


def test_the_e_value_of_a_uniform_p_value_is_one_on_average() -> None:
    mean, _ = integrate.quad(lambda u: np.exp(log_e_of_p(np.exp(-u)) - u), 1e-6, 400, limit=200)
    # the mass below exp(-400) is what is missing: 1 / 400
    assert mean == pytest.approx(1 - 1 / 400, abs=2e-4)
    assert log_e_of_p(1.0) == pytest.approx(np.log(0.5))
    assert log_e_of_p(0.99995) == pytest.approx(log_e_of_p(0.99985), abs=1e-4)
    assert log_e_of_p(1e-4) == pytest.approx(4.7687, abs=1e-4)
    with pytest.raises(ValueError, match="above 0"):
        log_e_of_p(0.0)


def _slow_pad_free(a: str, b: str) -> float:
    if not a or not b:
        return float(a == b)
    agreeing = sum(x == y for x, y in zip(a, b, strict=False))
    return float(agreeing / np.sqrt(len(a) * len(b)))


def _slow_spectrum(a: str, b: str, longest: int) -> float:
    if not a or not b:
        return float(a == b)

    def product(x: str, y: str) -> int:
        grams = [
            Counter(t[i : i + k] for k in range(1, longest + 1) for i in range(len(t) - k + 1))
            for t in (x, y)
        ]
        return sum(count * grams[1][gram] for gram, count in grams[0].items())

    return float(product(a, b) / np.sqrt(product(a, a) * product(b, b)))


def _slow_mmd(
    kernel_NN: NDArray[np.float64], prompt_N: NDArray[np.int64], is_first_N: NDArray[np.bool_]
) -> float:
    sums, counts = Counter[str](), Counter[str]()
    for i in range(len(prompt_N)):
        for j in range(len(prompt_N)):
            if i != j and prompt_N[i] == prompt_N[j]:
                key = "".join(sorted("xy"[int(is_first_N[k])] for k in (i, j)))
                sums[key] += kernel_NN[i, j]
                counts[key] += 1
    return float(sum(w * sums[k] / counts[k] for k, w in (("xx", 1), ("xy", -2), ("yy", 1))))

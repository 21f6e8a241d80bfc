"""The CPU engines' noise equals the published vectors, and torch's equals its numpy twin."""

import numpy as np
import pytest

from reference_runner.samplers.base import NoiseRequest
from reference_runner.samplers.splitmix import SplitMixStream, gumbel_from_keys, seeded_mt19937
from reference_runner.samplers.torch_cpu import NumpyExponentialStream, TorchCpuStream

COLUMNS = [0, 1, 2, 31999]
SEEDS = [0, 1234, -7, 2**32, 2**40 + 5, 2**63 - 1, -(2**63)]


def request_of(seed: int, vocab_size: int) -> NoiseRequest:
    return NoiseRequest(seed=seed, num_prompt_tokens=1, vocab_size=vocab_size)


def test_splitmix_step_keys_equal_the_published_ones() -> None:
    words = seeded_mt19937(1234).random_raw(6)
    assert [int(w) % 2**31 for w in words[1::2]] == [2137449171, 1365105717, 481516916]


def test_splitmix_noise_equals_the_published_row() -> None:
    row = SplitMixStream(request_of(1234, 32000)).take(1)[0, COLUMNS]
    np.testing.assert_allclose(row, (-1.258499, 1.522622, -0.021306, -0.444134), atol=1e-6, rtol=0)


def test_splitmix_rows_come_from_the_step_keys_in_order() -> None:
    keys = np.array([2137449171, 1365105717, 481516916], dtype=np.uint64)
    found = SplitMixStream(request_of(1234, 33)).take(3)
    np.testing.assert_array_equal(found, gumbel_from_keys(keys, 33))


def test_torch_exponentials_equal_the_published_ones() -> None:
    exponential = np.exp(-TorchCpuStream(request_of(1234, 32000)).take(2)[:, COLUMNS])
    expected = [(0.263750, 0.082028, 0.628120, 0.520533), (0.044899, 2.833036, 0.176412, 0.132338)]
    np.testing.assert_allclose(exponential, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("vocab_size", [1, 7, 17, 333, 4097])
def test_torch_noise_equals_its_numpy_twin_bit_for_bit(seed: int, vocab_size: int) -> None:
    request = request_of(seed, vocab_size)
    found, twin = TorchCpuStream(request).take(5), NumpyExponentialStream(request).take(5)
    np.testing.assert_array_equal(found, twin)


def test_cpu_generators_use_the_low_32_bits_of_the_seed() -> None:
    for stream in (SplitMixStream, TorchCpuStream):
        low, high = stream(request_of(5, 9)).take(2), stream(request_of(5 + 2**32, 9)).take(2)
        np.testing.assert_array_equal(low, high)


def test_drawing_noise_leaves_torchs_global_generator_alone() -> None:
    import torch

    before = torch.get_rng_state()
    TorchCpuStream(request_of(3, 11)).take(2)
    assert torch.equal(before, torch.get_rng_state())

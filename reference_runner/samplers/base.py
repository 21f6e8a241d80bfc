"""What every sampler profile provides.

Facts about the engine, and its noise for one seeded request.

Legend: R rows in output order, V vocabulary columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


class NoiseStream(Protocol):
    """The Gumbel noise of one request, row after row."""

    def take(self, num_rows: int) -> Float64Array:
        """Return the noise of the next `num_rows` output tokens, shape [R, V]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseRequest:
    """What an engine's noise may depend on."""

    seed: int
    num_prompt_tokens: int
    vocab_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAnswer:
    """One published value of a profile's noise, checked before the profile is used."""

    request: NoiseRequest
    row: int
    """Output index of the checked row; the rows before it are drawn too."""
    columns: tuple[int, ...]
    gumbel: tuple[float, ...]
    tolerance: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerProfile:
    """One engine family's rule for drawing tokens.

    Argmax over kept tokens of logit / T + Gumbel noise.
    """

    id: str
    summary: str
    engines: str
    """Which releases the rule was read from or run against, for people."""
    open_stream: Callable[[NoiseRequest], NoiseStream] | None
    """None for a profile without noise."""
    known_answers: tuple[KnownAnswer, ...] = ()

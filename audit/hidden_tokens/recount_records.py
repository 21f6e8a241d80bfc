"""What a recount takes and gives, and what it needs of a reference.

Legend: S offsets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audit.errors import ConfigurationError, InvalidRequest
from reference_runner.records import ReferenceInfo, ReplaySequence, Sampling

Float64Array = NDArray[np.float64]


class ChainRunner(Protocol):
    """Regenerates chains on the reference; the output of the sequences given is the known part."""

    @property
    def info(self) -> ReferenceInfo:
        """What was loaded."""
        ...

    def regenerate(
        self,
        sequence: ReplaySequence,
        starts: Sequence[tuple[int, ...]],
        *,
        num_tokens: int,
        stops_at: tuple[int, ...] = (),
    ) -> list[tuple[int, ...]]:
        """Return each start with what is drawn after it, `num_tokens` in all, fewer at a stop."""
        ...

    def near_ties(
        self, sequence: ReplaySequence, *, tolerance_logits: float
    ) -> Sequence[tuple[int, int, float]]:
        """Return (row, token id, shortfall in logits) of what rounding could have drawn instead."""
        ...

    def offset_log_e(
        self, sequence: ReplaySequence, context: tuple[int, ...], *, num_offsets: int
    ) -> Float64Array:
        """Return for each offset the log e-value that the output was drawn with its noise, [S]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenExchange:
    """A seeded exchange whose first output tokens are hidden: billed, but not shown."""

    prompt_token_ids: tuple[int, ...]
    visible_token_ids: tuple[int, ...]
    """The shown answer in full, with the stop token where one ended it."""
    sampling: Sampling
    profile_id: str
    billed_tokens: int
    """The billed count of hidden tokens."""
    end_mark_ids: tuple[int, ...] = ()
    """Tokens that end the hidden part: the answer begins behind the first of them."""
    unbilled_ids: tuple[int, ...] = ()
    """Tokens of the hidden part that a meter may leave out, such as the marks around it."""
    stops_at: tuple[int, ...] = ()
    """Tokens that end the whole output."""
    max_output_tokens: int | None = None
    """The request's own limit for hidden and visible tokens together."""
    was_cut_off: bool = False
    """Whether the limit ended the output, so that it was used up."""

    def __post_init__(self) -> None:
        if self.billed_tokens < 0:
            raise InvalidRequest.of("billed_tokens", "must not be negative")
        if not self.prompt_token_ids:
            raise InvalidRequest.of("prompt_token_ids", "must hold the prompt as it was sent")
        limit, num_visible = self.max_output_tokens, len(self.visible_token_ids)
        if self.was_cut_off and limit is None:
            raise InvalidRequest.of("max_output_tokens", "must be stated where it cut the output")
        if limit is not None and limit < num_visible:
            raise InvalidRequest.of(
                "max_output_tokens", f"is {limit}, but {num_visible} tokens were shown"
            )

    @property
    def visible(self) -> ReplaySequence:
        """Prompt, sampling and the visible answer."""
        return ReplaySequence(
            prompt_token_ids=self.prompt_token_ids,
            output_token_ids=self.visible_token_ids,
            sampling=self.sampling,
            profile_ids=(self.profile_id,),
        )

    def with_output(self, token_ids: tuple[int, ...]) -> ReplaySequence:
        """Return the sequence with another output."""
        return replace(self.visible, output_token_ids=token_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecountRules:
    """How far a recount goes."""

    tolerance_logits: float
    """What rounding moves a logit by at most; from honest traffic of the claimed precision."""
    num_chains: int = 128
    """Chains that are tried at most; 1 takes no near tie another way."""
    chains_at_once: int = 16
    min_visible_tokens: int = 8
    """Shorter answers are not placed: they may stand anywhere."""
    search_factor: float = 1.25
    """So many times what was billed is looked through, for meters that count too low."""
    alignment_alpha: float = 1e-6
    """Error rate of an offset that rests on the noise alone."""
    max_paddings: int = 256
    """Runs of padding that are taken out of a disclosed chain at most."""

    def __post_init__(self) -> None:
        counts = (self.num_chains, self.chains_at_once, self.min_visible_tokens, self.max_paddings)
        if not (self.tolerance_logits >= 0.0 and min(counts) >= 1):
            raise ConfigurationError("tolerance and counts of recount rules must be positive")
        if not (self.search_factor >= 1.0 and 0.0 < self.alignment_alpha < 1.0):
            raise ConfigurationError(
                "search_factor must be 1 or more, and alignment_alpha between 0 and 1"
            )


class RecountMethod(StrEnum):
    """How a count was found."""

    REGENERATED = "regenerated"
    """The reference drew hidden part and visible answer token by token."""
    BRANCHED = "branched"
    """It did, once near ties were taken another way."""
    ALIGNED = "aligned"
    """The answer was drawn with the seed's noise from there on; the hidden part stays unknown."""
    DISCLOSED = "disclosed"
    """The hidden part was shown, and the reference draws it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """The hidden tokens that the reference counts."""

    method: RecountMethod
    low_tokens: int
    high_tokens: int
    """As `low_tokens`, unless a meter may leave tokens out or the answer fits several places."""
    confidence: float
    """1 where the count does not rest on a statistic."""
    first_divergence: int | None = None
    """Output token, from 0, where reference and provider first differ; None where nowhere."""
    num_divergences: int = 0
    num_near_ties: int = 0
    """Draws before the answer that rounding could have turned."""
    num_chains: int = 1
    """Chains that were regenerated."""

    @property
    def is_exact(self) -> bool:
        """Whether the reference drew hidden part and answer, and rounding cannot change that."""
        return self.method is RecountMethod.REGENERATED and self.num_near_ties == 0

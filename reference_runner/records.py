"""The records that enter and leave the reference runner.

`ReplayBatch` comes in, one `Evidence` per sequence goes out. Nothing here knows what an audit or a
verdict is.

Legend: R scored rows (output tokens), V vocabulary, T tokens of a text, S seeds, K candidates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]
Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: Stands for "no rival at all" in margins and gaps, so that every number stays finite and fits
#: JSON.
NO_RIVAL_LOGITS = 1.0e4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The sampling parameters of one request, complete: nothing is left to a server's default."""

    temperature: float
    top_k: int
    """Number of tokens kept; 0 means no limit."""
    top_p: float
    """Probability mass kept; 1.0 means no limit."""
    seed: int | None

    @property
    def is_greedy(self) -> bool:
        """Whether engines take the best token: below 1e-5 (vLLM 0.32 `sampling_params.py`)."""
        return self.temperature < 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySequence:
    """One prompt and its claimed continuation, with every sampler that may have produced it."""

    prompt_token_ids: tuple[int, ...]
    output_token_ids: tuple[int, ...]
    sampling: Sampling
    profile_ids: tuple[str, ...]
    """Candidate sampler profiles; one Evidence is measured for each in the same forward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayBatch:
    """Sequences to be replayed together."""

    sequences: tuple[ReplaySequence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One answer to draw."""

    prompt_token_ids: tuple[int, ...]
    sampling: Sampling
    profile_id: str
    num_tokens: int
    """The most tokens that are drawn."""
    stops_at: tuple[int, ...] = ()
    """Token ids that end the answer; the one that does is its last token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one replay measured under one sampler profile, before any judgement.

    All arrays have one entry per output token, in order. Logits are the model's own, not divided by
    the temperature; the sampler's noise is multiplied by it instead (Token-DiFR, arXiv 2511.20621,
    section 3).
    """

    profile_id: str
    signed_margin_logits_R: Float32Array
    """Noised logit of the claimed token minus that of the best other.

    > 0 where the reference agrees.
    """
    matched_R: BoolArray
    """Whether the reference's sampler picks the claimed token."""
    rank_R: Int32Array
    """Number of tokens with a higher logit than the claimed one, before noise and filters."""
    logprob_nats_R: Float32Array
    """Natural log-probability of the claimed token at temperature 1, before filters."""
    top_two_gap_logits_R: Float32Array
    """Smallest change of logits that would change the reference's own draw.

    It does not look at the claimed token. Without filters, the distance of the two best noised
    logits.
    """
    contender_logit_R: Float32Array
    """The larger absolute logit of the reference's pick and its nearest rival.

    Floating-point error grows with it; like the gap it does not look at the claimed token.
    """
    excluded_R: BoolArray
    """Whether top-k or top-p removes the claimed token in the reference."""

    @property
    def num_tokens(self) -> int:
        """Number of scored output tokens."""
        return len(self.matched_R)

    @property
    def num_matches(self) -> int:
        """Number of output tokens that the reference's sampler picks too."""
        return int(self.matched_R.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The model's greedy choice after each prefix of a text: entry t follows token t."""

    best_token_T: Int32Array
    second_token_T: Int32Array
    gap_logits_T: Float32Array
    """Logit of the best token minus that of the second."""
    contender_logit_T: Float32Array
    """The larger absolute logit of the two; rounding errors grow with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededDraws:
    """What each seed draws as the first token of an answer."""

    token_S: Int32Array
    runner_up_S: Int32Array
    gap_logits_S: Float32Array
    """Smallest change of logits that would change the draw; `NO_RIVAL_LOGITS` where none would."""
    contender_logit_S: Float32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class TopLogprobs:
    """The likeliest tokens at each output position, at temperature 1 and before filters."""

    token_RK: Int32Array
    logprob_nats_RK: Float64Array
    """Natural logarithms, largest first."""
    claimed_logprob_nats_R: Float64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceInfo:
    """What a loaded reference model is, for the claim check and the verdict's runner."""

    model_digest: str
    """`sha256:<hex>`, the OpenSSF model-signing root of the checkpoint folder."""
    precision: str
    """The dtype of weights and arithmetic, such as `bfloat16`."""
    vocab_size: int
    max_positions: int
    device: str
    libraries: tuple[tuple[str, str], ...]
    """(name, version) of what decides the numbers: torch, transformers, python."""
    num_threads: int

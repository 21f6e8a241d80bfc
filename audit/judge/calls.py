"""What one exchange shows, call by call: how close each was, and how the answer turned out.

A call is the reference's choice of one token. Its gap, the smallest change of logits that would
turn it, is known before the claimed token is looked at; honest disagreement lives at small gaps.
Floating-point error grows with the logits in steps of two, so gaps are also told in steps: the
spacing of bfloat16 numbers at the size of the contenders. Of any other precision a step is a fixed
multiple of its own spacing.

Text runs in loops, and arithmetic errs in the same way whenever the same context returns. A call
whose context was disagreed on before therefore counts for nothing: its outcome is no news.

Legend: R scored rows (output tokens), C tokens of context.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reference_runner.records import Evidence, ReplaySequence

Float64Array = NDArray[np.float64]
Int8Array = NDArray[np.int8]
BoolArray = NDArray[np.bool_]

#: Contexts are the same when so many tokens before the call are.
NUM_CONTEXT_TOKENS = 8

#: A mismatch beyond this margin is another class than one within it.
FAR_MARGIN_STEPS = 4.0

#: bfloat16 numbers between 2^e and 2^(e+1) are 2^(e-7) apart.
STEP_BITS = 7

#: Contenders closer to 0 than this err by what larger logits in the same row are rounded to.
MIN_CONTENDER_LOGITS = 0.25

MATCH, NEAR, FAR = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The calls of one exchange, in order."""

    gap_logits_R: Float64Array
    gap_steps_R: Float64Array
    outcome_R: Int8Array
    """MATCH, or a mismatch by its margin: NEAR or FAR."""
    counts_R: BoolArray
    """False for calls whose context was disagreed on before."""

    @property
    def num_tokens(self) -> int:
        """Number of calls, counted or not."""
        return len(self.outcome_R)

    def counted(self) -> "Calls":
        """Return the calls that count."""
        keep_R = self.counts_R
        return Calls(
            gap_logits_R=self.gap_logits_R[keep_R],
            gap_steps_R=self.gap_steps_R[keep_R],
            outcome_R=self.outcome_R[keep_R],
            counts_R=keep_R[keep_R],
        )


def read_calls(evidence: Evidence, sequence: ReplaySequence) -> Calls:
    """Return the calls of one replayed exchange."""
    margin_R = evidence.signed_margin_logits_R.astype(np.float64)
    mismatch_R = ~evidence.matched_R
    step_R = step_logits(evidence.contender_logit_R.astype(np.float64))
    is_far_R = -margin_R >= FAR_MARGIN_STEPS * step_R
    outcome_R = np.where(mismatch_R, np.where(is_far_R, FAR, NEAR), MATCH)
    gap_R = np.maximum(evidence.top_two_gap_logits_R.astype(np.float64), 0.0)
    return Calls(
        gap_logits_R=gap_R,
        gap_steps_R=gap_R / step_R,
        outcome_R=outcome_R.astype(np.int8),
        counts_R=~_follows_mismatch(sequence, mismatch_R),
    )


def step_logits(contender_logit_R: Float64Array) -> Float64Array:
    """Return the spacing of bfloat16 numbers of that size, in logits."""
    size_R = np.maximum(contender_logit_R, MIN_CONTENDER_LOGITS)
    step_R: Float64Array = np.exp2(np.floor(np.log2(size_R)) - STEP_BITS)
    return step_R


def _follows_mismatch(sequence: ReplaySequence, mismatch_R: BoolArray) -> BoolArray:
    """Return which calls have a context that an earlier mismatch had, shape [R].

    It looks at nothing but what came before each call, so leaving calls out cannot be held for
    looking at the outcome.
    """
    if not mismatch_R.any():
        return np.zeros_like(mismatch_R)
    padding = (-1,) * NUM_CONTEXT_TOKENS
    tokens = padding + sequence.prompt_token_ids + sequence.output_token_ids
    tail = np.asarray(tokens[-len(mismatch_R) - NUM_CONTEXT_TOKENS : -1], dtype=np.int64)
    context_RC = np.lib.stride_tricks.sliding_window_view(tail, NUM_CONTEXT_TOKENS)
    group_R = np.unique(context_RC, axis=0, return_inverse=True)[1].reshape(-1)
    order_R = np.argsort(group_R, kind="stable")
    sorted_R = mismatch_R[order_R].astype(np.int64)
    before_R = np.cumsum(sorted_R) - sorted_R
    starts_R = np.searchsorted(group_R[order_R], group_R[order_R], side="left")
    follows_R = np.zeros_like(mismatch_R)
    follows_R[order_R] = before_R > before_R[starts_R]
    return follows_R

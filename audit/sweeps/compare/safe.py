"""The safe k-sample test: evidence that answers to the same prompts follow different laws.

For one answer of each side to one prompt, the product of p_side(answer) / mean of all p(answer) has
an expectation of at most 1 where all sides share a law, whatever that law is and whatever the
predictions p are: the mean of the factors over the sides is 1, and a product never exceeds the mean
to its power. Predictions are learnt from earlier answers only, so the product over answers is an
e-process. Sides that draw the very same answer from the same seed stay valid, for the product of
their factors is at most 1 then. Source: Turner, Ly and Grunwald, "Generic E-variables for exact
sequential k-sample tests that allow for optional stopping" (2024), section 2.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

#: Answers' worth of the common prediction that each side's own is mixed with.
_PRIOR_ANSWERS = 4.0

#: Share of every prediction that goes to tokens that nobody said yet.
_NEW_SHARE = 0.02


def log_e_of_samples(
    sides: Sequence[Mapping[str, Sequence[str]]],
    baseline: Mapping[str, Mapping[str, int]] | None = None,
) -> float:
    """Return the log e-value against "all sides follow one law for each prompt", in nats.

    Answers are given by prompt, in order; only complete turns count. `baseline` are counts by
    prompt from before the run, which predictions start from.
    """
    prompts = sorted(set.intersection(*(set(side) for side in sides))) if sides else []
    total = 0.0
    for prompt in prompts:
        streams = [side[prompt] for side in sides]
        total += _log_e_of_prompt(streams, dict((baseline or {}).get(prompt, {})))
    return total


def _log_e_of_prompt(streams: Sequence[Sequence[str]], before: Mapping[str, int]) -> float:
    own: list[Counter[str]] = [Counter() for _ in streams]
    pooled = Counter(before)
    total = 0.0
    for turn in zip(*streams, strict=False):
        for token in turn:
            shares = [_share(token, counts, pooled) for counts in own]
            total -= math.log(math.fsum(shares) / len(shares))
        for token, counts in zip(turn, own, strict=True):
            total += math.log(_share(token, counts, pooled))
        for token, counts in zip(turn, own, strict=True):
            counts[token] += 1
            pooled[token] += 1
    return total


def _share(token: str, own: Counter[str], pooled: Counter[str]) -> float:
    num_pooled = pooled.total()
    common = _NEW_SHARE
    if num_pooled:
        common += (1.0 - _NEW_SHARE) * pooled[token] / num_pooled
    return (own[token] + _PRIOR_ANSWERS * common) / (own.total() + _PRIOR_ANSWERS)

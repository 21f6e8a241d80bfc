"""Effective logit noise: how far a provider strays, as one number in logits.

Gaussian noise of standard deviation sigma on the difference of two logits turns a call of gap g
with probability Phi(-g / sigma). Log-likelihoods at a fixed grid of levels are all that is kept:
they add up over exchanges, and their differences are e-processes against "at most sigma" (betting
on larger levels) and "at least sigma" (betting on smaller ones), so the limits hold at every look.

Legend: R calls, G noise levels.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.findings import NoiseEstimate
from audit.judge.calls import MATCH, Calls

Float64Array = NDArray[np.float64]

#: Eight levels an octave, from below float32's noise to nearly unrelated logits.
LEVELS_LOGITS_G: Float64Array = 2.0 ** (np.arange(-64, 17) / 8.0)

#: A stray token now and then must not pass for enormous noise: calls turn at least this often.
STRAY_RATE = 1e-4

DEFAULT_CONFIDENCE = 0.95


def log_likelihood_G(calls: Calls) -> Float64Array:
    """Return the log-likelihood of the counted calls at each noise level, in nats, shape [G]."""
    counted = calls.counted()
    turned_R = counted.outcome_R != MATCH
    # only calls that turned, and close ones that did not, tell the levels apart
    rate_GR = special.ndtr(-counted.gap_logits_R / LEVELS_LOGITS_G[:, None])
    rate_GR = STRAY_RATE + (1.0 - STRAY_RATE) * rate_GR
    sums_G: Float64Array = np.where(turned_R, np.log(rate_GR), np.log1p(-rate_GR)).sum(axis=1)
    return sums_G


def estimate_noise(
    log_likelihood_G: Float64Array, confidence: float = DEFAULT_CONFIDENCE
) -> NoiseEstimate:
    """Return the likeliest level with limits that hold at every look, each with half the error."""
    log_limit = np.log(2.0 / (1.0 - confidence))
    below_G = _log_means_before(log_likelihood_G)
    above_G = _log_means_before(log_likelihood_G[::-1])[::-1]
    too_low_G = above_G - log_likelihood_G >= log_limit
    too_high_G = below_G - log_likelihood_G >= log_limit
    # every level below a refuted one is refuted too: its claim is the stronger
    num_low = int(np.flatnonzero(too_low_G)[-1]) + 1 if too_low_G.any() else 0
    first_high = int(np.flatnonzero(too_high_G)[0]) if too_high_G.any() else None
    return NoiseEstimate(
        estimate_logits=float(LEVELS_LOGITS_G[int(np.argmax(log_likelihood_G))]),
        low_logits=0.0 if num_low == 0 else float(LEVELS_LOGITS_G[num_low - 1]),
        high_logits=None if first_high is None else float(LEVELS_LOGITS_G[first_high]),
        confidence=confidence,
    )


def _log_means_before(log_values_G: Float64Array) -> Float64Array:
    """Return for each value the log of the mean of all before it; -inf for the first."""
    sums_G = np.logaddexp.accumulate(log_values_G)[:-1]
    return np.concatenate([[-np.inf], sums_G - np.log(np.arange(1, len(log_values_G)))])

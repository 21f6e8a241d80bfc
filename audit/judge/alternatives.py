"""What a provider that is not honest may do to a call: the laws that evidence is weighed against.

None is fitted to an attack. Four families, each a law of the outcome given the gap: the honest odds
of a mismatch multiplied, for all calls or for the clear ones only; Gaussian noise on logit
differences (a call with gap g turns with probability Phi(-g / sigma)); and stray tokens (a share of
the tokens has nothing to do with the claimed sampler: bugs, wrong seeds, inserted text).

Against upper bounds u for honest mismatch classes, an alternative q earns e = q/u on a mismatch and
(1 - sum q) / (1 - sum u) on a match, with q raised to u where it is smaller. For every honest law
below the bounds, and whatever came before, the expectation is at most 1.

Legend: R calls, B gap bins, K alternatives.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.judge.bins import EDGES_B, RateBounds, bin_of
from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, NEAR, Calls

Float64Array = NDArray[np.float64]

#: (parameter, share of the prior), gaps and noise in steps. Small deviations get the larger shares:
#: a large one has evidence to spare.
TILTS = ((1.3, 0.05), (2.0, 0.05))
CLEAR_TILTS = ((2.0, 0.05), (5.0, 0.07))
NOISE_LEVELS_STEPS = ((1.0, 0.20), (1.6, 0.20), (3.0, 0.10), (8.0, 0.09))
STRAY_SHARES = ((0.01, 0.09), (0.1, 0.06), (0.6, 0.04))

FAMILIES = (TILTS, CLEAR_TILTS, NOISE_LEVELS_STEPS, STRAY_SHARES)

#: Calls are clear from this gap on: rounding alone seldom turns them.
CLEAR_GAP_STEPS = 1.0
NUM_ALTERNATIVES = sum(len(family) for family in FAMILIES)
LOG_PRIOR_K: Float64Array = np.log([share for family in FAMILIES for _, share in family])

#: How mismatches spread beyond the runner-up: the share of them that is far, the number of rivals a
#: step, the share of stray tokens that lands near. Rough: they only steer how evidence is spread
#: over the classes.
FAR_SHARE = 0.1
RIVALS_PER_STEP = 0.03
STRAY_NEAR_SHARE = 0.2

#: Rates are kept below this, so that no single token ends an audit by itself.
MAX_RATE = 0.98


_LOG_CENTRES_B = np.log(
    np.concatenate([EDGES_B[1:2] / 2, np.sqrt(EDGES_B[1:-1] * EDGES_B[2:]), EDGES_B[-1:]])
)


class EvidenceLaw:
    """The honest bounds of one stratum, and the alternatives that they are weighed against."""

    def __init__(self, bounds: RateBounds) -> None:
        self._bounds = bounds
        self._log_curve_B = np.log(bounds.mismatch_B)
        self._far_K = self._far_rates()

    def log_e_KR(self, calls: Calls) -> Float64Array:
        """Return the log e-value of each call under each alternative, in nats, shape [K, R]."""
        near_R, far_R, is_blind_R = self._honest(calls)
        near_KR, far_KR = self._alternative(calls, near_R, far_R)
        near_KR = np.where(is_blind_R, 0.0, near_KR)
        match_KR = np.log1p(-near_KR - far_KR) - np.log1p(-near_R - far_R)
        # where honest calls may turn at any rate, a near mismatch says no more than a match
        is_match_R = (calls.outcome_R == MATCH) | ((calls.outcome_R == NEAR) & is_blind_R)
        log_e_KR = np.where(is_match_R, match_KR, _log_ratio(near_KR, near_R))
        log_e_KR = np.where(calls.outcome_R == FAR, _log_ratio(far_KR, far_R), log_e_KR)
        return np.where(calls.counts_R, log_e_KR, 0.0)

    def _honest(self, calls: Calls) -> tuple[Float64Array, Float64Array, NDArray[np.bool_]]:
        """Return the honest bounds for near and far mismatches, and where they bound nothing."""
        bin_R = bin_of(calls.gap_steps_R)
        far_R = np.minimum(self._bounds.far_B[bin_R], MAX_RATE)
        near_R = self._bounds.mismatch_B[bin_R]
        near_R = np.where(calls.gap_steps_R >= FAR_MARGIN_STEPS, 0.0, near_R)
        is_blind_R = near_R + far_R > MAX_RATE
        return np.where(is_blind_R, 0.0, near_R), far_R, is_blind_R

    def _alternative(
        self, calls: Calls, near_R: Float64Array, far_R: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return each alternative's rates, nowhere below the honest bounds, both [K, R]."""
        total_KR = self._mismatch_rates(calls)
        is_far_R = calls.gap_steps_R >= FAR_MARGIN_STEPS
        far_KR = np.where(is_far_R, total_KR, self._far_K[:, None])
        far_KR = np.minimum(np.maximum(far_KR, far_R), MAX_RATE - near_R)
        near_KR = np.where(is_far_R, 0.0, np.maximum(total_KR - far_KR, near_R))
        return np.minimum(near_KR, MAX_RATE - far_KR), far_KR

    def _mismatch_rates(self, calls: Calls) -> Float64Array:
        gap_R = calls.gap_steps_R
        honest_R = self._curve(gap_R)
        tilted = [_tilted(honest_R, odds) for odds, _ in TILTS]
        is_clear_R = gap_R >= CLEAR_GAP_STEPS
        clear = [np.where(is_clear_R, _tilted(honest_R, o), honest_R) for o, _ in CLEAR_TILTS]
        noisy = [special.ndtr(-gap_R / sigma) for sigma, _ in NOISE_LEVELS_STEPS]
        stray = [share + (1.0 - share) * honest_R for share, _ in STRAY_SHARES]
        return np.stack([*tilted, *clear, *noisy, *stray])

    def _far_rates(self) -> Float64Array:
        """Return each alternative's rate of far mismatches where the gap is near, shape [K]."""
        far = np.asarray([FAR_MARGIN_STEPS])
        honest = self._curve(far)
        tilted = [FAR_SHARE * _tilted(honest, odds) for odds, _ in TILTS + CLEAR_TILTS]
        noisy = [
            RIVALS_PER_STEP * sigma * _mean_excess(far / sigma) for sigma, _ in NOISE_LEVELS_STEPS
        ]
        stray = [far * 0.0 + share * (1.0 - STRAY_NEAR_SHARE) for share, _ in STRAY_SHARES]
        return np.concatenate([*tilted, *noisy, *stray])

    def _curve(self, gap_steps_R: Float64Array) -> Float64Array:
        """Return the bound at any gap, interpolated between bins' centres on both log scales."""
        log_gap_R = np.log(np.maximum(gap_steps_R, 1e-9))
        curve_R: Float64Array = np.exp(np.interp(log_gap_R, _LOG_CENTRES_B, self._log_curve_B))
        return curve_R


def mix(log_e_KX: Float64Array) -> Float64Array:
    """Return the log of the prior-weighted mean over alternatives, shape [X]."""
    mixed_X: Float64Array = special.logsumexp(LOG_PRIOR_K[:, None] + log_e_KX, axis=0)
    return mixed_X


def _log_ratio(alternative_KR: Float64Array, honest_R: Float64Array) -> Float64Array:
    """Return log(alternative / honest); 0 where the class cannot occur."""
    can_R = honest_R > 0.0
    safe_R = np.where(can_R, honest_R, 1.0)
    ratio_KR: Float64Array = np.where(
        can_R, np.log(np.where(can_R, alternative_KR, 1.0) / safe_R), 0.0
    )
    return ratio_KR


def _tilted(rate_R: Float64Array, odds: float) -> Float64Array:
    return odds * rate_R / (1.0 + (odds - 1.0) * rate_R)


def _mean_excess(z: Float64Array) -> Float64Array:
    """Return the mean of what a standard normal variable exceeds z by: phi(z) - z Phi(-z)."""
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    excess: Float64Array = density - z * special.ndtr(-z)
    return excess

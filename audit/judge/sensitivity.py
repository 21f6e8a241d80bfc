"""What an audit could have seen: the smallest deviations that it would mostly have failed.

The figures use this exchange's own calls. For a deviation the log e-value grows by a known mean and
variance a call; it is taken to be seen once the mean less the spread's quantile clears the
threshold under any one alternative. Peaks before the end are left out, so the figures are modest.

Legend: R calls, K alternatives, D deviations of one kind, C outcome classes.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from audit.findings import AttackPower
from audit.judge.alternatives import LOG_PRIOR_K, EvidenceLaw
from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, NEAR, Calls
from audit.records import Sensitivity

Float64Array = NDArray[np.float64]

#: Noise levels tried, in logits; beyond the last nearly every call turns already.
NOISE_LEVELS_D: Float64Array = 2.0 ** (np.arange(-28, 13) / 4.0)

#: Shares of stray tokens tried.
STRAY_SHARES_D: Float64Array = 2.0 ** (-np.arange(36, -1, -1) / 4.0)


def measure_sensitivity(
    calls: Calls,
    law: EvidenceLaw,
    *,
    threshold_nats: float,
    power: float,
    attacks: tuple[AttackPower, ...] = (),
) -> Sensitivity:
    """Return the smallest deviations that would have been failed with probability `power`."""
    counted = calls.counted()
    gains = _Gains(counted, law, threshold_nats=threshold_nats, power=power)
    noise = gains.smallest(NOISE_LEVELS_D, _turned_by_noise(counted.gap_logits_R))
    share = gains.smallest(STRAY_SHARES_D, STRAY_SHARES_D[:, None])
    return Sensitivity(
        power=power,
        logit_noise_logits=noise,
        substituted_token_share=share,
        statement=_statement(calls.num_tokens, share, noise, power),
        attacks=attacks,
    )


def _turned_by_noise(gap_logits_R: Float64Array) -> Float64Array:
    turned_DR: Float64Array = special.ndtr(-gap_logits_R / NOISE_LEVELS_D[:, None])
    return turned_DR


class _Gains:
    """The log e-value of each call for either outcome, and what sums of them reach."""

    def __init__(
        self, calls: Calls, law: EvidenceLaw, *, threshold_nats: float, power: float
    ) -> None:
        # a turned call is taken to be the runner-up's: its margin is then the gap
        turned = np.where(calls.gap_steps_R >= FAR_MARGIN_STEPS, FAR, NEAR).astype(np.int8)
        matched = np.full_like(turned, MATCH)
        self._if_matched_KR = law.log_e_KR(_with_outcome(calls, matched))
        self._step_KR = law.log_e_KR(_with_outcome(calls, turned)) - self._if_matched_KR
        self._needed_K = threshold_nats - LOG_PRIOR_K
        self._quantile = float(stats.norm.ppf(power))

    def smallest(self, levels_D: Float64Array, turned_DR: Float64Array) -> float | None:
        """Return the smallest level from which on every larger one is seen, or None."""
        shape = (len(levels_D), self._step_KR.shape[1])
        rate_DR = np.broadcast_to(turned_DR, shape)
        mean_DK = self._if_matched_KR.sum(axis=1) + rate_DR @ self._step_KR.T
        variance_DK = (rate_DR * (1.0 - rate_DR)) @ (self._step_KR.T**2)
        seen_D = (mean_DK - self._quantile * np.sqrt(variance_DK) >= self._needed_K).any(axis=1)
        if not seen_D[-1]:
            return None
        unseen = np.flatnonzero(~seen_D)
        return float(levels_D[0 if len(unseen) == 0 else unseen[-1] + 1])


def _with_outcome(calls: Calls, outcome_R: NDArray[np.int8]) -> Calls:
    return replace(calls, outcome_R=outcome_R)


def _statement(num_tokens: int, share: float | None, noise: float | None, power: float) -> str:
    parts = []
    if share is not None:
        parts.append(f"fewer than {share:.2g} of tokens replaced by unrelated ones")
    if noise is not None:
        parts.append(
            "changes of the model that act like Gaussian noise of less than about "
            f"{noise:.2g} logits on logit differences"
        )
    if not parts:
        return f"At {num_tokens} tokens this audit could have seen nothing; send longer answers."
    return (
        f"At {num_tokens} tokens this audit could not have seen {', nor '.join(parts)}, "
        f"with probability {power:.0%}."
    )

"""What an audit could have seen: the smallest deviations that it would mostly have failed.

Both figures use this exchange's own length and closeness of calls, and err on the modest side:
honest noise and rivals beyond the second are left out, and each of them would only add to the
statistic.

Legend: R scored rows (output tokens), Q quadrature points.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.judge.deviation import MARGIN_CLIP_LOGITS
from audit.records import Sensitivity
from reference_runner.records import Evidence

Float64Array = NDArray[np.float64]

POWER = 0.95

#: Noise beyond this changes nearly every call already, so a larger figure would tell nothing.
MAX_LOGIT_NOISE = 8.0

_NODES_Q, _WEIGHTS_Q = np.polynomial.legendre.leggauss(16)


def measure_sensitivity(evidence: Evidence, threshold_logits: float) -> Sensitivity:
    """Return the smallest deviations that would have been failed with probability `POWER`."""
    num_tokens = evidence.num_tokens
    share = detectable_share(num_tokens, threshold_logits)
    noise = detectable_noise(evidence.top_two_gap_logits_R.astype(np.float64), threshold_logits)
    return Sensitivity(
        power=POWER,
        logit_noise_logits=noise,
        substituted_token_share=share,
        statement=_statement(num_tokens, share, noise),
    )


def detectable_share(num_tokens: int, threshold_logits: float) -> float | None:
    """Return the smallest share of unrelated tokens that would mostly be failed, or None.

    An unrelated token lies beyond the clip; tokens are replaced independently.
    """
    needed = int(np.floor(threshold_logits * num_tokens / MARGIN_CLIP_LOGITS)) + 1
    if needed > num_tokens:
        return None
    # the share at which `needed` or more replacements are likely: Clopper-Pearson's upper limit,
    # read backwards
    return float(stats.beta.ppf(POWER, needed, num_tokens - needed + 1))


def detectable_noise(gaps_logits_R: Float64Array, threshold_logits: float) -> float | None:
    """Return the smallest noise on logit differences that would mostly be failed, or None.

    A call with gap g flips under noise of standard deviation s with probability Phi(-g / s), and
    then deviates by what the noise exceeds the gap, clipped.
    """
    low, high = 0.0, MAX_LOGIT_NOISE
    if not _is_seen(gaps_logits_R, high, threshold_logits):
        return None
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if _is_seen(gaps_logits_R, middle, threshold_logits):
            high = middle
        else:
            low = middle
    return high


def _is_seen(gaps_logits_R: Float64Array, noise_logits: float, threshold_logits: float) -> bool:
    excess_Q = (_NODES_Q + 1.0) * MARGIN_CLIP_LOGITS / 2
    weights_Q = _WEIGHTS_Q * MARGIN_CLIP_LOGITS / 2
    tail_RQ = stats.norm.sf((gaps_logits_R[:, None] + excess_Q) / noise_logits)
    mean_R = tail_RQ @ weights_Q
    square_R = tail_RQ @ (2.0 * excess_Q * weights_Q)
    total, variance = mean_R.sum(), (square_R - mean_R**2).sum()
    reached = total - float(stats.norm.ppf(POWER)) * np.sqrt(max(variance, 0.0))
    return bool(reached > threshold_logits * len(gaps_logits_R))


def _statement(num_tokens: int, share: float | None, noise: float | None) -> str:
    parts = []
    if share is not None:
        parts.append(f"fewer than {share:.1%} of tokens replaced by unrelated ones")
    if noise is not None:
        parts.append(
            f"changes of the model that move logit differences by less than about {noise:.2g} "
            "logits"
        )
    if not parts:
        return f"At {num_tokens} tokens this audit could have seen nothing; send longer answers."
    return f"At {num_tokens} tokens this audit could not have seen {', nor '.join(parts)}."

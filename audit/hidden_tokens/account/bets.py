"""Bets of one account's evidence: on each channel alone, and on all that read a request together.

Why each is an e-process. Let F be everything known before request t's count is billed: all earlier
requests, which channels read this one, and their laws. A channel's p-value of an honest bill obeys
P(p <= u | F) <= u + shift, so x = 1 - p has conditional mean m = `null_mean` at most. The bet

    1 - b + b x / m           stakes a fixed fraction b of the wealth on one channel
    1 - b + b sum_c w_c x_c / m_c   stakes it on the average of the channels that read the request

has conditional expectation <= 1 whatever the dependence between channels, because expectations of
averages need no independence; the weights w depend on which channels read, which is known before.
Products over requests are therefore nonnegative supermartingales from 1, all in one filtration, and
their average with weights fixed beforehand (over fractions, channels and "together") is one too.
By Ville's inequality it ever reaches 1 / a with probability a at most. A channel that is silent
keeps its wealth. That a channel reads or not must not hang on the billed count given the past.

The calibration. Given N calibration scores drawn as the honest ones are, x is the share (of N + 1)
of scores below the new one, so its mean over all further honest requests is the average of N
independent variables P(S > s_i), each uniform on (0, 1) or stochastically smaller. A uniform
variable is sub-Gaussian with variance 1 / 12, so that average exceeds 1/2 + sqrt(ln(1/d) / (6 N))
with probability d at most: 1 / sqrt(3) of Massart's bound, which holds for all u at once where a
bet on the mean needs one average only. Scores of one question may go together: the mean of
dependent uniform variables is as sub-Gaussian as one of them (convexity), so N counts questions.
d is paid once per law and direction, out of alpha.

Legend: B staked fractions, C channels that read a request.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audit.errors import InvalidRequest
from audit.hidden_tokens.account.rules import READING_DELTA

Float64Array = NDArray[np.float64]

#: Staked fractions: small ones for small inflations, large ones for doubled bills.
FRACTIONS_B: Float64Array = np.array([0.1, 0.25, 0.4, 0.55, 0.7, 0.85])

#: The fraction that the change point looks with; a bet that gains on any clear inflation.
CHANGE_FRACTION = 0.5

#: Log wealth before the first bet: it is laid evenly on the fractions.
START_B: tuple[float, ...] = (-math.log(len(FRACTIONS_B)),) * len(FRACTIONS_B)


def null_mean(dkw_epsilon: float, num_calibration: int, delta: float) -> float:
    """Return what the mean of 1 - p of honest bills exceeds with probability `delta` at most.

    One half where the p-values are exact (`dkw_epsilon` 0). P-values that are not must be conformal
    ranks among `num_calibration` scores; a `dkw_epsilon` made for fewer, as for questions with
    several scores each, counts as fewer. At most 1. Raises: InvalidRequest for a reading that has
    an epsilon and does not say how many scores it rests on.
    """
    if dkw_epsilon == 0.0:
        return 0.5
    if num_calibration < 1:
        raise InvalidRequest.of(
            "num_calibration",
            "must be stated where dkw_epsilon is not 0: the cost hangs on it",
        )
    num_behind = math.log(1.0 / READING_DELTA) / (2.0 * dkw_epsilon**2)
    num_scores = min(num_behind, num_calibration)
    return min(0.5 + math.sqrt(math.log(1.0 / delta) / (6.0 * num_scores)), 1.0)


def payoff(p_value: float, mean: float) -> float:
    """Return x / m of a p-value: its conditional mean is 1 at most where the bill is honest."""
    return (1.0 - p_value) / mean


def growth_B(payoffs_C: Sequence[float], weights_C: Sequence[float]) -> Float64Array:
    """Return the logs of what one request multiplies each fraction's wealth by, shape [B].

    The weights are made to sum to 1 over the channels given. Raises ValueError where they cannot.
    """
    total = math.fsum(weights_C)
    if not total > 0.0:
        raise ValueError("the channels of a bet need weights above zero")
    mean = math.fsum(p * w for p, w in zip(payoffs_C, weights_C, strict=True)) / total
    return np.asarray(np.log1p(FRACTIONS_B * (mean - 1.0)))


def change_growth(payoffs_C: Sequence[float], weights_C: Sequence[float]) -> float:
    """Return the log growth that the change point adds up."""
    mean = math.fsum(p * w for p, w in zip(payoffs_C, weights_C, strict=True))
    return math.log1p(CHANGE_FRACTION * (mean / math.fsum(weights_C) - 1.0))


def log_wealth(log_wealth_B: Sequence[float]) -> float:
    """Return the log of the wealth on all fractions together."""
    return _log_sum(log_wealth_B)


def log_e(
    together_B: Sequence[float], channels: Sequence[tuple[float, float]], share: float
) -> float:
    """Return the log e-value of all bets, natural.

    `share` lies on `together_B`, the rest on the channels, each a weight and a log wealth.
    What the weights of the channels lack to 1 lies on channels that never read, whose wealth is 1.
    """
    idle = max(0.0, 1.0 - math.fsum(weight for weight, _ in channels))
    parts = [(share, log_wealth(together_B)), ((1.0 - share) * idle, 0.0)]
    parts += [((1.0 - share) * weight, value) for weight, value in channels]
    return _log_sum([value + math.log(weight) for weight, value in parts if weight > 0.0])


def _log_sum(logs: Sequence[float]) -> float:
    # once or more for each request: an array of ten numbers would cost more than it saves
    top = max(logs)
    return top + math.log(math.fsum(math.exp(value - top) for value in logs))

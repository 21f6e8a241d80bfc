"""How large the mean deviation of honest traffic gets, at any number of tokens.

Honest exchanges are cut into windows as long as the exchange to be judged; the threshold is a bound
that a new honest window exceeds with at most the stated rate. With enough windows it is an order
statistic (a distribution- free upper tolerance bound); with fewer, the largest window or a gamma
tail, whichever is larger.

Legend: W windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Float64Array = NDArray[np.float64]

#: With fewer honest windows than this, neither their largest nor their spread says much about a 1 %
#: tail.
MIN_WINDOWS = 20

#: The spacing of numbers between 8 and 16, where top logits lie: an honest engine may be off by
#: that in any token. For float32 the rounding of a whole forward pass counts for more than the
#: spacing.
RESOLUTION_LOGITS = {"bfloat16": 2.0**-4, "float16": 2.0**-7, "float32": 1e-4}

#: Text runs in loops, and then one near-tie comes back several times. So many such tokens in one
#: exchange are never held against anybody; a calibration of a few hundred exchanges is too small to
#: tell how often that happens.
NUM_HONEST_TIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeDeviations:
    """The deviations of one honest exchange, in order; zeros left out."""

    num_tokens: int
    positions: tuple[int, ...]
    deviations_logits: tuple[float, ...]

    def dense(self) -> Float64Array:
        """Return one deviation per token."""
        values = np.zeros(self.num_tokens)
        values[list(self.positions)] = self.deviations_logits
        return values


class NullLaw:
    """The law of the mean deviation over windows of honest exchanges of one kind."""

    def __init__(
        self,
        exchanges: Sequence[ExchangeDeviations],
        *,
        precision: str,
        rate: float,
        confidence: float,
    ) -> None:
        self._dense = [exchange.dense() for exchange in exchanges]
        self._rate = rate
        self._confidence = confidence
        largest = max((float(d.max()) for d in self._dense if len(d)), default=0.0)
        self._allowance = max(largest, NUM_HONEST_TIES * RESOLUTION_LOGITS.get(precision, 0.0))
        self._typical_length = max(1, int(np.median([len(d) for d in self._dense] or [1])))
        # the instance outlives its cache, so a plain closure is enough
        self.threshold = lru_cache(maxsize=4096)(self._threshold)

    def _threshold(self, num_tokens: int) -> float:
        """Return the mean deviation, in logits, that honest answers so long rarely exceed."""
        length = min(num_tokens, self._longest_usable(num_tokens))
        bound = upper_tolerance_bound(
            self.windows(length), rate=self._rate, confidence=self._confidence
        )
        # the sum of exact ties may round up to just above the allowance
        return max(bound, self._allowance * (1.0 + 1e-9) / num_tokens)

    def windows(self, length: int) -> Float64Array:
        """Return the mean deviations of disjoint windows of `length` tokens, shape [W].

        Each exchange is cut from its start; what is left over at the ends is joined to further
        windows.
        """
        means: list[float] = []
        rest: list[Float64Array] = []
        for dense in self._dense:
            whole = len(dense) // length * length
            means.extend(dense[:whole].reshape(-1, length).mean(axis=1))
            rest.append(dense[whole:])
        joined = np.concatenate(rest) if rest else np.zeros(0)
        whole = len(joined) // length * length
        means.extend(joined[:whole].reshape(-1, length).mean(axis=1))
        return np.asarray(means)

    def _longest_usable(self, num_tokens: int) -> int:
        """Return the longest window of which there are enough, from within single exchanges.

        Judging a longer exchange by shorter windows errs on the honest side: a mean over more
        tokens spreads less. Windows joined from several exchanges would not: they hide how far
        exchanges differ from each other.
        """
        total = sum(len(dense) for dense in self._dense)
        num_tokens = min(num_tokens, self._typical_length)
        for wanted in (num_bounds_needed(self._rate, self._confidence), MIN_WINDOWS):
            if total // num_tokens >= wanted:
                return num_tokens
        return max(1, total // MIN_WINDOWS)


def num_bounds_needed(rate: float, confidence: float) -> int:
    """Return how many honest windows a distribution-free bound needs: 299 for 1 % at 95 %."""
    return int(np.ceil(np.log1p(-confidence) / np.log1p(-rate)))


def upper_tolerance_bound(means_W: Float64Array, *, rate: float, confidence: float) -> float:
    """Return a value that a further honest window exceeds with probability `rate` at most.

    "At most" holds with the given confidence over the calibration itself (Wilks' tolerance bound);
    where the windows are too few for that, a gamma law with moments at their upper confidence
    limits takes over.
    """
    ordered = np.sort(means_W)[::-1]
    # the r-th largest is a bound if r or more of the windows above the true quantile is likely
    # enough
    ranks = np.arange(1, len(ordered) + 1)
    usable = ranks[stats.binom.cdf(ranks - 1, len(ordered), rate) <= 1.0 - confidence]
    if len(usable):
        return float(ordered[usable[-1] - 1])
    return max(float(ordered[0]), _gamma_bound(means_W, rate=rate, confidence=confidence))


def _gamma_bound(means_W: Float64Array, *, rate: float, confidence: float) -> float:
    num = len(means_W)
    mean, deviation = float(means_W.mean()), float(means_W.std(ddof=1)) if num > 1 else 0.0
    if deviation == 0.0:
        return mean
    mean += float(stats.t.ppf(confidence, num - 1)) * deviation / num**0.5
    deviation *= float((num - 1) / stats.chi2.ppf(1.0 - confidence, num - 1)) ** 0.5
    shape = (mean / deviation) ** 2
    return float(stats.gamma.isf(rate, shape, scale=mean / shape))

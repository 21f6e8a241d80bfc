"""What share of exchanges was answered by a substitute, and whether they come in runs.

A tell is a sign in one exchange that an honest provider shows at some known rate h at most. If a
share eps is substituted, tells come at a rate of (1 - eps) h + eps q; as q is at most 1, a lower
bound on the rate is one on eps, whatever the substitute. With the substitute known, its likelihood
ratios bound eps on both sides.

Legend: N exchanges in order, G shares on a grid, K streams or looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from audit.judge.betting import lower_bound

Float64Array = NDArray[np.float64]

#: Shares of substituted exchanges that are told apart: steps of half a percent.
SHARES_G = np.linspace(0.0, 1.0, 201)

# log 0 is meant: a share of 0 has no substituted exchanges, and one of 1 no honest ones
with np.errstate(divide="ignore"):
    _LOG_SHARES_G, _LOG_HONEST_G = np.log(SHARES_G), np.log1p(-SHARES_G)


def share_lower_bound(
    num_tells_K: ArrayLike, num_exchanges_K: ArrayLike, honest_tell_rate: float, alpha: float
) -> Float64Array:
    """Return a bound above the substituted share at any look ever with probability <= alpha, [K].

    Raises ValueError for impossible counts, alpha outside (0, 1), or an honest rate outside [0, 1).
    Scalars give an array without dimensions.
    """
    if not 0.0 <= honest_tell_rate < 1.0:
        raise ValueError("the honest rate of tells must be at least 0 and below 1")
    rate_K = lower_bound(num_tells_K, num_exchanges_K, alpha)
    return np.maximum(rate_K - honest_tell_rate, 0.0) / (1.0 - honest_tell_rate)


def share_log_likelihood(log_ratios_K: ArrayLike) -> Float64Array:
    """Return the log likelihood of each share for exchanges of the given log ratios, [K, G].

    A ratio is log p_substitute / p_honest and may be infinite; each row is known up to a constant.
    Raises ValueError for NaN.
    """
    ratios_K1 = np.asarray(log_ratios_K, dtype=np.float64)[..., None]
    if np.isnan(ratios_K1).any():
        raise ValueError("a likelihood ratio is not a number")
    # scaled by the larger of the two laws, so that neither exponent is ever above zero
    honest_KG = _LOG_HONEST_G - np.maximum(ratios_K1, 0.0)
    substituted_KG = _LOG_SHARES_G + np.minimum(ratios_K1, 0.0)
    return np.asarray(np.logaddexp(honest_KG, substituted_KG))


def share_interval(
    log_likelihood_KG: Float64Array, alpha: float
) -> tuple[Float64Array, Float64Array]:
    """Return the smallest and largest share not ruled out at one look, each of shape [K].

    A share is ruled out once the likelihood averaged evenly over all shares is 1 / alpha times its
    own; that ever happens to the true share with probability at most alpha. The likelihood is
    log-concave in the share, so the neighbours of the kept grid points bound the shares between.
    Source: the method of mixtures; Wasserman, Ramdas and Balakrishnan, "Universal inference"
    (2020), on sequences.
    """
    _check_alpha(alpha)
    mixture_K1 = special.logsumexp(log_likelihood_KG, axis=-1, keepdims=True)
    mixture_K1 -= np.log(len(SHARES_G))
    kept_KG = log_likelihood_KG > mixture_K1 + np.log(alpha)
    # the best point is above the average, so at least one is always kept
    first_K = kept_KG.argmax(axis=-1)
    last_K = len(SHARES_G) - 1 - kept_KG[..., ::-1].argmax(axis=-1)
    low_K = SHARES_G[np.maximum(first_K - 1, 0)]
    high_K = SHARES_G[np.minimum(last_K + 1, len(SHARES_G) - 1)]
    return low_K, high_K


@dataclass(frozen=True, slots=True, eq=False)
class KnownSubstitute:
    """A two-sided confidence sequence of the share that one known substitute answered.

    `lower` and `upper` hold at every look at once with probability 1 - alpha at least.
    """

    alpha: float
    log_likelihood_G: Float64Array
    lower: float = 0.0
    upper: float = 1.0

    @classmethod
    def fresh(cls, alpha: float) -> "KnownSubstitute":
        """Return the state before any exchange; ValueError for alpha outside (0, 1)."""
        _check_alpha(alpha)
        return cls(alpha, np.zeros(len(SHARES_G)))

    def after(self, log_ratio: float) -> "KnownSubstitute":
        """Return the state after an exchange with log p_substitute / p_honest = `log_ratio`."""
        log_likelihood_G = self.log_likelihood_G + share_log_likelihood(log_ratio)
        low, high = share_interval(log_likelihood_G, self.alpha)
        # only a miss can make the intersection empty; it then collapses instead
        lower = max(self.lower, min(float(low), self.upper))
        upper = min(self.upper, max(float(high), lower))
        return replace(self, log_likelihood_G=log_likelihood_G, lower=lower, upper=upper)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """How often a tell or none followed a tell or none; n01 counts a tell after none."""

    n00: int = 0
    n01: int = 0
    n10: int = 0
    n11: int = 0
    first: bool | None = None
    last: bool | None = None

    def after(self, tell: bool) -> "Transitions":
        """Return the state after one more exchange."""
        if self.last is None:
            return replace(self, first=tell, last=tell)
        name = f"n{int(self.last)}{int(tell)}"
        return replace(self, last=tell, **{name: getattr(self, name) + 1})


def sticky_log_e(transitions: Transitions) -> float:
    """Return the log e-value against tells that come independently at one unknown rate.

    The likelihood of Markov chains, averaged over Jeffreys priors of their two rates, over the best
    likelihood of independent tells. Tells that shun each other, or a rate that drifts, raise it
    too. Source: Ramdas, Ruf, Larsson and Koolen, "Testing exchangeability: fork-convex hulls,
    supermartingales and e-processes" (2022), on binary sequences.
    """
    counts = transitions
    if counts.first is None:
        return 0.0
    markov = -np.log(2.0)
    for none, tell in ((counts.n00, counts.n01), (counts.n10, counts.n11)):
        markov += special.betaln(none + 0.5, tell + 0.5) - special.betaln(0.5, 0.5)
    num_tells = counts.n01 + counts.n11 + int(counts.first)
    num_none = counts.n00 + counts.n10 + int(not counts.first)
    total = num_tells + num_none
    independent = special.xlogy(num_tells, num_tells / total)
    independent += special.xlogy(num_none, num_none / total)
    return float(markov - independent)


def runs_test_p_value(tells_N: Sequence[bool]) -> float:
    """Return the chance of so few runs or fewer among all orders of these tells.

    Exact, for one look only. Streams without both kinds give 1. Source: Wald and Wolfowitz, "On a
    test whether two samples are from the same population" (1940).
    """
    values_N = np.asarray(tells_N, dtype=bool)
    tells = int(values_N.sum())
    none = len(values_N) - tells
    if not tells or not none:
        return 1.0
    num_runs = 1 + int(np.count_nonzero(values_N[1:] != values_N[:-1]))
    runs = np.arange(2, num_runs + 1)
    # r runs are r // 2 of one kind and the rest of the other; which kind comes first doubles them
    fewer, more = runs // 2, (runs + 1) // 2
    log_ways = np.logaddexp(
        _log_binomial(tells - 1, fewer - 1) + _log_binomial(none - 1, more - 1),
        _log_binomial(tells - 1, more - 1) + _log_binomial(none - 1, fewer - 1),
    )
    log_all = _log_binomial(tells + none, np.asarray([tells]))[0]
    return min(1.0, float(np.exp(special.logsumexp(log_ways) - log_all)))


def _log_binomial(total: int, chosen: NDArray[np.int64]) -> Float64Array:
    possible = chosen <= total
    inside = np.where(possible, chosen, 0)
    value = special.gammaln(total + 1.0) - special.gammaln(inside + 1.0)
    value -= special.gammaln(total - inside + 1.0)
    return np.where(possible, value, -np.inf)


def _check_alpha(alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError("alpha must lie strictly between 0 and 1")

"""Published boundaries that a sum of centred observations rarely ever crosses.

Each holds at all times at once: for a sum S and its variance process v, the chance that S is beyond
the bound at any v is at most alpha. They are what the project's own bets are checked against.
Source of all: Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic
confidence sequences" (2021), section 3 and appendix A.
"""

from collections.abc import Callable

import numpy as np
from scipy import optimize, special

#: The level for which the mixtures are tuned unless told otherwise, as in the authors' software.
TUNED_ALPHA = 0.05

#: How far from the true crossing a root may lie.
_TOLERANCE = 1e-12


def best_rho(v_opt: float, alpha: float) -> float:
    """Return the mixing precision that makes the two-sided normal bound about tightest at `v_opt`.

    In units of variance. Raises ValueError unless v_opt > 0 and alpha is in (0, 1). Source:
    section 3.5.
    """
    _check(alpha, v_opt=v_opt)
    log_inverse = -2.0 * np.log(alpha)
    return float(v_opt / (log_inverse + np.log1p(log_inverse)))


def normal_mixture_bound(
    v: float, alpha: float, *, v_opt: float, alpha_opt: float = TUNED_ALPHA, one_sided: bool = False
) -> float:
    """Return the normal-mixture bound of sub-Gaussian sums, on |S| or (one-sided) on S.

    In units of S. Raises ValueError as `best_rho` does; one-sided tuning needs alpha_opt < 1/2.
    Source: section 3.2.
    """
    _check(alpha, v=v)
    if not one_sided:
        rho = best_rho(v_opt, alpha_opt)
        return float(np.sqrt((v + rho) * (np.log1p(v / rho) - 2.0 * np.log(alpha))))
    rho = best_rho(v_opt, 2.0 * alpha_opt)

    def log_mixture(s: float) -> float:
        half_normal = np.log(2.0) + special.log_ndtr(s / np.sqrt(v + rho))
        return float(half_normal - 0.5 * np.log1p(v / rho) + s * s / (2.0 * (v + rho)))

    return _crossing(log_mixture, -np.log(alpha), scale=np.sqrt(v + rho))


def gamma_exponential_bound(
    v: float, alpha: float, *, v_opt: float, scale: float, alpha_opt: float = TUNED_ALPHA
) -> float:
    """Return the gamma-exponential mixture bound of sub-exponential sums of the given scale.

    In units of S. Raises ValueError for parameters that are not positive. Source: section 3.2.
    """
    _check(alpha, v=v, scale=scale)
    rho = best_rho(v_opt, 2.0 * alpha_opt)
    prior_shape = rho / scale**2
    shape = prior_shape + v / scale**2
    prior = _log_truncated_gamma(prior_shape, prior_shape)

    def log_mixture(s: float) -> float:
        growth = s / scale + v / scale**2
        return growth + _log_truncated_gamma(shape, shape + s / scale) - prior

    return _crossing(log_mixture, -np.log(alpha), scale=np.sqrt(v + rho))


def polynomial_stitching_bound(
    v: float,
    alpha: float,
    *,
    v_min: float,
    scale: float = 0.0,
    power: float = 1.4,
    spacing: float = 2.0,
) -> float:
    """Return the stitched bound, which grows like the law of the iterated logarithm.

    In units of S; for sub-gamma sums, whose scale may be negative. `power` and `spacing` (both
    above 1) set how alpha is spread over epochs. Raises ValueError otherwise. Source: section 3.1.
    """
    _check(alpha, v=v, v_min=v_min)
    if not (power > 1.0 and spacing > 1.0):
        raise ValueError("power and spacing must be above 1")
    v = max(v, v_min)
    epochs = np.log(spacing * v / v_min) / np.log(spacing)
    log_cost = power * np.log(epochs) + np.log(special.zeta(power)) - np.log(alpha)
    spread = (spacing**0.25 + spacing**-0.25) ** 2 / 2.0
    drift = (np.sqrt(spacing) + 1.0) / 2.0 * scale * log_cost
    return float(np.sqrt(spread * v * log_cost + drift**2) + drift)


def bernoulli_interval(
    num_ones: float, num_total: float, alpha: float, *, t_opt: float, alpha_opt: float = TUNED_ALPHA
) -> tuple[float, float]:
    """Return the two-sided confidence sequence of a rate after so many observations.

    Mixes over alternatives from a beta law centred on the rate tested and tuned for `t_opt`
    observations. Raises ValueError for impossible counts. Source: section 3.2 (two-sided
    beta-binomial mixture).
    """
    _check(alpha, t_opt=t_opt)
    if not (0 <= num_ones <= num_total and num_total > 0):
        raise ValueError("ones must lie between 0 and a positive number of observations")
    # a tuned rho below the law's own variance would ask for a prior of no weight at all
    weight = max(best_rho(t_opt, alpha_opt) - 1.0, 1e-3)
    num_zeros, seen = num_total - num_ones, num_ones / num_total

    def is_kept(rate: float) -> bool:
        prior_one, prior_zero = weight * rate, weight * (1.0 - rate)
        mixture = special.betaln(prior_one + num_ones, prior_zero + num_zeros)
        mixture -= special.betaln(prior_one, prior_zero)
        null = special.xlogy(num_ones, rate) + special.xlog1py(num_zeros, -rate)
        return bool(mixture - null < -np.log(alpha))

    return _edge(is_kept, seen, 0.0), _edge(is_kept, seen, 1.0)


def _edge(is_kept: Callable[[float], bool], inside: float, outside: float) -> float:
    if inside == outside:
        return outside
    while abs(inside - outside) > _TOLERANCE:
        middle = (inside + outside) / 2.0
        if is_kept(middle):
            inside = middle
        else:
            outside = middle
    return outside


def _log_truncated_gamma(shape: float, rate: float) -> float:
    """Return the log integral of u^(shape - 1) exp(-rate u) over u in [0, 1]."""
    inside = np.log(special.gammainc(shape, rate))
    return float(special.gammaln(shape) + inside - shape * np.log(rate))


def _crossing(log_mixture: Callable[[float], float], level: float, *, scale: float) -> float:
    high = float(scale)
    while log_mixture(high) < level:
        high *= 2.0
    return float(optimize.brentq(lambda s: log_mixture(s) - level, 0.0, high, xtol=_TOLERANCE))


def _check(alpha: float, **positive: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError("alpha must lie strictly between 0 and 1")
    for name, value in positive.items():
        if not (value > 0.0 and np.isfinite(value)):
            raise ValueError(f"{name} must be positive and finite")

"""Weighs one-token answers at near-ties against what honest endpoints do there.

Against the bound u for the rate of tells at a spot, an alternative that gives a tell the chance q
earns q / u on a tell and (1 - q) / (1 - u) on a match, with q raised to u where it is smaller: for
every honest law below the bounds the expectation is at most 1. Alternatives are Gaussian noise on
logit differences, stray answers, and the substitutes that were run on the same spots; each also
diluted, for providers who divert a share of their requests. The evidence is their mean under a
fixed prior, an e-process. How often the reference's own choice turns is known beforehand, what the
answer is decides nothing but the outcome.

Legend: N probes, K alternatives, C cells, M named substitutes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.sweeps.border.bands import NO_CELL

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

#: (spread in steps, share of the prior): two thirds of a step is fp8, below two are int4 and fp8
#: caches; broader ones are another model.
NOISE_LEVELS_STEPS = ((0.7, 0.06), (1.3, 0.12), (1.9, 0.12), (4.0, 0.05))
STRAY_SHARES = ((0.1, 0.03), (0.7, 0.02))
NAMED_SHARE = 0.6

#: Shares of the requests that a provider diverts, and the prior's split over them.
DILUTIONS = ((1.0, 0.75), (0.25, 0.25))

#: A substitute's own engine turns its choices as another kernel's rounding would.
ENGINE_SPREAD_STEPS = 0.35

#: Share of the answers where a named substitute does not behave as its local copy.
LAPSE_SHARE = 0.05

#: Growth per probe below which more probes are no remedy, in nats.
_LEAST_GROWTH_NATS = 1e-3

#: Rates are kept inside these, so that no single token ends a run by itself.
MIN_RATE = 1e-4
MAX_RATE = 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Spots:
    """What was known of the probes before they were sent, in the plan's order."""

    firm_steps_N: Float64Array
    """How clearly the claimed model prefers its first choice."""
    cell_N: Int64Array
    names: tuple[str, ...]
    """The substitutes, sorted."""
    margin_steps_MN: Float64Array
    """How far each prefers the reference's first choice; NaN where it was not run."""

    @property
    def num_spots(self) -> int:
        """Number of probes."""
        return len(self.cell_N)

    def at(self, index_N: Int64Array) -> "Spots":
        """Return some of the spots, in the given order, repeated or not."""
        return Spots(
            firm_steps_N=self.firm_steps_N[index_N],
            cell_N=self.cell_N[index_N],
            names=self.names,
            margin_steps_MN=self.margin_steps_MN[:, index_N],
        )


def honest_bounds(spots: Spots, bound_C: Float64Array) -> Float64Array:
    """Return the bound of each probe's honest rate of tells, [N]; 1 where nothing is known."""
    return np.where(spots.cell_N == NO_CELL, 1.0, bound_C[spots.cell_N])


def agnostic_rates(spots: Spots) -> Float64Array:
    """Return the rates of tells under deviations that nobody named, [K, N]."""
    noisy = [special.ndtr(-spots.firm_steps_N / sigma) for sigma, _ in NOISE_LEVELS_STEPS]
    stray = [np.full(spots.num_spots, share) for share, _ in STRAY_SHARES]
    return np.stack([*noisy, *stray])


def named_rates(spots: Spots) -> Float64Array:
    """Return the rates of tells under each named substitute, [M, N]; NaN where it was not run."""
    turned_MN = special.ndtr(-spots.margin_steps_MN / ENGINE_SPREAD_STEPS)
    rate_MN: Float64Array = LAPSE_SHARE / 2.0 + (1.0 - LAPSE_SHARE) * turned_MN
    return rate_MN


def alternatives(spots: Spots, bound_N: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the rates that are bet on, [K, N], nowhere below the bounds, and the log prior [K]."""
    agnostic = agnostic_rates(spots)
    rates = np.concatenate([agnostic, named_rates(spots)])
    # a substitute that was not run on a spot bets nothing there
    rates = np.where(np.isnan(rates), bound_N, rates)
    shares = [share for _, share in (*NOISE_LEVELS_STEPS, *STRAY_SHARES)]
    shares += [NAMED_SHARE / len(spots.names) for _ in spots.names]
    prior = np.asarray(shares) / np.sum(shares)
    diluted = [bound_N + share * (rates - bound_N) for share, _ in DILUTIONS]
    log_prior_K = np.log(np.concatenate([prior * weight for _, weight in DILUTIONS]))
    low_N = np.clip(bound_N, MIN_RATE, MAX_RATE)
    return np.clip(np.concatenate(diluted), low_N, MAX_RATE), log_prior_K


def log_e_process(spots: Spots, bound_C: Float64Array, is_tell_N: BoolArray) -> Float64Array:
    """Return the evidence after each answer, in nats, [N]."""
    gains_on_tell, gains_on_match, log_prior_K = _gains(spots, bound_C)
    gain_KN = np.where(is_tell_N, gains_on_tell, gains_on_match)
    return _mixed(log_prior_K[:, None] + np.cumsum(gain_KN, axis=1))


def expected_growth(spots: Spots, bound_C: Float64Array) -> Float64Array:
    """Return what a probe tells about each deviation, in nats, [1 + M, N]; unnamed noise first.

    It is the expected growth of the best bet, the divergence of the answer's law from the bound;
    for noise the prior's mean over its levels.
    """
    bound_N = honest_bounds(spots, bound_C)
    weights = np.asarray([share for _, share in NOISE_LEVELS_STEPS])
    noisy = agnostic_rates(spots)[: len(weights)]
    unnamed_N = (weights / weights.sum()) @ _divergence(noisy, bound_N)
    named_MN = _divergence(np.nan_to_num(named_rates(spots)), bound_N)
    return np.concatenate([unnamed_N[None, :], named_MN])


def requests_needed(
    spots: Spots,
    bound_C: Float64Array,
    rate_N: Float64Array,
    *,
    power: float,
    log_threshold_nats: float,
) -> int | None:
    """Return about how many such probes find answers of those rates with probability `power`.

    By the bet that grows fastest on such answers, whose log-evidence is taken for a normal random
    walk; what other bets add is left out. None where no bet grows.
    """
    on_tell, on_match, log_prior_K = _gains(spots, bound_C)
    rate = np.clip(rate_N, 0.0, 1.0)
    mean_KN = rate * on_tell + (1.0 - rate) * on_match
    square_KN = rate * on_tell**2 + (1.0 - rate) * on_match**2
    growth_K = mean_KN.mean(axis=1)
    spread_K = np.sqrt(np.maximum(square_KN.mean(axis=1) - growth_K**2, 0.0))
    target_K = log_threshold_nats - log_prior_K
    is_growing_K = growth_K > _LEAST_GROWTH_NATS
    if not is_growing_K.any():
        return None
    # n growth - z spread sqrt(n) = target, solved for sqrt(n)
    growth_K, spread_K = growth_K[is_growing_K], spread_K[is_growing_K]
    shift_K = float(special.ndtri(power)) * spread_K
    root_K = shift_K + np.sqrt(shift_K**2 + 4.0 * growth_K * target_K[is_growing_K])
    return max(1, int(np.ceil(((root_K / (2.0 * growth_K)) ** 2).min())))


def log_likelihood(rate_N: Float64Array, is_tell_N: BoolArray) -> float:
    """Return the log-likelihood of the answers under rates of tells, in nats."""
    rate = np.clip(rate_N, MIN_RATE, 1.0 - MIN_RATE)
    return float(np.where(is_tell_N, np.log(rate), np.log1p(-rate)).sum())


def unnamed_log_likelihood(spots: Spots, is_tell_N: BoolArray) -> float:
    """Return the log-likelihood under deviations that nobody named, averaged by the prior."""
    shares = np.asarray([share for _, share in (*NOISE_LEVELS_STEPS, *STRAY_SHARES)])
    each = [log_likelihood(rate_N, is_tell_N) for rate_N in agnostic_rates(spots)]
    return float(special.logsumexp(np.asarray(each), b=shares / shares.sum()))


def _gains(spots: Spots, bound_C: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    bound_N = honest_bounds(spots, bound_C)
    rate_KN, log_prior_K = alternatives(spots, bound_N)
    # where honest endpoints may do anything, nothing is evidence
    is_blind_N = bound_N >= MAX_RATE
    safe_N = np.where(is_blind_N, 0.5, np.maximum(bound_N, MIN_RATE))
    on_tell = np.where(is_blind_N, 0.0, np.log(rate_KN / safe_N))
    on_match = np.where(is_blind_N, 0.0, np.log1p(-rate_KN) - np.log1p(-safe_N))
    return on_tell, on_match, log_prior_K


def _mixed(log_e_KN: Float64Array) -> Float64Array:
    mixed_N: Float64Array = special.logsumexp(log_e_KN, axis=0)
    return mixed_N


def _divergence(rate_KN: Float64Array, bound_N: Float64Array) -> Float64Array:
    low_N = np.clip(bound_N, MIN_RATE, MAX_RATE)
    rate = np.clip(rate_KN, low_N, MAX_RATE)
    growth: Float64Array = rate * np.log(rate / low_N) + (1 - rate) * np.log(
        (1 - rate) / (1 - low_N)
    )
    return growth

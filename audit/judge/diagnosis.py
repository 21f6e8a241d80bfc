"""Which cause accounts best for tokens that failed: likelihoods of outcomes, and their ranking.

Every candidate gives each call's outcome (match, near or far mismatch) a probability, given the gap
of its own replay. A replay under the true cause disagrees no more often than honest arithmetic
does, so the calibrated bounds serve as its law; `unseeded`, `burst` and `unknown` have laws of
their own. Fitted figures and choices are paid for, so that no candidate wins by freedom alone.

Legend: R calls, B gap bins, G noise levels, S stray shares, Q bins of equal occupation, O outcomes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.findings import Disposition, Explanation
from audit.judge.alternatives import STRAY_NEAR_SHARE
from audit.judge.bins import RateBounds, bin_of
from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, Calls
from audit.judge.noise import LEVELS_LOGITS_G

Float64Array = NDArray[np.float64]

UNKNOWN = "unknown"

#: Honest rates are kept within these: no bound is so sure that one token may settle the ranking.
MIN_RATE = 1e-4
MAX_RATE = 0.5

#: Share of tokens with no relation to the claim, that `unknown` chooses from.
STRAY_SHARES_S = (1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5)

#: Inside a burst, so many tokens are not the reference's.
BURST_MISMATCH_RATE = 0.7
#: A burst is a part of the answer; what concerns more than this is no burst.
MAX_BURST_SHARE = 0.8

#: How often a fitted figure's grid is narrowed.
NUM_REFINEMENTS = 3

#: Bins of the law of unrelated seeds, and what each outcome counts before any was seen.
NUM_UNSEEDED_BINS = 16
UNSEEDED_PRIOR_COUNT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One possible cause with its likelihood, all costs deducted."""

    name: str
    statement: str
    log_likelihood_nats: float
    is_refuted: bool = False
    """Whether what it leaves unexplained would be a FAIL by itself."""
    estimate: float | None = None
    first_token: int | None = None
    last_token: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """A run of output tokens, both ends included, and what it gains over the honest law."""

    first_token: int
    last_token: int
    gain_nats: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFit:
    """The likeliest Gaussian logit noise with a share of stray tokens."""

    log_likelihood_nats: float
    noise_logits: float
    stray_share: float


def honest_log_rates(calls: Calls, bounds: RateBounds) -> Float64Array:
    """Return the log-probability of each outcome under the honest law, in nats, shape [R].

    Calls that do not count have 0.
    """
    bin_R = bin_of(calls.gap_steps_R)
    total_R = np.clip(bounds.mismatch_B[bin_R], MIN_RATE, MAX_RATE)
    far_R = np.clip(bounds.far_B[bin_R], MIN_RATE / 2, total_R / 2)
    far_R = np.where(calls.gap_steps_R >= FAR_MARGIN_STEPS, total_R, far_R)
    return _log_rates(calls, total_R, far_R / total_R)


def honest_log_likelihood(calls: Calls, bounds: RateBounds) -> float:
    """Return the log-likelihood of an explanation's replay, in nats."""
    return float(honest_log_rates(calls, bounds).sum())


def fit_unknown(exchanges: Sequence[Calls]) -> NoiseFit:
    """Return what "something else" does at its best: noise of any level and strays of any share.

    Log-likelihood in nats, without costs.
    """
    sums_SG = np.zeros((len(STRAY_SHARES_S), len(LEVELS_LOGITS_G)))
    for calls in exchanges:
        counted = calls.counted()
        turned_GR = special.ndtr(-counted.gap_logits_R / LEVELS_LOGITS_G[:, None])
        for i, share in enumerate(STRAY_SHARES_S):
            rate_GR = share + (1.0 - share) * turned_GR
            far_R = np.where(counted.gap_steps_R >= FAR_MARGIN_STEPS, 1.0, 0.5)
            sums_SG[i] += _log_rates(counted, rate_GR, far_R).sum(axis=-1)
    s, g = divmod(int(np.argmax(sums_SG)), len(LEVELS_LOGITS_G))
    return NoiseFit(
        log_likelihood_nats=float(sums_SG[s, g]),
        noise_logits=float(LEVELS_LOGITS_G[g]),
        stray_share=STRAY_SHARES_S[s],
    )


def find_burst(calls: Calls, bounds: RateBounds) -> Burst | None:
    """Return the run of tokens that is likelier stray than honest, its place paid for.

    None where no run is worth its cost, or where it would be nearly the whole answer.
    """
    num_tokens = calls.num_tokens
    rate_R = np.full(num_tokens, BURST_MISMATCH_RATE)
    far_share_R = np.where(calls.gap_steps_R >= FAR_MARGIN_STEPS, 1.0, 1.0 - STRAY_NEAR_SHARE)
    gain_R = _log_rates(calls, rate_R, far_share_R) - honest_log_rates(calls, bounds)
    total = np.concatenate([[0.0], np.cumsum(gain_R)])
    lowest = np.minimum.accumulate(total)
    last = int(np.argmax(total - lowest)) - 1
    if last < 0:
        return None
    first = int(np.argmin(total[: last + 1]))
    gain = float(total[last + 1] - total[first]) - math.log(num_tokens * (num_tokens + 1) / 2)
    if gain <= 0.0 or last - first + 1 > MAX_BURST_SHARE * num_tokens:
        return None
    return Burst(first_token=first, last_token=last, gain_nats=gain)


def unseeded_log_likelihood(stated: Sequence[Calls], unrelated: Sequence[Calls]) -> float:
    """Return the log-likelihood of replays under the stated seed if it had no influence, in nats.

    `unrelated` are replays of the same tokens under seeds that nobody asked for: how their outcomes
    hang on the gap is the law. It is counted, not modelled, and needs no fitted figure.
    """
    gap_R = np.concatenate([calls.gap_logits_R for calls in unrelated])
    outcome_R = np.concatenate([calls.outcome_R for calls in unrelated])
    edges_Q = np.quantile(gap_R, np.arange(1, NUM_UNSEEDED_BINS) / NUM_UNSEEDED_BINS)
    count_QO = np.full((NUM_UNSEEDED_BINS, 3), UNSEEDED_PRIOR_COUNT)
    np.add.at(count_QO, (np.searchsorted(edges_Q, gap_R, side="right"), outcome_R), 1.0)
    log_rate_QO = np.log(count_QO / count_QO.sum(axis=1, keepdims=True))
    counted = [calls.counted() for calls in stated]
    return sum(
        float(
            log_rate_QO[np.searchsorted(edges_Q, c.gap_logits_R, side="right"), c.outcome_R].sum()
        )
        for c in counted
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well one rival's replays account for all exchanges."""

    log_likelihood_nats: float
    is_refuted: bool


def fit_figure(
    grid: Sequence[float], score: Callable[[Sequence[float]], Sequence[Score | None]]
) -> tuple[float, Score] | None:
    """Return the likeliest figure, refined around the best of an even grid; None without scores.

    Each refinement tries six neighbours at a quarter of the step before.
    """
    step = grid[1] - grid[0]
    figures = list(grid)
    found: dict[float, Score] = {}
    for _ in range(1 + NUM_REFINEMENTS):
        scores = zip(figures, score(figures), strict=True)
        found.update({figure: scored for figure, scored in scores if scored is not None})
        if not found:
            return None
        best = max(found, key=lambda figure: found[figure].log_likelihood_nats)
        step /= 4.0
        figures = [best + step * i for i in (-3, -2, -1, 1, 2, 3)]
    return best, found[best]


def parameter_cost(num_parameters: int, num_tokens: int) -> float:
    """Return what fitted figures cost, in nats: half the log of the number of tokens each."""
    return 0.5 * num_parameters * math.log(max(1, num_tokens))


def best_choice(choices: Sequence[Candidate]) -> Candidate:
    """Return the likeliest of several choices of one name; it pays the log of their number."""
    best = max(choices, key=lambda c: (not c.is_refuted, c.log_likelihood_nats, c.statement))
    return replace(best, log_likelihood_nats=best.log_likelihood_nats - math.log(len(choices)))


def rank(
    candidates: Sequence[Candidate],
    *,
    honest_nats: float,
    dispositions: Mapping[str, Disposition],
) -> tuple[Explanation, ...]:
    """Return the explanations, likeliest first, with equal shares before the tokens were seen.

    `honest_nats` is the log-likelihood of the claim itself: what does not beat it explains nothing
    and is left out. A refuted candidate stays behind `unknown`.
    Raises: ValueError unless every name is there once, `unknown` among them.
    """
    names = [candidate.name for candidate in candidates]
    if len(set(names)) != len(names) or UNKNOWN not in names:
        raise ValueError(f"candidates need distinct names and one called {UNKNOWN}, not {names}")
    unknown = candidates[names.index(UNKNOWN)]
    kept = [c for c in candidates if c is unknown or c.log_likelihood_nats > honest_nats]
    # half as likely as `unknown` at most: order and probabilities must tell the same story
    cap = unknown.log_likelihood_nats - math.log(2.0)
    weights = [
        min(c.log_likelihood_nats, cap) if c.is_refuted else c.log_likelihood_nats for c in kept
    ]
    total = float(special.logsumexp(sorted(weights)))
    ranked = sorted(zip(weights, kept, strict=True), key=_likeliest_first)
    return tuple(_explain(c, math.exp(weight - total), dispositions) for weight, c in ranked)


def _likeliest_first(weighted: tuple[float, Candidate]) -> tuple[float, bool, float, str]:
    weight, candidate = weighted
    # an even race goes to `unknown`; refuted ones at the cap keep their own order
    is_named = candidate.name != UNKNOWN
    return -weight, is_named, -candidate.log_likelihood_nats, candidate.name


def _explain(
    candidate: Candidate, probability: float, dispositions: Mapping[str, Disposition]
) -> Explanation:
    return Explanation(
        name=candidate.name,
        statement=candidate.statement,
        disposition=dispositions.get(candidate.name, Disposition.UNKNOWN),
        probability=min(1.0, probability),
        log_likelihood_nats=candidate.log_likelihood_nats,
        estimate=candidate.estimate,
        first_token=candidate.first_token,
        last_token=candidate.last_token,
    )


def _log_rates(calls: Calls, rate_XR: Float64Array, far_share_R: Float64Array) -> Float64Array:
    """Return the log-probability of each outcome, [..., R]; 0 for calls that do not count."""
    # a mismatch at a far gap is a far one, whatever float32 made of its margin
    is_far_R = (calls.outcome_R == FAR) | (calls.gap_steps_R >= FAR_MARGIN_STEPS)
    share_R = np.where(is_far_R, far_share_R, 1.0 - far_share_R)
    is_match_R = calls.outcome_R == MATCH
    log_XR = np.log(np.where(is_match_R, 1.0 - rate_XR, rate_XR * np.where(is_match_R, 1, share_R)))
    return np.where(calls.counts_R, log_XR, 0.0)

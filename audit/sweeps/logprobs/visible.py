"""What bets on distances and tells could have seen, and how many requests named attacks take.

Legend: C thresholds, L looks, M simulated runs, G shares on a grid.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from audit.judge.betting import log_e_of_counts
from audit.sweep_records import Visible
from audit.sweeps.logprobs.compare import Aligned, Scorer
from audit.sweeps.logprobs.law import DistanceLaw

Float64Array = NDArray[np.float64]

#: More requests than this for one look at one endpoint are not worth naming.
MAX_REQUESTS = 4096

_NUM_RUNS = 50
_LOOKS_L = np.unique(np.rint(np.geomspace(1, MAX_REQUESTS, 60)).astype(np.int64))
_SHARES_G = np.linspace(0.01, 1.0, 100)


def smallest_share(
    num_used: int, honest_tell_rate: float, *, num_bets: int, power: float, log_threshold: float
) -> float | None:
    """Return the least share of diverted requests, each a tell, that would have been found.

    `num_bets` is the number of bets that share the wealth. None where not even all would have been.
    """
    if num_used < 1:
        return None
    ones_G = stats.binom.ppf(1.0 - power, num_used, _SHARES_G)
    reached_G = log_e_of_counts(ones_G, num_used, honest_tell_rate) - np.log(num_bets)
    found_G = np.flatnonzero(reached_G >= log_threshold)
    return float(_SHARES_G[found_G[0]]) if len(found_G) else None


def requests_needed(
    distances: Sequence[float],
    law: DistanceLaw,
    random: np.random.Generator,
    *,
    power: float,
    log_threshold: float,
) -> int | None:
    """Return how many answers like these find the attack; None for more than `MAX_REQUESTS`."""
    values = np.asarray(distances, dtype=np.float64)
    if not len(values):
        return None
    drawn_MN = values[random.integers(0, len(values), size=(_NUM_RUNS, MAX_REQUESTS))]
    wealth_CML = []
    for threshold, rate in zip(law.thresholds_C, law.max_rates_C, strict=True):
        ones_ML = np.cumsum(drawn_MN > threshold, axis=1)[:, _LOOKS_L - 1]
        wealth_CML.append(log_e_of_counts(ones_ML, _LOOKS_L, float(rate)))
    mixed_ML = special.logsumexp(np.stack(wealth_CML), axis=0) - np.log(len(wealth_CML))
    found_ML = mixed_ML >= log_threshold
    first_M = np.where(found_ML.any(axis=1), _LOOKS_L[found_ML.argmax(axis=1)], MAX_REQUESTS + 1)
    needed = int(np.quantile(first_M, power, method="higher"))
    return None if needed > MAX_REQUESTS else needed


def describe(
    power: float, share: float | None, needed: Sequence[tuple[str, int | None]], num_used: int
) -> Visible:
    """Return what could have been seen, with the sentence that says so."""
    if share is None:
        seen = f"With {num_used} usable answers not even a full substitution would surely be seen."
    else:
        seen = (
            f"With {num_used} usable answers a share of {share:.0%} whose answers all look foreign "
            f"would have been found with probability {power:.0%}."
        )
    parts = [
        f"{name} takes about {count} answers"
        if count is not None
        else f"{name} takes more than {MAX_REQUESTS} answers"
        for name, count in needed
    ]
    return Visible(
        power=power,
        smallest_share=share,
        needed=tuple((name, count) for name, count in needed if count is not None),
        statement=" ".join([seen, *(["; ".join(parts) + "."] if parts else [])]),
    )


def draws_needed(
    drawn: Sequence[Aligned], candidate: Scorer, honest: Scorer, log_threshold: float
) -> int | None:
    """Return about how many requests show text of a candidate under the reference's law.

    From the mean divergence of the two laws, which is what a drawn answer's best bet gains.
    """
    gains = []
    for aligned in drawn:
        theirs, ours = candidate.laws(aligned), honest.laws(aligned)
        if theirs is None or ours is None:
            continue
        gains.append(sum(_divergence(q, p) for q, p in zip(theirs, ours, strict=True)))
    mean_gain = float(np.mean(gains)) if gains else 0.0
    if mean_gain <= 0.0:
        return None
    # the wealth is split over the alternatives, two shares and two kinds of answers; half of the
    # requests are drawn ones
    stake = np.log(4.0 * 32.0)
    count = int(np.ceil(2.0 * (log_threshold + stake) / mean_gain))
    return count if count <= MAX_REQUESTS else None


def _divergence(law_q: Mapping[int, float], law_p: Mapping[int, float]) -> float:
    common = sorted(set(law_q) & set(law_p))
    q = np.asarray([law_q[token] for token in common])
    p = np.asarray([law_p[token] for token in common])
    rest_q, rest_p = (max(1.0 - float(np.exp(side).sum()), 1e-6) for side in (q, p))
    total = float(np.sum(np.exp(q) * (q - p))) + rest_q * float(np.log(rest_q / rest_p))
    return max(total, 0.0)

"""A provider's evidence over all its exchanges: one e-process that any look may stop.

Two bets run side by side, each with half of the stake. The first carries the exchange's
alternatives on from one exchange to the next: best against a provider that always cheats. The
second stakes a share on each exchange by itself: best where only some exchanges are substituted,
since the honest ones in between then cost little. A question asked twice adds nothing.

Legend: K alternatives, G noise levels, S stakes.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audit.findings import Growth, NoiseEstimate
from audit.judge.alternatives import NUM_ALTERNATIVES, mix
from audit.judge.combine import average_log_e
from audit.judge.noise import LEVELS_LOGITS_G, estimate_noise
from audit.judge.substitution import Transitions

Float64Array = NDArray[np.float64]

#: Shares of an exchange's e-value that the second bet stakes, equally weighted.
STAKES_S: Float64Array = np.array([0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 0.95])

#: So many recent questions are remembered. Older ones may count again: a user's traffic repeats
#: itself soon or hardly ever.
MAX_RECENT = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """Everything that is kept of a provider's exchanges."""

    num_exchanges: int
    num_tokens: int
    num_repeated: int
    log_e_nats_K: Float64Array
    log_stakes_nats_S: Float64Array
    log_likelihood_G: Float64Array
    honest_noise_logits: float
    """Of the noisiest kind of exchange so far."""
    peak_log_e_nats: float
    failed_at_exchange: int | None
    num_tells: int
    runs: Transitions
    substituted_share_low: float
    recent: tuple[str, ...]

    @property
    def log_e_nats(self) -> float:
        """The evidence so far, both bets together."""
        carried = float(mix(self.log_e_nats_K[:, None])[0])
        staked = average_log_e(self.log_stakes_nats_S.tolist())
        return average_log_e([carried, staked])

    @property
    def noise(self) -> NoiseEstimate:
        """The effective logit noise of all exchanges together."""
        return estimate_noise(self.log_likelihood_G)


def empty_state() -> StreamState:
    """Return the state before the first exchange."""
    return StreamState(
        num_exchanges=0,
        num_tokens=0,
        num_repeated=0,
        log_e_nats_K=np.zeros(NUM_ALTERNATIVES),
        log_stakes_nats_S=np.zeros(len(STAKES_S)),
        log_likelihood_G=np.zeros(len(LEVELS_LOGITS_G)),
        honest_noise_logits=0.0,
        peak_log_e_nats=0.0,
        failed_at_exchange=None,
        num_tells=0,
        runs=Transitions(),
        substituted_share_low=0.0,
        recent=(),
    )


def add_exchange(state: StreamState, growth: Growth, threshold_nats: float) -> StreamState:
    """Return the state after one more exchange; a repeated question is counted, and no more."""
    if growth.exchange_digest in state.recent:
        return replace(state, num_repeated=state.num_repeated + 1)
    grown = replace(
        state,
        num_exchanges=state.num_exchanges + 1,
        num_tokens=state.num_tokens + growth.num_tokens,
        log_e_nats_K=state.log_e_nats_K + np.asarray(growth.log_e_nats_K),
        log_stakes_nats_S=state.log_stakes_nats_S
        + np.logaddexp(np.log1p(-STAKES_S), np.log(STAKES_S) + growth.log_e_nats),
        log_likelihood_G=state.log_likelihood_G + np.asarray(growth.log_likelihood_G),
        honest_noise_logits=max(state.honest_noise_logits, growth.honest_noise_logits),
        num_tells=state.num_tells + int(growth.is_tell),
        runs=state.runs.after(growth.is_tell),
        recent=(*state.recent, growth.exchange_digest)[-MAX_RECENT:],
    )
    log_e = grown.log_e_nats
    failed_at = grown.failed_at_exchange
    if failed_at is None and log_e >= threshold_nats:
        failed_at = grown.num_exchanges
    return replace(
        grown, peak_log_e_nats=max(grown.peak_log_e_nats, log_e), failed_at_exchange=failed_at
    )

"""Which share of a provider's exchanges a known sibling checkpoint answered.

Each exchange is replayed on the claimed checkpoint and on the sibling, and both are held to the
same honest law. The ratio of the two likelihoods bounds the share from both sides, at every look.
The honest law is an upper bound and the classes of tokens are the replay's own, so the ratio is a
close stand-in for the true one, and the interval as good as that.
"""

from dataclasses import dataclass

from audit.cases import Case
from audit.diagnose import Diagnoser
from audit.judge.calibration import stratum_key
from audit.judge.calls import read_calls
from audit.judge.diagnosis import honest_log_likelihood
from audit.judge.substitution import KnownSubstitute
from audit.rivals import replay_each


@dataclass(frozen=True, slots=True, kw_only=True)
class SiblingShare:
    """The share of exchanges that one sibling answered."""

    name: str
    low: float
    high: float
    confidence: float
    num_exchanges: int
    statement: str


class SiblingShares:
    """Adds exchanges, judged in any way, one by one."""

    def __init__(self, diagnoser: Diagnoser, *, alpha: float) -> None:
        self._diagnoser = diagnoser
        self._alpha = alpha
        self._states = {name: KnownSubstitute.fresh(alpha) for name in diagnoser.siblings}
        self._nums = dict.fromkeys(diagnoser.siblings, 0)

    def add(self, case: Case) -> None:
        """Count one exchange; a sibling that cannot take its tokens is left as it was.

        Raises: KeyError for a kind of exchange that was not calibrated.
        """
        if not self._states:
            return
        key = stratum_key(case.plan, case.evidence.profile_id, case.reference.info.precision)
        bounds = self._diagnoser.bounds[key]
        claimed = honest_log_likelihood(read_calls(case.evidence, case.sequence), bounds)
        for name, sibling in self._diagnoser.siblings.items():
            (evidence,) = replay_each(sibling, [case.sequence])
            if evidence is not None:
                theirs = honest_log_likelihood(read_calls(evidence, case.sequence), bounds)
                self._states[name] = self._states[name].after(theirs - claimed)
                self._nums[name] += 1

    def found(self) -> tuple[SiblingShare, ...]:
        """Return what is known of each sibling by now."""
        return tuple(self._share(name) for name in self._states)

    def _share(self, name: str) -> SiblingShare:
        state, num, confidence = self._states[name], self._nums[name], 1.0 - self._alpha
        return SiblingShare(
            name=name,
            low=state.lower,
            high=state.upper,
            confidence=confidence,
            num_exchanges=num,
            statement=f"sibling {name} answered between {state.lower:.1%} and {state.upper:.1%} of "
            f"{num} exchanges ({confidence:.2%} sure, if no third checkpoint answered)",
        )

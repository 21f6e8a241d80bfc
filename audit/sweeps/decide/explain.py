"""Which named candidate explains the answers best, and what could have been seen.

Explaining never accuses: it is asked once the evidence against an honest endpoint suffices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audit.sweep_records import Reading, ReadingStatus
from audit.sweeps.decide.combine import taking_part
from audit.sweeps.policy import SweepPolicy

HONEST = "honest"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one attack would have taken the detector that sees it best."""

    attack: str
    detector: str
    needed: int
    """Requests that finding it takes, had it answered every one."""
    used: int
    """Usable answers that the detector had."""

    @property
    def is_seen(self) -> bool:
        """Whether the run would have found it."""
        return self.used >= self.needed


def explanation_of(readings: Sequence[Reading], policy: SweepPolicy) -> str:
    """Return the candidate that is likelier than all others by the policy's margin, or `unknown`.

    Likelihoods add up over detectors, whose answers are disjoint, for the candidates that all of
    them scored; where there is none such, the reading with the most evidence speaks alone.
    """
    strongest_first = sorted(taking_part(readings, policy), key=_strength, reverse=True)
    all_scores = [{c.name: c.log_likelihood_nats for c in r.candidates} for r in strongest_first]
    scored = [scores for scores in all_scores if len(scores) > 1]
    if not scored:
        return UNKNOWN
    common = set.intersection(*(set(scores) for scores in scored))
    used = scored if len(common - {HONEST, UNKNOWN}) > 0 and len(common) > 1 else scored[:1]
    names = common if used is scored else set(scored[0])
    totals = sorted(((sum(scores[n] for scores in used), n) for n in names), reverse=True)
    (best, name), (second, _) = totals[0], totals[1]
    # honest here says only that none of the candidates fits better
    if name == HONEST or not best - second >= policy.min_margin_nats:
        return UNKNOWN
    return name


def sights_of(readings: Sequence[Reading], policy: SweepPolicy) -> Mapping[str, Sight]:
    """Return for each attack that was measured the detector that comes closest to seeing it."""
    sights: dict[str, Sight] = {}
    for reading in taking_part(readings, policy):
        if reading.visible is None or reading.status is not ReadingStatus.READ:
            continue
        for attack, needed in reading.visible.needed:
            sight = Sight(
                attack=attack, detector=reading.detector, needed=needed, used=reading.num_used
            )
            known = sights.get(attack)
            if known is None or sight.used * known.needed > known.used * sight.needed:
                sights[attack] = sight
    return dict(sorted(sights.items()))


def smallest_share(readings: Sequence[Reading], policy: SweepPolicy) -> float | None:
    """Return the smallest share of diverted requests that any detector could have seen."""
    shares = [
        reading.visible.smallest_share
        for reading in taking_part(readings, policy)
        if reading.visible is not None
        and reading.status is ReadingStatus.READ
        and reading.visible.smallest_share is not None
    ]
    return min(shares, default=None)


def _strength(reading: Reading) -> tuple[float, str]:
    return (reading.log_e_nats_N[-1] if reading.log_e_nats_N else 0.0, reading.detector)

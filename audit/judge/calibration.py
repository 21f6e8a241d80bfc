"""Calibrations: what honest traffic looks like for one checkpoint, as data with a digest.

A calibration holds one stratum for each kind of exchange (sampler profile, reference precision,
token ids given or inferred), and in it one table of counts for each honest variant: another batch
size, another precision, another attention kernel. An exchange is judged only by its own kind;
without one the verdict is INCONCLUSIVE(uncalibrated). The file keeps counts; how sure the bounds
drawn from them shall be is the policy's.
"""

from dataclasses import dataclass

from scipy import stats

from audit.errors import CannotJudge
from audit.judge.bins import BinCounts, RateBounds, bound_rates
from audit.records import Reason, ReplayPlan

FORMAT = "inference-audit/calibration/v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumKey:
    """The kinds of exchanges whose honest mismatches differ too much to be pooled."""

    profile_id: str
    precision: str
    ids_inferred: bool

    def __str__(self) -> str:
        """Return the kind in words."""
        ids = ", token ids inferred from text" if self.ids_inferred else ""
        return f"{self.profile_id}, {self.precision}{ids}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Honest traffic of one numeric variant, reduced to counts."""

    name: str
    source: str
    """`recorded` from a provider, or `generated` by the reference itself."""
    engines: tuple[str, ...]
    """Engine, version and device as the traffic states them."""
    num_exchanges: int
    num_tokens: int
    num_matches: int
    noise_logits: float
    """Its effective logit noise."""
    counts: BinCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """One variant audited by a calibration made of the others."""

    variant: str
    num_exchanges: int
    num_false_alarms: int
    false_alarm_rate: float
    """What the policy allows."""

    @property
    def is_alarming(self) -> bool:
        """Whether so many are too many for that rate, at 1 % significance."""
        tail = stats.binom.sf(self.num_false_alarms - 1, self.num_exchanges, self.false_alarm_rate)
        return bool(tail < 0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """The honest variants of one kind of exchange, and the sampling parameters they cover."""

    key: StratumKey
    has_sampled: bool
    has_top_k: bool
    has_top_p: bool
    variants: tuple[Variant, ...]
    holdouts: tuple[Holdout, ...]

    @property
    def noise_logits(self) -> float:
        """The effective logit noise of the noisiest honest variant."""
        return max(variant.noise_logits for variant in self.variants)

    def bounds(self, error: float) -> RateBounds:
        """Return bounds for the honest mismatch rates; `error` is the chance that any is broken."""
        return bound_rates(tuple(variant.counts for variant in self.variants), error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Honest traffic of one checkpoint; `calibration_id` is the digest of all the rest."""

    calibration_id: str
    created_at: str
    model_digest: str
    strata: tuple[Stratum, ...]

    def stratum_for(
        self, plan: ReplayPlan, profile_id: str, precision: str, digest: str, min_variants: int
    ) -> Stratum:
        """Return the stratum that covers an exchange.

        Raises: CannotJudge where there is none, where its parameters lie outside what was
        calibrated, or where too few honest variants stand behind it.
        """
        if self.model_digest != digest:
            raise CannotJudge(
                Reason.UNCALIBRATED,
                f"the calibration is for model {self.model_digest}, the reference is {digest}; "
                "calibrate this model",
            )
        key = stratum_key(plan, profile_id, precision)
        stratum = next((s for s in self.strata if s.key == key), None)
        if stratum is None:
            known = "; ".join(str(s.key) for s in self.strata) or "none"
            raise CannotJudge(
                Reason.UNCALIBRATED,
                f"no honest traffic of this kind was calibrated: {key}. Calibrated are: {known}",
            )
        _check_cover(stratum, plan)
        _check_breadth(stratum, min_variants)
        return stratum


def stratum_key(plan: ReplayPlan, profile_id: str, precision: str) -> StratumKey:
    """Return the kind of an exchange."""
    return StratumKey(profile_id=profile_id, precision=precision, ids_inferred=plan.ids_inferred)


def _check_cover(stratum: Stratum, plan: ReplayPlan) -> None:
    sampling = plan.sequence.sampling
    if sampling.is_greedy:
        return
    outside = []
    if not stratum.has_sampled:
        outside.append("temperature above 0")
    if sampling.top_k > 0 and not stratum.has_top_k:
        outside.append("top_k")
    if sampling.top_p < 1.0 and not stratum.has_top_p:
        outside.append("top_p")
    if outside:
        raise CannotJudge(
            Reason.OUTSIDE_CALIBRATION,
            f"the calibration holds no honest traffic with {' and '.join(outside)}; add some to it",
        )


def _check_breadth(stratum: Stratum, min_variants: int) -> None:
    if len(stratum.variants) < min_variants:
        raise CannotJudge(
            Reason.CALIBRATION_TOO_NARROW,
            f"{len(stratum.variants)} honest variant stands behind {stratum.key}, the policy asks "
            f"for {min_variants}: one alone cannot tell a cheat from another honest set-up. Add "
            "traffic of another batch size, precision or machine, or `calibrate --generate`",
        )
    alarming = [h.variant for h in stratum.holdouts if h.is_alarming]
    if alarming:
        raise CannotJudge(
            Reason.CALIBRATION_TOO_NARROW,
            f"the honest variants of {stratum.key} contradict each other: {', '.join(alarming)} "
            "would be failed by a calibration made of the others. Add more variants, or more "
            "traffic of each",
        )

"""Tier 3b: the exact recount of hidden tokens, for open weights and a known seed.

With prompt, seed and sampler known, the reference draws the hidden part again, and what stands
before the visible answer is counted. The bill is then right or wrong on this one request. Who
makes the bill controls none of it: the seed is the client's, the weights are public.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from audit.billing_records import (
    Adversary,
    BilledRequest,
    Controller,
    Reading,
    Refusal,
    Tier,
    Unchecked,
    Violation,
)
from audit.errors import ConfigurationError, InvalidRequest
from audit.hidden_tokens.conformal import cell_key
from audit.hidden_tokens.recount_records import HiddenExchange, Recount, RecountMethod
from audit.judge.intervals import upper_limit
from audit.records import ReplayPlan

#: Whom a count stops. An origin could draw the answer with noise from further on than its own
#: hidden part reaches, so a place in the noise alone does not bind it.
_STOPS = {
    RecountMethod.REGENERATED: Adversary.MALICIOUS_ORIGIN,
    RecountMethod.BRANCHED: Adversary.MALICIOUS_ORIGIN,
    RecountMethod.DISCLOSED: Adversary.MALICIOUS_ORIGIN,
    RecountMethod.ALIGNED: Adversary.INFLATING_RESELLER,
}

Count = Callable[[HiddenExchange], Recount | Unchecked]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecountRecord:
    """How recounts did on honest exchanges whose hidden part was known."""

    num_wrong: int
    """Those whose count or interval missed the true number."""
    num_exchanges: int
    delta: float = 0.001
    """Probability that the error rate is higher than said."""

    def __post_init__(self) -> None:
        if not (0 <= self.num_wrong <= self.num_exchanges and self.num_exchanges >= 1):
            raise ConfigurationError("a record of recounts needs exchanges, and no more wrong ones")
        if not 0.0 < self.delta < 1.0:
            raise ConfigurationError("delta of a record of recounts must lie between 0 and 1")

    @property
    def error_rate(self) -> float:
        """Upper limit of the rate of wrong counts; exceeded with probability `delta`."""
        return float(upper_limit(self.num_wrong, self.num_exchanges, self.delta))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecountCheck:
    """What a recount says about one bill."""

    reading: Reading | None
    violation: Violation | None
    unchecked: Unchecked | None
    recount: Recount | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecountChannel:
    """Recounts those requests whose exchange is known in full.

    `count` is `recount_search.find_count` with runner, reference and rules filled in. P-values are
    the error rate of `record` where the bill is outside the count, and 1 where it is not.
    """

    exchanges: Mapping[str, HiddenExchange]
    """By request_id."""
    count: Count
    record: RecountRecord
    calibration_id: str = ""

    def check(self, request: BilledRequest, domain: str) -> RecountCheck:
        """Return the reading, and a violation where the reference itself drew every token.

        Raises: InvalidRequest where the exchange states another bill than the request.
        """
        billed = request.usage.reasoning_tokens
        exchange = self.exchanges.get(request.request_id)
        if billed is None:
            return _refused(Refusal.NO_COUNT, "no reasoning count was billed")
        if exchange is None:
            return _refused(
                Refusal.NO_EVIDENCE, "seed, sampler and token ids of this request are not recorded"
            )
        if exchange.billed_tokens != billed:
            raise InvalidRequest.of(
                "usage.reasoning_tokens",
                f"is {billed}, but the recorded exchange says {exchange.billed_tokens}",
            )
        recount = self.count(exchange)
        if isinstance(recount, Unchecked):
            return RecountCheck(reading=None, violation=None, unchecked=recount, recount=None)
        return RecountCheck(
            reading=self._reading(request, domain, billed, recount),
            violation=violation_of(billed, recount),
            unchecked=None,
            recount=recount,
        )

    def read(self, request: BilledRequest, domain: str) -> Reading | Unchecked:
        """Return the reading alone. Raises: InvalidRequest as `check` does."""
        checked = self.check(request, domain)
        if checked.reading is not None:
            return checked.reading
        return checked.unchecked or _unchecked(Refusal.NO_EVIDENCE, "nothing was recounted")

    def _reading(
        self, request: BilledRequest, domain: str, billed: int, recount: Recount
    ) -> Reading:
        error_rate = min(1.0, self.record.error_rate + (1.0 - recount.confidence))
        return Reading(
            tier=Tier.RECOUNT,
            channel=f"recount:{recount.method}",
            p_over=error_rate if billed > recount.high_tokens else 1.0,
            p_under=error_rate if billed < recount.low_tokens else 1.0,
            dkw_epsilon=0.0,
            expected_tokens=(recount.low_tokens + recount.high_tokens) / 2.0,
            low_tokens=float(recount.low_tokens),
            high_tokens=float(recount.high_tokens),
            interval_confidence=1.0 - error_rate,
            cell=cell_key(request.model, domain, request.effort or ""),
            num_calibration=self.record.num_exchanges,
            calibration_id=self.calibration_id,
            controller=Controller.AUDITOR,
            stops=_STOPS[recount.method],
        )


def violation_of(billed: int, recount: Recount) -> Violation | None:
    """Return what cannot be about a bill; None where it fits, or the count is not deterministic.

    Counts that rounding may have changed, or that rest on the noise alone, are readings only.
    """
    if not (recount.is_exact or recount.method is RecountMethod.DISCLOSED):
        return None
    low, high = recount.low_tokens, recount.high_tokens
    if low <= billed <= high:
        return None
    allowed = str(high) if low == high else f"{low} to {high}"
    found = "draws" if recount.is_exact else "would have drawn"
    return Violation(
        identity="recount",
        statement=f"{billed} hidden tokens were billed; the reference {found} {allowed} before "
        "the visible answer",
        excess_tokens=billed - (high if billed > high else low),
        tier=Tier.RECOUNT,
    )


def hidden_exchange(
    plan: ReplayPlan,
    billed_tokens: int,
    *,
    end_mark_ids: tuple[int, ...] = (),
    unbilled_ids: tuple[int, ...] = (),
    stops_at: tuple[int, ...] = (),
    max_output_tokens: int | None = None,
    was_cut_off: bool = False,
) -> HiddenExchange:
    """Return the exchange of a replay plan whose output is the visible answer alone.

    Raises: InvalidRequest where several samplers are possible, or token ids or parameters are not
    certain: an exact count cannot rest on a guess.
    """
    if len(plan.sequence.profile_ids) != 1:
        raise InvalidRequest.of("claim.sampler_profile", "must name one sampler for a recount")
    if plan.ids_inferred:
        raise InvalidRequest.of(
            "output.token_ids", "are needed for a recount: other tokens may spell the same text"
        )
    if plan.assumed_parameters:
        raise InvalidRequest.of(
            "sampling", f"must state {', '.join(plan.assumed_parameters)} for a recount"
        )
    return HiddenExchange(
        prompt_token_ids=plan.sequence.prompt_token_ids,
        visible_token_ids=plan.sequence.output_token_ids,
        sampling=plan.sequence.sampling,
        profile_id=plan.sequence.profile_ids[0],
        billed_tokens=billed_tokens,
        end_mark_ids=end_mark_ids,
        unbilled_ids=unbilled_ids,
        stops_at=stops_at,
        max_output_tokens=max_output_tokens,
        was_cut_off=was_cut_off,
    )


def _refused(reason: Refusal, detail: str) -> RecountCheck:
    unchecked = _unchecked(reason, detail)
    return RecountCheck(reading=None, violation=None, unchecked=unchecked, recount=None)


def _unchecked(reason: Refusal, detail: str) -> Unchecked:
    return Unchecked(tier=Tier.RECOUNT, reason=reason, detail=detail)

"""What is found about an account, from its state; this is what is signed.

DISAGREES      a bill that cannot be, or bets at their threshold; it stays
AGREES         not found to disagree, and the ratio's upper bound lies below a stated inflation,
on evidence that the accused can neither forge nor bend
INCONCLUSIVE   everything else, in particular too few requests
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

from audit.billing_records import (
    AccountKey,
    BillingFinding,
    MeterOutcome,
    Money,
    Tier,
)
from audit.hidden_tokens.account.agreement import agreement_of
from audit.hidden_tokens.account.rules import BillingRules
from audit.hidden_tokens.account.state import AccountState, Alarm, ChannelState
from audit.hidden_tokens.account.state_file import finding_id_of
from audit.hidden_tokens.account.weigh import (
    VIOLATION_BASIS,
    Basis,
    Ratio,
    headline,
    log_e,
    margin_of,
    ratio_of,
    standing_of,
)

#: Money is rounded outward to this.
_PLACES = Decimal("0.000001")


class _Excess(NamedTuple):
    """Tokens, and money, billed beyond what is expected."""

    tokens_low: float | None = None
    tokens_high: float | None = None
    money_low: Money | None = None
    money_high: Money | None = None


def finding_of(state: AccountState, key: AccountKey, rules: BillingRules) -> BillingFinding:
    """Return what is found. The bounds hold at every look, each by itself (`account.ratio`)."""
    best = headline(state, rules)
    ratio = ratio_of(best, rules) if best else Ratio(None, None)
    outcome = _outcome(state, ratio, rules)
    standings = tuple(standing_of(channel, rules) for channel in state.channels)
    log10_threshold = rules.log_threshold_nats / math.log(10.0)
    direction = state.alarm.direction if state.alarm else None
    tier = _tier(state, outcome, best)
    excess = _excess(state, best, ratio, rules)
    basis = _basis(state, tier)
    return BillingFinding(
        finding_id=finding_id_of(key),
        outcome=outcome,
        statement=_statement(state, outcome, ratio, best, rules),
        direction=direction,
        tier=tier,
        controller=basis.controller,
        stops=basis.stops,
        num_requests=state.num_requests,
        num_violations=state.num_violations,
        violations=state.violations,
        log10_e_over=log_e(state, rules, "over") / math.log(10.0),
        log10_e_under=log_e(state, rules, "under") / math.log(10.0),
        log10_threshold=log10_threshold,
        disagreed_at_request=state.alarm.request if state.alarm else None,
        billed_tokens=state.billed_tokens,
        expected_tokens=best.ratio.expected_tokens if best else None,
        overcharge_tokens_low=excess.tokens_low,
        overcharge_tokens_high=excess.tokens_high,
        overcharge_money_low=excess.money_low,
        overcharge_money_high=excess.money_high,
        channels=standings,
        agreement=agreement_of(standings, direction, log10_threshold, rules.excluded_inflation),
        change_at_request=state.alarm.change_at if state.alarm else None,
        not_checked=_not_checked(state),
        calibration_id=key.calibration_id,
    )


def _outcome(state: AccountState, ratio: Ratio, rules: BillingRules) -> MeterOutcome:
    if state.alarm:
        return MeterOutcome.DISAGREES
    if ratio.high is not None and ratio.high < rules.excluded_inflation:
        return MeterOutcome.AGREES
    return MeterOutcome.INCONCLUSIVE


def _tier(state: AccountState, outcome: MeterOutcome, best: ChannelState | None) -> Tier | None:
    if state.alarm:
        return state.alarm.tier
    return best.tier if best and outcome is MeterOutcome.AGREES else None


def _basis(state: AccountState, tier: Tier | None) -> Basis:
    for channel in state.channels:
        if channel.tier is tier:
            return Basis(channel.controller, channel.stops)
    return VIOLATION_BASIS[tier] if tier else Basis(None, None)


def _excess(
    state: AccountState, best: ChannelState | None, ratio: Ratio, rules: BillingRules
) -> _Excess:
    # the margin once more: it was in the ratio's bounds, and what is expected may be off by it too
    if best is None:
        return _Excess()
    expected, margin = best.ratio.expected_tokens, margin_of(best, rules)
    low = None if ratio.low is None else (ratio.low - 1.0) * (1.0 + margin) * expected
    high = None if ratio.high is None else (ratio.high - 1.0) * (1.0 - margin) * expected
    return _Excess(
        tokens_low=low,
        tokens_high=high,
        money_low=_money(state, low, ROUND_FLOOR),
        money_high=_money(state, high, ROUND_CEILING),
    )


def _money(state: AccountState, tokens: float | None, rounding: str) -> Money | None:
    if tokens is None or state.currency is None or state.num_unpriced or not state.billed_tokens:
        return None
    per_token = Decimal(state.cost) / state.billed_tokens
    amount = (Decimal(tokens) * per_token).quantize(_PLACES, rounding=rounding)
    return Money(amount=format(amount, "f"), currency=state.currency)


def _statement(
    state: AccountState,
    outcome: MeterOutcome,
    ratio: Ratio,
    best: ChannelState | None,
    rules: BillingRules,
) -> str:
    if state.alarm:
        return _disagreement(state, state.alarm, ratio, best)
    if outcome is MeterOutcome.AGREES:
        return (
            f"The meter was not found to disagree with the reference over {_requests(state)}; an "
            f"inflation of {rules.excluded_inflation:g} times would have shown: {_bounds(ratio)} "
            f"({best.tier if best else ''})."
        )
    if best is None:
        return (
            f"Nothing can be said of the meter after {_requests(state)}: no evidence that the "
            f"accused ({rules.accused}) can neither forge nor bend gives an expected count."
        )
    return (
        f"The meter was not found to disagree with the reference over {_requests(state)}, and not "
        f"shown to agree: {_bounds(ratio)} ({best.tier})."
    )


def _disagreement(
    state: AccountState, alarm: Alarm, ratio: Ratio, best: ChannelState | None
) -> str:
    way = {"over": "too high", "under": "too low", None: "not possible"}[alarm.direction]
    after = f"The meter disagrees with the reference: the bill is {way}"
    if alarm.is_violation:
        first = f"{after}, from request {alarm.request} on, by what cannot be ({alarm.tier})."
    else:
        first = f"{after}, found at request {alarm.request} by {alarm.tier}."
    if best is None:
        return first
    return f"{first} Over {_requests(state)}, {_bounds(ratio)} ({best.tier})."


def _bounds(ratio: Ratio) -> str:
    if ratio == (None, None):
        return "nothing is ruled out yet about the ratio of billed to expected tokens"
    low = "0" if ratio.low is None else f"{ratio.low:.3f}"
    high = "any size" if ratio.high is None else f"{ratio.high:.3f}"
    return f"billed tokens are {low} to {high} times the expected ones"


def _requests(state: AccountState) -> str:
    return "1 request" if state.num_requests == 1 else f"{state.num_requests} requests"


def _not_checked(state: AccountState) -> tuple[str, ...]:
    lines = [
        f"{tier}: {reason} in {count} of {state.num_requests} requests"
        for tier, reason, count in state.unchecked
    ]
    lines += [
        f"{channel.tier}: {channel.num_other_law} readings by further laws than "
        f"{', '.join(law.channel for law in channel.laws)} were not added up"
        for channel in state.channels
        if channel.num_other_law
    ]
    if state.num_unpriced:
        lines.append(f"money: no price in one currency for {state.num_unpriced} requests")
    return tuple(lines)

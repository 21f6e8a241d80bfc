"""Add checked requests to an account's evidence: `previous + checks -> next`, pure.

    1. each request must be one of the account: nothing else is added up, nothing is left out
    2. its p-values move the bets on single channels and the bet on all of them together
    3. its counts move each channel's ratio
    4. after it: does the meter disagree? Violations say so at once, bets at their threshold

Both stay: what was found once is not unlearned. Requests one by one or together: the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from audit.billing_records import (
    AccountKey,
    BilledRequest,
    Money,
    Reading,
    RequestCheck,
    StoredAccount,
    Tier,
)
from audit.errors import InvalidRequest, OtherRules
from audit.hidden_tokens.account import bets
from audit.hidden_tokens.account.bets import Float64Array
from audit.hidden_tokens.account.finding import finding_of
from audit.hidden_tokens.account.require import require_own, require_possible
from audit.hidden_tokens.account.rules import (
    BETTING_TIERS,
    MAX_LAWS,
    BillingRules,
)
from audit.hidden_tokens.account.state import (
    MAX_VIOLATIONS,
    AccountState,
    Alarm,
    ChannelState,
    Law,
)
from audit.hidden_tokens.account.state_file import finding_id_of, state_from_json, state_to_json
from audit.hidden_tokens.account.weigh import log_e, strongest
from audit.hidden_tokens.laws import counted_of
from audit.hidden_tokens.money import cost_of, parse_amount, parse_currency, sum_money


def fold(
    previous: StoredAccount | None,
    key: AccountKey,
    checks: Sequence[RequestCheck],
    rules: BillingRules,
    price: Money | None = None,
) -> StoredAccount:
    """Return an account's evidence after more requests; its version counts requests.

    `price` is for a million output tokens at the time of these requests. Raises: InvalidRequest for
    no requests, one of another account, or a reading that cannot be; OtherRules where the
    evidence was gathered under other rules; CorruptState where the stored state is unreadable.
    """
    finding_id = finding_id_of(key)
    state = AccountState(rules_id=rules.rules_id)
    if previous is not None:
        if previous.key != key:
            raise InvalidRequest.of("key", "the stored evidence is another account's")
        state = state_from_json(previous.state_json, finding_id=finding_id)
    if state.rules_id != rules.rules_id:
        raise OtherRules(
            f"the evidence of the account {finding_id} was gathered under the rules "
            f"{state.rules_id}, not {rules.rules_id}: go on with those, or begin another account"
        )
    if not checks:
        raise InvalidRequest.of("checks", "name one request at least")
    if len({check.request.request_id for check in checks}) < len(checks):
        raise InvalidRequest.of("checks", "a request_id stands twice: each request counts once")
    for check in checks:
        require_own(check, key)
        state = _after(state, check, rules, price)
    return StoredAccount(
        key=key,
        version=state.num_requests,
        state_json=state_to_json(state),
        finding=finding_of(state, key, rules),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A reading that is added up, with the state of its channel before it."""

    reading: Reading
    channel: ChannelState


def _after(
    state: AccountState, check: RequestCheck, rules: BillingRules, price: Money | None
) -> AccountState:
    number = state.num_requests + 1
    channels = {channel.tier: channel for channel in state.channels}
    reads = _reads(channels, check)
    over: dict[Tier, float] = {}
    under: dict[Tier, float] = {}
    for tier, read in reads.items():
        if rules.weight_of(tier) > 0.0:
            mean = _null_mean(read.reading, rules)
            over[tier] = bets.payoff(read.reading.p_over, mean)
            under[tier] = bets.payoff(read.reading.p_under, mean)
        channels[tier] = _moved(read, over, under, counted_of(check.request)[1])
    moved = replace(
        _paid(_counted(state, check), check.request, price),
        num_requests=number,
        channels=tuple(channels[tier] for tier in BETTING_TIERS if tier in channels),
    )
    if over:
        weights = [rules.weight_of(tier) for tier in over]
        on_over, on_under = list(over.values()), list(under.values())
        moved = replace(
            moved,
            together_over_B=_added(state.together_over_B, bets.growth_B(on_over, weights)),
            together_under_B=_added(state.together_under_B, bets.growth_B(on_under, weights)),
            rise_over=state.rise_over.after(bets.change_growth(on_over, weights), number),
            rise_under=state.rise_under.after(bets.change_growth(on_under, weights), number),
        )
    return moved if moved.alarm else replace(moved, alarm=_alarm(moved, check, rules))


def _reads(channels: dict[Tier, ChannelState], check: RequestCheck) -> dict[Tier, _Read]:
    reads: dict[Tier, _Read] = {}
    for reading in check.readings:
        require_possible(reading)
        channel = _with_law(channels.get(reading.tier), reading)
        if reading.tier in reads or _law(reading) not in channel.laws:
            # a further law has a calibration error of its own, which nothing was set aside for
            channels[reading.tier] = replace(channel, num_other_law=channel.num_other_law + 1)
            continue
        channels[reading.tier] = channel
        reads[reading.tier] = _Read(reading=reading, channel=channel)
    return {
        tier: _Read(reading=read.reading, channel=channels[tier]) for tier, read in reads.items()
    }


def _with_law(channel: ChannelState | None, reading: Reading) -> ChannelState:
    law = _law(reading)
    if channel is None:
        return ChannelState(
            tier=reading.tier,
            laws=(law,),
            controller=reading.controller,
            stops=reading.stops,
            is_exact=reading.dkw_epsilon == 0.0,
        )
    if law in channel.laws or len(channel.laws) >= MAX_LAWS:
        return channel
    return replace(channel, laws=(*channel.laws, law))


def _law(reading: Reading) -> Law:
    return Law(channel=reading.channel, cell=reading.cell, calibration_id=reading.calibration_id)


def _moved(
    read: _Read, over: dict[Tier, float], under: dict[Tier, float], billed_tokens: int
) -> ChannelState:
    channel, expected = read.channel, read.reading.expected_tokens
    moved = replace(channel, num_requests=channel.num_requests + 1)
    if channel.tier in over:
        moved = replace(
            moved,
            over_B=_added(channel.over_B, bets.growth_B([over[channel.tier]], [1.0])),
            under_B=_added(channel.under_B, bets.growth_B([under[channel.tier]], [1.0])),
        )
    if expected is None:
        return moved
    return replace(moved, ratio=channel.ratio.after(billed_tokens, expected))


def _counted(state: AccountState, check: RequestCheck) -> AccountState:
    counts = {(tier, reason): num for tier, reason, num in state.unchecked}
    # requests are counted: one may lack the evidence for several identities of a tier
    for place in {(item.tier, item.reason) for item in check.unchecked}:
        counts[place] = counts.get(place, 0) + 1
    return replace(
        state,
        billed_tokens=state.billed_tokens + counted_of(check.request)[1],
        num_violations=state.num_violations + len(check.violations),
        violations=(*state.violations, *check.violations)[-MAX_VIOLATIONS:],
        unchecked=tuple((tier, reason, counts[tier, reason]) for tier, reason in sorted(counts)),
    )


def _paid(state: AccountState, request: BilledRequest, price: Money | None) -> AccountState:
    if price is None:
        return replace(state, num_unpriced=state.num_unpriced + 1)
    per_million = parse_amount(price.amount, "price.amount")
    currency = parse_currency(price.currency, "price.currency")
    if per_million < 0:
        raise InvalidRequest.of("price.amount", "must not be negative")
    if state.currency not in (None, currency):
        return replace(state, num_unpriced=state.num_unpriced + 1)
    cost = cost_of(counted_of(request)[1], per_million, currency)
    total = sum_money((Money(amount=state.cost, currency=currency), cost), currency)
    return replace(state, cost=total.amount, currency=currency)


def _alarm(state: AccountState, check: RequestCheck, rules: BillingRules) -> Alarm | None:
    number = state.num_requests
    if check.violations:
        first = check.violations[0]
        excess = first.excess_tokens
        direction = None if not excess else "over" if excess > 0 else "under"
        return Alarm(
            request=number,
            direction=direction,
            tier=first.tier,
            change_at=number,
            is_violation=True,
        )
    for direction, rise in (("over", state.rise_over), ("under", state.rise_under)):
        if log_e(state, rules, direction) >= rules.log_threshold_nats:
            tier = strongest(state, rules, direction).tier
            change_at = rise.since_request or number
            return Alarm(request=number, direction=direction, tier=tier, change_at=change_at)
    return None


def _null_mean(reading: Reading, rules: BillingRules) -> float:
    return bets.null_mean(reading.dkw_epsilon, reading.num_calibration, rules.calibration_delta)


def _added(wealth_B: tuple[float, ...], growth_B: Float64Array) -> tuple[float, ...]:
    return tuple(float(x) for x in np.asarray(wealth_B) + growth_B)

"""What an account's state amounts to: e-values of all evidence, and each channel's standing."""

import math
from typing import NamedTuple

from audit.billing_records import Adversary, ChannelStanding, Controller, Tier
from audit.hidden_tokens.account import bets
from audit.hidden_tokens.account.rules import LOOSE_TIERS, BillingRules
from audit.hidden_tokens.account.state import AccountState, ChannelState


class Ratio(NamedTuple):
    """Bounds for billed over expected tokens; None where nothing is ruled out."""

    low: float | None
    high: float | None


class Basis(NamedTuple):
    """Who could forge what a finding rests on, and whom it stops."""

    controller: Controller | None
    stops: Adversary | None


#: What a violation rests on, where its tier has given no reading.
VIOLATION_BASIS = {
    Tier.ACCOUNTING: Basis(Controller.BILLING_PARTY, Adversary.CARELESS_GATEWAY),
    Tier.TIMING: Basis(Controller.CLIENT, Adversary.INFLATING_RESELLER),
    Tier.OPAQUE: Basis(Controller.ORIGIN_PROVIDER, Adversary.INFLATING_RESELLER),
    Tier.REFERENCE_SAMPLING: Basis(Controller.AUDITOR, Adversary.MALICIOUS_ORIGIN),
    Tier.RECOUNT: Basis(Controller.AUDITOR, Adversary.MALICIOUS_ORIGIN),
    Tier.ESTIMATOR: Basis(Controller.AUDITOR, Adversary.MALICIOUS_ORIGIN),
    Tier.PALACE: Basis(Controller.AUDITOR, Adversary.MALICIOUS_ORIGIN),
    Tier.PROBE: Basis(Controller.AUDITOR, Adversary.MALICIOUS_ORIGIN),
    Tier.COMMITMENT: Basis(Controller.ORIGIN_PROVIDER, Adversary.MALICIOUS_ORIGIN),
}


def log_e(state: AccountState, rules: BillingRules, direction: str) -> float:
    """Return the log e-value, natural, of all evidence in one direction, `over` or `under`."""
    together_B = state.together_over_B if direction == "over" else state.together_under_B
    channels = [
        (rules.weight_of(channel.tier), bets.log_wealth(channel.wealth_B(direction)))
        for channel in state.channels
    ]
    return bets.log_e(together_B, channels, rules.together)


def strongest(state: AccountState, rules: BillingRules, direction: str) -> ChannelState:
    """Return the channel that says most in a direction; one the accused controls only without any.

    Raises ValueError for a state without channels.
    """
    return max(
        state.channels,
        key=lambda channel: (
            not rules.is_controlled(channel.controller),
            bets.log_wealth(channel.wealth_B(direction)),
        ),
    )


def ratio_of(channel: ChannelState, rules: BillingRules) -> Ratio:
    """Return a channel's bounds, each wrong with probability `ratio_alpha` / 2 at most.

    Loose tiers have no upper one (`rules.LOOSE_TIERS`).
    """
    ratio = Ratio(*channel.ratio.bounds(rules.ratio_alpha, margin_of(channel, rules)))
    return ratio._replace(high=None) if channel.tier in LOOSE_TIERS else ratio


def margin_of(channel: ChannelState, rules: BillingRules) -> float:
    """Return how far the totals that a channel expects may be off, relatively."""
    return 0.0 if channel.is_exact else rules.reference_error


def headline(state: AccountState, rules: BillingRules) -> ChannelState | None:
    """Return the channel whose ratio speaks for the account: the best that may acquit.

    The order is fixed beforehand, so that no choice by outcome spoils its bounds.
    """
    able = [
        channel
        for channel in state.channels
        if channel.ratio.num > 0 and rules.may_acquit(channel.controller, channel.stops)
    ]
    return able[0] if able else None


def standing_of(channel: ChannelState, rules: BillingRules) -> ChannelStanding:
    """Return how one channel stands."""
    low, high = ratio_of(channel, rules)
    return ChannelStanding(
        tier=channel.tier,
        controller=channel.controller,
        stops=channel.stops,
        num_requests=channel.num_requests,
        log10_e_over=bets.log_wealth(channel.over_B) / math.log(10.0),
        log10_e_under=bets.log_wealth(channel.under_B) / math.log(10.0),
        ratio_low=low,
        ratio_high=high,
    )

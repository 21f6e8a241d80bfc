"""Folding requests: what adds up, what stays, what is refused, and how soon a meter is found."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from audit.billing_records import (
    Controller,
    MeterOutcome,
    Money,
    Refusal,
    RequestCheck,
    StoredAccount,
    Tier,
    Unchecked,
    Violation,
)
from audit.hidden_tokens.account.fold import fold
from audit.hidden_tokens.account.rules import LOOSE_TIERS, load_billing_rules
from audit.hidden_tokens.account.state_file import finding_id_of
from tests.unit.hidden_tokens.account.checks import KEY, check, reading, sampled_checks

RULES = load_billing_rules()


def folded(checks: Sequence[RequestCheck], price: Money | None = None) -> StoredAccount:
    """Return the evidence after requests in one fold."""
    return fold(None, KEY, checks, RULES, price)


def test_version_counts_requests() -> None:
    first = folded(sampled_checks(3, 1.0, 0))
    second = fold(first, KEY, sampled_checks(2, 1.0, 1, begin=3), RULES)
    assert (first.version, second.version, second.finding.num_requests) == (3, 5, 5)


def test_one_by_one_is_the_same_as_together() -> None:
    checks = sampled_checks(40, 1.5, 3)
    account: StoredAccount | None = None
    for one in checks:
        account = fold(account, KEY, [one], RULES)
    assert account == folded(checks)


def test_finding_id_is_the_digest_of_the_canonical_key() -> None:
    canonical = (
        '{"account":"account","calibration":"sha256:calibration","domain":"planning","effort":"",'
        '"model":"model","provider":"provider","tenant":"tenant"}'
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    assert finding_id_of(KEY) == folded([check(0)]).finding.finding_id == f"sha256:{digest}"


def test_honest_meters_are_never_found_in_sixty_streams() -> None:
    outcomes = [folded(sampled_checks(120, 1.0, seed)).finding.outcome for seed in range(60)]
    assert MeterOutcome.DISAGREES not in outcomes


def test_inflation_by_half_is_found_soon_with_its_ratio_and_money() -> None:
    finding = folded(sampled_checks(120, 1.5, 5), Money(amount="60.00", currency="USD")).finding
    assert finding.outcome is MeterOutcome.DISAGREES
    assert (finding.direction, finding.tier) == ("over", Tier.REFERENCE_SAMPLING)
    assert finding.disagreed_at_request is not None and finding.disagreed_at_request < 60
    (channel,) = finding.channels
    assert channel.ratio_low is not None and 1.0 < channel.ratio_low < 1.5
    low, high = finding.overcharge_money_low, finding.overcharge_money_high
    assert low is not None and float(low.amount) > 0.0 and low.currency == "USD"
    assert high is not None and float(high.amount) > float(low.amount)
    assert "disagrees with the reference: the bill is too high" in finding.statement


def test_under_thinking_is_found_as_under() -> None:
    finding = folded(sampled_checks(200, 0.6, 6)).finding
    assert (finding.outcome, finding.direction) == (MeterOutcome.DISAGREES, "under")
    assert "too low" in finding.statement


def test_finding_stays_however_honest_the_meter_gets() -> None:
    found = folded(sampled_checks(100, 2.0, 7))
    later = fold(found, KEY, sampled_checks(400, 1.0, 8, begin=100), RULES)
    assert later.finding.outcome is MeterOutcome.DISAGREES
    assert later.finding.disagreed_at_request == found.finding.disagreed_at_request


def test_change_point_is_near_where_the_inflation_begins() -> None:
    honest = sampled_checks(150, 1.0, 9)
    finding = folded([*honest, *sampled_checks(150, 2.0, 10, begin=150)]).finding
    assert finding.disagreed_at_request is not None and finding.disagreed_at_request > 150
    assert finding.change_at_request is not None and 130 <= finding.change_at_request <= 170


def test_honest_meter_agrees_once_the_stated_inflation_is_excluded() -> None:
    early, late = sampled_checks(30, 1.0, 11), sampled_checks(400, 1.0, 11)
    assert folded(early).finding.outcome is MeterOutcome.INCONCLUSIVE
    finding = folded(late).finding
    assert (finding.outcome, finding.tier) == (MeterOutcome.AGREES, Tier.REFERENCE_SAMPLING)
    assert "an inflation of 1.25 times would have shown" in finding.statement


@pytest.mark.parametrize("tier", LOOSE_TIERS)
def test_estimates_alone_never_make_a_meter_agree(tier: Tier) -> None:
    rng = np.random.default_rng(12)
    checks = [
        check(i, reading(tier, p_over=float(p)), billed_tokens=round(900 + 200 * (1 - p)))
        for i, p in enumerate(rng.uniform(0.01, 1.0, 400))
    ]
    finding = fold(None, KEY, checks, RULES).finding
    assert finding.outcome is MeterOutcome.INCONCLUSIVE
    assert finding.overcharge_tokens_high is None
    assert finding.overcharge_tokens_low is not None


def test_evidence_that_the_accused_controls_never_makes_a_meter_agree() -> None:
    rng = np.random.default_rng(12)
    checks = [
        check(i, reading(Tier.OPAQUE, p_over=float(p)), billed_tokens=round(900 + 200 * (1 - p)))
        for i, p in enumerate(rng.uniform(0.01, 1.0, 400))
    ]
    weaker = replace(RULES, accused=Controller.ORIGIN_PROVIDER)
    assert fold(None, KEY, checks, RULES).finding.outcome is MeterOutcome.AGREES
    finding = fold(None, KEY, checks, weaker).finding
    assert finding.outcome is MeterOutcome.INCONCLUSIVE
    assert "no evidence that the accused (origin_provider)" in finding.statement


def test_evidence_that_the_accused_controls_counts_against_them() -> None:
    checks = [check(i, reading(Tier.OPAQUE, p_over=0.02), billed_tokens=2000) for i in range(60)]
    finding = fold(None, KEY, checks, replace(RULES, accused=Controller.ORIGIN_PROVIDER)).finding
    assert (finding.outcome, finding.tier) == (MeterOutcome.DISAGREES, Tier.OPAQUE)


def test_violation_disagrees_at_once() -> None:
    wrong = Violation(identity="lattice", statement="1,030 is no multiple of 64", excess_tokens=6)
    finding = folded([check(0), check(1, violations=[wrong]), check(2)]).finding
    assert (finding.outcome, finding.disagreed_at_request) == (MeterOutcome.DISAGREES, 2)
    assert (finding.tier, finding.direction) == (Tier.ACCOUNTING, "over")
    assert (finding.controller, finding.stops) == ("billing_party", "careless_gateway")
    assert finding.violations == (wrong,)


def test_latest_twenty_violations_are_kept_and_all_are_counted() -> None:
    checks = [
        check(i, violations=[Violation(identity=str(i), statement="s", excess_tokens=-1)])
        for i in range(30)
    ]
    finding = folded(checks).finding
    assert (finding.num_violations, finding.direction) == (30, "under")
    assert [v.identity for v in finding.violations] == [str(i) for i in range(10, 30)]


def test_what_was_not_checked_is_counted_by_tier_and_reason() -> None:
    missing = Unchecked(tier=Tier.TIMING, reason=Refusal.NO_EVIDENCE, detail="no timing")
    finding = folded([check(0, unchecked=[missing]), check(1, unchecked=[missing])]).finding
    assert "timing: no_evidence in 2 of 2 requests" in finding.not_checked
    assert "money: no price in one currency for 2 requests" in finding.not_checked


def test_second_currency_ends_the_money_and_is_said() -> None:
    first = folded(sampled_checks(60, 1.5, 1), Money(amount="60", currency="USD"))
    both = fold(
        first, KEY, sampled_checks(60, 1.5, 2, begin=60), RULES, Money(amount="55", currency="EUR")
    )
    assert both.finding.overcharge_tokens_low is not None
    assert both.finding.overcharge_money_low is None
    assert "money: no price in one currency for 60 requests" in both.finding.not_checked


def test_third_law_of_a_tier_is_not_added_up_and_is_said() -> None:
    checks = [check(i, reading(Tier.OPAQUE, p_over=0.01, channel=f"law {i % 3}")) for i in range(9)]
    finding = folded(checks).finding
    assert finding.channels[0].num_requests == 6
    assert "opaque: 3 readings by further laws than law 0, law 1 were not added up" in (
        finding.not_checked
    )


def test_state_is_bounded() -> None:
    tiers = (Tier.TIMING, Tier.OPAQUE, Tier.REFERENCE_SAMPLING, Tier.ESTIMATOR)
    checks = [check(i, *(reading(tier, p_over=0.7) for tier in tiers)) for i in range(300)]
    assert len(folded(checks).state_json) < 6000


def test_channels_together_find_sooner_than_each() -> None:
    # two independent channels, each of which says a little
    tiers = (Tier.REFERENCE_SAMPLING, Tier.RECOUNT)
    waits: dict[str, list[int]] = {"one": [], "other": [], "both": []}
    for seed in range(9):
        p_values = np.random.default_rng(seed).uniform(size=(300, 2)) ** 1.35
        pairs = [
            [reading(t, p_over=float(p)) for t, p in zip(tiers, row, strict=True)]
            for row in p_values
        ]
        streams = {
            "one": [check(i, first) for i, (first, _) in enumerate(pairs)],
            "other": [check(i, second) for i, (_, second) in enumerate(pairs)],
            "both": [check(i, *pair) for i, pair in enumerate(pairs)],
        }
        for name, checks in streams.items():
            waits[name].append(folded(checks).finding.disagreed_at_request or 301)
    assert np.median(waits["both"]) < 0.75 * min(np.median(waits["one"]), np.median(waits["other"]))


def test_state_holds_no_text_of_a_request() -> None:
    one = check(0, reading())
    request = replace(one.request, prompt="a secret prompt", answer="a secret answer")
    assert "secret" not in folded([replace(one, request=request)]).state_json


def test_state_is_strict_json() -> None:
    assert json.loads(folded([check(0, reading())]).state_json)["format"].endswith("/v1")

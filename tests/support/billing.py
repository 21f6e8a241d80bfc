"""An account's evidence with every field set, for tests of what carries findings about."""

from audit.billing_records import (
    AccountKey,
    Adversary,
    BillingFinding,
    ChannelStanding,
    Controller,
    MeterOutcome,
    Money,
    StoredAccount,
    Tier,
    Violation,
)
from audit.hidden_tokens.account.state_file import finding_id_of


def example_key(*, tenant: str = "default", account: str = "team-a") -> AccountKey:
    """Return the key of an account."""
    return AccountKey(
        tenant=tenant,
        account=account,
        provider="https://gateway.example/v1",
        model="o1-preview",
        effort="high",
        domain="planning",
        calibration_id="sha256:" + "44" * 32,
    )


def example_account(*, version: int = 120, tenant: str = "default") -> StoredAccount:
    """Return an account whose meter disagrees."""
    key = example_key(tenant=tenant)
    return StoredAccount(
        key=key,
        version=version,
        state_json='{"form":"example"}',
        finding=BillingFinding(
            finding_id=finding_id_of(key),
            outcome=MeterOutcome.DISAGREES,
            statement="The meter disagrees with the reference: more tokens were billed.",
            direction="over",
            tier=Tier.REFERENCE_SAMPLING,
            controller=Controller.AUDITOR,
            stops=Adversary.MALICIOUS_ORIGIN,
            num_requests=version,
            num_violations=1,
            violations=(
                Violation(
                    identity="lattice",
                    statement="1,030 is no multiple of 64",
                    excess_tokens=6,
                ),
            ),
            log10_e_over=3.25,
            log10_e_under=-1.5,
            log10_threshold=2.0,
            disagreed_at_request=41,
            billed_tokens=150_000,
            expected_tokens=100_000.5,
            overcharge_tokens_low=30_000.25,
            overcharge_tokens_high=70_000.0,
            overcharge_money_low=Money(amount="1.80", currency="USD"),
            overcharge_money_high=Money(amount="4.20", currency="USD"),
            channels=(
                ChannelStanding(
                    tier=Tier.REFERENCE_SAMPLING,
                    controller=Controller.AUDITOR,
                    stops=Adversary.MALICIOUS_ORIGIN,
                    num_requests=version,
                    log10_e_over=3.25,
                    log10_e_under=-1.5,
                    ratio_low=1.3,
                    ratio_high=1.7,
                ),
            ),
            agreement="The bill moved alone: time did not move with it.",
            change_at_request=3,
            not_checked=("commitment: the provider makes none",),
            calibration_id=key.calibration_id,
        ),
    )

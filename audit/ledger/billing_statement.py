"""A billing finding as a signed statement: whether an account's meter agrees with the reference.

Counts are tokens, money is exact decimal text, e-values are decimal logarithms. No prompt and no
answer is in it. The wording is the finding's own and never stronger.
"""

from audit.billing_records import (
    AccountKey,
    BillingFinding,
    ChannelStanding,
    Money,
    StoredAccount,
    Violation,
)
from audit.ledger.statement import statement_of
from audit.ledger.statement_parts import (
    JsonMembers,
    chain_members,
    sha256_of,
    stated,
    verifier_members,
)
from audit.log_records import ChainLink

PREDICATE_TYPE = "https://inference-audit.dev/billing-finding/v0.1"

METHOD_NAME = "meter-evidence"
METHOD_VERSION = "0.1"


def billing_statement(
    account: StoredAccount, *, logged_at: str, verifier_version: str, chain: ChainLink
) -> JsonMembers:
    """Return the in-toto Statement of what was found about one account so far.

    Its subject is the account's key by digest: SHA-256 over the RFC 8785 JSON of its members, the
    last of which is called `calibration_id` there. Raises: InvalidRequest where it is no digest.
    """
    finding = account.finding
    predicate = stated(
        {
            **_finding_members(finding),
            "account": key_members(account.key),
            "version": account.version,
            "loggedAt": logged_at,
            "method": {"name": METHOD_NAME, "version": METHOD_VERSION},
            "verifier": verifier_members(verifier_version),
            "chain": chain_members(chain),
        }
    )
    subject = sha256_of(finding.finding_id, "finding_id")
    return statement_of(PREDICATE_TYPE, "account", subject, predicate)


def key_members(key: AccountKey) -> JsonMembers:
    """Return whose evidence it is."""
    return {
        "tenant": key.tenant,
        "account": key.account,
        "provider": key.provider,
        "model": key.model,
        "effort": key.effort,
        "domain": key.domain,
        "calibration": key.calibration_id,
    }


def _finding_members(finding: BillingFinding) -> JsonMembers:
    return {
        "meter": finding.outcome.value,
        "statement": finding.statement,
        "direction": finding.direction,
        "tier": None if finding.tier is None else finding.tier.value,
        "evidenceController": None if finding.controller is None else finding.controller.value,
        "stopsAdversary": None if finding.stops is None else finding.stops.value,
        "numRequests": finding.num_requests,
        "numViolations": finding.num_violations,
        "violations": [_violation(violation) for violation in finding.violations] or None,
        "log10EValueOver": finding.log10_e_over,
        "log10EValueUnder": finding.log10_e_under,
        "log10Threshold": finding.log10_threshold,
        "disagreedAtRequest": finding.disagreed_at_request,
        "billedTokens": finding.billed_tokens,
        "expectedTokens": finding.expected_tokens,
        "overcharge": _overcharge(finding),
        "channels": [_channel(channel) for channel in finding.channels],
        "agreement": finding.agreement,
        "changeAtRequest": finding.change_at_request,
        "notChecked": list(finding.not_checked),
    }


def _overcharge(finding: BillingFinding) -> JsonMembers | None:
    members = stated(
        {
            "tokensLow": finding.overcharge_tokens_low,
            "tokensHigh": finding.overcharge_tokens_high,
            "moneyLow": _money(finding.overcharge_money_low),
            "moneyHigh": _money(finding.overcharge_money_high),
        }
    )
    return members or None


def _money(money: Money | None) -> JsonMembers | None:
    return None if money is None else {"amount": money.amount, "currency": money.currency}


def _violation(violation: Violation) -> JsonMembers:
    return stated(
        {
            "identity": violation.identity,
            "tier": violation.tier.value,
            "statement": violation.statement,
            "excessTokens": violation.excess_tokens,
        }
    )


def _channel(channel: ChannelStanding) -> JsonMembers:
    return stated(
        {
            "tier": channel.tier.value,
            "evidenceController": channel.controller.value,
            "stopsAdversary": channel.stops.value,
            "numRequests": channel.num_requests,
            "log10EValueOver": channel.log10_e_over,
            "log10EValueUnder": channel.log10_e_under,
            "ratioLow": channel.ratio_low,
            "ratioHigh": channel.ratio_high,
        }
    )

"""Small billing evidence for tests; no file or clock is touched here."""

import hashlib

from audit.billing_records import (
    AccountKey,
    BillingFinding,
    FoldedRequest,
    MeterOutcome,
    StoredAccount,
)


def a_billing_key(
    *,
    tenant: str = "acme",
    account: str = "team-1",
    provider: str = "openai",
    model: str = "o3-mini",
    domain: str = "math",
) -> AccountKey:
    return AccountKey(
        tenant=tenant,
        account=account,
        provider=provider,
        model=model,
        effort="high",
        domain=domain,
        calibration_id="calibration-1",
    )


def a_folded(request_id: str, *, content: str = "same") -> FoldedRequest:
    digest = hashlib.sha256(f"{request_id} {content}".encode()).hexdigest()
    return FoldedRequest(request_id=request_id, request_digest=f"sha256:{digest}")


def an_account(
    version: int, key: AccountKey | None = None, *, finding_id: str = "sha256:acme"
) -> StoredAccount:
    """Return the evidence after so many requests."""
    finding = BillingFinding(
        finding_id=finding_id,
        outcome=MeterOutcome.INCONCLUSIVE,
        statement="nothing was found so far",
        direction=None,
        tier=None,
        controller=None,
        stops=None,
        num_requests=version,
        num_violations=0,
        violations=(),
        log10_e_over=0.1 * version,
        log10_e_under=-0.25,
        log10_threshold=2.0,
        disagreed_at_request=None,
        billed_tokens=640 * version,
        expected_tokens=600.5 * version,
        overcharge_tokens_low=None,
        overcharge_tokens_high=None,
        overcharge_money_low=None,
        overcharge_money_high=None,
        channels=(),
        agreement="cannot be told",
        change_at_request=None,
        not_checked=(),
        calibration_id="calibration-1",
    )
    return StoredAccount(
        key=key or a_billing_key(),
        version=version,
        state_json=f'{{"count":{version}}}',
        finding=finding,
    )

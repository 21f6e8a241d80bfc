"""Findings about meters, from records to messages and back.

Stands at the edge of service and client. The message is for reading; what binds is the signed
envelope that travels beside it. What the evidence is added up from stays in the service.
"""

from dataclasses import dataclass

from inference_audit.v1 import billing_pb2 as pb
from inference_audit.v1 import billing_service_pb2 as service_pb

from audit.billing_records import (
    AccountKey,
    BillingFinding,
    ChannelStanding,
    Money,
    Violation,
)
from audit.codec.wire_billing_enums import (
    adversary_from_wire,
    adversary_to_wire,
    controller_from_wire,
    controller_to_wire,
    meter_outcome_from_wire,
    meter_outcome_to_wire,
    tier_from_wire,
    tier_to_wire,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingAck:
    """A billed request that was taken."""

    request_id: str
    finding_id: str
    """Of the account that the request was added to."""
    violations: tuple[Violation, ...]
    """What about this bill cannot be."""
    was_known: bool
    """Whether it was taken before, and so was not counted again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingView:
    """The evidence about an account as a client sees it: a StoredAccount without its state."""

    key: AccountKey
    version: int
    finding: BillingFinding
    envelope: bytes | None
    """The latest signed finding, DSSE in JSON."""
    log_index: int | None
    signed_version: int | None
    """What the envelope is about; it may be older than `version`."""


def ack_to_wire(ack: BillingAck) -> service_pb.SubmitUsageResponse:
    """Return the message for an acknowledgement."""
    return service_pb.SubmitUsageResponse(
        request_id=ack.request_id,
        finding_id=ack.finding_id,
        violations=[_violation_to_wire(violation) for violation in ack.violations],
        was_known=ack.was_known,
    )


def ack_from_wire(message: service_pb.SubmitUsageResponse) -> BillingAck:
    """Return the acknowledgement. Raises: ConfigurationError for unknown enum values."""
    return BillingAck(
        request_id=message.request_id,
        finding_id=message.finding_id,
        violations=tuple(_violation_from_wire(violation) for violation in message.violations),
        was_known=message.was_known,
    )


def key_to_wire(key: AccountKey) -> pb.BillingAccountKey:
    """Return the message for a key, without its tenant: a service knows its own."""
    return pb.BillingAccountKey(
        account=key.account,
        provider=key.provider,
        model=key.model,
        effort=key.effort,
        domain=key.domain,
        calibration_id=key.calibration_id,
    )


def key_from_wire(message: pb.BillingAccountKey, *, tenant: str) -> AccountKey:
    """Return the unchecked key of a message and a tenant."""
    return AccountKey(
        tenant=tenant,
        account=message.account,
        provider=message.provider,
        model=message.model,
        effort=message.effort,
        domain=message.domain,
        calibration_id=message.calibration_id,
    )


def account_to_wire(view: BillingView) -> pb.BillingAccount:
    """Return the message for the evidence about an account."""
    return pb.BillingAccount(
        tenant=view.key.tenant,
        key=key_to_wire(view.key),
        version=view.version,
        finding=billing_finding_to_wire(view.finding),
        envelope=view.envelope,
        log_index=view.log_index,
        signed_version=view.signed_version,
    )


def account_from_wire(message: pb.BillingAccount) -> BillingView:
    """Return what a message says. Raises: ConfigurationError for unknown enum values."""
    has = message.HasField
    return BillingView(
        key=key_from_wire(message.key, tenant=message.tenant),
        version=message.version,
        finding=billing_finding_from_wire(message.finding),
        envelope=message.envelope if has("envelope") else None,
        log_index=message.log_index if has("log_index") else None,
        signed_version=message.signed_version if has("signed_version") else None,
    )


def billing_finding_to_wire(finding: BillingFinding) -> pb.BillingFinding:
    """Return the message for a finding."""
    tier, controller, stops = finding.tier, finding.controller, finding.stops
    return pb.BillingFinding(
        finding_id=finding.finding_id,
        outcome=meter_outcome_to_wire(finding.outcome),
        statement=finding.statement,
        direction=finding.direction,
        tier=None if tier is None else tier_to_wire(tier),
        controller=None if controller is None else controller_to_wire(controller),
        stops=None if stops is None else adversary_to_wire(stops),
        num_requests=finding.num_requests,
        num_violations=finding.num_violations,
        violations=[_violation_to_wire(violation) for violation in finding.violations],
        log10_e_over=finding.log10_e_over,
        log10_e_under=finding.log10_e_under,
        log10_threshold=finding.log10_threshold,
        disagreed_at_request=finding.disagreed_at_request,
        billed_tokens=finding.billed_tokens,
        expected_tokens=finding.expected_tokens,
        overcharge_tokens_low=finding.overcharge_tokens_low,
        overcharge_tokens_high=finding.overcharge_tokens_high,
        overcharge_money_low=_money_to_wire(finding.overcharge_money_low),
        overcharge_money_high=_money_to_wire(finding.overcharge_money_high),
        channels=[_standing_to_wire(standing) for standing in finding.channels],
        agreement=finding.agreement,
        change_at_request=finding.change_at_request,
        not_checked=finding.not_checked,
        calibration_id=finding.calibration_id,
    )


def billing_finding_from_wire(message: pb.BillingFinding) -> BillingFinding:
    """Return the record of a message. Raises: ConfigurationError for unknown enum values."""
    has = message.HasField
    low, high = message.overcharge_money_low, message.overcharge_money_high
    return BillingFinding(
        finding_id=message.finding_id,
        outcome=meter_outcome_from_wire(message.outcome),
        statement=message.statement,
        direction=message.direction if has("direction") else None,
        tier=tier_from_wire(message.tier) if has("tier") else None,
        controller=controller_from_wire(message.controller) if has("controller") else None,
        stops=adversary_from_wire(message.stops) if has("stops") else None,
        num_requests=message.num_requests,
        num_violations=message.num_violations,
        violations=tuple(_violation_from_wire(violation) for violation in message.violations),
        log10_e_over=message.log10_e_over,
        log10_e_under=message.log10_e_under,
        log10_threshold=message.log10_threshold,
        disagreed_at_request=(
            message.disagreed_at_request if has("disagreed_at_request") else None
        ),
        billed_tokens=message.billed_tokens,
        expected_tokens=message.expected_tokens if has("expected_tokens") else None,
        overcharge_tokens_low=(
            message.overcharge_tokens_low if has("overcharge_tokens_low") else None
        ),
        overcharge_tokens_high=(
            message.overcharge_tokens_high if has("overcharge_tokens_high") else None
        ),
        overcharge_money_low=_money_from_wire(low) if has("overcharge_money_low") else None,
        overcharge_money_high=_money_from_wire(high) if has("overcharge_money_high") else None,
        channels=tuple(_standing_from_wire(standing) for standing in message.channels),
        agreement=message.agreement,
        change_at_request=message.change_at_request if has("change_at_request") else None,
        not_checked=tuple(message.not_checked),
        calibration_id=message.calibration_id,
    )


def _violation_to_wire(violation: Violation) -> pb.BillingViolation:
    return pb.BillingViolation(
        identity=violation.identity,
        statement=violation.statement,
        excess_tokens=violation.excess_tokens,
        tier=tier_to_wire(violation.tier),
    )


def _violation_from_wire(message: pb.BillingViolation) -> Violation:
    return Violation(
        identity=message.identity,
        statement=message.statement,
        excess_tokens=message.excess_tokens if message.HasField("excess_tokens") else None,
        tier=tier_from_wire(message.tier),
    )


def _standing_to_wire(standing: ChannelStanding) -> pb.ChannelStanding:
    return pb.ChannelStanding(
        tier=tier_to_wire(standing.tier),
        controller=controller_to_wire(standing.controller),
        stops=adversary_to_wire(standing.stops),
        num_requests=standing.num_requests,
        log10_e_over=standing.log10_e_over,
        log10_e_under=standing.log10_e_under,
        ratio_low=standing.ratio_low,
        ratio_high=standing.ratio_high,
    )


def _standing_from_wire(message: pb.ChannelStanding) -> ChannelStanding:
    return ChannelStanding(
        tier=tier_from_wire(message.tier),
        controller=controller_from_wire(message.controller),
        stops=adversary_from_wire(message.stops),
        num_requests=message.num_requests,
        log10_e_over=message.log10_e_over,
        log10_e_under=message.log10_e_under,
        ratio_low=message.ratio_low if message.HasField("ratio_low") else None,
        ratio_high=message.ratio_high if message.HasField("ratio_high") else None,
    )


def _money_to_wire(money: Money | None) -> pb.Money | None:
    return None if money is None else pb.Money(amount=money.amount, currency=money.currency)


def _money_from_wire(message: pb.Money) -> Money:
    return Money(amount=message.amount, currency=message.currency)

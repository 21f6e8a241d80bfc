"""What a run of a sweep concludes, from records to messages and back, without loss.

Stands at the edge of service and client. The message is for reading; what binds is the signed
envelope that travels beside it.
"""

from inference_audit.v1 import sweep_pb2 as pb

from audit.codec.wire_sweep_enums import (
    answered_role_from_wire,
    change_kind_from_wire,
    change_kind_to_wire,
    role_to_wire,
    sweep_outcome_from_wire,
    sweep_outcome_to_wire,
)
from audit.codec.wire_sweep_reading import (
    money_from_wire,
    money_to_wire,
    reading_from_wire,
    reading_to_wire,
)
from audit.sweep_records import (
    ChangeFinding,
    EndpointFinding,
    Opening,
    Spending,
    SweepResult,
)


def result_to_wire(result: SweepResult) -> pb.SweepResult:
    """Return the message for a result."""
    opening = result.opening
    return pb.SweepResult(
        run_id=result.run_id,
        sweep_id=result.sweep_id,
        tenant=result.tenant,
        slot_at=result.slot_at,
        outcome=sweep_outcome_to_wire(result.outcome),
        statement=result.statement,
        findings=[_finding_to_wire(finding) for finding in result.findings],
        started_at=result.started_at,
        finished_at=result.finished_at,
        commitment=result.commitment,
        opening=None if opening is None else _opening_to_wire(opening),
        recording_digest=result.recording_digest,
        policy_id=result.policy_id,
        bundle_id=result.bundle_id,
        spec_digest=result.spec_digest,
    )


def result_from_wire(message: pb.SweepResult) -> SweepResult:
    """Return the record of a message. Raises: ConfigurationError for unknown enum values."""
    has = message.HasField
    return SweepResult(
        run_id=message.run_id,
        sweep_id=message.sweep_id,
        tenant=message.tenant,
        slot_at=message.slot_at,
        outcome=sweep_outcome_from_wire(message.outcome),
        statement=message.statement,
        findings=tuple(_finding_from_wire(finding) for finding in message.findings),
        started_at=message.started_at if has("started_at") else None,
        finished_at=message.finished_at if has("finished_at") else None,
        commitment=message.commitment if has("commitment") else None,
        opening=_opening_from_wire(message.opening) if has("opening") else None,
        recording_digest=message.recording_digest if has("recording_digest") else None,
        policy_id=message.policy_id,
        bundle_id=message.bundle_id,
        spec_digest=message.spec_digest,
    )


def _finding_to_wire(finding: EndpointFinding) -> pb.EndpointFinding:
    return pb.EndpointFinding(
        endpoint=finding.endpoint,
        role=role_to_wire(finding.role),
        outcome=sweep_outcome_to_wire(finding.outcome),
        statement=finding.statement,
        readings=[reading_to_wire(reading) for reading in finding.readings],
        log_e_nats=finding.log_e_nats,
        threshold_nats=finding.threshold_nats,
        decided_after=finding.decided_after,
        share_low=finding.share_low,
        share_high=finding.share_high,
        sticky_log_e_nats=finding.sticky_log_e_nats,
        is_discovery=finding.is_discovery,
        explanation=finding.explanation,
        changes=[_change_to_wire(change) for change in finding.changes],
        spending=_spending_to_wire(finding.spending),
    )


def _finding_from_wire(message: pb.EndpointFinding) -> EndpointFinding:
    return EndpointFinding(
        endpoint=message.endpoint,
        role=answered_role_from_wire(message.role),
        outcome=sweep_outcome_from_wire(message.outcome),
        statement=message.statement,
        readings=tuple(reading_from_wire(reading) for reading in message.readings),
        log_e_nats=message.log_e_nats,
        threshold_nats=message.threshold_nats,
        decided_after=message.decided_after if message.HasField("decided_after") else None,
        share_low=message.share_low,
        share_high=message.share_high,
        sticky_log_e_nats=message.sticky_log_e_nats,
        is_discovery=message.is_discovery,
        explanation=message.explanation if message.HasField("explanation") else None,
        changes=tuple(_change_from_wire(change) for change in message.changes),
        spending=_spending_from_wire(message.spending),
    )


def _change_to_wire(change: ChangeFinding) -> pb.ChangeFinding:
    return pb.ChangeFinding(
        detector=change.detector,
        kind=change_kind_to_wire(change.kind),
        log_e_nats=change.log_e_nats,
        threshold_nats=change.threshold_nats,
        epoch=change.epoch,
        since_run=change.since_run,
        since_low=change.since_low,
        since_high=change.since_high,
        statement=change.statement,
    )


def _change_from_wire(message: pb.ChangeFinding) -> ChangeFinding:
    has = message.HasField
    return ChangeFinding(
        detector=message.detector,
        kind=change_kind_from_wire(message.kind),
        log_e_nats=message.log_e_nats,
        threshold_nats=message.threshold_nats,
        epoch=message.epoch,
        since_run=message.since_run if has("since_run") else None,
        since_low=message.since_low if has("since_low") else None,
        since_high=message.since_high if has("since_high") else None,
        statement=message.statement,
    )


def _spending_to_wire(spending: Spending) -> pb.SweepSpending:
    return pb.SweepSpending(
        num_requests=spending.num_requests,
        num_answered=spending.num_answered,
        prompt_tokens=spending.prompt_tokens,
        output_tokens=spending.output_tokens,
        cost=money_to_wire(spending.cost),
    )


def _spending_from_wire(message: pb.SweepSpending) -> Spending:
    return Spending(
        num_requests=message.num_requests,
        num_answered=message.num_answered,
        prompt_tokens=message.prompt_tokens,
        output_tokens=message.output_tokens,
        cost=money_from_wire(message.cost) if message.HasField("cost") else None,
    )


def _opening_to_wire(opening: Opening) -> pb.SweepOpening:
    return pb.SweepOpening(
        seed=opening.seed,
        salt=opening.salt,
        plan_digest=opening.plan_digest,
        policy_id=opening.policy_id,
        bundle_id=opening.bundle_id,
        code_version=opening.code_version,
    )


def _opening_from_wire(message: pb.SweepOpening) -> Opening:
    return Opening(
        seed=message.seed,
        salt=message.salt,
        plan_digest=message.plan_digest,
        policy_id=message.policy_id,
        bundle_id=message.bundle_id,
        code_version=message.code_version,
    )

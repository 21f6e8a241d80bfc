"""Which audits to list, from records to messages and back.

Stands at the edge of service and client. Filters are small: the way in checks them at once.
"""

from inference_audit.v1 import audit_pb2, audit_service_pb2, verdict_pb2

from audit.codec.limits import check_model_filter
from audit.codec.wire_enums import (
    outcome_from_wire,
    outcome_to_wire,
    state_from_wire,
    state_to_wire,
)
from audit.errors import ConfigurationError, InvalidRequest
from audit.records import AuditFilter


def filter_to_wire(where: AuditFilter) -> audit_service_pb2.AuditFilter:
    """Return the message for a filter."""
    any_outcome, any_state = verdict_pb2.OUTCOME_UNSPECIFIED, audit_pb2.AUDIT_STATE_UNSPECIFIED
    return audit_service_pb2.AuditFilter(
        outcome=any_outcome if where.outcome is None else outcome_to_wire(where.outcome),
        state=any_state if where.state is None else state_to_wire(where.state),
        model=where.model,
    )


def filter_from_wire(message: audit_service_pb2.AuditFilter) -> AuditFilter:
    """Return the checked record of a message. Raises: InvalidRequest."""
    model = message.model if message.HasField("model") else None
    check_model_filter(model)
    any_outcome = message.outcome == verdict_pb2.OUTCOME_UNSPECIFIED
    any_state = message.state == audit_pb2.AUDIT_STATE_UNSPECIFIED
    try:
        return AuditFilter(
            outcome=None if any_outcome else outcome_from_wire(message.outcome),
            state=None if any_state else state_from_wire(message.state),
            model=model,
        )
    except ConfigurationError:
        raise InvalidRequest.of(
            "filter", f"holds outcome {message.outcome} and state {message.state}; one is unknown"
        ) from None

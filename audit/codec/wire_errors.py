"""Errors, from our tree to `google.rpc.Status` and back.

Stands at the edge of service and client: the one table of what goes over the wire. It holds only
errors that a caller can act on; everything else is INTERNAL, and its cause stays in the log.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from google.protobuf.any_pb2 import Any
from google.rpc import (  # type: ignore[import-untyped]
    code_pb2,
    error_details_pb2,
    status_pb2,
)

from audit.errors import (
    AuditError,
    AuditNotFound,
    CorruptState,
    EntryNotFound,
    FieldViolation,
    InvalidRequest,
    LogForked,
    OtherRules,
    RequestConflict,
    StorageError,
    VerificationError,
)

ERROR_DOMAIN: Final = "inference-audit.dev"
#: gRPC clients refuse more than 8 KiB of trailing metadata, and details travel there in base64.
MAX_MESSAGE_CHARS: Final = 500
MAX_VIOLATIONS_BYTES: Final = 2500


class ServiceStopping(StorageError):
    """The service is shutting down; what it accepted is safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    error: type[AuditError]
    code: code_pb2.Code
    reason: str
    rebuild: Callable[[str], AuditError]
    public_text: str | None = None


_TABLE: Final = (
    _Row(
        error=InvalidRequest,
        code=code_pb2.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        rebuild=lambda text: InvalidRequest.of("request", text),
    ),
    _Row(
        error=RequestConflict,
        code=code_pb2.ALREADY_EXISTS,
        reason="REQUEST_CONFLICT",
        rebuild=RequestConflict,
    ),
    _Row(
        error=AuditNotFound,
        code=code_pb2.NOT_FOUND,
        reason="AUDIT_NOT_FOUND",
        rebuild=AuditNotFound,
    ),
    _Row(
        error=EntryNotFound,
        code=code_pb2.NOT_FOUND,
        reason="ENTRY_NOT_FOUND",
        rebuild=EntryNotFound,
    ),
    _Row(
        error=OtherRules,
        code=code_pb2.FAILED_PRECONDITION,
        reason="OTHER_RULES",
        rebuild=OtherRules,
    ),
    # Its own words name files of the service's machine; trying again would not help.
    _Row(
        error=LogForked,
        code=code_pb2.DATA_LOSS,
        reason="LOG_FORKED",
        rebuild=LogForked,
        public_text="the verdict log contradicts what it published before and does not go on: "
        "keep your checkpoints and receipts, and tell its operator",
    ),
    _Row(
        error=VerificationError,
        code=code_pb2.DATA_LOSS,
        reason="LOG_DAMAGED",
        rebuild=VerificationError,
        public_text="what the service has stored of the verdict log does not verify: tell its "
        "operator to check it with: inference-audit upkeep fsck",
    ),
    _Row(
        error=ServiceStopping,
        code=code_pb2.UNAVAILABLE,
        reason="SERVICE_STOPPING",
        rebuild=ServiceStopping,
    ),
    # Trying again would not help, as it does with other failures of the database.
    _Row(
        error=CorruptState,
        code=code_pb2.DATA_LOSS,
        reason="PROVIDER_EVIDENCE_CORRUPT",
        rebuild=CorruptState,
    ),
    # A database's own words may quote the row that it refused, and with it a prompt.
    _Row(
        error=StorageError,
        code=code_pb2.UNAVAILABLE,
        reason="STORAGE_UNAVAILABLE",
        rebuild=StorageError,
        public_text="the service's database is not available; try again later: repeating is safe",
    ),
)


def status_of(error: AuditError) -> status_pb2.Status | None:
    """Return the status for an error that a caller can act on; None for any other."""
    row = next((row for row in _TABLE if isinstance(error, row.error)), None)
    if row is None:
        return None
    details = [_packed(error_details_pb2.ErrorInfo(reason=row.reason, domain=ERROR_DOMAIN))]
    if isinstance(error, InvalidRequest):
        details.append(_packed(_bad_request(error)))
    text = row.public_text or str(error)
    if len(text) > MAX_MESSAGE_CHARS:
        text = text[: MAX_MESSAGE_CHARS - 1] + "…"
    return status_pb2.Status(code=row.code, message=text, details=details)


def internal_status(incident_id: str) -> status_pb2.Status:
    """Return the status for a fault of ours; the id leads to the cause in the service's log."""
    info = error_details_pb2.ErrorInfo(
        reason="INTERNAL", domain=ERROR_DOMAIN, metadata={"incident_id": incident_id}
    )
    text = f"the service failed; its log tells why under incident {incident_id}"
    return status_pb2.Status(code=code_pb2.INTERNAL, message=text, details=[_packed(info)])


def error_of(status: status_pb2.Status) -> AuditError | None:
    """Return the error that a status was made from; None where it is not one of ours."""
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        if not detail.Unpack(info):
            detail.Unpack(bad_request)
    if info.domain != ERROR_DOMAIN:
        return None
    if bad_request.field_violations:
        violations = bad_request.field_violations
        return InvalidRequest(
            *(FieldViolation(field=v.field, description=v.description) for v in violations)
        )
    row = next((row for row in _TABLE if row.reason == info.reason), None)
    return AuditError(status.message) if row is None else row.rebuild(status.message)


def _bad_request(error: InvalidRequest) -> error_details_pb2.BadRequest:
    violations = list(_fitting(error.violations))
    num_more = len(error.violations) - len(violations)
    if num_more:
        violations.append(
            error_details_pb2.BadRequest.FieldViolation(
                field="request", description=f"has {num_more} more violations; mend these first"
            )
        )
    return error_details_pb2.BadRequest(field_violations=violations)


def _fitting(
    violations: tuple[FieldViolation, ...],
) -> Iterator[error_details_pb2.BadRequest.FieldViolation]:
    num_bytes = 0
    for violation in violations:
        message = error_details_pb2.BadRequest.FieldViolation(
            field=violation.field, description=violation.description
        )
        num_bytes += message.ByteSize()
        if num_bytes > MAX_VIOLATIONS_BYTES:
            return
        yield message


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> Any:
    detail = Any()
    detail.Pack(message)
    return detail

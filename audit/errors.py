"""Everything that can go wrong in the auditor, as one tree.

AuditError
├── InvalidRequest       the exchange is bad: named fields       gRPC INVALID_ARGUMENT
├── RequestConflict      the request_id names another exchange   gRPC ALREADY_EXISTS
├── AuditNotFound        no audit of that id                     gRPC NOT_FOUND
├── CannotJudge          well-formed, but nobody can judge it; becomes INCONCLUSIVE(reason)
├── CalibrationError     a calibration file is missing, malformed or too small
├── VerificationError    a signed verdict does not verify
├── ConfigurationError   the command line, settings or environment are wrong
│   └── OtherRules       evidence was begun under other rules  gRPC FAILED_PRECONDITION
├── EntryNotFound        nothing of that kind in the log          gRPC NOT_FOUND
├── LogForked            database, anchor or witness contradict each other: the log must not go on
└── StorageError         the database refused                    gRPC UNAVAILABLE
    ├── StreamMoved      another worker was faster: read, fold and store again
    ├── LogMoved         another sequencer was faster: read the head and build the batch again
    ├── JobEndRefused    one job of a batch cannot end; the others can
    └── CorruptState     a provider's evidence is unreadable     gRPC DATA_LOSS

"The exchange is bad", "I could not check" and "I crashed" are three different things here, in gRPC
status and in the database. None of them is ever FAIL.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # only a name here: the offline verifier imports errors, and must not need numpy
    from audit.records import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One field that was refused, and how to mend it."""

    field: str
    description: str


class AuditError(Exception):
    """Base of all errors; its text tells the user what to do next."""


class InvalidRequest(AuditError):
    """The exchange is malformed; `violations` name each bad field."""

    def __init__(self, *violations: FieldViolation) -> None:
        self.violations = violations
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))

    @classmethod
    def of(cls, field: str, description: str) -> "InvalidRequest":
        """Return the error for a single field."""
        return cls(FieldViolation(field=field, description=description))


class RequestConflict(AuditError):
    """The request_id was used before for another exchange."""


class AuditNotFound(AuditError):
    """No audit has this id."""


class CannotJudge(AuditError):
    """No verdict can be reached.

    `reason` goes into the INCONCLUSIVE verdict, the text into its details.
    """

    def __init__(self, reason: "Reason", detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


class CalibrationError(AuditError):
    """A calibration cannot be read, or cannot be made from the given traffic."""


class VerificationError(AuditError):
    """A signed verdict does not verify; the text names the failed step."""


class ConfigurationError(AuditError):
    """Settings, command line or environment are wrong."""


class OtherRules(ConfigurationError):
    """An account's evidence was begun under other rules than those in use."""


class StorageError(AuditError):
    """The database could not be used."""


class EntryNotFound(AuditError):
    """The log has no such entry, tile or checkpoint."""


class LogForked(AuditError):
    """What the log promised and what the database holds contradict each other."""


class LogMoved(StorageError):
    """Entries were appended meanwhile; nothing was stored."""


class JobEndRefused(StorageError):
    """One job of a batch cannot end, because of `cause`; nothing of the batch was stored."""

    def __init__(self, audit_id: str, cause: "AuditError") -> None:
        self.audit_id = audit_id
        self.cause = cause
        super().__init__(f"audit {audit_id} cannot end: {cause}")


class StreamMoved(StorageError):
    """A provider's evidence was updated meanwhile; nothing was stored."""


class CorruptState(StorageError):
    """The stored evidence of a provider cannot be used; it is never replaced without being told."""

    @classmethod
    def of(cls, stream_id: str, problem: str) -> "CorruptState":
        """Return the error for one stream, with the remedies."""
        return cls(
            f"the provider evidence {stream_id} cannot be used: {problem}; it was left as it is. "  # noqa: S608
            "Restore the database from a backup, or upgrade inference-audit if a newer version "
            "wrote it, or give the evidence up and start anew with: "
            f"DELETE FROM provider_streams WHERE stream_id = '{stream_id}'"
        )

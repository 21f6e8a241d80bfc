"""Exit codes, and the one place where errors become messages.

0 all PASS, 1 any FAIL, 2 any INCONCLUSIVE and no FAIL; 64 and above (sysexits.h) for usage and
environment.
"""

from collections.abc import Iterable
from enum import IntEnum

from audit.errors import (
    AuditError,
    AuditNotFound,
    CalibrationError,
    ConfigurationError,
    EntryNotFound,
    InvalidRequest,
    LogForked,
    RequestConflict,
    StorageError,
    VerificationError,
)
from audit.records import Outcome


class ExitCode(IntEnum):
    """What a process of ours ends with."""

    PASS = 0
    FAIL = 1
    INCONCLUSIVE = 2
    USAGE = 64
    DATA = 65
    NOT_FOUND = 66
    UNAVAILABLE = 69
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141


_CODE_OF_ERROR: tuple[tuple[type[AuditError], ExitCode], ...] = (
    (InvalidRequest, ExitCode.DATA),
    (RequestConflict, ExitCode.DATA),
    (CalibrationError, ExitCode.DATA),
    (AuditNotFound, ExitCode.NOT_FOUND),
    (EntryNotFound, ExitCode.NOT_FOUND),
    (LogForked, ExitCode.UNAVAILABLE),
    (VerificationError, ExitCode.FAIL),
    (ConfigurationError, ExitCode.USAGE),
    (StorageError, ExitCode.UNAVAILABLE),
)


def exit_code_of(error: AuditError) -> ExitCode:
    """Return the exit code for an error that ended a command."""
    for kind, code in _CODE_OF_ERROR:
        if isinstance(error, kind):
            return code
    return ExitCode.USAGE


def exit_code_of_outcomes(outcomes: Iterable[Outcome]) -> ExitCode:
    """Return 1 for any FAIL, else 2 for any INCONCLUSIVE, else 0."""
    seen = set(outcomes)
    if Outcome.FAIL in seen:
        return ExitCode.FAIL
    return ExitCode.INCONCLUSIVE if Outcome.INCONCLUSIVE in seen else ExitCode.PASS

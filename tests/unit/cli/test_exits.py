"""Exit codes: one row for every error, and the order in which outcomes count."""

import pytest

from audit.cli.exits import ExitCode, exit_code_of, exit_code_of_outcomes
from audit.codec.wire_errors import ServiceStopping
from audit.errors import (
    AuditError,
    AuditNotFound,
    CalibrationError,
    CannotJudge,
    ConfigurationError,
    CorruptState,
    EntryNotFound,
    InvalidRequest,
    JobEndRefused,
    LogForked,
    LogMoved,
    OtherRules,
    RequestConflict,
    StorageError,
    StreamMoved,
    VerificationError,
)
from audit.records import Outcome, Reason

#: Where the errors are that any part raises; a part's own ones count as those they derive from.
SHARED = ("audit.errors", "audit.codec.wire_errors")

ROWS: dict[type[AuditError], tuple[AuditError, int]] = {
    AuditError: (AuditError("unexpected"), 64),
    InvalidRequest: (InvalidRequest.of("field", "is bad"), 65),
    RequestConflict: (RequestConflict("taken"), 65),
    CalibrationError: (CalibrationError("malformed"), 65),
    AuditNotFound: (AuditNotFound("unknown"), 66),
    VerificationError: (VerificationError("step 5"), 1),
    ConfigurationError: (ConfigurationError("wrong"), 64),
    OtherRules: (OtherRules("begun under others"), 64),
    EntryNotFound: (EntryNotFound("no such entry"), 66),
    LogForked: (LogForked("two histories"), 69),
    StorageError: (StorageError("locked"), 69),
    LogMoved: (LogMoved("by another sequencer"), 69),
    JobEndRefused: (JobEndRefused("audit-1", StreamMoved("by another worker")), 69),
    StreamMoved: (StreamMoved("by another worker"), 69),
    CorruptState: (CorruptState.of("sha256:0", "it is damaged"), 69),
    ServiceStopping: (ServiceStopping("stopping"), 69),
    # becomes a verdict before it reaches the command line
    CannotJudge: (CannotJudge(Reason.UNCALIBRATED, "calibrate"), 64),
}


def subclasses(kind: type[AuditError]) -> set[type[AuditError]]:
    """Return a class and everything of ours below it."""
    found = {kind}
    for child in kind.__subclasses__():
        found |= subclasses(child)
    return {k for k in found if k.__module__ in SHARED}


def test_every_error_has_a_row() -> None:
    assert subclasses(AuditError) == set(ROWS)


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.__name__)
def test_an_error_ends_with_its_code(kind: type[AuditError]) -> None:
    error, code = ROWS[kind]
    assert exit_code_of(error) == code


def test_no_error_looks_like_a_verdict_but_a_failed_verification() -> None:
    verdicts = {ExitCode.PASS, ExitCode.FAIL, ExitCode.INCONCLUSIVE}
    alike = {kind for kind, (_, code) in ROWS.items() if code in verdicts}
    assert alike == {VerificationError}


def test_a_fail_counts_more_than_an_inconclusive_and_that_more_than_a_pass() -> None:
    passed, failed, undecided = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
    assert exit_code_of_outcomes([passed, undecided, failed]) == 1
    assert exit_code_of_outcomes([passed, undecided, passed]) == 2
    assert exit_code_of_outcomes([passed, passed]) == 0
    assert exit_code_of_outcomes([]) == 0

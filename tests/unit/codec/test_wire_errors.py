"""Errors survive the wire, and fit it."""

import pytest
from google.rpc import code_pb2  # type: ignore[import-untyped]

from audit.codec.wire_errors import (
    ServiceStopping,
    error_of,
    internal_status,
    status_of,
)
from audit.errors import (
    AuditError,
    AuditNotFound,
    ConfigurationError,
    CorruptState,
    EntryNotFound,
    FieldViolation,
    InvalidRequest,
    LogForked,
    OtherRules,
    RequestConflict,
    StorageError,
    StreamMoved,
    VerificationError,
)


@pytest.mark.parametrize(
    "error",
    [
        RequestConflict("taken"),
        AuditNotFound("none"),
        EntryNotFound("the log has no entry 7"),
        OtherRules("the evidence was begun under other rules"),
        ServiceStopping("later"),
        CorruptState.of("sha256:" + "ab" * 32, "finding.num_tokens is not an integer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_the_wire(error: AuditError) -> None:
    back = error_of(status_of(error))
    assert type(back) is type(error)
    assert str(back) == str(error)


def test_violations_survive_the_wire() -> None:
    violations = (
        FieldViolation(field="request_id", description="is empty"),
        FieldViolation(field="exchange.output", description="is missing"),
    )
    back = error_of(status_of(InvalidRequest(*violations)))
    assert isinstance(back, InvalidRequest)
    assert back.violations == violations


def test_a_database_keeps_its_words_to_itself() -> None:
    status = status_of(StorageError("row (1, 'a private prompt') violates a constraint"))
    assert "private" not in str(status)
    assert type(error_of(status)) is StorageError
    assert type(error_of(status_of(StreamMoved("by another worker")))) is StorageError


def test_a_fork_is_told_apart_and_names_no_file_of_the_service() -> None:
    status = status_of(LogForked("the anchor /var/lib/audit/anchor has 12 entries"))
    assert status is not None
    assert status.code == code_pb2.DATA_LOSS
    back = error_of(status)
    assert type(back) is LogForked
    assert "keep your checkpoints" in str(back)
    assert "/var/lib" not in str(status)


def test_a_damaged_log_is_told_apart_from_a_forked_one() -> None:
    status = status_of(VerificationError("tile 0/3 is stored with 17 bytes"))
    assert status is not None
    assert status.code == code_pb2.DATA_LOSS
    back = error_of(status)
    assert type(back) is VerificationError
    assert "upkeep fsck" in str(back)


def test_errors_that_no_caller_can_act_on_have_no_status() -> None:
    assert status_of(ConfigurationError("bad key file")) is None


def test_an_internal_status_names_its_incident_only() -> None:
    back = error_of(internal_status("incident-7"))
    assert type(back) is AuditError
    assert "incident-7" in str(back)


def test_a_status_of_another_service_is_not_ours() -> None:
    status = internal_status("incident-7")
    del status.details[:]
    assert error_of(status) is None


def test_many_violations_are_cut_to_what_trailing_metadata_can_hold() -> None:
    violations = [
        FieldViolation(field=f"field[{number}]", description="é" * 50) for number in range(10_000)
    ]
    status = status_of(InvalidRequest(*violations))
    assert status is not None
    assert status.ByteSize() < 5000
    back = error_of(status)
    assert isinstance(back, InvalidRequest)
    num_shown = len(back.violations) - 1
    assert back.violations[0] == violations[0]
    assert f"{10_000 - num_shown} more" in back.violations[-1].description

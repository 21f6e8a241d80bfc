"""ReportService, as any gRPC client sees it: order, chunks, flow, refusals, leaving early."""

import threading
import time
import tracemalloc
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from inference_audit.v1 import report_pb2
from inference_audit.v1 import report_service_pb2 as pb
from inference_audit.v1.report_service_pb2_grpc import ReportServiceStub

from audit.errors import AuditError, EntryNotFound, LogForked, StorageError
from audit.reports.records import ReportScope
from audit.service.report_servicer import MAX_CHUNK_BYTES, MAX_EXPORTS, SERVICE_NAME
from tests.unit.service.examples import memory_store
from tests.unit.service.reports import RECEIPT, FakeReports, fixed
from tests.unit.service.running import running
from tests.unit.service.test_rpcs import refusal

OSCAL = pb.ExportReportRequest(formats=[report_pb2.REPORT_FORMAT_OSCAL])
MIB = 1024 * 1024


@pytest.fixture
def reports() -> FakeReports:
    return FakeReports()


@pytest.fixture
def stub(reports: FakeReports) -> Iterator[ReportServiceStub]:
    with (
        running(memory_store(), reports=reports) as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        yield ReportServiceStub(channel)


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(MAX_CHUNK_BYTES)


def test_files_come_in_order_and_the_receipt_last(
    stub: ReportServiceStub, reports: FakeReports
) -> None:
    reports.files = (
        ("report.json", "application/json", fixed(b'{"a":', b"", b"1}")),
        ("empty.csv", "text/csv", fixed()),
    )
    answers = list(stub.ExportReport(OSCAL, timeout=5))
    assert [answer.WhichOneof("content") for answer in answers] == [
        "file_header",
        "chunk",
        "file_header",
        "receipt",
    ]
    assert answers[0].file_header.name == "report.json"
    assert answers[0].file_header.media_type == "application/json"
    assert answers[1].chunk == b'{"a":1}'
    receipt = answers[-1].receipt
    assert (receipt.manifest_digest, receipt.log_index) == (RECEIPT.manifest_digest, 7)
    assert receipt.entry_digest == RECEIPT.entry_digest
    assert reports.exports[0].is_finished
    assert reports.exports[0].closed.wait(5)


@pytest.mark.parametrize(
    "sizes", [(1,), (MAX_CHUNK_BYTES,), (MAX_CHUNK_BYTES + 1,), (3 * MIB, 5), (700,) * 400]
)
def test_chunks_are_filled_up_to_their_limit(
    stub: ReportServiceStub, reports: FakeReports, sizes: tuple[int, ...]
) -> None:
    parts = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    reports.files = (("f", "t", fixed(*parts)),)
    chunks = [a.chunk for a in stub.ExportReport(OSCAL, timeout=5) if a.HasField("chunk")]
    assert b"".join(chunks) == b"".join(parts)
    assert {len(chunk) for chunk in chunks[:-1]} <= {MAX_CHUNK_BYTES}
    assert 1 <= len(chunks[-1]) <= MAX_CHUNK_BYTES


def test_scope_and_formats_arrive_as_asked(stub: ReportServiceStub, reports: FakeReports) -> None:
    scope = report_pb2.ReportScope(
        tenant="t",
        provider="p",
        model="m",
        since_time=Timestamp(seconds=1_769_860_800),
        first_index=3,
        end_index=9,
        exchanges=["audit-1"],
    )
    formats = [report_pb2.REPORT_FORMAT_HTML, report_pb2.REPORT_FORMAT_CSV]
    list(stub.ExportReport(pb.ExportReportRequest(scope=scope, formats=formats), timeout=5))
    assert reports.asked == [
        (
            ReportScope(
                tenant="t",
                provider="p",
                model="m",
                since="2026-01-31T12:00:00.000000Z",
                first_index=3,
                end_index=9,
                exchanges=("audit-1",),
            ),
            ("html", "csv"),
        )
    ]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ExportReportRequest(), "formats"),
        (pb.ExportReportRequest(formats=[1, 99]), "formats[1]"),  # type: ignore[list-item]
        (pb.ExportReportRequest(formats=[report_pb2.REPORT_FORMAT_PDF]), "formats[0]"),
        (
            pb.ExportReportRequest(
                formats=[report_pb2.REPORT_FORMAT_OSCAL],
                scope=report_pb2.ReportScope(since_time=Timestamp(nanos=-1)),
            ),
            "scope.since_time.nanos",
        ),
    ],
    ids=["none", "unknown", "not-available-here", "bad-time"],
)
def test_a_bad_request_names_its_field_and_makes_nothing(
    stub: ReportServiceStub, reports: FakeReports, request_: pb.ExportReportRequest, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ExportReport(request_, timeout=5))
    assert refusal(caught.value) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        [field],
    )
    assert not reports.asked


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (EntryNotFound("no checkpoint"), grpc.StatusCode.NOT_FOUND, "ENTRY_NOT_FOUND"),
        (StorageError("disk"), grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE"),
        (LogForked("root"), grpc.StatusCode.DATA_LOSS, "LOG_FORKED"),
        (AuditError("bug"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
    ids=["no-entry", "database-down", "forked", "fault-of-ours"],
)
def test_a_report_that_breaks_off_ends_with_the_error_and_no_receipt(
    stub: ReportServiceStub,
    reports: FakeReports,
    error: AuditError,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    reports.files, reports.error = (("f", "t", fixed(b"half")),), error
    answers = stub.ExportReport(OSCAL, timeout=5)
    assert next(answers).file_header.name == "f"
    assert next(answers).chunk == b"half"
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert refusal(caught.value) == (code, reason, [])
    assert reports.exports[0].closed.wait(5)
    assert not reports.exports[0].is_finished


def test_a_reader_that_stops_reading_stops_the_making(
    stub: ReportServiceStub, reports: FakeReports
) -> None:
    reports.files = (("f", "t", endless),)
    answers = stub.ExportReport(OSCAL, timeout=30)
    next(answers)
    seen, steady_since = -1, time.monotonic()
    while time.monotonic() - steady_since < 1.0:
        if reports.exports[0].num_chunks != seen:
            seen, steady_since = reports.exports[0].num_chunks, time.monotonic()
        assert seen * MAX_CHUNK_BYTES < 64 * MIB, "chunks pile up"
        time.sleep(0.05)
    answers.cancel()
    assert reports.exports[0].closed.wait(5)


def test_memory_stays_flat_in_the_size_of_a_file(
    stub: ReportServiceStub, reports: FakeReports
) -> None:
    part = bytes(MIB)
    reports.files = (("f", "t", lambda: (part for _ in range(200))),)
    num_bytes = 0
    tracemalloc.start()
    try:
        for answer in stub.ExportReport(OSCAL, timeout=60):
            num_bytes += len(answer.chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert num_bytes == 200 * MIB
    assert peak < 32 * MIB


def test_leaving_while_a_piece_is_being_made_closes_it_afterwards(
    stub: ReportServiceStub, reports: FakeReports
) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        started.set()
        assert go_on.wait(10)
        yield b"late"

    reports.files = (("f", "t", slow),)
    answers = stub.ExportReport(OSCAL, timeout=30)
    next(answers)
    assert started.wait(5)
    answers.cancel()
    assert not reports.exports[0].closed.wait(0.2), "closed while it was at work"
    go_on.set()
    assert reports.exports[0].closed.wait(5)
    assert not reports.exports[0].is_finished


def test_reports_beyond_the_limit_wait_for_their_turn(
    stub: ReportServiceStub, reports: FakeReports
) -> None:
    reports.files = (("f", "t", endless),)
    running_ = [stub.ExportReport(OSCAL, timeout=30) for _ in range(MAX_EXPORTS)]
    for answers in running_:
        next(answers)
    reports.files = ()
    waiting = stub.ExportReport(OSCAL, timeout=30)
    time.sleep(0.2)
    assert len(reports.asked) == MAX_EXPORTS
    running_[0].cancel()
    assert [answer.WhichOneof("content") for answer in waiting] == ["receipt"]
    running_[1].cancel()


def test_stopping_ends_a_report_within_the_grace_time(reports: FakeReports) -> None:
    reports.files = (("f", "t", endless),)
    with running(memory_store(), reports=reports) as service:
        with grpc.insecure_channel(service.address) as channel:
            answers = ReportServiceStub(channel).ExportReport(OSCAL, timeout=30)
            next(answers)
            service.stop()
            with pytest.raises(grpc.RpcError):
                list(answers)
    assert reports.exports[0].closed.wait(5)


@pytest.mark.parametrize("has_reports", [True, False])
def test_reports_are_healthy_where_they_are_made(has_reports: bool) -> None:
    question = health_pb2.HealthCheckRequest(service=SERVICE_NAME)
    reports = FakeReports() if has_reports else None
    with (
        running(memory_store(), reports=reports) as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        if has_reports:
            answer = health.Check(question, timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        else:
            with pytest.raises(grpc.RpcError):
                health.Check(question, timeout=5)

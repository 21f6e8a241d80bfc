"""The client of reports against a real service."""

from collections.abc import Iterator

import pytest

from audit.client.report_client import FileStart, ReportClient
from audit.errors import ConfigurationError, EntryNotFound, InvalidRequest, StorageError
from audit.reports.records import ReportScope
from tests.unit.service.examples import memory_store
from tests.unit.service.reports import RECEIPT, FakeReports, fixed
from tests.unit.service.running import running


@pytest.fixture
def reports() -> FakeReports:
    return FakeReports()


@pytest.fixture
def client(reports: FakeReports) -> Iterator[ReportClient]:
    with (
        running(memory_store(), reports=reports) as service,
        ReportClient(service.address) as client,
    ):
        yield client


def test_the_pieces_come_in_order(client: ReportClient, reports: FakeReports) -> None:
    reports.files = (("a.json", "application/json", fixed(b"{}")), ("b.csv", "text/csv", fixed()))
    scope = ReportScope(tenant="t", since="2026-01-31T13:00:00+01:00")
    assert list(client.export(scope, ["oscal", "csv"])) == [
        FileStart(name="a.json", media_type="application/json"),
        b"{}",
        FileStart(name="b.csv", media_type="text/csv"),
        RECEIPT,
    ]
    since = "2026-01-31T12:00:00.000000Z"
    assert reports.asked == [(ReportScope(tenant="t", since=since), ("oscal", "csv"))]


def test_a_report_can_be_left_early(client: ReportClient, reports: FakeReports) -> None:
    reports.files = (("a", "t", lambda: iter(lambda: bytes(70_000), b"")),)
    export = client.export(ReportScope(), ["oscal"])
    assert isinstance(next(export), FileStart)
    del export
    assert reports.exports[0].closed.wait(5)


def test_what_the_service_refuses_is_our_error(client: ReportClient, reports: FakeReports) -> None:
    with pytest.raises(InvalidRequest, match="pdf cannot be rendered by this service"):
        list(client.export(ReportScope(), ["oscal", "pdf"]))
    reports.error = EntryNotFound("the log has no checkpoint yet")
    with pytest.raises(EntryNotFound, match="no checkpoint yet"):
        list(client.export(ReportScope(), ["oscal"]))
    reports.error = StorageError("disk")
    with pytest.raises(StorageError, match="database is not available"):
        list(client.export(ReportScope(), ["oscal"]))


def test_a_bad_scope_is_refused_before_sending() -> None:
    with ReportClient("127.0.0.1:1") as client:
        for scope, formats in (
            (ReportScope(since="now"), ["oscal"]),
            (ReportScope(), ["docx"]),
            (ReportScope(), []),
        ):
            with pytest.raises(InvalidRequest):
                next(client.export(scope, formats))
        with pytest.raises(ConfigurationError, match="inference-audit serve"):
            next(client.export(ReportScope(), ["oscal"]))


def test_a_stream_without_a_receipt_is_no_report(
    client: ReportClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> Iterator[object]:
        yield from ()

    monkeypatch.setattr("audit.service.report_servicer._messages", nothing)
    with pytest.raises(StorageError, match="it ended without a receipt"):
        list(client.export(ReportScope(), ["oscal"]))

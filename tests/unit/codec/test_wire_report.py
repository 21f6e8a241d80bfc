"""Scopes, formats and receipts survive the wire, and each bad field is named."""

from dataclasses import replace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from inference_audit.v1 import report_pb2 as pb

from audit.codec.wire_report import (
    FORMATS,
    ReportReceipt,
    formats_from_wire,
    formats_to_wire,
    receipt_from_wire,
    receipt_to_wire,
)
from audit.codec.wire_scope import MAX_EXCHANGES, scope_from_wire, scope_to_wire
from audit.errors import InvalidRequest
from audit.reports.records import ReportScope

INT64_MAX = 2**63 - 1
names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
moments = st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z")


@st.composite
def scopes(draw: st.DrawFn) -> ReportScope:
    since, until = sorted(draw(st.lists(moments, min_size=2, max_size=2, unique=True)))
    first, end = sorted(draw(st.lists(st.integers(0, INT64_MAX), min_size=2, max_size=2)))
    return ReportScope(
        tenant=draw(st.none() | names),
        provider=draw(st.none() | names),
        model=draw(st.none() | names),
        since=draw(st.sampled_from([None, since])),
        until=draw(st.sampled_from([None, until])),
        first_index=first,
        end_index=draw(st.sampled_from([None, end])),
        exchanges=tuple(draw(st.lists(names, max_size=3))),
    )


@settings(max_examples=100, deadline=None)
@given(scopes())
def test_a_scope_survives_the_wire(scope: ReportScope) -> None:
    raw = scope_to_wire(scope).SerializeToString()
    assert ReportScope(**scope_from_wire(pb.ReportScope.FromString(raw))) == scope


def test_an_empty_message_restricts_nothing() -> None:
    assert ReportScope(**scope_from_wire(pb.ReportScope())) == ReportScope()


NOON = Timestamp(seconds=1_769_860_800)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (pb.ReportScope(tenant=""), ["scope.tenant"]),
        (pb.ReportScope(provider="x" * 257), ["scope.provider"]),
        (pb.ReportScope(model="\n"), ["scope.model"]),
        (pb.ReportScope(since_time=Timestamp(seconds=2**62)), ["scope.since_time"]),
        (pb.ReportScope(until_time=Timestamp(nanos=7)), ["scope.until_time.nanos"]),
        (pb.ReportScope(since_time=NOON, until_time=NOON), ["scope.until_time"]),
        (pb.ReportScope(first_index=-1, end_index=-2), ["scope.first_index", "scope.end_index"]),
        (pb.ReportScope(first_index=7, end_index=6), ["scope.end_index"]),
        (pb.ReportScope(exchanges=["a", "", "é"]), ["scope.exchanges[1]", "scope.exchanges[2]"]),
        (pb.ReportScope(exchanges=["a"] * (MAX_EXCHANGES + 1)), ["scope.exchanges"]),
        (
            pb.ReportScope(tenant="", since_time=Timestamp(nanos=-1), first_index=-1),
            ["scope.since_time.nanos", "scope.tenant", "scope.first_index"],
        ),
    ],
)
def test_each_bad_field_of_a_scope_is_named(message: pb.ReportScope, fields: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        scope_from_wire(message)
    assert [violation.field for violation in caught.value.violations] == fields


@pytest.mark.parametrize(
    ("scope", "fields"),
    [
        (
            ReportScope(since="yesterday", until="tomorrow"),
            ["scope.since_time", "scope.until_time"],
        ),
        (ReportScope(tenant="\ud800"), ["scope.tenant"]),
        (ReportScope(first_index=2**64), ["scope.first_index"]),
        (
            ReportScope(since="2026-01-02T00:00:00Z", until="2026-01-01T00:00:00Z"),
            ["scope.until_time"],
        ),
    ],
)
def test_a_bad_scope_is_refused_before_it_is_sent(scope: ReportScope, fields: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        scope_to_wire(scope)
    assert [violation.field for violation in caught.value.violations] == fields


def test_times_in_any_zone_are_compared_as_times() -> None:
    scope = ReportScope(since="2026-01-01T00:30:00+02:00", until="2025-12-31T23:00:00Z")
    message = scope_to_wire(scope)
    assert scope_from_wire(message)["since"] == "2025-12-31T22:30:00.000000Z"
    with pytest.raises(InvalidRequest, match="until_time"):
        scope_to_wire(replace(scope, until="2025-12-31T22:30:00Z"))


def test_formats_survive_the_wire_in_order() -> None:
    assert formats_from_wire(formats_to_wire(FORMATS[::-1])) == FORMATS[::-1]
    assert "REPORT_FORMAT_OSCAL" in pb.ReportFormat.keys()
    assert len(FORMATS) == len(pb.ReportFormat.keys()) - 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "formats: is empty"),
        ([1, 0], r"formats\[1\]: is 0, no format known"),
        ([99], r"formats\[0\]: is 99, no format known"),
        ([4, 3, 4], r"formats\[2\]: asks for csv a second time"),
    ],
)
def test_bad_formats_are_refused_by_position(values: list[int], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        formats_from_wire(values)


def test_an_unknown_format_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidRequest, match=r"formats\[1\]: is 'docx'; known are html, pdf"):
        formats_to_wire(["oscal", "docx"])


def test_a_receipt_survives_the_wire() -> None:
    receipt = ReportReceipt(manifest_digest="sha256:0", log_index=7, entry_digest="sha256:1")
    assert receipt_from_wire(receipt_to_wire(receipt)) == receipt

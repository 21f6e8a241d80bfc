"""Entries and checkpoints survive the wire; kinds pair one to one; times are never rounded."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from inference_audit.v1 import log_pb2 as pb

from audit.codec.wire_log import (
    checkpoint_from_wire,
    checkpoint_to_wire,
    entry_from_wire,
    entry_to_wire,
    kind_from_wire,
    kind_to_wire,
    kinds_from_wire,
)
from audit.codec.wire_time import checked_time_from_wire, checked_time_to_wire, time_from_wire
from audit.errors import ConfigurationError, InvalidRequest
from audit.log_records import EntryKind, LogEntry, StoredCheckpoint

texts = st.text(max_size=8)
counts = st.integers(0, 2**63 - 1)
times = st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z")
entries = st.builds(
    LogEntry,
    log_index=counts,
    kind=st.sampled_from(EntryKind),
    tenant=texts,
    tenant_sequence=counts,
    entry_key=texts,
    audit_id=st.none() | texts,
    entry_digest=texts,
    leaf_body=st.binary(max_size=8),
    leaf_hash=st.binary(max_size=32),
    envelope=st.none() | st.binary(max_size=8),
    recorded_at=times,
    erased_at=st.none() | times,
)
checkpoints = st.builds(
    StoredCheckpoint,
    size=counts,
    root=st.binary(max_size=32),
    note=st.binary(max_size=8),
    issued_at=times,
    is_witnessed=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(entries)
def test_an_entry_survives_the_wire(entry: LogEntry) -> None:
    raw = entry_to_wire(entry, with_envelope=True).SerializeToString()
    assert entry_from_wire(pb.LogEntry.FromString(raw)) == entry


@settings(max_examples=20, deadline=None)
@given(entries)
def test_an_envelope_travels_only_where_it_is_asked_for(entry: LogEntry) -> None:
    assert not entry_to_wire(entry, with_envelope=False).HasField("envelope")


@settings(max_examples=60, deadline=None)
@given(checkpoints)
def test_a_checkpoint_survives_the_wire(checkpoint: StoredCheckpoint) -> None:
    raw = checkpoint_to_wire(checkpoint).SerializeToString()
    assert checkpoint_from_wire(pb.Checkpoint.FromString(raw)) == checkpoint


def test_kinds_pair_one_to_one() -> None:
    expected = {f"ENTRY_KIND_{kind.name}" for kind in EntryKind} | {"ENTRY_KIND_UNSPECIFIED"}
    assert set(pb.EntryKind.keys()) == expected
    assert {kind_from_wire(kind_to_wire(kind)) for kind in EntryKind} == set(EntryKind)


@pytest.mark.parametrize("value", [0, 99], ids=["unspecified", "from-a-newer-version"])
def test_an_unknown_kind_is_an_error_and_no_guess(value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"kind {value}, which this version"):
        kind_from_wire(value)
    with pytest.raises(InvalidRequest, match=rf"kinds\[1\]: is {value}, no kind known"):
        kinds_from_wire([1, value])


def test_kinds_asked_for_twice_count_once() -> None:
    assert kinds_from_wire([2, 1, 2]) == (EntryKind.INTENT, EntryKind.VERDICT)


@settings(max_examples=60, deadline=None)
@given(times)
def test_a_checked_time_survives_the_wire(text: str) -> None:
    assert checked_time_from_wire("t", checked_time_to_wire("t", text)) == text


def test_other_ways_of_writing_a_time_mean_the_same() -> None:
    for text in ("2026-01-31t12:00:00z", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00.0Z"):
        assert time_from_wire(checked_time_to_wire("t", text)) == "2026-01-31T12:00:00.000000Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-02-31T12:00:00Z",
        "2026-01-31T12:00:00.0000001Z",
        "0001-01-01T00:00:00+10:00",
    ],
)
def test_a_bad_time_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"scope\.since_time: is no RFC 3339 time"):
        checked_time_to_wire("scope.since_time", text)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (Timestamp(seconds=253_402_300_800), "t: lies outside the years"),
        (Timestamp(seconds=-62_135_596_801), "t: lies outside the years"),
        (Timestamp(nanos=-1), r"t\.nanos: must be"),
        (Timestamp(nanos=1_000_000_000), r"t\.nanos: must be"),
        (Timestamp(nanos=1), r"t\.nanos: is finer than a microsecond"),
    ],
)
def test_a_bad_timestamp_is_refused_with_its_field(message: Timestamp, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        checked_time_from_wire("t", message)

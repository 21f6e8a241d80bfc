"""What every LogStore promises, held against memory, SQLite and PostgreSQL."""

from dataclasses import replace

import pytest

from audit.errors import LogMoved, StorageError
from audit.ledger.merkle import EMPTY_HEAD
from audit.log_records import (
    EntryKind,
    LogBatch,
    LogEntry,
    Receipt,
    StoredCheckpoint,
    StoredTimestamp,
    TenantHead,
    Tile,
)
from audit.ports import LogStore
from tests.unit.storage.builders import Draft, LoggedStore, a_batch, sealed

WHEN = "2026-01-02T03:04:06.000000Z"


@pytest.fixture
def log(store: LoggedStore) -> LogStore:
    return store.log


def _append(log: LogStore, *drafts: Draft) -> LogBatch:
    batch = a_batch(log, *drafts)
    log.commit(batch, recorded_at=WHEN)
    return batch


def _append_many(log: LogStore, *names: str) -> LogBatch:
    return _append(log, *(Draft(name=name) for name in names))


def test_a_new_log_is_empty(log: LogStore) -> None:
    assert log.read_head() == EMPTY_HEAD
    snapshot = log.snapshot(["policy:one"], ["default"])
    assert (snapshot.head, snapshot.tenants, snapshot.known) == (EMPTY_HEAD, (), ())
    assert log.read_entries(0, 10) == ()
    assert log.read_leaf_hashes(0, 10) == ()
    assert log.read_tile(0, 0) is None
    assert log.find_entry("policy:one") is None
    assert log.latest_checkpoint() is None
    assert log.list_checkpoints(above_size=-1, limit=9) == ()
    assert log.read_artifact("sha256:0") is None


def test_entries_get_the_next_indexes_and_read_back_whole(log: LogStore) -> None:
    _append_many(log, "zero", "one")
    audit = Draft(name="audit-1", kind=EntryKind.INTENT, tenant="acme", audit_id="audit-1")
    batch = _append(log, audit, Draft(name="three"))
    assert log.read_head() == batch.head
    entries = log.read_entries(0, 10)
    assert [entry.log_index for entry in entries] == [0, 1, 2, 3]
    assert [entry.tenant_sequence for entry in entries] == [1, 2, 1, 3]
    made = sealed(audit, 1)
    assert entries[2] == LogEntry(
        log_index=2,
        kind=EntryKind.INTENT,
        tenant="acme",
        tenant_sequence=1,
        entry_key="intent:audit-1",
        audit_id="audit-1",
        entry_digest=made.entry_digest,
        leaf_body=made.leaf_body,
        leaf_hash=made.leaf_hash,
        envelope=made.envelope,
        recorded_at=WHEN,
        erased_at=None,
    )


def test_ranges_end_where_the_log_ends(log: LogStore) -> None:
    batch = _append_many(log, "zero", "one", "two")
    assert [entry.log_index for entry in log.read_entries(1, 2)] == [1]
    assert [entry.log_index for entry in log.read_entries(2, 99)] == [2]
    assert log.read_entries(3, 9) == log.read_entries(2, 2) == ()
    assert log.read_leaf_hashes(1, 99) == tuple(e.leaf_hash for e in batch.entries[1:])


def test_a_snapshot_tells_what_was_asked_for(log: LogStore) -> None:
    first = _append(log, Draft(name="a"), Draft(name="b", tenant="acme"), Draft(name="c"))
    second = _append(log, Draft(name="d", tenant="acme"), Draft(name="e", tenant="zeta"))
    found = log.snapshot(["policy:d", "policy:nowhere", "policy:b"], ["acme", "default", "none"])
    assert found.head == second.head
    assert found.tenants == (
        TenantHead(tenant="acme", sequence=2, entry_digest=second.entries[0].entry_digest),
        TenantHead(tenant="default", sequence=2, entry_digest=first.entries[2].entry_digest),
    )
    assert dict(found.known) == {
        "policy:b": Receipt(log_index=1, entry_digest=first.entries[1].entry_digest),
        "policy:d": Receipt(log_index=3, entry_digest=second.entries[0].entry_digest),
    }


def test_a_batch_built_on_an_older_head_is_refused_and_stores_nothing(log: LogStore) -> None:
    late = a_batch(log, Draft(name="late"), tiles=[Tile(level=1, index=0, hashes=bytes(32))])
    batch = _append_many(log, "first")
    with pytest.raises(LogMoved, match="read its head again"):
        log.commit(late, recorded_at=WHEN)
    assert log.read_head() == batch.head
    assert [entry.entry_key for entry in log.read_entries(0, 9)] == ["policy:first"]
    assert log.read_tile(1, 0) is None


def test_a_batch_built_on_another_tree_of_the_same_size_is_refused(log: LogStore) -> None:
    _append_many(log, "first")
    batch = a_batch(log, Draft(name="second"))
    elsewhere = replace(batch, previous=replace(batch.previous, root=bytes(32)))
    with pytest.raises(LogMoved):
        log.commit(elsewhere, recorded_at=WHEN)
    log.commit(batch, recorded_at=WHEN)
    assert log.read_head().size == 2


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_head_that_does_not_fit_its_entries_is_refused(log: LogStore, size: int) -> None:
    batch = a_batch(log, Draft(name="one"), Draft(name="two"))
    wrong = replace(batch, head=replace(batch.head, size=size))
    with pytest.raises(StorageError, match="report this as a bug"):
        log.commit(wrong, recorded_at=WHEN)
    assert log.read_head() == EMPTY_HEAD


@pytest.mark.parametrize("repeated", ["entry_key", "tenant_sequence", "entry_digest"])
def test_what_must_be_unique_is_refused_twice_over(log: LogStore, repeated: str) -> None:
    held = _append_many(log, "one").entries[0]
    batch = a_batch(log, Draft(name="two"))
    copied = replace(batch.entries[0], **{repeated: getattr(held, repeated)})
    with pytest.raises(StorageError):
        log.commit(replace(batch, entries=(copied,)), recorded_at=WHEN)
    # The same within one batch.
    batch = a_batch(log, Draft(name="two"), Draft(name="three"))
    first, second = batch.entries
    copied = replace(second, **{repeated: getattr(first, repeated)})
    with pytest.raises(StorageError):
        log.commit(replace(batch, entries=(first, copied)), recorded_at=WHEN)
    assert log.read_head().size == 1
    assert len(log.read_entries(0, 9)) == 1
    log.commit(batch, recorded_at=WHEN)
    assert log.read_head().size == 3


def test_tiles_grow_and_the_last_state_of_a_batch_counts(log: LogStore) -> None:
    def tile(level: int, index: int, width: int) -> Tile:
        return Tile(level=level, index=index, hashes=bytes([width % 256]) * 32 * width)

    batch = a_batch(log, Draft(name="one"), tiles=[tile(1, 0, 1), tile(0, 0, 256)])
    log.commit(batch, recorded_at=WHEN)
    grown = [tile(1, 0, 2), tile(1, 0, 3), tile(0, 1, 256)]
    log.commit(a_batch(log, Draft(name="two"), tiles=grown), recorded_at=WHEN)
    assert log.read_tile(1, 0) == tile(1, 0, 3).hashes
    assert log.read_tile(0, 0) == log.read_tile(0, 1) == tile(0, 0, 256).hashes
    assert log.read_tile(1, 1) is None


def test_an_entry_is_found_by_its_key(log: LogStore) -> None:
    _append_many(log, "one", "two")
    found = log.find_entry("policy:two")
    assert found is not None
    assert found == log.read_entries(1, 2)[0]
    assert log.find_entry("two") is None


def test_entries_of_a_kind_are_listed_in_order(log: LogStore) -> None:
    kinds = [EntryKind.POLICY, EntryKind.KEY_EVENT] * 3
    _append(log, *(Draft(name=str(i), kind=kind) for i, kind in enumerate(kinds)))

    def listed(kind: EntryKind, first: int, limit: int) -> list[int]:
        return [entry.log_index for entry in log.list_of_kind(kind, first=first, limit=limit)]

    assert listed(EntryKind.KEY_EVENT, 0, 9) == [1, 3, 5]
    assert listed(EntryKind.KEY_EVENT, 0, 2) == [1, 3]
    assert listed(EntryKind.KEY_EVENT, 3, 9) == [3, 5]
    assert listed(EntryKind.KEY_EVENT, 4, 1) == [5]
    assert listed(EntryKind.REPORT, 0, 9) == []


def test_every_kind_comes_back_as_itself(log: LogStore) -> None:
    _append(log, *(Draft(name="it", kind=kind) for kind in EntryKind))
    assert [entry.kind for entry in log.read_entries(0, 99)] == list(EntryKind)


def test_a_tenant_may_have_any_name(log: LogStore) -> None:
    for name in ("Ärzte & Söhne", "x" * 256, "a'b\"c;--"):
        _append(log, Draft(name=f"of {name}", tenant=name))
        assert log.snapshot([], [name]).tenants[0].sequence == 1


def _checkpoint(size: int, mark: str = "note", *, witnessed: bool = False) -> StoredCheckpoint:
    return StoredCheckpoint(
        size=size,
        root=bytes([size]) * 32,
        note=f"{mark} {size}".encode(),
        issued_at=WHEN,
        is_witnessed=witnessed,
    )


def test_the_largest_checkpoint_is_the_latest(log: LogStore) -> None:
    for size in (1, 9, 4):
        log.save_checkpoint(_checkpoint(size))
    assert log.latest_checkpoint() == _checkpoint(9)
    assert log.latest_checkpoint(witnessed=True) is None
    log.save_checkpoint(_checkpoint(4, witnessed=True))
    assert log.latest_checkpoint() == _checkpoint(9)
    assert log.latest_checkpoint(witnessed=True) == _checkpoint(4, witnessed=True)


def test_only_a_witnessed_checkpoint_takes_the_place_of_another(log: LogStore) -> None:
    log.save_checkpoint(_checkpoint(3, "first"))
    log.save_checkpoint(_checkpoint(3, "second"))
    assert log.latest_checkpoint() == _checkpoint(3, "first")
    log.save_checkpoint(_checkpoint(3, "witnessed", witnessed=True))
    log.save_checkpoint(_checkpoint(3, "third"))
    assert log.latest_checkpoint() == _checkpoint(3, "witnessed", witnessed=True)
    log.save_checkpoint(_checkpoint(3, "by more", witnessed=True))
    for witnessed in (False, True):
        latest = log.latest_checkpoint(witnessed=witnessed)
        assert latest == _checkpoint(3, "by more", witnessed=True)


def test_checkpoints_are_listed_once_a_size_smallest_first(log: LogStore) -> None:
    for size in (5, 1, 3):
        log.save_checkpoint(_checkpoint(size))
    log.save_checkpoint(_checkpoint(3, "witnessed", witnessed=True))
    log.save_checkpoint(_checkpoint(7, "witnessed", witnessed=True))
    expected = (
        _checkpoint(1),
        _checkpoint(3, "witnessed", witnessed=True),
        _checkpoint(5),
        _checkpoint(7, "witnessed", witnessed=True),
    )
    assert log.list_checkpoints(above_size=-1, limit=9) == expected
    assert log.list_checkpoints(above_size=1, limit=2) == expected[1:3]
    assert log.list_checkpoints(above_size=7, limit=9) == ()


def test_time_stamps_are_listed_by_size_and_the_first_of_an_authority_stays(log: LogStore) -> None:
    def stamp(size: int, authority: str, response: bytes = b"first") -> StoredTimestamp:
        return StoredTimestamp(size=size, authority=authority, response=response, obtained_at=WHEN)

    for made in (stamp(4, "b"), stamp(2, "a"), stamp(4, "a"), stamp(4, "a", b"later")):
        log.save_timestamp(made)
    listed = (stamp(2, "a"), stamp(4, "a"), stamp(4, "b"))
    assert log.list_timestamps(first_size=0, limit=9) == listed
    assert log.list_timestamps(first_size=3, limit=1) == (stamp(4, "a"),)
    assert log.list_timestamps(first_size=5, limit=9) == ()

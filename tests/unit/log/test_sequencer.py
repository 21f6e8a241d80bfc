"""What the sequencer promises: order, group commit, one place per key, nothing after a fork."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from audit.errors import LogForked, StorageError
from audit.ledger.fsck import check_log
from audit.ledger.merkle import EMPTY_HEAD, grow, verify_inclusion
from audit.ledger.sequencer import Draft
from audit.log_records import ChainLink, EntryKind, LogBatch, SealedEntry
from tests.property.test_log_machine import draft
from tests.support.faults import Fault, FaultyLogStore, Step
from tests.support.logs import RECEIPT_TIMEOUT_S, Log, build_log, log_signer, running
from tests.unit.log.conftest import AnyStore
from tests.unit.storage.builders import StepClock


def append(log: Log, *drafts: Draft) -> list[int]:
    futures = [log.sequencer.append(one) for one in drafts]
    return [future.result(RECEIPT_TIMEOUT_S).log_index for future in futures]


def test_entries_get_consecutive_places_in_the_order_in_which_they_come(log: Log) -> None:
    assert append(log, *(draft("default", n) for n in range(5))) == [0, 1, 2, 3, 4]
    keys = [entry.entry_key for entry in log.reader.entries(0, 5)]
    assert keys == [f"sweep:{n}" for n in range(5)]


def test_each_tenant_has_a_chain_of_its_own(log: Log) -> None:
    append(log, *(draft(tenant, n) for n, tenant in enumerate(["a", "b", "a", "b", "a"])))
    chains: dict[str, list[int]] = {}
    for entry in log.reader.entries(0, 5):
        chains.setdefault(entry.tenant, []).append(entry.tenant_sequence)
    assert chains == {"a": [1, 2, 3], "b": [1, 2]}


def test_the_tree_is_that_of_the_leaves_and_every_entry_can_be_proven(log: Log) -> None:
    append(log, *(draft("default", n) for n in range(300)))
    checkpoint = log.reader.checkpoint()
    leaves = [entry.leaf_hash for entry in log.reader.entries(0, 300)]
    assert grow(EMPTY_HEAD, leaves).root == checkpoint.root
    for index in (0, 1, 254, 255, 256, 257, 299):
        proof = log.reader.inclusion(index, 300)
        root = checkpoint.root
        verify_inclusion(leaf=leaves[index], index=index, size=300, proof=proof, root=root)


def test_a_key_that_is_in_the_log_gives_its_earlier_place(log: Log) -> None:
    first = append(log, draft("default", 1))
    assert append(log, draft("default", 1), draft("default", 2), draft("default", 1)) == [0, 1, 0]
    assert first == [0]
    assert log.store.read_head().size == 2


def test_the_same_key_twice_in_one_batch_is_one_entry(log: Log) -> None:
    held = threading.Event()

    def slow(link: ChainLink) -> SealedEntry:
        held.wait(RECEIPT_TIMEOUT_S)
        return draft("default", 0).seal(link)

    first = Draft(kind=EntryKind.SWEEP_COMMITMENT, tenant="default", entry_key="sweep:0", seal=slow)
    futures = [log.sequencer.append(first)]
    futures += [log.sequencer.append(draft("default", 1)) for _ in range(3)]
    held.set()
    places = [future.result(RECEIPT_TIMEOUT_S).log_index for future in futures]
    assert places == [0, 1, 1, 1]


def test_a_draft_that_cannot_be_signed_fails_alone(log: Log) -> None:
    def broken(link: ChainLink) -> SealedEntry:
        raise ZeroDivisionError("a fault of ours")

    bad = Draft(kind=EntryKind.REPORT, tenant="default", entry_key="report:bad", seal=broken)
    good = [log.sequencer.append(draft("default", n)) for n in range(2)]
    failed = log.sequencer.append(bad)
    more = [log.sequencer.append(draft("default", n)) for n in range(2, 4)]
    with pytest.raises(ZeroDivisionError):
        failed.result(RECEIPT_TIMEOUT_S)
    assert sorted(f.result(RECEIPT_TIMEOUT_S).log_index for f in good + more) == [0, 1, 2, 3]


def test_many_threads_and_two_sequencers_leave_no_gap_and_no_duplicate(
    store: AnyStore, tmp_path: Path
) -> None:
    numbers = itertools.count()
    with (
        running(store.log, tmp_path, StepClock()) as one,
        running(store.log, tmp_path, StepClock()) as two,
        ThreadPoolExecutor(8) as pool,
    ):
        jobs = [
            pool.submit(append, log, *(draft("default", next(numbers)) for _ in range(5)))
            for _ in range(10)
            for log in (one, two)
        ]
        places = sorted(place for job in jobs for place in job.result(RECEIPT_TIMEOUT_S))
        assert places == list(range(100))
        assert check_log(store.log, log_signer().key).problems == ()


def test_a_database_that_fails_twice_is_told(store: AnyStore, tmp_path: Path) -> None:
    class Broken(FaultyLogStore):
        def commit(self, batch: LogBatch, *, recorded_at: str) -> None:
            raise StorageError("the disk is full")

    with running(Broken(store.log, Fault()), tmp_path, StepClock()) as log:
        for number in range(2):
            with pytest.raises(StorageError, match="the disk is full"):
                append(log, draft("default", number))
    assert store.log.read_head().size == 0


@pytest.mark.parametrize("step", list(Step)[:3])
@pytest.mark.parametrize("is_kept", [False, True], ids=["lost", "kept"])
def test_after_a_failure_the_same_draft_gets_one_place(
    step: Step, is_kept: bool, store: AnyStore, tmp_path: Path
) -> None:
    fault = Fault()
    with running(FaultyLogStore(store.log, fault), tmp_path, StepClock()) as log:
        append(log, draft("default", 0))
        fault.step, fault.is_kept = step, is_kept
        one = draft("default", 1)
        # once with what the sequencer remembers, once after it was told to look anew
        for _ in range(2):
            with suppress(StorageError):
                append(log, one)
        fault.step = None
        assert append(log, one) == [1]
        assert log.reader.checkpoint().size == 2
    assert check_log(store.log, log_signer().key).problems == ()


def test_what_was_committed_before_a_crash_is_published_at_the_next_start(
    store: AnyStore, tmp_path: Path
) -> None:
    fault = Fault()
    with running(FaultyLogStore(store.log, fault), tmp_path, StepClock()) as log:
        fault.step = Step.CHECKPOINT
        with pytest.raises(StorageError):
            append(log, draft("default", 0))
    earlier = store.log.latest_checkpoint()
    assert earlier is not None
    assert earlier.size == 0
    with running(store.log, tmp_path, StepClock()) as log:
        assert log.reader.checkpoint().size == 1
        assert log.anchor.read() is not None


def test_a_closed_log_refuses_and_answers_what_waits(store: AnyStore, tmp_path: Path) -> None:
    with running(store.log, tmp_path, StepClock()) as log:
        append(log, draft("default", 0))
    with pytest.raises(StorageError, match="closing"):
        log.sequencer.append(draft("default", 1))


def test_stopping_appends_what_waits(store: AnyStore, tmp_path: Path) -> None:
    with running(store.log, tmp_path, StepClock()) as log:
        futures = [log.sequencer.append(draft("default", n)) for n in range(50)]
    assert [future.result(0).log_index for future in futures] == list(range(50))


def test_a_log_that_saw_a_fork_never_goes_on(store: AnyStore, tmp_path: Path) -> None:
    log = build_log(store.log, tmp_path, StepClock())
    log.sequencer.start()
    append(log, draft("default", 0))
    log.anchor.path.unlink()
    other = tmp_path / "other"
    other.mkdir()
    # another history of the same size takes the anchor's place
    with running(_other_store().log, other, StepClock()) as forked:
        append(forked, *(draft("default", n) for n in (7, 8)))
        forked_anchor = forked.anchor.path.read_bytes()
    log.anchor.path.write_bytes(forked_anchor)
    for number in (1, 2):
        with pytest.raises(LogForked, match="names 2: it was restored"):
            append(log, draft("default", number))
    log.sequencer.stop()


def _other_store() -> AnyStore:
    from tests.unit.log.conftest import _memory

    return _memory(Path())

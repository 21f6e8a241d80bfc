"""Several sequencers on one log, in threads and in processes: one winner of each size, no gap."""

import contextlib
import itertools
import multiprocessing
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from audit.errors import LogMoved
from audit.ledger.merkle import EMPTY_HEAD, grow
from audit.log_records import LogEntry
from audit.ports import LogStore
from storage.store import open_store
from tests.unit.storage.builders import CountingIds, Draft, LoggedStore, StepClock, a_batch

WHEN = "2026-01-02T03:04:06.000000Z"

#: Sequencers that race, and batches that each of them must get in.
NUM_WRITERS = 2
NUM_BATCHES = 20


def _append_all(log: LogStore, writer: str) -> list[tuple[int, int]]:
    """Append batches of 1 to 3 entries; return the sizes that each one moved the log between."""
    moves = []
    for number in range(NUM_BATCHES):
        drafts = [Draft(name=f"{writer}-{number}-{i}") for i in range(1 + number % 3)]
        while True:
            batch = a_batch(log, *drafts)
            with contextlib.suppress(LogMoved):
                log.commit(batch, recorded_at=WHEN)
                break
        moves.append((batch.previous.size, batch.head.size))
    return moves


def _check(log: LogStore, moves: Sequence[tuple[int, int]]) -> None:
    """Check that the moves are one chain, and that what is stored is what they appended."""
    chain = sorted(moves)
    assert len(chain) == NUM_WRITERS * NUM_BATCHES
    assert [start for start, _ in chain] == [0, *(end for _, end in chain[:-1])]
    entries = log.read_entries(0, 10**6)
    size = chain[-1][1]
    assert [entry.log_index for entry in entries] == list(range(size))
    assert [entry.tenant_sequence for entry in entries] == list(range(1, size + 1))
    assert len({entry.entry_key for entry in entries}) == size
    assert log.read_head() == grow(EMPTY_HEAD, [entry.leaf_hash for entry in entries])
    (tenant,) = log.snapshot([], ["default"]).tenants
    assert (tenant.sequence, tenant.entry_digest) == (size, entries[-1].entry_digest)
    assert _batches_are_whole(entries)


def _batches_are_whole(entries: Sequence[LogEntry]) -> bool:
    """Say whether the entries of each batch stand together and in order."""
    names = [entry.entry_key.rpartition("-") for entry in entries]
    groups = [list(group) for _, group in itertools.groupby(names, key=lambda name: name[0])]
    inside = all(
        [i for _, _, i in group] == [str(i) for i in range(len(group))] for group in groups
    )
    return inside and len(groups) == NUM_WRITERS * NUM_BATCHES


def test_threads_that_race_leave_neither_gap_nor_duplicate(store: LoggedStore) -> None:
    start = threading.Barrier(NUM_WRITERS)

    def write(writer: int) -> list[tuple[int, int]]:
        start.wait()
        return _append_all(store.log, f"writer{writer}")

    with ThreadPoolExecutor(NUM_WRITERS) as pool:
        moves = [move for part in pool.map(write, range(NUM_WRITERS)) for move in part]
    _check(store.log, moves)


def write_in_a_process(url: str, writer: str, folder: Path) -> None:
    store = open_store(url, clock=StepClock(), new_id=CountingIds(writer))
    (folder / f"{writer}.ready").touch()
    while len(list(folder.glob("*.ready"))) < NUM_WRITERS:
        pass
    moves = _append_all(store.log, writer)
    store.close()
    (folder / f"{writer}.moves").write_text("".join(f"{a} {b}\n" for a, b in moves))


def test_processes_that_race_leave_neither_gap_nor_duplicate(any_url: str, tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["storage.store"])
    writers = [
        processes.Process(target=write_in_a_process, args=(any_url, f"writer{i}", tmp_path))
        for i in range(NUM_WRITERS)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * NUM_WRITERS
    lines = [line for path in tmp_path.glob("*.moves") for line in path.read_text().splitlines()]
    store = open_store(any_url, clock=StepClock(), new_id=CountingIds())
    _check(store.log, [(int(line.split()[0]), int(line.split()[1])) for line in lines])
    store.close()


def test_a_batch_goes_in_once_however_many_offer_it(store: LoggedStore) -> None:
    batch = a_batch(store.log, Draft(name="one"))
    start = threading.Barrier(6)

    def offer(_writer: int) -> bool:
        start.wait()
        try:
            store.log.commit(batch, recorded_at=WHEN)
        except LogMoved:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(offer, range(6))) == [False] * 5 + [True]
    assert len(store.log.read_entries(0, 9)) == 1

"""SIGKILL at random moments leaves the whole verdict log as its receipts say.

A child opens store, anchor, sequencer and recorder with real keys, and several threads announce and
conclude audits. Each notes a receipt in a file only once it has it. The parent kills the child,
holds the database against the notes, and starts the next one on the same database and anchor.
"""

import base64
import itertools
import json
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from sqlalchemy import text

from audit.ledger.anchor import Anchor
from audit.ledger.checkpoints import parse_checkpoint_body
from audit.ledger.fsck import check_log
from audit.ledger.merkle import EMPTY_HEAD, grow, verify_consistency
from audit.ledger.notes import open_note
from audit.ledger.reader import LogReader
from audit.log_records import EntryKind, LogEntry, Receipt
from audit.records import Examination
from storage.engine import open_engine
from storage.store import SqlAuditStore, open_store
from tests.support.logs import Log, log_signer, running
from tests.support.postgres import running_cluster
from tests.unit.service.examples import PASS
from tests.unit.storage.builders import CountingIds, a_digest, a_request

NUM_ROUNDS = 100
NUM_THREADS = 4
START_TIMEOUT_S = 20.0
MAX_WORK_S = 0.08
#: One round in so many is killed while it starts, before its first receipt or even before it opens.
EARLY_EVERY = 10
MAX_START_S = 0.1
NUM_PROVEN_PAIRS = 200


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@contextmanager
def opened(url: str, ids: str) -> Iterator[SqlAuditStore]:
    store = open_store(url, clock=_now, new_id=CountingIds(ids))
    try:
        yield store
    finally:
        store.close()


def work_until_killed(url: str, folder: Path, round_name: str) -> None:
    notes = os.open(folder / "receipts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with opened(url, round_name) as store, running(store.log, folder, _now) as log:
        store.requeue_unfinished()
        threads = [
            threading.Thread(target=_audit_forever, args=(log, store, notes, f"{round_name}-{n}"))
            for n in range(NUM_THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _audit_forever(log: Log, store: SqlAuditStore, notes: int, name: str) -> None:
    for number in itertools.count():
        store.submit(a_request(f"{name}-{number}"), a_digest(f"{name}-{number}"))
        job = store.claim()
        assert job is not None
        intent = log.recorder.announce(job)
        _note(notes, EntryKind.INTENT, job.audit_id, intent)
        verdict = log.recorder.conclude(job, Examination(verdict=PASS), None, intent)
        _note(notes, EntryKind.VERDICT, job.audit_id, verdict)


def _note(notes: int, kind: EntryKind, audit_id: str, receipt: Receipt) -> None:
    # one write of a short line to a file opened for appending is not torn by another thread
    os.write(notes, f"{kind}:{audit_id} {receipt.log_index} {receipt.entry_digest}\n".encode())


@dataclass(slots=True)
class Watched:
    """What the parent has seen of one log so far."""

    url: str
    folder: Path
    size: int = 0
    noted: dict[str, Receipt] = field(default_factory=dict)
    _read_to: int = 0

    def read_notes(self) -> list[str]:
        """Take in what was noted since, and return its keys; a receipt may not change its mind."""
        content = (self.folder / "receipts").read_text()
        fresh = []
        for line in content[self._read_to :].splitlines():
            key, index, digest = line.split()
            receipt = Receipt(log_index=int(index), entry_digest=digest)
            assert self.noted.setdefault(key, receipt) == receipt, key
            fresh.append(key)
        self._read_to = len(content)
        return fresh

    def check_round(self) -> None:
        """Hold what one round has acknowledged against what is stored, anchored and published."""
        fresh = self.read_notes()
        with opened(self.url, "parent") as store:
            size = store.log.read_head().size
            assert size >= self.size
            latest = store.log.latest_checkpoint()
            published = 0 if latest is None else latest.size
            anchored = Anchor(self.folder / "log-anchor", log_signer().key).read()
            anchored_size = 0 if anchored is None else anchored.size
            assert anchored_size <= published <= size
            entries = {e.log_index: e for e in LogReader(store.log).entries(self.size, size)}
            for key in fresh:
                receipt = self.noted[key]
                # no receipt is given before the anchor covers the entry
                assert receipt.log_index < anchored_size
                entry = entries.get(receipt.log_index) or LogReader(store.log).find(key)
                assert (entry.entry_key, entry.entry_digest) == (key, receipt.entry_digest)
        self.size = size


def _start(url: str, folder: Path, round_name: str) -> ForkServerProcess:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    child = processes.Process(target=work_until_killed, args=(url, folder, round_name))
    child.start()
    return child


def _killed_round(log: Watched, number: int, chance: random.Random) -> None:
    notes = log.folder / "receipts"
    notes.touch()
    size_before = notes.stat().st_size
    is_early = number % EARLY_EVERY == EARLY_EVERY - 1
    child = _start(log.url, log.folder, f"round{number}")
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_early and notes.stat().st_size == size_before:
        assert child.is_alive() and time.monotonic() < deadline, "no first receipt"
        time.sleep(0.001)
    time.sleep(chance.uniform(0.0, MAX_START_S if is_early else MAX_WORK_S))
    assert child.is_alive(), "the child ended by itself"
    child.kill()
    child.join()


def _check_entries(entries: list[LogEntry], noted: dict[str, Receipt]) -> None:
    assert [entry.log_index for entry in entries] == list(range(len(entries)))
    by_key = {entry.entry_key: entry for entry in entries}
    assert len(by_key) == len(entries)
    for key, receipt in noted.items():
        entry = by_key[key]
        assert (entry.log_index, entry.entry_digest) == (receipt.log_index, receipt.entry_digest)
    for entry in entries:
        if entry.kind is EntryKind.VERDICT:
            assert entry.envelope is not None
            payload = base64.b64decode(json.loads(entry.envelope)["payload"])
            intent = by_key[f"{EntryKind.INTENT}:{entry.audit_id}"]
            assert json.loads(payload)["predicate"]["intent"] == {
                "logIndex": intent.log_index,
                "digest": {"sha256": intent.entry_digest.removeprefix("sha256:")},
            }


def _check_checkpoints(log: LogReader, entries: list[LogEntry], chance: random.Random) -> None:
    """Check signature and tree of every checkpoint, and the log's own proofs between some."""
    stated = []
    head, checkpoints = EMPTY_HEAD, list(log.checkpoints())
    for stored in checkpoints:
        note = parse_checkpoint_body(open_note(stored.note, [log_signer().key]).text)
        # all of them are states of one growing tree, so that any two are consistent
        head = grow(head, [entry.leaf_hash for entry in entries[head.size : stored.size]])
        assert (note.size, note.root) == (stored.size, stored.root) == (head.size, head.root)
        # that the empty log is part of another is no proof's matter
        stated += [note] if note.size else []
    times = [stored.issued_at for stored in checkpoints]
    assert times == sorted(times)
    for _ in range(NUM_PROVEN_PAIRS):
        old, new = sorted(chance.sample(stated, 2), key=lambda checkpoint: checkpoint.size)
        verify_consistency(
            old_size=old.size,
            new_size=new.size,
            old_root=old.root,
            new_root=new.root,
            proof=log.consistency(old.size, new.size),
        )


def _check_all(log: Watched, chance: random.Random) -> None:
    with opened(log.url, "parent") as store:
        reader = LogReader(store.log)
        entries = list(reader.entries(0, log.size))
        _check_entries(entries, log.noted)
        _check_checkpoints(reader, entries, chance)
        anchored = Anchor(log.folder / "log-anchor", log_signer().key).read()
        assert check_log(store.log, log_signer().key, anchored).problems == ()
    ended = _column(log.url, "SELECT audit_id FROM audits WHERE state = 'DONE'")
    judged = [str(entry.audit_id) for entry in entries if entry.kind is EntryKind.VERDICT]
    assert sorted(ended) == sorted(judged)
    assert sorted(_column(log.url, "SELECT audit_id FROM verdicts")) == sorted(judged)


def _column(url: str, query: str) -> list[str]:
    engine = open_engine(url)
    with engine.connect() as connection:
        found = [str(value) for value in connection.execute(text(query)).scalars()]
    engine.dispose()
    return found


@pytest.fixture
def postgresql() -> Iterator[str]:
    with running_cluster() as cluster:
        yield cluster.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    made: Callable[[], str] = {
        "sqlite": lambda: f"sqlite:///{tmp_path}/audit.db",
        "postgresql": lambda: str(request.getfixturevalue("postgresql")),
    }[request.param]
    return made()


def test_sigkill_at_random_moments_leaves_what_the_receipts_say(url: str, tmp_path: Path) -> None:
    chance = random.Random(20261121)  # noqa: S311  moments to kill at, not a secret
    log = Watched(url=url, folder=tmp_path)
    for number in range(NUM_ROUNDS):
        _killed_round(log, number, chance)
        log.check_round()
    _check_all(log, chance)
    # a loaded machine is killed before its first receipt now and then
    assert len(log.noted) >= NUM_ROUNDS // 2

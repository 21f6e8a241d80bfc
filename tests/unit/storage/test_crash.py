"""Killing the process at any moment loses nothing that was acknowledged.

A child submits and completes audits in a loop, each verdict with its entry in the log, and notes
each acknowledgement in a file only after the store has returned. The parent kills it with SIGKILL,
reopens the database and compares. This shows that a crash of the process is survived; a power
failure is not tried here.
"""

import itertools
import multiprocessing
import os
import random
import time
from pathlib import Path

from sqlalchemy import text

from audit.ledger.merkle import EMPTY_HEAD, grow
from audit.records import AuditState
from storage.engine import open_engine
from storage.store import SqlAuditStore, open_store
from tests.unit.storage.builders import (
    CountingIds,
    StepClock,
    a_digest,
    a_key,
    a_request,
    a_signed,
    a_stream,
    complete,
)

NUM_ROUNDS = 10
START_TIMEOUT_S = 20.0


def _open(url: str, round_name: str) -> SqlAuditStore:
    return open_store(url, clock=StepClock(), new_id=CountingIds(round_name))


def work_until_killed(url: str, folder: Path, round_name: str) -> None:
    store = _open(url, round_name)
    log = os.open(folder / "acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in itertools.count():
        name = f"{round_name}-{number}"
        record, _ = store.submit(a_request(name), a_digest(name))
        os.write(log, f"submitted {record.audit_id}\n".encode())
        if number % 3 == 0:
            continue
        job = store.claim()
        assert job is not None
        previous = store.read_stream(a_key())
        stream = a_stream(1 if previous is None else previous.version + 1)
        complete(store, job, a_signed(mark=job.audit_id), stream)
        os.write(log, f"completed {job.audit_id}\n".encode())


def _kill_at_a_random_moment(
    url: str, folder: Path, round_name: str, chance: random.Random
) -> None:
    log = folder / "acknowledged"
    log.touch()
    size_before = log.stat().st_size
    # counted in what was done, not in time alone: a loaded machine must get as far as an idle one
    wanted = chance.randint(1, 12)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["storage.store"])
    child = processes.Process(target=work_until_killed, args=(url, folder, round_name))
    child.start()
    deadline = time.monotonic() + START_TIMEOUT_S
    while _num_lines_after(log, size_before) < wanted and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(chance.uniform(0.0, 0.02))
    child.kill()
    child.join()
    assert log.stat().st_size > size_before, "the child died before its first acknowledgement"


def _num_lines_after(log: Path, offset: int) -> int:
    return log.read_bytes()[offset:].count(b"\n")


def _acknowledged(folder: Path, kind: str) -> list[str]:
    lines = (folder / "acknowledged").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith(kind)]


def _check_nothing_was_lost(folder: Path, store: SqlAuditStore) -> None:
    for audit_id in _acknowledged(folder, "submitted"):
        assert store.get(audit_id).request_digest.startswith("sha256:")
    for audit_id in _acknowledged(folder, "completed"):
        record = store.get(audit_id)
        assert record.state is AuditState.DONE
        assert record.signed == a_signed(mark=audit_id)


def _check_each_verdict_counts_once(url: str, store: SqlAuditStore) -> None:
    num_verdicts = len(_column(url, "SELECT audit_id FROM verdicts"))
    stream = store.read_stream(a_key())
    assert stream == (a_stream(num_verdicts) if num_verdicts else None)


def _check_the_log(url: str, store: SqlAuditStore) -> None:
    entries = store.log.read_entries(0, 10**6)
    assert [entry.log_index for entry in entries] == list(range(len(entries)))
    assert store.log.read_head() == grow(EMPTY_HEAD, [entry.leaf_hash for entry in entries])
    assert all(entry.envelope is not None for entry in entries)
    ended = _column(url, "SELECT audit_id FROM audits WHERE state = 'DONE'")
    assert sorted(str(entry.audit_id) for entry in entries) == sorted(ended)


def _check_the_database(url: str) -> None:
    if url.startswith("sqlite"):
        assert _column(url, "PRAGMA integrity_check") == ["ok"]
        assert _column(url, "PRAGMA foreign_key_check") == []
    verdicts = _column(url, "SELECT audit_id FROM verdicts")
    done = _column(url, "SELECT audit_id FROM audits WHERE state = 'DONE'")
    assert sorted(verdicts) == sorted(done)


def _column(url: str, query: str) -> list[str]:
    engine = open_engine(url)
    with engine.connect() as connection:
        found = [str(value) for value in connection.execute(text(query)).scalars()]
    engine.dispose()
    return found


def test_sigkill_loses_no_acknowledged_audit_or_verdict(any_url: str, tmp_path: Path) -> None:
    chance = random.Random(20260102)  # noqa: S311  moments to kill at, not a secret
    for number in range(NUM_ROUNDS):
        _kill_at_a_random_moment(any_url, tmp_path, f"round{number}", chance)
        store = _open(any_url, "parent")
        _check_nothing_was_lost(tmp_path, store)
        _check_each_verdict_counts_once(any_url, store)
        _check_the_log(any_url, store)
        store.requeue_unfinished()
        store.close()
        _check_the_database(any_url)
    assert len(_acknowledged(tmp_path, "completed")) >= NUM_ROUNDS

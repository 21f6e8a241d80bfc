"""Many requests at once, two witness processes on one state, and processes that are killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from audit.ledger.http_post import Answer, PostFailed
from audit.ledger.notes import format_vkey, open_note, parse_note, parse_vkey
from audit.ledger.witness.protocol import parse_size
from audit.ledger.witness.state import WitnessState
from tests.unit.ledger.witness.logs import LOG_SIGNER, ORIGIN, FakeLog, ask, running_witness

COMMAND = (
    "import typer; from audit.cli import witness; root = typer.Typer(); witness.register(root); "
    "root()"
)
MAX_SIZE = 24
HISTORIES = (FakeLog(), FakeLog(forked_at=3), FakeLog(forked_at=7, fork=b"other"))


@dataclass
class WitnessProcess:
    process: subprocess.Popen[str]
    announced: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.announced["url"])


@contextmanager
def witness_process(folder: Path) -> Iterator[WitnessProcess]:
    """Yield a running `witness serve` with its key and state in a folder."""
    command = [sys.executable, "-c", COMMAND, "witness", "serve", "--json"]
    command += ["--name", "witness.test.example/w1", "--log", format_vkey(LOG_SIGNER.key)]
    command += ["--key", str(folder / "key.pem"), "--state", str(folder / "state.db")]
    command += ["--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield WitnessProcess(process, json.loads(process.stdout.readline()))
        finally:
            process.send_signal(signal.SIGTERM)


def hammer(urls: tuple[str, ...], worker: int) -> list[tuple[int, bytes]]:
    """Push one history as far as it goes; return what was cosigned, as (size, root)."""
    log = HISTORIES[worker % len(HISTORIES)]
    cosigned: list[tuple[int, bytes]] = []
    old = 0
    for step in range(60):
        new = min(old + 1 + worker % 2, MAX_SIZE)
        answer = ask(urls[(step + worker) % len(urls)], log.request(old, new))
        if answer.status == 200:
            cosigned.append((new, log.root(new)))
            old = new
        elif answer.status == 409:
            old = parse_size(answer.body)
        else:
            assert answer.status == 422
        if answer.status == 422 or old == MAX_SIZE:
            break
    return cosigned


def require_one_history(cosigned: list[tuple[int, bytes]], state: Path) -> None:
    roots: dict[int, bytes] = {}
    for size, root in cosigned:
        assert roots.setdefault(size, root) == root, f"two trees of size {size} were cosigned"
    latest = WitnessState(state).latest(ORIGIN)
    assert latest is not None
    assert (latest.size, latest.root) == max(roots.items())
    # one history has all the roots, not each size some of them
    assert any(all(log.root(size) == root for size, root in roots.items()) for log in HISTORIES)


def test_threads_never_get_two_trees_of_one_size(tmp_path: Path) -> None:
    with (
        running_witness(tmp_path / "state.db") as url,
        ThreadPoolExecutor(max_workers=12) as pool,
    ):
        results = list(pool.map(lambda worker: hammer((url,), worker), range(12)))
    require_one_history([pair for pairs in results for pair in pairs], tmp_path / "state.db")


def test_processes_with_one_state_never_cosign_two_trees_of_one_size(tmp_path: Path) -> None:
    with (
        witness_process(tmp_path) as first,
        witness_process(tmp_path) as second,
        ThreadPoolExecutor(max_workers=8) as pool,
    ):
        assert first.announced["vkey"] == second.announced["vkey"]
        urls = (first.url, second.url)
        results = list(pool.map(lambda worker: hammer(urls, worker), range(8)))
    require_one_history([pair for pairs in results for pair in pairs], tmp_path / "state.db")


def test_one_of_two_forks_wins_at_each_race(tmp_path: Path) -> None:
    """Both go on from the same tree at the same time, to the same size."""
    for race in range(10):
        forks = (FakeLog(forked_at=3), FakeLog(forked_at=3, fork=b"other"))
        with running_witness(tmp_path / f"{race}.db") as url:
            assert ask(url, forks[0].request(0, 3)).status == 200
            bodies = [forks[number % 2].request(3, 8) for number in range(6)]
            with ThreadPoolExecutor(max_workers=6) as pool:
                answers: list[Answer] = list(pool.map(lambda body: ask(url, body), bodies))
        assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409, 409]


def test_a_killed_witness_has_forgotten_nothing(tmp_path: Path) -> None:
    log = FakeLog()
    size, keys = 0, set()
    for _ in range(3):
        with witness_process(tmp_path) as running:
            keys.add(running.announced["vkey"])
            for _ in range(2):
                answer = ask(running.url, log.request(size, size + 2))
                assert answer.status == 200
                size += 2
            key = parse_vkey(running.announced["vkey"])
            text = parse_note(log.note(size)).text
            assert open_note(text.encode() + b"\n" + answer.body, [key]).verified
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait()
        latest = WitnessState(tmp_path / "state.db").latest(ORIGIN)
        assert latest is not None
        assert (latest.size, latest.root) == (size, log.root(size))
    assert len(keys) == 1
    with witness_process(tmp_path) as running:
        assert ask(running.url, log.request(0, 2)).body == b"%d\n" % size
        assert ask(running.url, FakeLog(forked_at=1).request(size, size)).status == 422


def test_a_witness_killed_amid_requests_keeps_what_it_cosigned(tmp_path: Path) -> None:
    log = FakeLog()
    for _ in range(3):
        latest = WitnessState(tmp_path / "state.db", may_create=True).latest(ORIGIN)
        size = 0 if latest is None else latest.size
        with witness_process(tmp_path) as running, ThreadPoolExecutor(max_workers=1) as pool:
            killer = pool.submit(_kill_soon, running.process)
            while True:
                try:
                    answer = ask(running.url, log.request(size, size + 1))
                except PostFailed:
                    break
                assert answer.status == 200
                size += 1
            killer.result()
            running.process.wait()
        latest = WitnessState(tmp_path / "state.db").latest(ORIGIN)
        assert latest is not None
        # the last request may have been stored without its answer getting out; never the reverse
        assert latest.size in (size, size + 1)
        assert latest.root == log.root(latest.size)


def _kill_soon(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(timeout=0.3)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with witness_process(tmp_path) as running:
        assert ask(running.url, FakeLog().request(0, 5)).status == 200
        running.process.send_signal(number)
        assert running.process.wait(timeout=60) == 0

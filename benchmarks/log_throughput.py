"""How many signed verdicts does one process log in a second, each durable when acknowledged?

Method: so many audits are accepted and claimed, and their intents logged, beforehand. Then one
thread hands over verdicts, with `--concurrency` of them outstanding at any time: each is signed
with ECDSA P-256 at its place in the tenant's chain, committed with its job's end, its leaf and the
tree, and covered by a signed checkpoint that is stored and anchored before its receipt is given.
The verdict has the size of a typical one (all fields set). Everything runs in this process;
PostgreSQL is a private cluster of this machine with fsync on, whose processes share the cores. At
the end the whole log is checked against itself.

Floors of the same run: durable appends of one 4 KiB block to a file of the same folder, one after
the other, and P-256 signatures on one thread.

    python benchmarks/log_throughput.py [--database sqlite|postgresql] [--num-verdicts 6000]
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from audit.app import new_id, utc_now
from audit.ledger.fsck import check_log
from audit.log_records import Receipt
from audit.records import Examination, Job
from storage.store import SqlAuditStore, open_store
from tests.golden.ledger.examples import example_job, passed
from tests.support.logs import Log, log_signer, running, verdict_key

FLOOR_S = 1.0


def durable_appends_per_s(folder: Path) -> float:
    """Return how many 4 KiB appends a second reach the disk, one after the other."""
    block, count, end = bytes(4096), 0, time.perf_counter() + FLOOR_S
    with (folder / "floor").open("wb", buffering=0) as file:
        while time.perf_counter() < end:
            file.write(block)
            os.fdatasync(file.fileno())
            count += 1
    return count / FLOOR_S


def signatures_per_s() -> float:
    """Return how many P-256 signatures a second one thread makes."""
    key, count, end = verdict_key(), 0, time.perf_counter() + FLOOR_S
    while time.perf_counter() < end:
        key.sign(bytes(2048))
        count += 1
    return count / FLOOR_S


_prefixes = itertools.count()


def claimed_jobs(store: SqlAuditStore, count: int) -> list[Job]:
    """Return jobs of audits that were accepted and taken."""
    request, prefix = example_job().request, next(_prefixes)

    def accept(number: int) -> None:
        one = replace(request, request_id=f"request-{prefix}-{number}")
        store.submit(one, "sha256:" + "22" * 32)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(accept, range(count)))
    found = [store.claim() for _ in range(count)]
    return [job for job in found if job is not None]


def measure(
    jobs: Sequence[Job], hand_over: Callable[[Job], "Future[Receipt]"], concurrency: int
) -> dict[str, float]:
    """Return rate and latency of handing over one entry per job, so many of them outstanding."""
    latencies_s, slots = list[float](), threading.Semaphore(concurrency)

    def answered(began: float, done: "Future[Receipt]") -> None:
        latencies_s.append(time.perf_counter() - began)
        slots.release()
        done.result()

    began, cpu_began = time.perf_counter(), time.process_time()
    for job in jobs:
        slots.acquire()
        hand_over(job).add_done_callback(partial(answered, time.perf_counter()))
    for _ in range(concurrency):
        slots.acquire()
    elapsed_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    latencies_s.sort()
    return {
        "entries_per_s": round(len(jobs) / elapsed_s, 1),
        "cpu_ms_per_entry": round(1000 * cpu_s / len(jobs), 3),
        "p50_ms": round(1000 * latencies_s[len(latencies_s) // 2], 1),
        "p99_ms": round(1000 * latencies_s[int(len(latencies_s) * 0.99)], 1),
    }


def run(log: Log, jobs: Sequence[Job], concurrency: int) -> dict[str, float]:
    """Return the figures for the verdicts of jobs whose intents are logged beforehand."""
    with ThreadPoolExecutor(64) as pool:
        receipts = dict(zip(jobs, pool.map(log.recorder.announce, jobs), strict=True))
    # 30 of the demo's 33 verdicts have no figure so small that it is written with an exponent
    verdict = replace(passed(), mean_clipped_margin_logits=0.00031)
    examination = Examination(verdict=verdict)
    return measure(
        jobs,
        lambda job: log.recorder.hand_over(job, examination, None, receipts[job]),
        concurrency,
    )


def open_database(kind: str, folder: Path, stack: ExitStack) -> SqlAuditStore:
    """Return a fresh store."""
    url = f"sqlite:///{folder}/audit.db"
    if kind == "postgresql":
        from tests.support.postgres import running_cluster

        url = stack.enter_context(running_cluster()).new_database()
    store = open_store(url, clock=utc_now, new_id=new_id)
    stack.callback(store.close)
    return store


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--num-verdicts", type=int, default=6000)
    parser.add_argument("--concurrency", type=int, nargs="*", default=[1, 128])
    args = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        floors = {
            "durable_appends_per_s": durable_appends_per_s(folder),
            "p256_signatures_per_s": signatures_per_s(),
        }
        store = open_database(args.database, folder, stack)
        with running(store.log, folder, utc_now) as log:
            for concurrency in args.concurrency:
                share = 1 if concurrency >= 16 else 20
                jobs = claimed_jobs(store, args.num_verdicts // share)
                figures[str(concurrency)] = run(log, jobs, concurrency)
        problems = check_log(store.log, log_signer().key).problems
        if problems:
            raise SystemExit(f"the log contradicts itself: {problems[:3]}")
    print(
        json.dumps(
            {
                "benchmark": "log_throughput",
                "database": args.database,
                "by_concurrency": figures,
                "floors": floors,
            }
        )
    )


if __name__ == "__main__":
    main()

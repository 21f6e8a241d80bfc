"""Does a report over very many verdicts stay within 300 MB, and how long does it take?

Method: `report_log` builds a log in SQLite, with so many verdicts and an intent for each. Every
entry is really signed (ECDSA P-256) at its place in its tenant's chain and committed through the
store, in large batches and without a sequencer. Then the report is made twice, each time in a
process of its own, once with its tables and pages and once with its evidence pack. Memory is the
largest resident set that the operating system saw, the time that of the whole process.

Floors of the same run: the largest resident set of a process that only imports the same modules,
and the time of one bare pass over the log that reads each entry from the store and parses its
envelope and payload.

    python benchmarks/report_memory.py [--num-verdicts 20000] [--keep FOLDER]
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report_log import DATABASE, TRUST_ROOT, build_log
from storage.engine import open_engine
from storage.log import SqlLogStore

REPORTS = (("csv", "parquet", "html", "oscal"), ("pack",))

REPORT = """
import sys
from pathlib import Path
from audit.ledger.reader import LogReader
from audit.reports.make import make_report
from audit.reports.records import ReportScope
from audit.reports.source import LogSource
from storage.engine import open_engine
from storage.log import SqlLogStore
import pyarrow.parquet
if sys.argv[1:]:
    folder, out, formats = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(",")
    store = SqlLogStore(open_engine(f"sqlite:///{folder}/log.sqlite"))
    source = LogSource(LogReader(store), (folder / "trust-root.json").read_bytes())
    made = make_report(source, ReportScope(), out, formats, version="0", scratch=folder)
    report = made.report
    if report.damaged.total or report.gone.total or report.gaps.total or not report.erased.total:
        sys.exit("the report does not say of the log what was built")
"""


def bare_pass_s(folder: Path) -> float:
    """Return the time of reading every entry and parsing its JSON, and nothing else."""
    engine, began = open_engine(f"sqlite:///{folder}/{DATABASE}"), time.perf_counter()
    for envelope in _envelopes(SqlLogStore(engine)):
        json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    engine.dispose()
    return time.perf_counter() - began


def _envelopes(store: SqlLogStore) -> Iterator[bytes]:
    first = 0
    while page := store.read_entries(first, first + 512):
        yield from (entry.envelope for entry in page if entry.envelope is not None)
        first += len(page)


def run(command: list[str]) -> dict[str, float]:
    """Return wall time, processor time and largest resident set of a command."""
    paths = os.pathsep.join((str(ROOT), str(ROOT / "proto")))
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:2]} ended with {process.returncode}")
    return {
        "wall_s": round(time.perf_counter() - began, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_resident_mb": round(usage.ru_maxrss * 1024 / 1e6, 1),
    }


def measure(folder: Path, formats: tuple[str, ...]) -> dict[str, object]:
    """Return the figures of one report."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-c", REPORT, str(folder), out, ",".join(formats)]
        figures: dict[str, object] = dict(run(command))
        sizes = {path.name: path.stat().st_size for path in sorted(Path(out).iterdir())}
    return {"formats": ",".join(formats), **figures, "file_bytes": sizes}


def measure_all(folder: Path, num_processes: int) -> list[dict[str, object]]:
    """Return the figures of every report, so many of them made at the same time."""
    with ThreadPoolExecutor(num_processes) as pool:
        return list(pool.map(partial(measure, folder), REPORTS))


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-verdicts", type=int, default=20_000)
    parser.add_argument("--keep", type=Path, help="build the log here, or use the one that is here")
    parser.add_argument("--side-by-side", action="store_true", help="make both reports at once")
    parser.add_argument("--build", type=Path, help="build the log in this folder and do no more")
    args = parser.parse_args()
    if args.build is not None:
        build_log(args.build, args.num_verdicts)
        return
    with tempfile.TemporaryDirectory(dir=args.keep and args.keep.parent) as temporary:
        folder = args.keep or Path(temporary)
        built = None
        if not (folder / TRUST_ROOT).exists():
            # a process has at least the resident set of the one that started it
            count = str(args.num_verdicts)
            built = run([sys.executable, __file__, "--build", str(folder), "--num-verdicts", count])
        print(
            json.dumps(
                {
                    "benchmark": "report_memory",
                    "num_verdicts": args.num_verdicts,
                    "log_bytes": (folder / DATABASE).stat().st_size,
                    "build": built,
                    "is_side_by_side": args.side_by_side,
                    "reports": measure_all(folder, 2 if args.side_by_side else 1),
                    "floors": {
                        "imports": run([sys.executable, "-c", REPORT]),
                        "bare_pass_s": round(bare_pass_s(folder), 1),
                    },
                }
            )
        )


if __name__ == "__main__":
    main()

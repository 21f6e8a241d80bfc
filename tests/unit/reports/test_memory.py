"""Memory does not grow with the number of verdicts."""

import os
import subprocess
import sys
from pathlib import Path

from audit.reports.make import make_report
from audit.reports.pack_layout import PACK_FILE
from audit.reports.records import ReportScope
from tests.unit.reports.sample_log import busy_log

ROOT = Path(__file__).parents[3]

#: Prints the largest memory that the process itself ever had resident, in MiB.
PROGRAM = """
import sys
from pathlib import Path
from audit.reports.make import make_report
from audit.reports.pack_source import PackSource

with PackSource(Path(sys.argv[1])) as source:
    made = make_report(
        source, source.scope, Path(sys.argv[2]), ["csv", "parquet", "oscal", "pack"], version="0"
    )
print(made.report.totals.num_verdicts)
status = Path("/proc/self/status").read_text().splitlines()
print(int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1024)
"""


def peak_mib(folder: Path, num_verdicts: int) -> int:
    """Return what collecting, rendering and packing took."""
    # a pack as the source: an in-memory log would grow by itself
    make_report(busy_log(num_verdicts).source(), ReportScope(), folder, ["pack"], version="0")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder / PACK_FILE), str(folder / "again")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "proto")))},
    )
    counted, peak = map(int, done.stdout.split())
    assert counted == num_verdicts
    return peak


def test_ten_times_the_verdicts_take_no_more_memory(tmp_path: Path) -> None:
    few, many = (peak_mib(tmp_path / str(number), number) for number in (2_000, 20_000))
    # caches fill up first: SQLite's 16 MiB, one row group of Parquet
    assert many - few < 60, (few, many)
    assert many < 300, (few, many)

"""The peak memory of `check` does not grow with the number of exchanges."""

import os
import subprocess
from pathlib import Path

from tests.integration.processes import CALIBRATION, COMMAND, environment
from tests.integration.traffic import CHEAT, lines
from tests.support.example_model import MODEL

NUM_EXCHANGES = 8
NUM_REPEATS = 6
MAX_GROWTH = 0.15


def peak_bytes(traffic: Path) -> int:
    """Return the largest resident set of one `check`, in bytes."""
    command = [COMMAND, "check", "--json", "--tokens", "--model", str(MODEL)]
    command += ["--calibration", str(CALIBRATION), "--traffic", str(traffic)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment()) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 1
    return usage.ru_maxrss * 1024


def test_six_times_the_traffic_takes_no_more_memory(tmp_path: Path) -> None:
    once, many = tmp_path / "once.jsonl", tmp_path / "many.jsonl"
    text = "".join(lines(CHEAT)[:NUM_EXCHANGES])
    once.write_text(text, encoding="utf-8")
    many.write_text(text * NUM_REPEATS, encoding="utf-8")
    peak_once, peak_many = peak_bytes(once), peak_bytes(many)
    growth = peak_many / peak_once - 1.0
    assert growth < MAX_GROWTH, f"{peak_once} bytes grew to {peak_many}, by {growth:.1%}"

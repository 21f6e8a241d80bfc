"""The peak memory of `check` does not grow with the number of exchanges."""

import os
import subprocess
from pathlib import Path

from tests.integration.processes import CALIBRATION, COMMAND, environment
from tests.integration.traffic import lines
from tests.support.example_model import MODEL, TRAFFIC

NUM_FEW = 16
NUM_MANY = 160
MAX_GROWTH = 0.15


def peak_bytes(traffic: Path) -> int:
    """Return the largest resident set of one `check`, in bytes."""
    command = [COMMAND, "check", "--json", "--tokens", "--model", str(MODEL)]
    command += ["--calibration", str(CALIBRATION), "--traffic", str(traffic)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment()) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    # a few honest answers are too short for a verdict
    assert process.returncode in (0, 2)
    return usage.ru_maxrss * 1024


def test_ten_times_as_many_different_exchanges_take_no_more_memory(tmp_path: Path) -> None:
    few, many = tmp_path / "few.jsonl", tmp_path / "many.jsonl"
    honest = lines(TRAFFIC / "honest-vllm-bf16-2.jsonl")
    few.write_text("".join(honest[:: len(honest) // NUM_FEW]), encoding="utf-8")
    many.write_text("".join(honest[:NUM_MANY]), encoding="utf-8")
    peak_few, peak_many = peak_bytes(few), peak_bytes(many)
    growth = peak_many / peak_few - 1.0
    assert growth < MAX_GROWTH, f"{peak_few} bytes grew to {peak_many}, by {growth:.1%}"

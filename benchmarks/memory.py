"""Does the peak memory of `check` grow with the number of exchanges?

Method: run the command on one recording once, and on the same recording repeated, as separate
processes; compare the largest resident set that the operating system saw. The repeated lines are
written to a temporary file first, so the input grows as real traffic would.

    python benchmarks/memory.py [--repeat 8]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
RECORDING = EXAMPLES / "traffic" / "cheat-4bit.jsonl"


def peak_bytes(traffic: Path) -> int:
    """Return the largest resident set of one `check` of `traffic`, in bytes."""
    command = [sys.executable, "-m", "audit.cli", "check", "--json", "--traffic", str(traffic)]
    command += ["--model", str(EXAMPLES / "model")]
    command += ["--calibration", str(EXAMPLES / "calibration" / "example.json")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_maxrss * 1024


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=8)
    args = parser.parse_args()
    text = RECORDING.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        repeated = Path(folder) / "repeated.jsonl"
        repeated.write_text(text * args.repeat, encoding="utf-8")
        once, many = peak_bytes(RECORDING), peak_bytes(repeated)
    num_exchanges = len(text.splitlines())
    result = {
        "benchmark": "memory",
        "num_exchanges": [num_exchanges, num_exchanges * args.repeat],
        "peak_resident_bytes": [once, many],
        "growth": round(many / once - 1.0, 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Does the peak memory of `check` grow with the number of exchanges?

Method: run the command on every fourth exchange of the bundled recordings and on all of them, as
separate processes; compare the largest resident set that the operating system saw. All exchanges
differ in text and most in length. A few hundred are needed to fill the allocator's free lists; from
there on the peak should stay.

    python benchmarks/memory.py [--every 4]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def floor_bytes() -> int:
    """Return the largest resident set of an interpreter that only loads the libraries, in bytes."""
    return run([sys.executable, "-c", "import audit.cli, reference_runner.replay"])


def peak_bytes(lines: list[str]) -> int:
    """Return the largest resident set of one `check` of these lines, in bytes."""
    command = [sys.executable, "-m", "audit.cli", "check", "--json"]
    command += ["--model", str(EXAMPLES / "model")]
    command += ["--calibration", str(EXAMPLES / "calibration" / "example.json")]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        return run([*command, "--traffic", file.name])


def run(command: list[str]) -> int:
    """Return the largest resident set of a command, in bytes."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_maxrss * 1024


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=4)
    args = parser.parse_args()
    files = sorted((EXAMPLES / "traffic").glob("*.jsonl"))
    lines = [line for f in files for line in f.read_text(encoding="utf-8").splitlines(True)]
    few, many = peak_bytes(lines[:: args.every]), peak_bytes(lines)
    result = {
        "benchmark": "memory",
        "num_exchanges": [len(lines[:: args.every]), len(lines)],
        "peak_resident_bytes": [few, many],
        "floor_resident_bytes": floor_bytes(),
        "growth": round(many / few - 1.0, 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

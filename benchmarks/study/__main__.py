"""Runs the whole study and writes its report.

Method: the docstrings of this package's modules, each one part of the study.

    python -m benchmarks.study [--quick] [--out DIR] [--calibration FILE] [--recordings DIR]
"""

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from audit.judge.calibration_file import load_calibration
from audit.judge.policy import load_policy
from audit.judge.power import power_path, save_power, seal_power
from benchmarks.study import diagnosis
from benchmarks.study.arms import RECORDINGS, ROOT, STUDIED
from benchmarks.study.report import rounded, write_report
from benchmarks.study.runs import Study
from benchmarks.study.sizes import FULL, QUICK, Size
from benchmarks.study.targets import check_targets

CALIBRATION = ROOT / "examples" / "calibration" / "example.json"


def facts(calibration_id: str, size: Size) -> dict[str, Any]:
    """Return where and when the study ran."""
    names = ("numpy", "scipy", "torch", "transformers")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {_processor()}, no accelerator",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in names},
        "calibration_id": calibration_id,
        "policy_id": load_policy().policy_id,
        "is_quick": size is QUICK,
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(found)} x {found[0]}" if found else "unknown processor"


def step(name: str, work: Callable[[], Any]) -> Any:
    """Do one part of the study and say how long it took."""
    started = time.monotonic()
    result = work()
    print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return result


def run(size: Size, calibration_path: Path, recordings: Path, out: Path) -> dict[str, Any]:
    """Return all results; figures and power table are written on the way."""
    calibration, policy = load_calibration(calibration_path), load_policy()
    out.mkdir(parents=True, exist_ok=True)
    study = step("replay", lambda: Study(calibration, policy, recordings, size))
    results: dict[str, Any] = {"facts": facts(calibration.calibration_id, size)}
    results["facts"]["num_tokens_each"] = study.num_tokens_each
    results["false_alarms"] = step("false alarms", study.false_alarms)
    results["detection"] = step("detection", study.detection)
    results["decisions"], curves, num_tokens = step("decisions", study.decisions)
    results["shares"], results["sticky"], results["known_substitute"] = step(
        "substituted shares", study.mixtures
    )
    results["noise"] = step("noise", study.noise)
    step("figures", lambda: study.draw(results, out))
    power = seal_power(
        calibration_id=calibration.calibration_id,
        stratum=str(STUDIED),
        log10_threshold=policy.log_threshold_nats / math.log(10),
        created_at=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        num_tokens=num_tokens,
        attacks=curves,
    )
    beside = power_path(calibration_path)
    save_power(power, beside if size is FULL else out / beside.name)
    results["power_table"] = {"power_id": power.power_id}
    results["targets"] = check_targets(results)
    results["diagnosis"] = step(
        "diagnosis", lambda: diagnosis.run(size.num_diagnosis_repeats, calibration_path)
    )
    return results


def main() -> None:
    """Run the study; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few exchanges, to see it work")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--calibration", type=Path, default=CALIBRATION)
    parser.add_argument("--recordings", type=Path, default=RECORDINGS)
    args = parser.parse_args()
    size = QUICK if args.quick else FULL
    out = args.out or (ROOT / "var" / "study-quick" if args.quick else ROOT / "docs" / "study")
    started = time.monotonic()
    np.seterr(over="raise", invalid="raise")
    results = rounded(run(size, args.calibration, args.recordings, out))
    results["facts"]["run_time_s"] = round(time.monotonic() - started)
    write_report(results, out)
    print(
        json.dumps(
            {
                "benchmark": "study",
                "out": str(out),
                "run_time_s": results["facts"]["run_time_s"],
                "num_targets": len(results["targets"]),
                "not_met": [t["target"] for t in results["targets"] if not t["is_met"]],
            }
        )
    )


if __name__ == "__main__":
    main()

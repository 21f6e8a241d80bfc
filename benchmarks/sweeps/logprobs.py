"""Requests that the log-probability detectors take, and false alarms of detectors and pre-flight.

Real servers on loopback around the example model answer. Each detector is calibrated on three
honest servers (bfloat16 alone and in batches, float32) with other prompts than are tested: 120
answers each, 120 prompts each for tracking. Every server then answers a pool of prompts once, 160
requests of honest servers and 80 of others; runs are 40 requests drawn from it anew in an order of
their own, 100 runs of honest servers and 20 of others, so that runs of one server share answers
(four of each pool are disjoint). A run decides at a log e-value of log(100). Reported for each
server: runs that decide, median requests to the decision. The pre-flight is asked anew for each of
8 seeds. Binding knows three candidates, the other detectors need none. The last line is one JSON
object; `--quick` halves calibration and pools.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from audit.records import Prompt
from audit.sweep_records import Probed
from audit.sweeps.detector import Calibrator, Detector
from audit.sweeps.logprobs.calibrate import BindingCalibrator, KlCalibrator, TrackingCalibrator
from audit.sweeps.logprobs.detector import LogprobKl, LogprobTracking
from audit.sweeps.logprobs.detector_binding import LogprobBinding
from audit.sweeps.preflight.detector import Preflight
from audit.sweeps.text.samples import derived_rng
from tests.support.asked_endpoints import ENDPOINT, ask, ask_planned, tools

ALPHA = 0.01
ERROR = 0.001
RUN = 40

CANDIDATES = ("int4-g32", "kv-fp8-e4m3", "sibling")

HONEST = ("honest-batch-1", "honest-batch-8", "honest-float32")
SERVERS = (
    *HONEST,
    "honest-mixed",
    "int4-g32",
    "kv-fp8-e4m3",
    "fp8-e4m3",
    "int8-g32",
    "sibling",
    "other-checkpoint",
    "mixture-int4-g32-20-each",
    "mixture-sibling-20-each",
    "laundered-int4-g32",
    "laundered-sibling",
    "temperature-115",
)

Row = dict[str, object]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--detector", choices=["kl", "tracking", "binding", "preflight"])
    options = parser.parse_args()
    scale = 1 if options.quick else 2
    num_fit = 60 * scale
    kinds: dict[str, tuple[Callable[..., Detector], Callable[..., Calibrator], int]] = {
        "kl": (LogprobKl, KlCalibrator, 1),
        "tracking": (LogprobTracking, TrackingCalibrator, 5),
        "binding": (LogprobBinding, BindingCalibrator, 1),
    }
    result: dict[str, object] = {}
    for name, (make, calibrator, times) in kinds.items():
        if options.detector in (None, name):
            kit = tools(*(CANDIDATES if name == "binding" else ()))
            blank = make(kit)
            honest = {
                server: ask_planned(blank, server, b"fit" + server.encode(), times * num_fit)
                for server in HONEST
            }
            detector = make(kit, calibrator(kit).fit(honest, error=ERROR))
            result[name] = {server: measure(detector, server, scale) for server in SERVERS}
            print(json.dumps({name: result[name]}, indent=1), flush=True)
    if options.detector in (None, "preflight"):
        result["preflight"] = preflight(4 * scale)
    print(json.dumps(result))


def measure(detector: Detector, server: str, scale: int) -> Row:
    """Return how often and how soon one server's runs decide."""
    is_honest = server.startswith("honest")
    pool = ask_planned(detector, server, b"test", (80 if is_honest else 40) * scale)
    rng = derived_rng(server.encode(), detector.detector_id)
    needed = [decided(detector, drawn(pool, rng)) for _ in range(100 if is_honest else 20)]
    found = [count for count in needed if count is not None]
    return {
        "runs": len(needed),
        "decided": len(found),
        "median_requests": median(found) if 2 * len(found) > len(needed) else None,
    }


def drawn(pool: Sequence[Probed], rng: np.random.Generator) -> list[Probed]:
    """Return a run: prompts in random order, the answers to one prompt together."""
    by_prompt: dict[Prompt, list[Probed]] = {}
    for item in pool:
        by_prompt.setdefault(item.probe.prompt, []).append(item)
    rows = list(by_prompt.values())
    return [item for row in rng.permutation(len(rows)) for item in rows[int(row)]][:RUN]


def decided(detector: Detector, probed: Sequence[Probed]) -> int | None:
    """Return after how many usable answers a run decides."""
    reading = detector.read(ENDPOINT, probed)
    reached = (n for n, value in enumerate(reading.log_e_nats_N, 1) if value >= -math.log(ALPHA))
    return next(reached, None)


def preflight(num_seeds: int) -> dict[str, Row]:
    """Return how often honest servers are called misconfigured."""
    detector = Preflight(tools())
    rows: dict[str, Row] = {}
    for server in (*HONEST, "honest-mixed"):
        plans = [detector.plan(ENDPOINT, f"seed {n}".encode(), 32) for n in range(num_seeds)]
        answers = ask(server, [probe for plan in plans for probe in plan])
        flagged: list[str] = []
        for plan in plans:
            part, answers = answers[: len(plan)], answers[len(plan) :]
            flagged += [f.check for f in detector.read(ENDPOINT, part).misconfigurations]
        rows[server] = {"runs": num_seeds, "flagged": sorted(flagged)}
    return rows


if __name__ == "__main__":
    main()

"""Whole sweeps against every adversary of the catalogue: real servers on loopback, real requests.

    python benchmarks/sweeps/adversaries.py [--only NAME ...] [--repeats N] [--honest-repeats N]

Method: each adversary is served over HTTP around the example model and swept as a buyer would sweep
it, with the bundled honest bundle, the bundled policy (false-alarm rate 1 %) and the detectors of
the demonstration; `--replay` adds `replay/1`, which takes whole answers. Detectors of texts take
minutes each here and are measured by themselves (`text.py`, `tier4.py`). Every repeat has a server,
a seed and probes of its own. Honest servers are swept more often: an accusation there is a false
alarm. Servers that change over time are swept again and again; the run is counted in which a change
is told. Floor: an adversary that does nothing is an honest server.

`requests` are those until the evidence sufficed, `asked` all that were sent. "not found" stands
beside the smallest share and the requests that finding each named copy would take, as the run told.
Prints a table, and one JSON object on the last line.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from audit.app.sweep_demo import DETECTORS, serving
from audit.app.sweep_kit import KitBuilder
from audit.app.sweeps import open_sweeps, run_series
from audit.config import ModelSource, ReplaySettings, SweepSettings
from audit.records import Claim
from audit.sweep_records import (
    Budget,
    ChangeKind,
    EndpointFinding,
    ReadingStatus,
    SweepOutcome,
    SweepSpec,
)
from audit.sweeps.adversaries.adversary import AdversaryKind
from audit.sweeps.adversaries.catalogue import CATALOGUE, find_adversary

EXAMPLES = Path(__file__).parents[2] / "examples"
#: What a sweep that looks for changes asks: cheap, and the same in every run.
WATCHING = ("border-greedy/1",)
MAX_RUNS = 12
#: Seven runs of 160 requests are honest; the change is over two runs later.
CHANGE_AT, CHANGE_END = 1120.0, 1440.0
FOUND = (SweepOutcome.INCONSISTENT, SweepOutcome.POLICY_DIFFERENT, SweepOutcome.MISCONFIGURED)

Row = dict[str, object]


def main() -> None:
    """Sweep what is asked for, and print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--honest-repeats", type=int, default=5)
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--bundle", type=Path, default=EXAMPLES / "calibration" / "sweeps.json")
    options = parser.parse_args()
    builder = open_sweeps(
        ReplaySettings(
            models=(ModelSource(name="example", folder=EXAMPLES / "model"),),
            calibration=EXAMPLES / "calibration" / "example.json",
        ),
        SweepSettings(bundle=options.bundle, controls=False),
    )
    rows: list[Row] = []
    for adversary in CATALOGUE:
        if options.only and adversary.name not in options.only:
            continue
        repeats = options.honest_repeats if adversary.is_honest else options.repeats
        for _ in range(repeats):
            started = time.monotonic()
            if adversary.kind is AdversaryKind.DRIFT:
                row = watched(builder, adversary.name)
            else:
                row = swept(builder, adversary.name, has_replay=options.replay)
            row |= {"adversary": adversary.name, "seconds": round(time.monotonic() - started, 1)}
            rows.append(row)
            print(json.dumps(row), flush=True)
    print(json.dumps(summary(rows)))


def swept(builder: KitBuilder, name: str, *, has_replay: bool) -> Row:
    """Return what one sweep concludes about one adversary."""
    with serving(builder, [name], model="example") as endpoints:
        spec = SweepSpec(
            name=name,
            endpoints=endpoints,
            claim=Claim(model="example", precision="bfloat16"),
            budget=Budget(max_requests=3000, max_tokens=3_000_000),
            detectors=(*DETECTORS, "replay/1") if has_replay else DETECTORS,
        )
        (finding,) = next(run_series(builder, spec)).result.findings
    return told(finding)


def watched(builder: KitBuilder, name: str) -> Row:
    """Return in which run a change over time was told, and as what."""
    changing = serving(builder, [name], model="example", change_at=CHANGE_AT, change_end=CHANGE_END)
    with changing as endpoints:
        spec = SweepSpec(
            name=name,
            endpoints=endpoints,
            claim=Claim(model="example", precision="bfloat16"),
            budget=Budget(max_requests=3000, max_tokens=3_000_000),
            detectors=WATCHING,
        )
        first_found: int | None = None
        kinds: list[str] = []
        for number, done in zip(range(1, MAX_RUNS + 1), run_series(builder, spec), strict=False):
            (finding,) = done.result.findings
            if first_found is None and finding.outcome in (*FOUND, SweepOutcome.CHANGED):
                first_found = number
            kinds = [change.kind.value for change in finding.changes]
            if any(kind not in (ChangeKind.NONE, ChangeKind.UNCONFIRMED) for kind in kinds):
                break
    return {"found_in_run": first_found, "changes": kinds, "runs": number}


def told(finding: EndpointFinding) -> Row:
    """Return one finding as a row."""
    read = [r for r in finding.readings if r.status is ReadingStatus.READ]
    peaks = {r.detector: round(max(r.log_e_nats_N), 2) for r in read if r.log_e_nats_N}
    return {
        "outcome": finding.outcome.value,
        "requests": finding.decided_after,
        "asked": finding.spending.num_requests,
        "tokens": finding.spending.prompt_tokens + finding.spending.output_tokens,
        "explanation": finding.explanation,
        "share_low": round(finding.share_low, 3),
        "misconfigured": [m.check for r in finding.readings for m in r.misconfigurations],
        "peak_nats": peaks,
        "smallest_share": {
            r.detector: r.visible.smallest_share for r in read if r.visible is not None
        },
        "needed": {
            f"{r.detector} {attack}": needed
            for r in read
            if r.visible is not None
            for attack, needed in r.visible.needed
        },
    }


def summary(rows: list[Row]) -> Row:
    """Return the JSON object of the last line."""
    honest = [r for r in rows if find_adversary(str(r["adversary"])).is_honest]
    return {
        "benchmark": "sweeps/adversaries",
        "python": platform.python_version(),
        "honest_sweeps": len(honest),
        "false_alarms": sum(r["outcome"] in [o.value for o in FOUND] for r in honest),
        "adversaries": {name: list(_of(rows, name)) for name in dict.fromkeys(_names(rows))},
        "median_seconds": statistics.median(float(str(r["seconds"])) for r in rows),
    }


def _names(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        yield str(row["adversary"])


def _of(rows: list[Row], name: str) -> Iterator[Row]:
    wanted = ("outcome", "requests", "asked", "tokens", "explanation", "misconfigured")
    wanted += ("found_in_run", "changes", "runs")
    for row in rows:
        if row["adversary"] == name:
            yield {key: row[key] for key in wanted if key in row}


if __name__ == "__main__":
    main()

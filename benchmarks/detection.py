"""How many honest exchanges are failed, and how many cheating ones are found?

Method: audit every bundled recording in full with the bundled calibration, made from other
exchanges (no prompt or seed is shared), and count the verdicts. The interval beside each share is
Clopper-Pearson's at 95 %. The match share is that of all tokens, whatever the verdict.

    python benchmarks/detection.py [--calibration FILE]
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from scipy import stats

from audit.app import build_examiner
from audit.codec.traffic import read_traffic
from audit.config import ModelSource, ReplaySettings
from audit.examine import Examiner
from audit.records import Outcome

EXAMPLES = Path(__file__).parents[1] / "examples"


def interval(count: int, total: int) -> tuple[float, float]:
    """Return Clopper-Pearson's 95 % interval of a share."""
    found = stats.binomtest(count, total).proportion_ci(method="exact")
    return round(float(found.low), 4), round(float(found.high), 4)


def measure(examiner: Examiner, file: Path) -> dict[str, object]:
    """Return the counts of one recording."""
    outcomes: Counter[Outcome] = Counter()
    reasons: Counter[str] = Counter()
    num_tokens = num_matches = 0
    for line in read_traffic([file]):
        if line.request is None:
            raise SystemExit(f"{line.source}: {line.error}")
        verdict = examiner(line.request).verdict
        outcomes[verdict.outcome] += 1
        reasons.update(r.value for r in verdict.reasons)
        num_tokens += verdict.num_tokens
        num_matches += verdict.num_matches
    total = outcomes.total()
    return {
        "file": file.name,
        "num_exchanges": total,
        "num_tokens": num_tokens,
        "match_share": round(num_matches / max(1, num_tokens), 5),
        "num_fail": outcomes[Outcome.FAIL],
        "num_inconclusive": outcomes[Outcome.INCONCLUSIVE],
        "fail_share": round(outcomes[Outcome.FAIL] / total, 4),
        "fail_share_interval": interval(outcomes[Outcome.FAIL], total),
        "reasons": dict(reasons),
    }


def main() -> None:
    """Audit all recordings; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--calibration", type=Path, default=EXAMPLES / "calibration" / "example.json"
    )
    args = parser.parse_args()
    examiner = build_examiner(
        ReplaySettings(
            models=(ModelSource(folder=EXAMPLES / "model"),), calibration=args.calibration
        )
    )
    rows = []
    for file in sorted((EXAMPLES / "traffic").glob("*.jsonl")):
        if "calibration" not in file.name:
            rows.append(measure(examiner, file))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "detection", "recordings": rows}))


if __name__ == "__main__":
    main()

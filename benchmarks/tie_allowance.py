"""How many near-ties may an honest exchange hold before the judge counts them?

Method: replay the honest bf16 recordings of vLLM once (the confirmation set left out) and three
cheating ones; then, for each allowance, split the honest exchanges at random twelve times into 336
to calibrate and the rest to test, and count what each threshold fails. Every deviation is measured
once, so the rows differ in the allowance alone.

    python benchmarks/tie_allowance.py
"""

import json
import random
from pathlib import Path

import numpy as np

from audit.app import build_replayer
from audit.codec.traffic import read_traffic
from audit.config import ModelSource, ReplaySettings
from audit.examine import Replayer
from audit.judge import null_law
from audit.judge.deviation import clipped_deviation_R
from audit.judge.null_law import ExchangeDeviations, NullLaw

EXAMPLES = Path(__file__).parents[1] / "examples"
HONEST = ("honest-vllm-bf16-calibration-1", "honest-vllm-bf16-1")
CHEATS = ("cheat-4bit", "cheat-flipped-1pct", "cheat-temperature-1.1")
NUM_CALIBRATED = 336
NUM_SPLITS = 12

#: (whether greedy, its deviations)
Row = tuple[bool, ExchangeDeviations]


def measure(replay: Replayer, name: str) -> list[Row]:
    """Return the deviations of each exchange of one recording."""
    rows = []
    for line in read_traffic([EXAMPLES / "traffic" / f"{name}.jsonl"]):
        if line.request is None:
            raise SystemExit(f"{line.source}: {line.error}")
        measured = replay(line.request)
        deviations_R = clipped_deviation_R(measured.evidences[0])
        positions = np.flatnonzero(deviations_R)
        exchange = ExchangeDeviations(
            num_tokens=len(deviations_R),
            positions=tuple(int(p) for p in positions),
            deviations_logits=tuple(float(d) for d in deviations_R[positions]),
        )
        rows.append((measured.plan.sequence.sampling.is_greedy, exchange))
    return rows


def fail_share(laws: dict[bool, NullLaw], rows: list[Row]) -> float:
    """Return the share of exchanges above their threshold."""
    failed = [
        exchange.dense().mean() > laws[greedy].threshold(exchange.num_tokens)
        for greedy, exchange in rows
    ]
    return float(np.mean(failed))


def laws_of(rows: list[Row]) -> dict[bool, NullLaw]:
    """Return the honest law of greedy and of sampled exchanges."""
    return {
        greedy: NullLaw(
            [exchange for g, exchange in rows if g is greedy],
            precision="bfloat16",
            rate=0.01,
            confidence=0.95,
        )
        for greedy in (True, False)
    }


def study(
    allowance: int, honest: list[Row], as_recorded: int, cheats: dict[str, list[Row]]
) -> dict[str, object]:
    """Return the shares failed under one allowance."""
    null_law.NUM_HONEST_TIES = allowance
    honest_shares: list[float] = []
    found: dict[str, list[float]] = {name: [] for name in cheats}
    for seed in range(NUM_SPLITS):
        shuffled = honest.copy()
        random.Random(seed).shuffle(shuffled)  # noqa: S311  a split, not a secret
        laws = laws_of(shuffled[:NUM_CALIBRATED])
        honest_shares.append(fail_share(laws, shuffled[NUM_CALIBRATED:]))
        for name, rows in cheats.items():
            found[name].append(fail_share(laws, rows))
    return {
        "allowance": allowance,
        "honest_failed_as_recorded": round(
            fail_share(laws_of(honest[:as_recorded]), honest[as_recorded:]), 4
        ),
        "honest_failed_mean": round(float(np.mean(honest_shares)), 4),
        "honest_failed_worst": round(max(honest_shares), 4),
        "found_mean": {name: round(float(np.mean(s)), 3) for name, s in found.items()},
    }


def main() -> None:
    """Measure and print one JSON object."""
    replay = build_replayer(ReplaySettings(models=(ModelSource(folder=EXAMPLES / "model"),)))
    recordings = [measure(replay, name) for name in HONEST]
    honest = [row for rows in recordings for row in rows]
    cheats = {name: measure(replay, name) for name in CHEATS}
    rows = [study(n, honest, len(recordings[0]), cheats) for n in range(5)]
    smallest = min(-max(e.deviations_logits, default=0.0) for _, e in honest)
    result = {
        "benchmark": "tie_allowance",
        "num_honest": len(honest),
        "lowest_honest_margin_logits": round(smallest, 4),
        "allowances": rows,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

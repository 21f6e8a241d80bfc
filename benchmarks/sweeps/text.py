"""What the text of answers shows, and after how many requests: Tier 3 on the example model.

    python benchmarks/sweeps/text.py [--quick] [--parts ranks permutations rank mmd ratio]

Method. `ranks`: rejection rates of the Cramer-von Mises test at 5 % for honest answers, by the
published rank and by the conformal one. `permutations`: rejection rates at 5 % where prompts are
mixed unevenly, labels permuted globally and within prompts. The detectors: passages of the standard
library's source are prompts; honest variants (bf16 one by one, bf16 and fp32 in batches of 8) and
substitutes (4-bit, fp8, another
checkpoint, a copy without its last layer) answer one plan for calibration and another
for testing, the reference is fp32. Streams of the test plan are then drawn: sweeps in an order of
their own, a share of requests answered by the substitute, until the evidence reaches 1 / alpha at
alpha = 1 % or the budget ends. Sweeps of one arm share recorded answers; their false alarms are
therefore counted over arms as well. The last line of output is one JSON object.
"""

import argparse
import json
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from audit.ports import ProbeReference
from audit.sweep_records import Endpoint, Probe, Probed, Reading
from audit.sweeps.detector import Tools
from audit.sweeps.text.calibrate_mmd import MmdCalibrator
from audit.sweeps.text.calibrate_rank import RankCalibrator
from audit.sweeps.text.calibrate_ratio import RatioCalibrator
from audit.sweeps.text.detector_mmd import MmdSettings, TextMmd
from audit.sweeps.text.detector_rank import ConformalRank, RankSettings
from audit.sweeps.text.detector_ratio import CandidateRatio, RatioSettings
from audit.sweeps.text.mmd import mmd_squared, permutation_test
from audit.sweeps.text.rank import conformal_rank
from audit.sweeps.text.samples import answer_locally, derived_rng
from reference_runner.replay import TorchReference, load_reference
from reference_runner.variants import substitutes

MODEL = Path(__file__).parents[2] / "examples" / "model"
ENDPOINT = Endpoint(name="arm", base_url="http://127.0.0.1/v1", model="example")
SHARES = (1.0, 0.4, 0.2)
LOG_THRESHOLD_NATS = float(np.log(100.0))

#: Answers and local answers of each; the published rank is worst where answers are many more.
_RANK_ROWS = ((100, 100), (100, 20), (100, 10), (1000, 100), (1000, 20), (1000, 10), (5000, 20))

Recorded = Mapping[str, Sequence[Probed]]


def stdlib_texts() -> list[str]:
    """Return the source files of the running interpreter's standard library."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in files)
    return [text for text in texts if text]


def rank_table(num_repeats: int) -> list[dict[str, object]]:
    """Return how often honest answers are rejected at 5 %, by each rank."""
    rows: list[dict[str, object]] = []
    for num_queries, num_local in _RANK_ROWS:
        rng = derived_rng(b"ranks", f"{num_queries} {num_local}")
        rejected = {"published": 0, "conformal": 0}
        for _ in range(num_repeats):
            scores = rng.random((num_queries, num_local + 1))
            less = (scores[:, 1:] < scores[:, :1]).sum(axis=1)
            uniforms = rng.random(num_queries)
            # scores that never tie: the detector's own rank in one step, checked on the first
            conformal = (less + uniforms) / (num_local + 1)
            first = conformal_rank(scores[0, 0], scores[0, 1:], uniforms[0])
            if not np.isclose(conformal[0], first):
                raise SystemExit("the detector's rank is not the one that this table is about")
            ranks = {"published": less / num_local, "conformal": conformal}
            for name, values in ranks.items():
                rejected[name] += stats.cramervonmises(values, "uniform").pvalue < 0.05
        rows.append(
            {"queries": num_queries, "local": num_local}
            | {name: count / num_repeats for name, count in rejected.items()}
        )
    return rows


def permutation_table(num_repeats: int) -> dict[str, float]:
    """Return rejection rates at 5 % of two equal laws whose prompts are mixed unevenly."""
    rng = derived_rng(b"permutations", "study")
    num_prompts, per_side = 25, 125
    rejected = {"global": 0, "within prompts": 0}
    for _ in range(num_repeats):
        mixes = [rng.dirichlet(np.full(num_prompts, 0.7)) for _ in range(2)]
        prompt_N = np.concatenate([rng.choice(num_prompts, per_side, p=mix) for mix in mixes])
        # prompts differ in how varied their answers are
        kinds_N = np.asarray([rng.integers(1 + prompt * 2) for prompt in prompt_N])
        kernel_NN = (kinds_N[:, None] == kinds_N[None, :]).astype(np.float64)
        is_first_N = np.arange(2 * per_side) < per_side
        within = permutation_test(kernel_NN, prompt_N, is_first_N, num_permutations=199, rng=rng)
        rejected["within prompts"] += within.p_value <= 0.05
        rejected["global"] += _global_p(kernel_NN, prompt_N, is_first_N, rng) <= 0.05
    return {name: count / num_repeats for name, count in rejected.items()}


def _global_p(
    kernel_NN: NDArray[np.float64],
    prompt_N: NDArray[np.int64],
    is_first_N: NDArray[np.bool_],
    rng: np.random.Generator,
) -> float:
    observed = mmd_squared(kernel_NN, prompt_N, is_first_N)
    above = 0
    for _ in range(199):
        above += mmd_squared(kernel_NN, prompt_N, rng.permutation(is_first_N)) >= observed - 1e-9
    return (1 + above) / 200


def answers_of(
    models: Mapping[str, tuple[ProbeReference, int]], probes: Sequence[Probe]
) -> Recorded:
    """Return every model's answers to one plan."""
    return {
        name: answer_locally(model, probes, f"arm {name}".encode(), batch_size=batch_size)
        for name, (model, batch_size) in models.items()
    }


def sweep_table(
    read: Callable[[Sequence[Probed]], Reading],
    honest: Recorded,
    attacks: Recorded,
    *,
    budget: int,
    num_sweeps: int,
    shuffled: Callable[[np.random.Generator, int], list[int]],
) -> dict[str, object]:
    """Return false alarms of honest arms, and requests to decision of substitutes by share."""
    table: dict[str, object] = {}
    base = honest[min(honest)]
    for name, probed in honest.items():
        found = [
            decided(read, probed, probed, 0.0, derived_rng(name.encode(), f"{n}"), budget, shuffled)
            for n in range(num_sweeps)
        ]
        table[f"honest {name}"] = f"{sum(f is not None for f in found)}/{num_sweeps}"
    for name, probed in attacks.items():
        for share in SHARES:
            found = [
                decided(
                    read,
                    base,
                    probed,
                    share,
                    derived_rng(name.encode(), f"{share} {n}"),
                    budget,
                    shuffled,
                )
                for n in range(num_sweeps)
            ]
            hits = [f for f in found if f is not None]
            table[f"{name} at {share:g}"] = {
                "found": f"{len(hits)}/{num_sweeps}",
                "median": float(np.median([budget + 1 if f is None else f for f in found])),
            }
    return table


def decided(
    read: Callable[[Sequence[Probed]], Reading],
    honest: Sequence[Probed],
    attack: Sequence[Probed],
    share: float,
    rng: np.random.Generator,
    budget: int,
    shuffled: Callable[[np.random.Generator, int], list[int]],
) -> int | None:
    """Return after how many requests a stream is decided, None where it is not."""
    order = shuffled(rng, len(honest))[:budget]
    stream = [attack[i] if rng.random() < share else honest[i] for i in order]
    log_e = np.asarray(read(stream).log_e_nats_N)
    over = np.flatnonzero(log_e >= LOG_THRESHOLD_NATS)
    return int(over[0]) + 1 if len(over) else None


def any_order(rng: np.random.Generator, num: int) -> list[int]:
    """Return all positions in a random order."""
    return [int(i) for i in rng.permutation(num)]


def block_order(size: int) -> Callable[[np.random.Generator, int], list[int]]:
    """Return a function that shuffles whole blocks."""

    def order(rng: np.random.Generator, num: int) -> list[int]:
        blocks = rng.permutation(num // size)
        return [int(b) * size + i for b in blocks for i in range(size)]

    return order


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parts = ("ranks", "permutations", "rank", "mmd", "ratio")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    options = parser.parse_args()
    scale = 1 if options.quick else 2
    results: dict[str, object] = {}
    if "ranks" in options.parts:
        results["ranks"] = rank_table(200 * scale)
        print(json.dumps(results["ranks"]), flush=True)
    if "permutations" in options.parts:
        results["permutations"] = permutation_table(50 * scale)
        print(json.dumps(results["permutations"]), flush=True)
    if set(options.parts) & {"rank", "mmd", "ratio"}:
        results |= detector_tables(set(options.parts), scale)
    print(json.dumps(results))


def detector_tables(parts: set[str], scale: int) -> dict[str, object]:
    """Return the tables of the detectors that were asked for."""
    reference = load_reference(MODEL, "float32", num_threads=1)
    half = load_reference(MODEL, "bfloat16", num_threads=1)
    honest = {"bf16 1": (half, 1), "bf16 8": (half, 8), "fp32 8": (reference, 8)}
    candidates: dict[str, TorchReference] = substitutes(
        reference, seed=b"text", roundings=("int4-g32", "fp8-e4m3")
    )
    attacks = {name: (model, 32) for name, model in candidates.items()}
    tools = Tools(reference=reference, candidates=candidates, texts=stdlib_texts())
    runs = {"rank": _rank, "mmd": _mmd, "ratio": _ratio}
    tables: dict[str, object] = {}
    for name, run in runs.items():
        if name in parts:
            tables[name] = run(tools, honest, attacks, scale)
            print(name, json.dumps(tables[name]), flush=True)
    return tables


Models = Mapping[str, tuple[ProbeReference, int]]


def _rank(tools: Tools, honest: Models, attacks: Models, scale: int) -> dict[str, object]:
    settings = RankSettings()
    planner = ConformalRank(tools, None, settings)
    first = planner.plan(ENDPOINT, b"calibration", 60 * scale)
    section = RankCalibrator(tools=tools, settings=settings).fit(
        answers_of(honest, first), error=0.01
    )
    probes = planner.plan(ENDPOINT, b"test", 60 * scale)
    detector = ConformalRank(tools, section, settings)
    table = sweep_table(
        lambda probed: detector.read(ENDPOINT, probed),
        answers_of(honest, probes),
        answers_of(attacks, probes),
        budget=60 * scale,
        num_sweeps=50 * scale,
        shuffled=any_order,
    )
    return {"table": table, "power": section["power"]}


def _mmd(tools: Tools, honest: Models, attacks: Models, scale: int) -> dict[str, object]:
    settings = MmdSettings(num_permutations=1000)
    planner = TextMmd(tools, None, settings)
    first = planner.plan(ENDPOINT, b"calibration", 500)
    section = MmdCalibrator(tools=tools, settings=settings).fit(
        answers_of(honest, first), error=0.01
    )
    probes = planner.plan(ENDPOINT, b"test", 250)
    detector = TextMmd(tools, section, settings)
    table = sweep_table(
        lambda probed: detector.read(ENDPOINT, probed),
        answers_of(honest, probes),
        answers_of(attacks, probes),
        budget=250,
        num_sweeps=2 * scale,
        shuffled=block_order(settings.answers_per_prompt * settings.prompts_per_block),
    )
    return {"table": table, "power": section["power"], "inflation": section["inflation"]}


def _ratio(tools: Tools, honest: Models, attacks: Models, scale: int) -> dict[str, object]:
    settings = RatioSettings(max_tokens=64)
    planner = CandidateRatio(tools, None, settings)
    first = planner.plan(ENDPOINT, b"calibration", 60 * scale)
    section = RatioCalibrator(tools=tools, settings=settings).fit(
        answers_of(honest, first), error=0.01
    )
    probes = planner.plan(ENDPOINT, b"test", 50 * scale)
    detector = CandidateRatio(tools, section, settings)
    table = sweep_table(
        lambda probed: detector.read(ENDPOINT, probed),
        answers_of(honest, probes),
        answers_of(attacks, probes),
        budget=50 * scale,
        num_sweeps=50 * scale,
        shuffled=any_order,
    )
    return {"table": table, "power": section["power"]}


if __name__ == "__main__":
    main()

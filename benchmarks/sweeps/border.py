"""How many one-token requests border probes need, and how often they accuse honest endpoints.

Method. A pool of near-ties is found in the standard library's sources, the most fragile of each
cell in each window of text, and every provider variant answers all of it once. Two windows of three
calibrate (honest variants only), the others are audited: from each the best probe by the
calibration is kept, and sweeps of `--requests` probes are drawn from them, first disjoint ones,
then at random, keeping the plan's order. A sweep finds a provider where the e-process reaches
1/alpha. Named substitutes run locally on the same spots; `blind` hides them from the detector, so
that only unnamed deviations are bet on.

Without `--engine` the variants are the reference's own forward passes (other batch, other
precision, rounded copies). With `--engine PYTHON` they are real vLLM servers of that interpreter;
`--recorded FOLDER` keeps their answers and uses those that are there.

`same engine` takes the honest engine's own answers at concurrency 16 for the first choice.
"""

import argparse
import asyncio
import json
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from audit.records import SamplingRequest
from audit.sweep_records import AnswerStatus, ApiStyle, Probe, ProbeAnswer, Probed
from audit.sweeps.border.bands import NO_CELL, cell_of
from audit.sweeps.border.calibrate import BorderBounds, BorderCalibrator, read_section
from audit.sweeps.border.evidence import log_e_process
from audit.sweeps.border.planning import Asking, best_probes, spots_of, spread_probes
from audit.sweeps.border.pool import (
    Choice,
    Ground,
    PoolSettings,
    Spot,
    greedy_spots,
    seeded_spots,
)
from reference_runner.records import GenerationRequest, Sampling
from reference_runner.replay import load_reference

KINDS = ("fp8-e4m3", "int4-g32", "int8-g32", "kv-fp8-e4m3")
PROFILE = "vllm-cpu-splitmix64"
FREE = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=None)
MODEL = ROOT / "examples" / "model"
HONEST = ("bf16-c16", "bf16-c1", "fp32")
ENGINE_VARIANTS = {
    # name: (dtype, rewritten weights, cache, concurrency)
    "bf16-c16": ("bfloat16", None, "auto", 16),
    "bf16-c1": ("bfloat16", None, "auto", 1),
    "fp32": ("float32", None, "auto", 16),
    "int4": ("bfloat16", "int4", "auto", 16),
    "fp8": ("bfloat16", "fp8", "auto", 16),
    "int8": ("bfloat16", "int8", "auto", 16),
    "kv-fp8": ("bfloat16", None, "fp8", 16),
}

Window = list[Spot]
Answers = list[list[int]]


def main() -> None:
    """Run the study and print one JSON object last."""
    options = _options()
    reference = load_reference(MODEL, "bfloat16", num_threads=1)
    ground = Ground(
        reference=reference,
        candidates={kind: reference.rounded(kind) for kind in KINDS},
        texts=_texts(),
        api=ApiStyle.COMPLETIONS,
        settings=PoolSettings(),
    )
    report: dict[str, object] = {"alpha": options.alpha, "requests": options.requests}
    for name in ("greedy", "seeded"):
        windows = _pool(options, ground, name)
        answers = _answers(options, ground, name, windows)
        report[name] = _study(options, ground, name, windows, answers)
    print(json.dumps(report))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--engine", type=Path)
    parser.add_argument("--recorded", type=Path)
    parser.add_argument("--windows", type=int, default=2200)
    parser.add_argument("--requests", type=int, default=160)
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--alpha", type=float, default=0.01)
    options = parser.parse_args()
    if options.quick:
        options.windows, options.sweeps = 240, 100
    return options


def _texts() -> list[str]:
    folder = Path(sysconfig.get_paths()["stdlib"])
    return [path.read_text(errors="replace") for path in sorted(folder.glob("*.py"))]


def _pool(options: argparse.Namespace, ground: Ground, name: str) -> list[Window]:
    stored = None if options.recorded is None else options.recorded / f"{name}-pool.json"
    if stored is not None and stored.exists():
        return [[_spot(members) for members in w] for w in json.loads(stored.read_text())]
    if name == "greedy":
        found = greedy_spots(ground, b"study", options.windows)
    else:
        found = seeded_spots(ground, b"study", options.windows, FREE, PROFILE)
    windows = [_hardest(spots) for spots in found]
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps([[_members(spot) for spot in w] for w in windows]))
    return windows


def _hardest(spots: Sequence[Spot]) -> Window:
    """Return the most fragile spot of each cell."""
    hardest: dict[int, Spot] = {}
    for spot in sorted(spots, key=lambda s: (-s.num_turned, s.gap_steps)):
        cell = cell_of(spot.gap_steps, spot.num_turned > 0)
        if cell != NO_CELL:
            hardest.setdefault(cell, spot)
    return list(hardest.values())


def _members(spot: Spot) -> dict[str, object]:
    return {
        "prompt": list(spot.prompt_token_ids),
        "facts": [spot.first, spot.second, spot.gap_logits, spot.contender_logit, spot.seed],
        "choices": {name: [c.token, c.margin_steps] for name, c in spot.choices.items()},
    }


def _spot(members: Mapping[str, object]) -> Spot:
    first, second, gap, contender, seed = members["facts"]  # type: ignore[misc]
    choices: Mapping[str, tuple[int, float]] = members["choices"]  # type: ignore[assignment]
    return Spot(
        prompt_token_ids=tuple(members["prompt"]),  # type: ignore[arg-type]
        text=None,
        first=first,
        second=second,
        gap_logits=gap,
        contender_logit=contender,
        seed=seed,
        choices={n: Choice(token=t, margin_steps=m) for n, (t, m) in choices.items()},
    )


def _answers(
    options: argparse.Namespace, ground: Ground, name: str, windows: Sequence[Window]
) -> dict[str, Answers]:
    spots = [spot for window in windows for spot in window]
    flat: dict[str, list[int]] = {}
    if options.engine is None and options.recorded is None:
        flat = _local(ground, spots)
    else:
        for variant in ENGINE_VARIANTS:
            stored = options.recorded and options.recorded / f"{name}-{variant}.json"
            if stored and stored.exists():
                flat[variant] = json.loads(stored.read_text())
            elif options.engine is not None:
                flat[variant] = _engine(options.engine, variant, spots)
                if stored:
                    stored.write_text(json.dumps(flat[variant]))
    answers: dict[str, Answers] = {}
    for variant, tokens in flat.items():
        remaining = iter(tokens)
        answers[variant] = [[next(remaining, -1) for _ in window] for window in windows]
    return answers


def _local(ground: Ground, spots: Sequence[Spot]) -> dict[str, list[int]]:
    reference = ground.reference
    models = {
        "bf16-c16": (reference, 16),
        "bf16-c1": (reference, 1),
        "fp32": (load_reference(MODEL, "float32", num_threads=1), 16),
        "int4": (reference.rounded("int4-g32"), 16),
        "fp8": (reference.rounded("fp8-e4m3"), 16),
        "int8": (reference.rounded("int8-g32"), 16),
        "kv-fp8": (reference.rounded("kv-fp8-e4m3"), 16),
    }
    greedy = replace(FREE, temperature=0.0)
    requests = [
        GenerationRequest(
            prompt_token_ids=spot.prompt_token_ids,
            sampling=greedy if spot.seed is None else replace(FREE, seed=spot.seed),
            profile_id="greedy" if spot.seed is None else PROFILE,
            num_tokens=1,
        )
        for spot in spots
    ]
    return {
        name: [answer[0] for answer in model.generate(requests, batch_size=size)]
        for name, (model, size) in models.items()
    }


def _engine(python: Path, variant: str, spots: Sequence[Spot]) -> list[int]:
    import httpx2

    # the recorder belongs to another environment, whose client this one succeeds
    sys.modules.setdefault("httpx", httpx2)
    sys.path.insert(0, str(ROOT / "examples" / "recording"))
    import engine
    import quantise

    dtype, weights, cache, concurrency = ENGINE_VARIANTS[variant]
    writers: dict[str, Callable[[Path], None]] = {
        "int4": lambda out: quantise.write_int4(MODEL, out, 32),
        "fp8": lambda out: quantise.write_fp8(MODEL, out),
        "int8": lambda out: quantise.write_int8(MODEL, out),
    }
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = MODEL if weights is None else Path(folder) / weights
        if weights is not None:
            writers[weights](checkpoint)
        with engine.running_engine(
            python=python,
            checkpoint=checkpoint,
            dtype=dtype,
            log=Path(folder) / "log",
            kv_cache_dtype=cache,
        ) as running:
            return asyncio.run(_ask(running.base_url, concurrency, spots))


async def _ask(base_url: str, concurrency: int, spots: Sequence[Spot]) -> list[int]:
    import httpx2

    gate = asyncio.Semaphore(concurrency)
    async with httpx2.AsyncClient(timeout=60.0) as client:

        async def one(spot: Spot) -> int:
            body = {
                "model": "example",
                "prompt": list(spot.prompt_token_ids),
                "max_tokens": 1,
                "temperature": 0.0 if spot.seed is None else 1.0,
                "top_p": 1.0,
                "top_k": 0,
                "return_token_ids": True,
            } | ({} if spot.seed is None else {"seed": spot.seed})
            async with gate:
                response = await client.post(f"{base_url}/v1/completions", json=body)
            return int(response.raise_for_status().json()["choices"][0]["token_ids"][0])

        return list(await asyncio.gather(*(one(spot) for spot in spots)))


def _study(
    options: argparse.Namespace,
    ground: Ground,
    name: str,
    windows: list[Window],
    answers: dict[str, Answers],
) -> dict[str, object]:
    report: dict[str, object] = {}
    same = [
        [s.rebased(token) for s, token in zip(w, row, strict=True)]
        for w, row in zip(windows, answers["bf16-c16"], strict=True)
    ]
    blind = [[replace(spot, choices={}) for spot in window] for window in windows]
    for view, seen in (("named", windows), ("blind", blind), ("same engine", same)):
        report[view] = table = _view(options, ground, name, seen, answers)
        print(f"\n{name}, {view}", flush=True)
        for variant, row in table.items():
            print(f"  {variant:12s} {json.dumps(row)}", flush=True)
    return report


def _view(
    options: argparse.Namespace,
    ground: Ground,
    name: str,
    windows: list[Window],
    answers: dict[str, Answers],
) -> dict[str, object]:
    asking = Asking(
        detector_id=f"border-{name}/1",
        ground=ground,
        as_token_ids=True,
        sampling=SamplingRequest(temperature=float(name == "seeded"), max_tokens=1),
    )
    tokens = _tokens_by_probe(asking, windows, answers)
    audited = windows[2::3]
    measured = [window for number, window in enumerate(windows) if number % 3 != 2]
    measuring = spread_probes(asking, (tuple(w) for w in measured), len(measured))
    honest = {
        variant: [p for p in (_probed(probe, tokens[variant]) for probe in measuring) if p]
        for variant in HONEST
        if variant in tokens
    }
    section = BorderCalibrator(asking.detector_id).fit(honest, error=options.alpha / 10)
    bounds = read_section(section, asking.detector_id)
    probes = best_probes(asking, (tuple(w) for w in audited), len(audited), bounds.bound_C, 0.25)
    spots = _spots_by_probe(asking, audited)
    table: dict[str, object] = {
        "bounds": [round(float(b), 4) for b in bounds.bound_C],
        "probes": len(probes),
    }
    for variant in answers:
        known = [probe for probe in probes if tokens[variant].get(probe.probe_id, -1) >= 0]
        table[variant] = _sweeps(options, known, spots, tokens[variant], bounds)
    return table


def _tokens_by_probe(
    asking: Asking, windows: Sequence[Window], answers: Mapping[str, Answers]
) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {variant: {} for variant in answers}
    for number, window in enumerate(windows):
        for place, spot in enumerate(window):
            probe = _safe_probe(asking, spot)
            if probe is not None:
                for variant, rows in answers.items():
                    found[variant][probe.probe_id] = rows[number][place]
    return found


def _safe_probe(asking: Asking, spot: Spot) -> Probe | None:
    return asking.probe(spot) if spot.first >= 0 else None


def _spots_by_probe(asking: Asking, windows: Sequence[Window]) -> dict[str, Spot]:
    made = [(_safe_probe(asking, spot), spot) for window in windows for spot in window]
    return {probe.probe_id: spot for probe, spot in made if probe is not None}


def _probed(probe: Probe, tokens: Mapping[str, int]) -> Probed | None:
    token = tokens.get(probe.probe_id, -1)
    if token < 0:
        return None
    return Probed(probe=probe, answer=ProbeAnswer(status=AnswerStatus.ANSWERED, token_ids=(token,)))


def _sweeps(
    options: argparse.Namespace,
    probes: Sequence[Probe],
    spots: Mapping[str, Spot],
    tokens: Mapping[str, int],
    bounds: BorderBounds,
) -> dict[str, object]:
    """Return how many sweeps reach the threshold, and after how many requests."""
    if not probes:
        return {"answers": 0}
    facts = spots_of([spots[probe.probe_id] for probe in probes])
    tells = np.asarray([tokens[p.probe_id] != spots[p.probe_id].first for p in probes])
    size = min(options.requests, len(probes))
    generator = np.random.default_rng(11)
    delays = []
    for number in range(options.sweeps):
        if number < len(probes) // size:
            chosen = np.arange(number, len(probes), len(probes) // size)[:size]
        else:
            chosen = np.sort(generator.choice(len(probes), size, replace=False))
        log_e = log_e_process(facts.at(chosen), bounds.bound_C, tells[chosen])
        reached = np.flatnonzero(log_e >= -np.log(options.alpha))
        delays.append(int(reached[0]) + 1 if len(reached) else None)
    found = sorted(delay for delay in delays if delay is not None)
    half = len(delays) // 2
    return {
        "answers": len(probes),
        "tell_rate": round(float(tells.mean()), 4),
        "found": round(len(found) / len(delays), 4),
        "median_requests": found[half] if len(found) > half else None,
        "p90_requests": found[int(0.9 * len(delays))] if len(found) > 0.9 * len(delays) else None,
    }


if __name__ == "__main__":
    main()

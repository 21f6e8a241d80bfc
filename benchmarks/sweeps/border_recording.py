"""Finds the near-ties of the border study, and asks variants of the model about them.

Not run by itself; `border.py` is. Pools and answers are kept as JSON where a folder is given.
"""

import argparse
import asyncio
import importlib
import json
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from audit.sweep_records import ApiStyle
from audit.sweeps.border.planning import hardest_of_cells
from audit.sweeps.border.pool import (
    Choice,
    Ground,
    PoolSettings,
    Spot,
    generator_of,
    greedy_spots,
    seeded_spots,
)
from reference_runner.records import GenerationRequest, Sampling
from reference_runner.replay import load_reference

KINDS = ("fp8-e4m3", "int4-g32", "int8-g32", "kv-fp8-e4m3")
ENGINE_KV = "kv-fp8-e4m3-cpu"
PROFILE = "vllm-cpu-splitmix64"
FREE = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=None)
MODEL = ROOT / "examples" / "model"
HONEST = ("bf16-c16", "bf16-c8", "bf16-c1", "fp32")
SUBFOLDERS_LEFT_OUT = ("site-packages", "test", "idlelib", "lib2to3")
NATURAL_PER_WINDOW = 4
VARIANTS = {
    # name: (dtype, rewritten weights, cache, concurrency, asks one window of)
    "bf16-c16": ("bfloat16", None, "auto", 16, 1),
    "bf16-c8": ("bfloat16", None, "auto", 8, 3),
    "bf16-c1": ("bfloat16", None, "auto", 1, 3),
    "fp32": ("float32", None, "auto", 16, 1),
    "int4": ("bfloat16", "int4", "auto", 16, 1),
    "fp8": ("bfloat16", "fp8", "auto", 16, 1),
    "int8": ("bfloat16", "int8", "auto", 16, 1),
    "kv-fp8": ("bfloat16", None, "fp8", 16, 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of text: spots that are asked, and those among them that were drawn blindly."""

    spots: tuple[Spot, ...]
    natural: tuple[int | None, ...]
    """Places in `spots`; None where an ordinary position lies in no cell."""


def make_ground() -> Ground:
    """Return the example model, its rounded copies, and texts that it was not developed on."""
    reference = load_reference(MODEL, "bfloat16", num_threads=1)
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(folder.glob("*/*.py"))
    texts = [
        p.read_text(errors="replace") for p in paths if p.parent.name not in SUBFOLDERS_LEFT_OUT
    ]
    copies = {kind: reference.rounded(kind) for kind in KINDS}
    return Ground(
        reference=reference,
        candidates={**copies, ENGINE_KV: reference.rounded(ENGINE_KV)},
        texts=[text for text in texts if len(text) > 2000],
        api=ApiStyle.COMPLETIONS,
        settings=PoolSettings(),
    )


def make_pool(options: argparse.Namespace, ground: Ground, name: str) -> list[Window]:
    """Return the windows that were stored, or new ones."""
    stored = None if options.recorded is None else options.recorded / f"{name}-pool.json"
    if stored is not None and stored.exists():
        return [_window_of(members) for members in json.loads(stored.read_text())]
    seed = f"{options.seed}-{name}".encode()
    found = (
        greedy_spots(ground, seed, options.windows)
        if name == "greedy"
        else seeded_spots(ground, seed, options.windows * 6 // 11, FREE, PROFILE)
    )
    windows = _chosen(found, ground.settings, name, seed)
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps([_members(window) for window in windows]))
    return windows


def _chosen(
    found: Iterable[tuple[Spot, ...]], settings: PoolSettings, name: str, seed: bytes
) -> list[Window]:
    """Keep what plans look at, and ordinary positions: the first of all that there are."""
    generator = generator_of(seed, b"natural")
    num_positions = (
        settings.seeds_per_prompt
        if name == "seeded"
        else settings.window_tokens - settings.min_prompt_tokens + 1
    )
    windows = []
    for near in found:
        # near-ties come first in the count: which of all positions they are does not matter
        drawn = generator.choice(num_positions, NATURAL_PER_WINDOW, replace=False).tolist()
        spots = hardest_of_cells(near)
        natural: list[int | None] = []
        for place in drawn:
            spot = near[place] if place < len(near) else None
            if spot is None or not hardest_of_cells([spot]):
                natural.append(None)
                continue
            if spot not in spots:
                spots.append(spot)
            natural.append(spots.index(spot))
        windows.append(Window(spots=tuple(spots), natural=tuple(natural)))
    return windows


def _members(window: Window) -> dict[str, object]:
    return {
        "natural": list(window.natural),
        "spots": [
            {
                "prompt": list(spot.prompt_token_ids),
                "facts": [
                    spot.first,
                    spot.second,
                    spot.gap_logits,
                    spot.contender_logit,
                    spot.seed,
                ],
                "choices": {name: [c.token, c.margin_steps] for name, c in spot.choices.items()},
            }
            for spot in window.spots
        ],
    }


def _window_of(members: Any) -> Window:
    return Window(
        spots=tuple(_spot(one["prompt"], one["facts"], one["choices"]) for one in members["spots"]),
        natural=tuple(members["natural"]),
    )


def _spot(prompt: Any, facts: Any, choices: Any) -> Spot:
    first, second, gap, contender, seed = facts
    return Spot(
        prompt_token_ids=tuple(prompt),
        text=None,
        first=first,
        second=second,
        gap_logits=gap,
        contender_logit=contender,
        seed=seed,
        choices={n: Choice(token=t, margin_steps=m) for n, (t, m) in choices.items()},
    )


Answers = dict[str, list[list[int]]]
"""Of each variant: the token for each window's spots, -1 where it was not asked."""


def ask_all(
    options: argparse.Namespace, ground: Ground, pools: Mapping[str, Sequence[Window]]
) -> dict[str, Answers]:
    """Return every variant's answers by detector: recorded, from a real engine, or local."""
    answers: dict[str, Answers] = {name: {} for name in pools}
    is_local = options.local or (options.engine is None and options.recorded is None)
    for variant in options.record or VARIANTS:
        paths = {name: (options.recorded or Path()) / f"{name}-{variant}.json" for name in pools}
        if options.recorded is not None and all(path.exists() for path in paths.values()):
            rows = {name: json.loads(path.read_text()) for name, path in paths.items()}
        elif options.engine is not None:
            rows = _split(_engine(options.engine, variant, _asked(variant, pools)), variant, pools)
        elif is_local:
            rows = _split(_local(ground, variant, _asked(variant, pools)), variant, pools)
        else:
            continue
        for name, path in paths.items():
            answers[name][variant] = rows[name]
            if options.recorded is not None:
                path.write_text(json.dumps(rows[name]))
    return answers


def _asked(variant: str, pools: Mapping[str, Sequence[Window]]) -> list[Spot]:
    every = VARIANTS[variant][4]
    return [spot for windows in pools.values() for w in windows[::every] for spot in w.spots]


def _split(
    tokens: Sequence[int], variant: str, pools: Mapping[str, Sequence[Window]]
) -> dict[str, list[list[int]]]:
    every, rest = VARIANTS[variant][4], iter(tokens)
    return {
        name: [
            [next(rest) if number % every == 0 else -1 for _ in window.spots]
            for number, window in enumerate(windows)
        ]
        for name, windows in pools.items()
    }


def _local(ground: Ground, variant: str, spots: Sequence[Spot]) -> list[int]:
    reference: Any = ground.reference
    kinds = {"int4": "int4-g32", "fp8": "fp8-e4m3", "int8": "int8-g32"}
    model, batch_size = reference, 1 if variant == "bf16-c1" else 16
    if variant == "fp32":
        model = load_reference(MODEL, "float32", num_threads=1)
    elif variant == "kv-fp8":
        model = ground.candidates[ENGINE_KV]
    elif variant in kinds:
        model = reference.rounded(kinds[variant])
    requests = [
        GenerationRequest(
            prompt_token_ids=spot.prompt_token_ids,
            sampling=replace(FREE, temperature=float(spot.seed is not None), seed=spot.seed),
            profile_id="greedy" if spot.seed is None else PROFILE,
            num_tokens=1,
        )
        for spot in spots
    ]
    return [answer[0] for answer in model.generate(requests, batch_size=batch_size)]


def _engine(python: Path, variant: str, spots: Sequence[Spot]) -> list[int]:
    import httpx2

    # the recorder belongs to another environment, whose client this one succeeds
    sys.modules.setdefault("httpx", httpx2)
    sys.path.insert(0, str(ROOT / "examples" / "recording"))
    engine: Any = importlib.import_module("engine")
    quantise: Any = importlib.import_module("quantise")

    dtype, weights, cache, concurrency, _ = VARIANTS[variant]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = MODEL if weights is None else Path(folder) / weights
        if weights == "int4":
            quantise.write_int4(MODEL, checkpoint, 32)
        elif weights == "fp8":
            quantise.write_fp8(MODEL, checkpoint)
        elif weights == "int8":
            quantise.write_int8(MODEL, checkpoint)
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

    waiting = iter(enumerate(spots))
    tokens = [-1] * len(spots)
    async with httpx2.AsyncClient(timeout=120.0) as client:

        async def work() -> None:
            for place, spot in waiting:
                body = {
                    "model": "example",
                    "prompt": list(spot.prompt_token_ids),
                    "max_tokens": 1,
                    "temperature": float(spot.seed is not None),
                    "top_p": 1.0,
                    "top_k": 0,
                    "return_token_ids": True,
                } | ({} if spot.seed is None else {"seed": spot.seed})
                response = await client.post(f"{base_url}/v1/completions", json=body)
                answer = response.raise_for_status().json()
                tokens[place] = int(answer["choices"][0]["token_ids"][0])

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return tokens

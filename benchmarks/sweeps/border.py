"""How many one-token requests border probes need, and how often they accuse honest endpoints.

Method. Windows of ordinary text are searched for near-ties; each provider variant answers the most
fragile spot of each cell of each window once. Even windows calibrate (honest variants only), odd
windows are audited: `best_probes` makes plans of them as in any sweep. Sweeps of `--requests`
probes are planned from disjoint parts of the windows first, then from parts drawn at random (they
share windows; the table says how many are disjoint). A sweep finds a provider where the e-process
reaches 1/alpha. Every view of the same answers has a calibration of its own:

  named          substitutes run locally on the same spots, the engine's own fp8 cache among them
  no engine kv   as named, without that copy: what is left where nobody knows the engine's cache
  without X      as named, one honest variant left out of the calibration: its alarms are the test
  only fp32      the calibration knows one precision only: what other honest servers then suffer
  blind          no substitutes: only unnamed deviations are bet on
  same engine    the honest engine's own answers (bfloat16, concurrency 16) are the first choices;
                 "and precision": float32 servers are no honest variant of it

`natural` are ordinary positions (or seeds) of the same texts, under the law and bounds of `named`:
most lie in no cell, and are no evidence.

Without `--engine` the variants are the reference's own passes (other batch, other precision,
rounded copies). With `--engine PYTHON` they are real vLLM servers of that interpreter; `--recorded
FOLDER` keeps pool and answers and uses those that are there. `--record NAME` only records.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from border_recording import (
    ENGINE_KV,
    HONEST,
    VARIANTS,
    Answers,
    Window,
    ask_all,
    make_ground,
    make_pool,
)

from audit.records import SamplingRequest
from audit.sweep_records import AnswerStatus, ApiStyle, Probe, ProbeAnswer, Probed
from audit.sweeps.border.calibrate import BorderBounds, BorderCalibrator, read_section
from audit.sweeps.border.evidence import Spots, log_e_process
from audit.sweeps.border.planning import (
    Asking,
    BorderSettings,
    best_spots,
    spots_of,
    spread_probes,
)
from audit.sweeps.border.pool import Ground, Spot, generator_of


def main() -> None:
    """Run the study and print one JSON object last."""
    options = _options()
    torch.set_num_threads(1)
    ground = make_ground()
    report: dict[str, object] = {"alpha": options.alpha, "requests": options.requests}
    pools = {name: make_pool(options, ground, name) for name in ("greedy", "seeded")}
    answers = ask_all(options, ground, pools)
    if options.record is None:
        for name, windows in pools.items():
            report[name] = _study(options, ground, name, windows, answers[name])
    print(json.dumps(report))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--engine", type=Path)
    parser.add_argument("--recorded", type=Path)
    parser.add_argument("--local", action="store_true", help="answer what is not recorded locally")
    parser.add_argument("--record", action="append", choices=list(VARIANTS))
    parser.add_argument("--view", action="append", help="only these views")
    parser.add_argument("--windows", type=int, default=3300)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--sweeps", type=int, default=600)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--seed", default="fresh")
    options = parser.parse_args()
    if options.quick:
        options.windows, options.sweeps, options.requests = 200, 100, 60
    return options


def _study(
    options: argparse.Namespace, ground: Ground, name: str, windows: list[Window], answers: Answers
) -> dict[str, object]:
    known = {
        variant: {
            _key(spot): token
            for window, row in zip(windows, rows, strict=True)
            for spot, token in zip(window.spots, row, strict=True)
            if token >= 0
        }
        for variant, rows in answers.items()
    }
    asked = [[spot for spot in window.spots] for window in windows]
    fewer = [[_without(spot, {ENGINE_KV}) for spot in window] for window in asked]
    blind = [[replace(spot, choices={}) for spot in window] for window in asked]
    same = [
        [s.rebased(known["bf16-c16"][_key(s)]) for s in window if _key(s) in known["bf16-c16"]]
        for window in asked
    ]
    all_honest = tuple(variant for variant in HONEST if variant in known)
    views = {
        "named": (asked, all_honest),
        "no engine kv": (fewer, all_honest),
        **{f"without {v}": (asked, tuple(o for o in all_honest if o != v)) for v in all_honest},
        "only fp32": (asked, tuple(v for v in all_honest if v == "fp32")),
        "blind": (blind, all_honest),
        "same engine": (same, all_honest),
        "same engine and precision": (same, tuple(v for v in all_honest if v != "fp32")),
    }
    report: dict[str, object] = {}
    for view, (seen, honest) in views.items():
        if options.view and view not in options.view:
            continue
        # a variant that was asked little bounds little: it is tested, and calibrates nothing, but
        # where it stands for another that is left out
        is_held_out = view.startswith("without")
        measuring = tuple(v for v in honest if is_held_out or VARIANTS[v][4] == 1)
        bounds = _bounds(options, ground, name, seen[::2], {v: known[v] for v in measuring})
        is_main = view == "named" or view.startswith("without")
        num_sweeps = options.sweeps if is_main else options.sweeps // 4
        table = _view(options, num_sweeps, seen, known, bounds)
        report[view] = {"calibrated_on": measuring, **table}
        _print(name, view, {"calibrated_on": measuring, **table})
        if view == "named":
            rows = _natural(options, windows, known, bounds)
            report["natural"] = rows
            _print(name, "natural", rows)
    return report


def _print(name: str, view: str, table: Mapping[str, object]) -> None:
    print(f"\n{name}, {view}", flush=True)
    for variant, row in table.items():
        print(f"  {variant:14s} {json.dumps(row)}", flush=True)


def _key(spot: Spot) -> tuple[tuple[int, ...], int | None]:
    return spot.prompt_token_ids, spot.seed


def _without(spot: Spot, names: set[str]) -> Spot:
    return replace(spot, choices={n: c for n, c in spot.choices.items() if n not in names})


Tokens = Mapping[tuple[tuple[int, ...], int | None], int]


def _bounds(
    options: argparse.Namespace,
    ground: Ground,
    name: str,
    windows: Sequence[Sequence[Spot]],
    honest: Mapping[str, Tokens],
) -> BorderBounds:
    asking = Asking(
        detector_id=f"border-{name}/1",
        ground=ground,
        as_token_ids=True,
        sampling=SamplingRequest(temperature=float(name == "seeded"), max_tokens=1),
    )
    probes = spread_probes(asking, windows, sum(len(window) for window in windows))
    answered = {
        variant: [p for p in (_probed(probe, tokens) for probe in probes) if p]
        for variant, tokens in honest.items()
    }
    section = BorderCalibrator(asking.detector_id).fit(answered, error=options.alpha / 10)
    return read_section(section, asking.detector_id)


def _probed(probe: Probe, tokens: Tokens) -> Probed | None:
    token = tokens.get((probe.prompt.token_ids or (), probe.sampling.seed))
    if token is None:
        return None
    return Probed(probe=probe, answer=ProbeAnswer(status=AnswerStatus.ANSWERED, token_ids=(token,)))


def _view(
    options: argparse.Namespace,
    num_sweeps: int,
    windows: Sequence[Sequence[Spot]],
    known: Mapping[str, Tokens],
    bounds: BorderBounds,
) -> dict[str, object]:
    """Return a row for each variant; variants that were asked the same share their sweeps."""
    counts = {v: c.num_calls_C.tolist() for v, c in bounds.variants.items()}
    tells = {v: c.num_tells_C.tolist() for v, c in bounds.variants.items()}
    table: dict[str, object] = {
        "bounds": [round(float(b), 4) for b in bounds.bound_C],
        "calls": counts,
        "tells": tells,
    }
    planned: dict[int, tuple[list[Plan], int]] = {}
    for variant, tokens in known.items():
        every = VARIANTS[variant][4]
        if every not in planned:
            own = [w for n, w in enumerate(windows) if n % 2 == 1 and n % every == 0]
            planned[every] = _sweeps(options.requests, num_sweeps, own, bounds)
        table[variant] = _row(options, *planned[every], tokens, bounds)
    return table


Plan = tuple[list[Spot], Spots]


def _sweeps(
    num_requests: int, num_sweeps: int, windows: Sequence[Sequence[Spot]], bounds: BorderBounds
) -> tuple[list[Plan], int]:
    """Return the plans of all sweeps, and how many of them share no window."""
    settings = BorderSettings()
    generator = generator_of(b"sweeps", str(len(windows)).encode())
    order = generator.permutation(len(windows))
    size = min(settings.num_windows(num_requests, ApiStyle.COMPLETIONS), len(windows))
    disjoint = len(windows) // size
    plans = []
    for number in range(num_sweeps):
        if number < disjoint:
            part = order[number * size : (number + 1) * size]
        else:
            part = generator.choice(len(windows), size, replace=False)
        plan = best_spots([windows[int(n)] for n in part], num_requests, bounds.bound_C, settings)
        plans.append((plan, spots_of(plan)))
    return plans, disjoint


def _row(
    options: argparse.Namespace,
    plans: Sequence[Plan],
    disjoint: int,
    tokens: Tokens,
    bounds: BorderBounds,
) -> dict[str, object]:
    """Return how many sweeps reach the threshold, and after how many requests."""
    delays: list[float] = []
    num_tells = num_answers = 0
    for plan, facts in plans:
        is_tell_N = np.asarray([tokens[_key(spot)] != spot.first for spot in plan], dtype=np.bool_)
        log_e_N = log_e_process(facts, bounds.bound_C, is_tell_N)
        reached = np.flatnonzero(log_e_N >= -np.log(options.alpha))
        delays.append(float(reached[0]) + 1 if len(reached) else np.inf)
        num_tells, num_answers = num_tells + int(is_tell_N.sum()), num_answers + len(plan)
    return {"tell_rate": round(num_tells / max(num_answers, 1), 4)} | _delays(delays, disjoint)


def _delays(delays: Sequence[float], disjoint: int) -> dict[str, object]:
    ordered = np.sort(delays)

    def at(share: float) -> int | None:
        value = ordered[int(np.ceil(share * len(ordered))) - 1]
        return int(value) if np.isfinite(value) else None

    return {
        "sweeps": len(delays),
        "found": round(float(np.isfinite(ordered).mean()), 4),
        "median": at(0.5),
        "p90": at(0.9),
        "disjoint": disjoint,
        "found_disjoint": int(np.isfinite(delays[:disjoint]).sum()),
    }


def _natural(
    options: argparse.Namespace,
    windows: Sequence[Window],
    known: Mapping[str, Tokens],
    bounds: BorderBounds,
) -> dict[str, object]:
    """Return rows for requests at ordinary places, as many as there are in the audited windows."""
    table: dict[str, object] = {}
    for variant, tokens in known.items():
        every = VARIANTS[variant][4]
        own = [w for n, w in enumerate(windows) if n % 2 == 1 and n % every == 0]
        drawn = [None if p is None else w.spots[p] for w in own for p in w.natural]
        generator = generator_of(b"natural sweeps", variant.encode())
        delays: list[float] = []
        for number in range(min(options.sweeps, 200)):
            order = np.arange(len(drawn)) if not number else generator.permutation(len(drawn))
            places = [n for n, i in enumerate(order) if drawn[i] is not None]
            plan = [spot for i in order if (spot := drawn[i]) is not None]
            is_tell_N = np.asarray([tokens[_key(s)] != s.first for s in plan], dtype=np.bool_)
            log_e_N = log_e_process(spots_of(plan), bounds.bound_C, is_tell_N)
            reached = np.flatnonzero(log_e_N >= -np.log(options.alpha))
            delays.append(float(places[reached[0]]) + 1 if len(reached) else np.inf)
        table[variant] = {"requests": len(drawn), **_delays(delays, 1)}
    return table


if __name__ == "__main__":
    main()

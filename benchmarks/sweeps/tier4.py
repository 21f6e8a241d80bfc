"""What can be seen without weights: first words, endpoints side by side, a text classifier.

    python benchmarks/sweeps/tier4.py [--quick] [--parts cells compare classifier]

Method, on the example model; prompts are passages of the standard library's source. `cells`: cells
are chosen by the candidates, honest variants (bf16, fp32) answer 100 times a cell, several
calibrations; for each, fresh sweeps of 240 requests are answered by honest variants and by
substitutes (4-bit, fp8, int8, another checkpoint, a copy without its last layer), all of them or a
share. Answers are drawn from each model's own law of the first token, computed with that model's
arithmetic over the whole vocabulary: what sampling would give, in less time. A sweep alarms if its
evidence reaches 1 / alpha at any look, alpha = 1 %. `recorded`: the same without any weights, 3
honest variants recorded by sampling, the substitutes' answers as examples. `compare`: runs of three
honest endpoints, and with one of them swapped. `classifier`: answers of 24 tokens, split by prompt.
The last line of output is one JSON object.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from text import stdlib_texts

from audit.ports import ProbeReference
from audit.sweep_records import AnswerStatus, Endpoint, Probe, ProbeAnswer, Probed
from audit.sweeps.cells.calibrate import CellCalibrator
from audit.sweeps.cells.detector import OneTokenCells
from audit.sweeps.classifier.calibrate import ClassifierCalibrator
from audit.sweeps.classifier.comparer import TextClassifier
from audit.sweeps.compare.comparer import CompareSettings, ProviderCompare
from audit.sweeps.detector import Section, Tools
from audit.sweeps.text.detector_ratio import CandidateRatio
from audit.sweeps.text.samples import answer_locally, as_prompt, derived_rng, prompt_token_ids
from reference_runner.replay import load_reference
from reference_runner.variants import substitutes

MODEL = Path(__file__).parents[2] / "examples" / "model"
ENDPOINT = Endpoint(name="arm", base_url="http://127.0.0.1/v1", model="example")
LOG_THRESHOLD_NATS = math.log(100.0)
NUM_REQUESTS = 240
SHARES = (1.0, 0.4)

#: Sweeps of each calibration that substitutes answer as well.
_NUM_ATTACKED = 10

Models = Mapping[str, ProbeReference]


class Laws:
    """Draws first tokens from whole laws, each computed once."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._known: dict[tuple[str, str], tuple[list[str], np.ndarray]] = {}

    def answers(
        self, name: str, probes: Sequence[Probe], seed: bytes, *, share: float = 1.0
    ) -> list[Probed]:
        """Return answers, a share of them by `name` and the others by `bf16`."""
        rng = derived_rng(seed, f"{name} {share}")
        found = []
        for probe in probes:
            who = name if rng.random() < share else "bf16"
            tokens, cumulative = self._law(who, probe.prompt.text or "")
            pick = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
            answer = ProbeAnswer(status=AnswerStatus.ANSWERED, text=tokens[pick])
            found.append(Probed(probe=probe, answer=answer))
        return found

    def _law(self, name: str, prompt: str) -> tuple[list[str], np.ndarray]:
        if (name, prompt) not in self._known:
            model = self._models[name]
            ids = prompt_token_ids(model, as_prompt(prompt, ENDPOINT.api))
            top = model.top_logprobs(ids, (0,), model.info.vocab_size)
            tokens = [model.decode((int(token),)) for token in top.token_RK[0]]
            self._known[name, prompt] = tokens, np.cumsum(np.exp(top.logprob_nats_RK[0]))
        return self._known[name, prompt]


def cell_tables(
    tools: Tools, honest: Models, attacks: Models, num_calibrations: int, num_sweeps: int
) -> dict[str, object]:
    """Return false alarms, requests to decision, and what the bundles promised."""
    laws = Laws({**honest, **attacks})
    alarms = {name: 0 for name in honest}
    found: dict[str, list[float]] = {
        f"{name} at {share:g}": [] for name in attacks for share in SHARES
    }
    tells: dict[str, list[float]] = {name: [] for name in (*honest, *attacks)}
    promised: dict[str, list[object]] = {}
    probes = OneTokenCells(tools).plan(ENDPOINT, b"calibration 0", 2400)
    for number in range(num_calibrations):
        seed = f"calibration {number}".encode()
        answers = {name: laws.answers(name, probes, seed) for name in honest}
        section = CellCalibrator(tools=tools).fit(answers, error=1e-4)
        detector = OneTokenCells(tools, section)
        for name, needed in dict(section["power"]).items():  # type: ignore[call-overload]
            promised.setdefault(name, []).append(needed[0])
        for sweep in range(num_sweeps):
            run = detector.plan(ENDPOINT, f"{number} {sweep}".encode(), NUM_REQUESTS)
            label = f"sweep {number} {sweep}".encode()
            for name in honest:
                at, share = _decided(detector, laws.answers(name, run, label))
                alarms[name] += at <= NUM_REQUESTS
                tells[name].append(share)
            for name in attacks if sweep < _NUM_ATTACKED else ():
                for part in SHARES:
                    at, share = _decided(detector, laws.answers(name, run, label, share=part))
                    found[f"{name} at {part:g}"].append(at)
                    if part == 1.0:
                        tells[name].append(share)
        print(number, alarms, {n: float(np.median(f)) for n, f in found.items()}, flush=True)
    total = num_calibrations * num_sweeps
    return {
        "false_alarms": {name: f"{count}/{total}" for name, count in alarms.items()},
        "found": {name: _summary(values) for name, values in found.items()},
        "tell_rates": {name: round(float(np.mean(values)), 4) for name, values in tells.items()},
        "honest_tell_bound": section["bounds"]["tell"],  # type: ignore[index]
        "needed_by_bundle": promised,
        "section_bytes": len(json.dumps(section)),
    }


def recorded_table(
    tools: Tools, honest: Models, attacks: Models, num_sweeps: int
) -> dict[str, object]:
    """Return the same for an auditor without weights, who recorded everything by asking."""
    blind = Tools(reference=tools.reference, candidates={}, texts=tools.texts)
    probes = OneTokenCells(blind).plan(ENDPOINT, b"recorded", 2400)
    variants = {
        "bf16 by 1": answer_locally(honest["bf16"], probes, b"one", batch_size=1),
        "bf16 by 16": answer_locally(honest["bf16"], probes, b"many", batch_size=16),
        "fp32 by 16": answer_locally(honest["fp32"], probes, b"full", batch_size=16),
    }
    laws = Laws({**honest, **attacks})
    examples = {name: laws.answers(name, probes, b"example") for name in attacks}
    section = CellCalibrator(tools=blind, attacks=examples).fit(variants, error=1e-4)
    detector = OneTokenCells(blind, section)
    table: dict[str, object] = {"needed_by_bundle": section["power"]}
    for name in (*honest, *attacks):
        runs = [detector.plan(ENDPOINT, f"{n}".encode(), NUM_REQUESTS) for n in range(num_sweeps)]
        found = [
            _decided(detector, laws.answers(name, run, f"r {n}".encode()))[0]
            for n, run in enumerate(runs)
        ]
        table[name] = _summary(found)
    return table


def compare_table(
    tools: Tools, section: Section, honest: Models, attacks: Models, num_runs: int
) -> dict[str, object]:
    """Return how often an endpoint is called the odd one out, rightly or wrongly."""
    laws = Laws({**honest, **attacks})
    comparer = ProviderCompare(tools, section, CompareSettings(num_permutations=199))
    planner = OneTokenCells(tools, section)
    table: dict[str, object] = {}
    for swapped in ("bf16", *attacks):
        arms = {"a": "bf16", "b": "fp32", "c": swapped}
        wrong, right, gaps, small = 0, 0, [], 0
        for number in range(num_runs):
            run_probes = planner.plan(ENDPOINT, f"compare {number}".encode(), NUM_REQUESTS)
            run = {
                name: laws.answers(model, run_probes, f"{name} {number}".encode())
                for name, model in arms.items()
            }
            matrix = comparer.matrix(run)
            right += matrix.different == {("a", "c"), ("b", "c")}
            wrong += ("a", "b") in matrix.different or (
                swapped == "bf16" and bool(matrix.different)
            )
            cells = matrix.gap("a", "c").cells
            gaps.append(0.0 if cells is None else cells.excess_nats)
            small += cells is not None and cells.p_value <= 0.01
        table[swapped] = {
            "odd_one_out": f"{right}/{num_runs}",
            "wrong": f"{wrong}/{num_runs}",
            "p<=.01": f"{small}/{num_runs}",
            "mean_jsd_nats": round(float(np.mean(gaps)), 4),
        }
    return table


def classifier_table(
    tools: Tools, honest: Models, attacks: Models, num_texts: int
) -> dict[str, object]:
    """Return held-out accuracies, and the share of signs in fresh runs."""
    planner = CandidateRatio(tools)
    probes = planner.plan(ENDPOINT, b"classifier", num_texts)
    answers = {
        name: answer_locally(model, probes, name.encode())
        for name, model in {**honest, **attacks}.items()
    }
    section = ClassifierCalibrator(
        tools=tools, attacks={name: answers[name] for name in attacks}
    ).fit({name: answers[name] for name in honest}, error=1e-4)
    classifier = TextClassifier(tools, section)
    fresh = planner.plan(ENDPOINT, b"fresh", num_texts // 3)
    table: dict[str, object] = {"section_bytes": len(json.dumps(section))}
    for name, model in {**honest, **attacks}.items():
        reading = classifier.compare(
            ENDPOINT, {"arm": answer_locally(model, fresh, b"fresh " + name.encode())}
        )
        share = reading.tells.count("1") / len(reading.tells) if reading.tells else None
        table[f"tells of {name}"] = share
        table["bound"], table["notes"] = reading.honest_tell_rate, list(reading.notes)
    return table


def _decided(detector: OneTokenCells, probed: Sequence[Probed]) -> tuple[float, float]:
    """Return after how many requests a sweep is decided, infinite where not, and its tells."""
    reading = detector.read(ENDPOINT, probed)
    over = np.flatnonzero(np.asarray(reading.log_e_nats_N) >= LOG_THRESHOLD_NATS)
    at = float(over[0]) + 1.0 if len(over) else math.inf
    return at, reading.tells.count("1") / len(reading.tells)


def _summary(found: Sequence[float]) -> dict[str, object]:
    hits = [value for value in found if math.isfinite(value)]
    middle = float(np.median(found))
    return {
        "found": f"{len(hits)}/{len(found)}",
        "median": middle if math.isfinite(middle) else None,
    }


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parts = ("cells", "recorded", "compare", "classifier")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    options = parser.parse_args()
    reference = load_reference(MODEL, "float32", num_threads=1)
    honest: Models = {"bf16": load_reference(MODEL, "bfloat16", num_threads=1), "fp32": reference}
    attacks: Models = substitutes(
        reference, seed=b"text", roundings=("int4-g32", "fp8-e4m3", "int8-g32")
    )
    # choosing cells by what cannot be seen would cost the others
    chosen_by = {name: attacks[name] for name in ("int4-g32", "other-checkpoint", "sibling")}
    tools = Tools(reference=reference, candidates=chosen_by, texts=stdlib_texts())
    small = options.quick
    results: dict[str, object] = {}
    if "cells" in options.parts:
        results["cells"] = cell_tables(
            tools, honest, attacks, 2 if small else 8, 10 if small else 40
        )
    if "recorded" in options.parts:
        print(json.dumps(results), flush=True)
        results["recorded"] = recorded_table(tools, honest, attacks, 20 if small else 100)
    if "compare" in options.parts:
        laws = Laws(honest)
        probes = OneTokenCells(tools).plan(ENDPOINT, b"calibration 0", 2400)
        section = CellCalibrator(tools=tools).fit(
            {name: laws.answers(name, probes, b"compare") for name in honest}, error=1e-4
        )
        print(json.dumps(results), flush=True)
        results["compare"] = compare_table(tools, section, honest, attacks, 10 if small else 60)
    if "classifier" in options.parts:
        print(json.dumps(results), flush=True)
        results["classifier"] = classifier_table(tools, honest, attacks, 200 if small else 900)
    print(json.dumps(results))


if __name__ == "__main__":
    main()

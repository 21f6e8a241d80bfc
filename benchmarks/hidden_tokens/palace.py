"""Does PALACE beat its own untrained base, and the median of the cell?

Method: a slice of the open-reasoning rows, whose chains are known. LoRA fine-tuning on the training
split of all chosen domains, then GRPO for each domain; the adapter of a row's domain names its
count. Measured on rows of other questions, in the paper's measures: share within 33 % with one
greedy reply and with five drawn at temperature 0.8, average and aggregate error; and how far the
greedy estimates spread (`num_distinct`, `log_deviation`), since a model that answers with a
constant may pass for one that estimates. Beside it the true counts' own spread, the same checkpoint
without adapters, the first stage alone, and the median count of the same model and domain in the
training split (of the domain where the model is new). The 95 % interval of a difference resamples
questions, not rows. `--inner` halves the training split by question instead and leaves the held-out
split alone: settings are to be chosen with it.

    python benchmarks/hidden_tokens/palace.py [--model examples/model] [--device cpu] [--inner]

Prints one JSON line.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from audit.hidden_tokens.palace.metrics import score_estimates
from audit.hidden_tokens.palace.prompts import (
    PalaceQuestion,
    PromptLimits,
    format_count,
    format_prompt,
    parse_count,
)
from audit.hidden_tokens.palace.reward import is_within, reward
from reference_runner.palace.adapters import LoraSettings, PalaceBase, load_adapters, load_base
from reference_runner.palace.data import CountExample
from reference_runner.palace.fine_tune import FineTuneSettings
from reference_runner.palace.generate import greedy_replies, replies_by_domain, sampled_replies
from reference_runner.palace.grpo import GrpoSettings
from reference_runner.palace.train import TrainingSettings, train_adapters
from tests.support.hidden_tokens import Row, load_rows, split_groups

REPOSITORY = Path(__file__).parents[2]
NUM_RESAMPLES = 2_000

Estimates = list[int | None]


def example_of(row: Row, limits: PromptLimits) -> CountExample:
    """Return a row as it is trained on and asked about."""
    question = PalaceQuestion(
        prompt=row["prompt"],
        answer=row["answer"],
        model=row["model"],
        domain=row["domain"],
        effort=row["effort"] or "",
    )
    return CountExample(
        prompt=format_prompt(question, limits),
        reply=format_count(row["target_tokens"]),
        num_tokens=row["target_tokens"],
        domain=row["domain"],
    )


def cell_medians(train: Sequence[Row], rows: Sequence[Row]) -> Estimates:
    """Return each row's cell median in the training rows."""
    counts: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row in train:
        counts[row["domain"], row["model"]].append(row["target_tokens"])
        counts[(row["domain"],)].append(row["target_tokens"])
    medians = {key: round(statistics.median(values)) for key, values in counts.items()}
    return [medians.get((r["domain"], r["model"]), medians[(r["domain"],)]) for r in rows]


def greedy(base: PalaceBase) -> Callable[[Any, Sequence[str]], Estimates]:
    """Return how a model, with its active adapter, names counts."""
    return lambda model, prompts: [
        parse_count(reply) for reply in greedy_replies(model, base.tokenizer, prompts)
    ]


def sampled(base: PalaceBase, seed: int) -> Callable[[Any, Sequence[str]], list[Estimates]]:
    """Return how a model names five counts, drawn at temperature 0.8."""

    def ask(model: Any, prompts: Sequence[str]) -> list[Estimates]:
        drawn = sampled_replies(
            model, base.tokenizer, prompts, num_replies=5, temperature=0.8, seed=seed
        )
        return [[parse_count(reply) for reply in replies] for replies in drawn]

    return ask


def difference(
    rows: Sequence[Row], ours: Estimates, theirs: Estimates, seed: int
) -> dict[str, float]:
    """Return by how much more of our estimates lie within the band, with a 95 % interval."""
    gains: dict[str, list[int]] = defaultdict(list)
    for row, our, their in zip(rows, ours, theirs, strict=True):
        target = row["target_tokens"]
        gains[row["prompt_group"]].append(is_within(our, target) - is_within(their, target))
    sums_G = np.array([sum(g) for g in gains.values()], dtype=np.float64)
    sizes_G = np.array([len(g) for g in gains.values()], dtype=np.float64)
    picks_BG = np.random.default_rng(seed).integers(len(sums_G), size=(NUM_RESAMPLES, len(sums_G)))
    means_B = sums_G[picks_BG].sum(axis=1) / sizes_G[picks_BG].sum(axis=1)
    low, high = np.quantile(means_B, (0.025, 0.975))
    return {"mean": sums_G.sum() / sizes_G.sum(), "low": float(low), "high": float(high)}


def measured(
    rows: Sequence[Row], estimates: dict[str, tuple[Estimates, list[Estimates] | None]], seed: int
) -> dict[str, Any]:
    """Return all measures of all estimators on `rows`."""
    truths = [row["target_tokens"] for row in rows]
    report: dict[str, Any] = {
        name: asdict(score_estimates(predicted, truths, drawn))
        for name, (predicted, drawn) in estimates.items()
    }
    # the truth as its own estimate
    perfect = score_estimates(truths, truths)
    report["truth"] = {
        "num_distinct": perfect.num_distinct,
        "log_deviation": perfect.log_deviation,
    }
    ours = estimates["palace"][0]
    for other in ("base", "fine_tuned", "cell_median"):
        report[f"palace_less_{other}"] = difference(rows, ours, estimates[other][0], seed)
    return report


def arguments() -> argparse.Namespace:
    """Return the command line's choices."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", type=Path, default=REPOSITORY / "examples" / "model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num-threads", type=int, default=2)
    parser.add_argument("--domains", nargs="+", default=["math", "trick_puzzle"])
    parser.add_argument("--chars", type=int, default=80, help="shown of question and of answer")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--grpo-steps", type=int, default=15)
    parser.add_argument("--grpo-learning-rate", type=float, default=3e-4)
    parser.add_argument("--max-train", type=int, default=1_200, help="rows, the first by their id")
    parser.add_argument("--max-held-out", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inner", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Train, measure and print."""
    chosen, start_s = arguments(), time.perf_counter()
    train, held_out = (
        list(load_rows("open_reasoning_train")),
        list(load_rows("open_reasoning_calib")),
    )
    if chosen.inner:
        train, held_out = split_groups(train)
    train, held_out = ([r for r in p if r["domain"] in chosen.domains] for p in (train, held_out))
    # ids are hashes: the first by id are a fair sample
    train = sorted(train, key=lambda row: row["id"])[: chosen.max_train]
    held_out = sorted(held_out, key=lambda row: row["id"])[: chosen.max_held_out]
    limits = PromptLimits(prompt_chars=chosen.chars, answer_chars=chosen.chars)
    base = load_base(chosen.model, device=chosen.device, num_threads=chosen.num_threads)
    asked = [(row["domain"], example_of(row, limits).prompt) for row in held_out]
    prompts = [prompt for _, prompt in asked]
    estimates: dict[str, tuple[Estimates, list[Estimates] | None]] = {
        "cell_median": (cell_medians(train, held_out), None),
        "base": (greedy(base)(base.network, prompts), sampled(base, 1)(base.network, prompts)),
    }
    settings = TrainingSettings(
        lora=LoraSettings(rank=16, alpha=32),
        fine_tune=FineTuneSettings(
            num_epochs=chosen.epochs, learning_rate=chosen.learning_rate, max_tokens=1_000
        ),
        grpo=GrpoSettings(
            num_steps=chosen.grpo_steps,
            questions_per_step=4,
            learning_rate=chosen.grpo_learning_rate,
            max_tokens=1_000,
        ),
        seed=chosen.seed,
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "adapters"
        examples = [example_of(row, limits) for row in train]
        log = train_adapters(base, examples, reward, settings, folder)
        trained_s = time.perf_counter() - start_s
        adapters = load_adapters(base, folder)
        # no domain of that name: the general adapter of the first stage
        general = [("", prompt) for prompt in prompts]
        for name, questions in (("fine_tuned", general), ("palace", asked)):
            estimates[name] = (
                replies_by_domain(adapters, questions, greedy(base)),
                replies_by_domain(adapters, questions, sampled(base, 1)),
            )
    places = {
        d: [i for i, row in enumerate(held_out) if row["domain"] == d] for d in chosen.domains
    }
    report = {
        "command": {k: str(v) if isinstance(v, Path) else v for k, v in vars(chosen).items()},
        "num_train": len(train),
        "losses_nats": log.losses_nats,
        "rewards": dict(log.rewards),
        "overall": measured(held_out, estimates, chosen.seed),
        "domains": {
            domain: measured(
                [held_out[i] for i in picked],
                {
                    name: ([p[i] for i in picked], None if k is None else [k[i] for i in picked])
                    for name, (p, k) in estimates.items()
                },
                chosen.seed,
            )
            for domain, picked in places.items()
        },
        "trained_s": round(trained_s, 1),
        "elapsed_s": round(time.perf_counter() - start_s, 1),
    }
    print(json.dumps(report, default=float))


if __name__ == "__main__":
    main()

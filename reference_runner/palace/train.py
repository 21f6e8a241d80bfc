"""Trains all adapters: one general one on all examples, then one a domain from it."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reference_runner.palace.adapters import (
    GENERAL,
    LoraSettings,
    PalaceBase,
    check_domain,
    new_adapter,
    open_adapter,
    release,
    save_adapter,
    write_manifest,
)
from reference_runner.palace.data import CountExample, PalaceError, require_libraries
from reference_runner.palace.fine_tune import FineTuneSettings, fine_tune
from reference_runner.palace.grpo import GrpoSettings, Reward, grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """Everything that decides what the adapters learn, but the data."""

    lora: LoraSettings = field(default_factory=LoraSettings)
    fine_tune: FineTuneSettings = field(default_factory=FineTuneSettings)
    grpo: GrpoSettings = field(default_factory=GrpoSettings)
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLog:
    """How the training went, in tenths of each stage."""

    losses_nats: tuple[float, ...]
    rewards: Mapping[str, tuple[float, ...]]
    """By domain."""


def train_adapters(
    base: PalaceBase,
    examples: Sequence[CountExample],
    reward: Reward,
    settings: TrainingSettings,
    folder: Path,
) -> TrainingLog:
    """Train on `examples` and write all adapters into `folder`, which must be empty or missing.

    The base is as before afterwards. Raises: PalaceError for a folder in use, for domains that make
    no name, and for examples that do not fit.
    """
    require_libraries()
    domains = sorted({check_domain(example.domain) for example in examples})
    if folder.exists() and any(folder.iterdir()):
        raise PalaceError(f"{folder} is not empty: name another folder for the adapters")
    folder.mkdir(parents=True, exist_ok=True)
    losses = _first_stage(base, examples, settings, folder)
    rewards = {
        domain: _second_stage(
            base, [e for e in examples if e.domain == domain], reward, settings, folder / domain
        )
        for domain in domains
    }
    write_manifest(folder, base, domains)
    return TrainingLog(losses_nats=losses, rewards=rewards)


def _first_stage(
    base: PalaceBase, examples: Sequence[CountExample], settings: TrainingSettings, folder: Path
) -> tuple[float, ...]:
    model = new_adapter(base, settings.lora, seed=settings.seed)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            losses = fine_tune(
                model,
                base,
                examples,
                settings.fine_tune,
                seed=settings.seed,
                scratch=Path(scratch),
            )
        save_adapter(model, folder / GENERAL, base)
    finally:
        release(model)
    return losses


def _second_stage(
    base: PalaceBase,
    examples: Sequence[CountExample],
    reward: Reward,
    settings: TrainingSettings,
    folder: Path,
) -> tuple[float, ...]:
    model = open_adapter(base, folder.parent / GENERAL, trainable=True)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            rewards = grpo(
                model,
                base,
                examples,
                reward,
                settings.grpo,
                seed=settings.seed,
                scratch=Path(scratch),
            )
        save_adapter(model, folder, base)
    finally:
        release(model)
    return rewards

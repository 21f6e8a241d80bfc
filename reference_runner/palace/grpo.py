"""Second stage: group-relative policy optimisation of a domain's adapter on a reward.

Several replies are drawn to each question; those that earn more than their group's mean become
likelier. Source: Shao et al., "DeepSeekMath", arXiv:2402.03300, section 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback

from reference_runner.palace.adapters import PalaceBase
from reference_runner.palace.data import (
    CountExample,
    Messages,
    PalaceError,
    check_examples,
    grpo_dataset,
    text_of,
)
from reference_runner.palace.generate import MAX_REPLY_TOKENS
from reference_runner.palace.quiet import quiet_trainers

if TYPE_CHECKING:
    from peft import PeftModel

#: (reply, true count) to what the reply earns.
Reward = Callable[[str, int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoSettings:
    """How long and how fast the second stage learns."""

    num_steps: int = 200
    questions_per_step: int = 8
    num_replies: int = 8
    """Drawn to each question; their mean reward is the yardstick."""
    temperature: float = 1.0
    learning_rate: float = 2e-5
    divergence_weight: float = 0.0
    """Of the Kullback-Leibler term that holds the adapter near the first stage's."""
    max_tokens: int = 2_048


def grpo(
    model: "PeftModel",
    base: PalaceBase,
    examples: Sequence[CountExample],
    reward: Reward,
    settings: GrpoSettings,
    *,
    seed: int,
    scratch: Path,
) -> tuple[float, ...]:
    """Train the model's adapter to earn more.

    Returns the mean reward of each tenth of the training. `scratch` as in `fine_tune`. Raises:
    PalaceError for examples that do not fit, and for groups of fewer than two replies.
    """
    check_examples(base.tokenizer, examples, settings.max_tokens)
    if settings.num_replies < 2:
        raise PalaceError("num_replies must be 2 at least: a reply is measured against its group")
    with quiet_trainers():
        from trl.trainer.grpo_trainer import GRPOTrainer

        trainer = GRPOTrainer(
            model=model,
            reward_funcs=_group_reward(reward),
            args=_config(base, settings, seed, scratch),
            train_dataset=grpo_dataset(base.tokenizer, examples),
            processing_class=base.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return tuple(float(line["reward"]) for line in trainer.state.log_history if "reward" in line)


def _config(base: PalaceBase, settings: GrpoSettings, seed: int, scratch: Path) -> Any:
    from trl.trainer.grpo_config import GRPOConfig

    return GRPOConfig(
        output_dir=str(scratch),
        max_steps=settings.num_steps,
        per_device_train_batch_size=settings.questions_per_step * settings.num_replies,
        num_generations=settings.num_replies,
        max_completion_length=MAX_REPLY_TOKENS,
        temperature=settings.temperature,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        beta=settings.divergence_weight,
        logging_steps=0.1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        gradient_checkpointing=base.device != "cpu",
        dataloader_pin_memory=base.device != "cpu",
        use_cpu=base.device == "cpu",
        bf16=False,
        seed=seed,
    )


def _group_reward(reward: Reward) -> Callable[..., list[float | None]]:
    def earned(
        completions: Sequence[str | Messages], num_tokens: Sequence[int], **_: Any
    ) -> list[float | None]:
        texts = map(text_of, completions)
        return [reward(text, count) for text, count in zip(texts, num_tokens, strict=True)]

    return earned

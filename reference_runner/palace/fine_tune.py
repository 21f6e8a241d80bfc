"""First stage: supervised fine-tuning of a LoRA adapter on questions with known counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PrinterCallback

from reference_runner.palace.adapters import PalaceBase
from reference_runner.palace.data import CountExample, check_examples, sft_dataset
from reference_runner.palace.quiet import quiet_trainers

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuneSettings:
    """How long and how fast the first stage learns."""

    num_epochs: float = 2.0
    batch_size: int = 16
    learning_rate: float = 2e-4
    max_tokens: int = 2_048
    """Of prompt and reply together; a longer example is refused."""


def fine_tune(
    model: "PeftModel",
    base: PalaceBase,
    examples: Sequence[CountExample],
    settings: FineTuneSettings,
    *,
    seed: int,
    scratch: Path,
) -> tuple[float, ...]:
    """Train the model's adapter on `examples`; only replies count towards the loss.

    Returns the mean loss, nats a token, of each tenth of the training. `scratch` is an empty folder
    for the trainer; nothing in it is needed later. Raises: PalaceError for examples that do not
    fit.
    """
    check_examples(base.tokenizer, examples, settings.max_tokens)
    with quiet_trainers():
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        config = SFTConfig(
            output_dir=str(scratch),
            num_train_epochs=settings.num_epochs,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            max_length=settings.max_tokens,
            completion_only_loss=True,
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
        trainer = SFTTrainer(
            model=model,
            args=config,
            train_dataset=sft_dataset(base.tokenizer, examples),
            processing_class=base.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return tuple(float(line["loss"]) for line in trainer.state.log_history if "loss" in line)

"""`tokens palace-train`, `palace-calibrate`: a language model that estimates hidden tokens."""

from pathlib import Path
from typing import Annotated

import typer

from audit.cli import options
from audit.cli.lines import stderr, stdout
from audit.cli.token_files import Requests, read_requests
from audit.config import DEFAULT_NUM_THREADS

BaseModel = Annotated[
    Path,
    typer.Option("--model", metavar="DIR", help="Folder of the checkpoint that learns, or learnt."),
]
Device = Annotated[str, typer.Option("--device", metavar="D", help="As torch names it.")]


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command("palace-train")(palace_train)
    group.command("palace-calibrate")(palace_calibrate)


def palace_train(
    requests: Requests,
    model: BaseModel,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="A new folder for what is learnt.")
    ],
    device: Device = "cpu",
    epochs: Annotated[
        float, typer.Option(min=0.01, max=1000.0, help="Of the first stage, over all requests.")
    ] = 2.0,
    grpo_steps: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Of the second stage, for each domain.")
    ] = 200,
    learning_rate: Annotated[
        float,
        typer.Option(min=1e-8, max=1.0, help="Of the first stage; the second takes a tenth."),
    ] = 2e-4,
    chars: Annotated[
        int, typer.Option(min=16, max=100_000, help="Shown of each question and answer.")
    ] = 2_000,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
) -> None:
    """Train one adapter a domain, and the router, on honest requests.

    They need domain, prompt, answer and billed reasoning count, from trusted runs or direct
    first-party calls. Keep other questions back for `tokens palace-calibrate`.
    """
    from audit.app.palace import PalaceBasis, train_palace, training_settings
    from audit.hidden_tokens.palace.prompts import PromptLimits

    trained = train_palace(
        read_requests(requests),
        PalaceBasis(model=model, device=device, num_threads=threads),
        training_settings(
            num_epochs=epochs, grpo_steps=grpo_steps, learning_rate=learning_rate, seed=seed
        ),
        PromptLimits(prompt_chars=chars, answer_chars=chars),
        out,
    )
    _tell_unusable(trained.num_unusable)
    losses = trained.log.losses_nats
    _say(f"trained on {trained.num_rows} requests: {out}")
    if losses:
        _say(f"loss {losses[0]:.3f} to {losses[-1]:.3f} nats a token")
    for domain, rewards in trained.log.rewards.items():
        _say(f"{domain}: mean reward {rewards[0]:.3f} to {rewards[-1]:.3f} of 1")


def palace_calibrate(
    requests: Requests,
    palace: Annotated[
        Path, typer.Option("--palace", metavar="FOLDER", help="Made by `tokens palace-train`.")
    ],
    model: BaseModel,
    device: Device = "cpu",
    threads: options.NumThreads = DEFAULT_NUM_THREADS,
) -> None:
    """Measure on honest requests how far the model errs; other questions than it was trained on."""
    from audit.app.palace import PalaceBasis, calibrate_folder

    basis = PalaceBasis(model=model, device=device, num_threads=threads)
    made = calibrate_folder(read_requests(requests), palace, basis)
    _tell_unusable(made.num_unusable)
    if made.num_repeated:
        _warn(f"{made.num_repeated} requests repeat a question of their cell and are left out")
    if made.scores.num_unreadable:
        _warn(f"{made.scores.num_unreadable} replies of the model name no count")
    for cell in made.too_small:
        _warn(f"too few requests to calibrate {cell}")
    if made.scores.num_distinct <= made.num_cells:
        _warn("the model names no more counts than there are cells: it tells nothing but the cell")
    _say(
        f"{made.num_rows} requests, {made.num_cells} cells: {made.scores.pass_at_1:.1%} within "
        f"33 %, {made.scores.num_distinct} different estimates"
    )
    _say(f"{palace}: {made.calibration_id}")


def _tell_unusable(num_unusable: int) -> None:
    if num_unusable:
        _warn(
            f"{num_unusable} requests lack domain, prompt, answer or a meter's reasoning count, "
            "and are left out"
        )


def _say(text: str) -> None:
    stdout().print(text, highlight=False, markup=False, soft_wrap=True)


def _warn(text: str) -> None:
    stderr().print(text, highlight=False, markup=False, soft_wrap=True)

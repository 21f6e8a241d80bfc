"""Opens, trains and calibrates the estimating model: PALACE on a local checkpoint.

    honest requests --train_palace--> folder --calibrate_folder (other questions)--> folder
    folder + checkpoint --open_palace--> PalaceChannel

Loads torch: import this only where an estimating model is asked for.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from audit.billing_records import BilledRequest
from audit.config import DEFAULT_NUM_THREADS
from audit.errors import CalibrationError, ConfigurationError
from audit.hidden_tokens.estimator.cells import EstimatorRow
from audit.hidden_tokens.estimator.router import train_router
from audit.hidden_tokens.palace.channel import PalaceChannel, Predict, calibrate_palace
from audit.hidden_tokens.palace.folder import (
    ADAPTERS,
    PalaceManifest,
    read_calibration,
    read_manifest,
    read_router,
    write_calibration,
    write_manifest,
    write_router,
)
from audit.hidden_tokens.palace.metrics import PalaceScores, score_estimates
from audit.hidden_tokens.palace.prompts import (
    PalaceQuestion,
    PromptLimits,
    format_count,
    format_prompt,
    parse_count,
)
from audit.hidden_tokens.palace.reward import reward
from audit.hidden_tokens.palace.rows import (
    group_digest,
    observation_of,
    one_a_question,
    question_of,
    require_enough,
    require_unseen,
    usable_rows,
)
from reference_runner.digest import checkpoint_digest
from reference_runner.errors import RunnerError
from reference_runner.palace.adapters import AdapterSet, load_adapters, load_base
from reference_runner.palace.data import CountExample, require_libraries
from reference_runner.palace.fine_tune import FineTuneSettings
from reference_runner.palace.generate import greedy_replies, replies_by_domain
from reference_runner.palace.grpo import GrpoSettings
from reference_runner.palace.train import TrainingLog, TrainingSettings, train_adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class PalaceBasis:
    """The checkpoint that adapters belong to, and where it runs."""

    model: Path
    device: str = "cpu"
    num_threads: int = DEFAULT_NUM_THREADS


@dataclass(frozen=True, slots=True, kw_only=True)
class PalaceTrained:
    """How a training went."""

    num_rows: int
    num_unusable: int
    """Requests that teach nothing: without domain, prompt, answer or a meter's reasoning count."""
    log: TrainingLog


@dataclass(frozen=True, slots=True, kw_only=True)
class PalaceCalibrated:
    """How a calibration went."""

    num_rows: int
    num_unusable: int
    num_repeated: int
    """Requests of a cell on a question that it had already: each question counts once."""
    calibration_id: str
    num_cells: int
    too_small: tuple[str, ...]
    scores: PalaceScores


def open_palace(folder: Path, basis: PalaceBasis) -> PalaceChannel:
    """Return the calibrated channel of a folder.

    Raises: CalibrationError where parts of the folder do not belong together; ConfigurationError
    for another checkpoint, a missing library or device.
    """
    manifest = read_manifest(folder)
    router, calibration = read_router(folder, manifest), read_calibration(folder, manifest)
    return PalaceChannel(
        calibration=calibration,
        predict=_predictor(_adapters(folder, manifest, basis), manifest.limits),
        calibration_id=manifest.calibration_digest or "",
        router=router,
    )


def train_palace(
    requests: Iterable[BilledRequest],
    basis: PalaceBasis,
    settings: TrainingSettings,
    limits: PromptLimits,
    out: Path,
) -> PalaceTrained:
    """Train adapters and router on honest requests and write both into `out`.

    `out` must be empty or missing. Raises: CalibrationError for too few requests;
    ConfigurationError.
    """
    with _named():
        require_libraries()
    rows, num_unusable = usable_rows(requests)
    require_enough(rows, settings.grpo.questions_per_step)
    _require_empty(out)
    examples = [_example(row, limits) for row in rows]
    with _named():
        base = load_base(basis.model, device=basis.device, num_threads=basis.num_threads)
        log = train_adapters(base, examples, reward, settings, out / ADAPTERS)
        adapters_digest = checkpoint_digest(out / ADAPTERS)
    router = train_router([row.prompt for row in rows], [row.domain for row in rows])
    manifest = PalaceManifest(
        base_model_digest=base.digest,
        adapters_digest=adapters_digest,
        router_digest=write_router(out, router),
        limits=limits,
        trained_groups=frozenset(map(group_digest, rows)),
    )
    write_manifest(out, manifest)
    return PalaceTrained(num_rows=len(rows), num_unusable=num_unusable, log=log)


def calibrate_folder(
    requests: Iterable[BilledRequest], folder: Path, basis: PalaceBasis
) -> PalaceCalibrated:
    """Measure the model's errors on other questions and write them into its folder.

    Raises: CalibrationError for questions it was trained on, for too few of them, and where parts
    of the folder do not belong together; ConfigurationError.
    """
    manifest = read_manifest(folder)
    read_router(folder, manifest)
    usable, num_unusable = usable_rows(requests)
    require_unseen(usable, manifest.trained_groups)
    rows = one_a_question(usable)
    predict = _predictor(_adapters(folder, manifest, basis), manifest.limits)
    predicted = list(predict([question_of(row) for row in rows]))
    calibration = calibrate_palace(
        map(observation_of, rows, predicted), adapters_digest=manifest.adapters_digest
    )
    calibration_id = write_calibration(folder, calibration)
    write_manifest(folder, replace(manifest, calibration_digest=calibration_id))
    return PalaceCalibrated(
        num_rows=len(rows),
        num_unusable=num_unusable,
        num_repeated=len(usable) - len(rows),
        calibration_id=calibration_id,
        num_cells=len(calibration.cells),
        too_small=tuple(sorted(calibration.too_small)),
        scores=score_estimates(predicted, [row.num_tokens for row in rows]),
    )


def training_settings(
    *, num_epochs: float, grpo_steps: int, learning_rate: float, seed: int
) -> TrainingSettings:
    """Return the settings of both stages; the second learns at a tenth of the first's rate."""
    return TrainingSettings(
        fine_tune=FineTuneSettings(num_epochs=num_epochs, learning_rate=learning_rate),
        grpo=GrpoSettings(num_steps=grpo_steps, learning_rate=learning_rate / 10.0),
        seed=seed,
    )


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except RunnerError as error:
        raise ConfigurationError(str(error)) from error


def _adapters(folder: Path, manifest: PalaceManifest, basis: PalaceBasis) -> AdapterSet:
    path = folder / ADAPTERS
    with _named():
        require_libraries()
        found = checkpoint_digest(path)
    if found != manifest.adapters_digest:
        # before anything of them is loaded
        raise CalibrationError(
            f"the adapters in {path} are {found}, but the manifest names "
            f"{manifest.adapters_digest}: they were changed, or belong to another training"
        )
    with _named():
        base = load_base(basis.model, device=basis.device, num_threads=basis.num_threads)
        if base.digest != manifest.base_model_digest:
            raise ConfigurationError(
                f"{folder} belongs to the model {manifest.base_model_digest}, but {basis.model} is "
                f"{base.digest}: name the folder of that model"
            )
        return load_adapters(base, path)


def _predictor(adapters: AdapterSet, limits: PromptLimits) -> Predict:
    # one adapter is active at a time, and the service asks from several threads
    lock = threading.Lock()

    def predict(questions: Sequence[PalaceQuestion]) -> list[int | None]:
        asked = [(question.domain, format_prompt(question, limits)) for question in questions]
        with lock:
            replies = replies_by_domain(
                adapters,
                asked,
                lambda model, prompts: greedy_replies(model, adapters.base.tokenizer, prompts),
            )
        return [parse_count(reply) for reply in replies]

    return predict


def _require_empty(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ConfigurationError(f"{out} is not empty: name another folder")
    except OSError as error:
        raise ConfigurationError(f"cannot write {out}: {error.strerror}") from error


def _example(row: EstimatorRow, limits: PromptLimits) -> CountExample:
    return CountExample(
        prompt=format_prompt(question_of(row), limits),
        reply=format_count(row.num_tokens),
        num_tokens=row.num_tokens,
        domain=row.domain,
    )

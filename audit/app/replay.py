"""Builds what replays and judges: reference models, judge, diagnosis, honest traffic."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from audit.app.base import VERSION
from audit.cases import failed_case
from audit.config import ReplaySettings
from audit.diagnose import Diagnoser, build_diagnoser
from audit.errors import ConfigurationError
from audit.examine import Examiner, Explain, Replayer
from audit.findings import Explanation
from audit.honest import HonestTraffic, numeric_variants
from audit.judge.accumulate import StreamAccumulator
from audit.judge.calibration import Calibration
from audit.judge.calibration_file import load_calibration
from audit.judge.policy import Policy, load_policy
from audit.judge.power import load_power, power_path
from audit.judge.verdict import ConditionalJudge, evidence_laws
from audit.library import LocalLibrary
from audit.ports import Reference
from audit.records import AuditRequest, Claim, Examination, Measurement
from reference_runner.errors import RunnerError
from reference_runner.precision import normal_precision
from reference_runner.records import GenerationRequest
from reference_runner.samplers.registry import self_test

if TYPE_CHECKING:
    # importing it loads torch, which most commands do without
    from reference_runner.replay import TorchReference


def build_library(settings: ReplaySettings) -> LocalLibrary:
    """Return the reference models, once samplers and checkpoints have proved sound.

    Raises: ConfigurationError where a checkpoint cannot be loaded or a sampler draws other noise
    here.
    """
    from reference_runner.replay import load_reference

    def load(folder: Path, precision: str) -> Reference:
        return load_reference(folder, precision, num_threads=settings.num_threads)

    try:
        precision = settings.precision and normal_precision(settings.precision)
        library = LocalLibrary(settings.models, load, precision=precision)
        self_test()
        library.check()
    except RunnerError as error:
        raise ConfigurationError(str(error)) from error
    return library


def build_replayer(settings: ReplaySettings) -> Replayer:
    """Return the way from request to evidence. Raises: ConfigurationError."""
    return Replayer(library=build_library(settings), profile=settings.profile)


def build_examiner(settings: ReplaySettings) -> Examiner:
    """Return the way from request to verdict. Raises: ConfigurationError, CalibrationError."""
    policy, calibration = load_policy(settings.policy), _calibration(settings)
    power = None
    if calibration is not None and settings.calibration is not None:
        beside = power_path(settings.calibration)
        power = load_power(beside, calibration.calibration_id) if beside.exists() else None
    replay = build_replayer(settings)
    wants_causes = settings.diagnose and policy.diagnosis.is_enabled and calibration is not None
    return Examiner(
        replay=replay,
        judge=ConditionalJudge(calibration, policy, version=VERSION, power=power),
        tolerated_precisions=policy.tolerated_precisions,
        explain=_explainer(settings, replay) if wants_causes else None,
    )


def build_pooled_diagnoser(settings: ReplaySettings, system_prompts: Sequence[str]) -> Diagnoser:
    """Return what explains several FAILs together. Raises: ConfigurationError, CalibrationError."""
    policy, calibration = load_policy(settings.policy), _calibration(settings)
    if calibration is None:
        raise ConfigurationError("a diagnosis needs --calibration: what would honest tokens be?")
    return build_diagnoser(
        calibration,
        policy,
        evidence_laws(calibration, policy),
        siblings=_open_siblings(settings),
        system_prompts=system_prompts,
    )


def _explainer(settings: ReplaySettings, replay: Replayer) -> Explain:
    diagnose = build_pooled_diagnoser(settings, ())

    def explain(request: AuditRequest, examination: Examination) -> tuple[Explanation, ...]:
        case = failed_case(request, examination, replay.library, replay.profile)
        return () if case is None else diagnose([case])

    return explain


def _open_siblings(settings: ReplaySettings) -> dict[str, Reference]:
    found: dict[str, Reference] = {}
    for source in settings.siblings:
        if source.name is None or source.name in found:
            raise ConfigurationError(
                f"--sibling {source.folder} needs a name of its own; write it as NAME=DIR"
            )
        library = build_library(replace(settings, models=(source,)))
        found[source.name] = library.open(Claim(model=source.name))
    return found


def build_accumulator(settings: ReplaySettings) -> StreamAccumulator:
    """Return what adds exchanges to a provider's evidence. Raises: ConfigurationError."""
    return StreamAccumulator(load_policy(settings.policy))


def _calibration(settings: ReplaySettings) -> Calibration | None:
    return None if settings.calibration is None else load_calibration(settings.calibration)


def build_honest_traffic(
    settings: ReplaySettings,
    replay: Replayer,
    policy: Policy,
    *,
    profile_id: str,
    num_tokens: int,
    prompts: Sequence[str],
) -> Iterator[tuple[str, Measurement]]:
    """Yield honest exchanges that the reference itself makes, each with its variant's name.

    Raises: ConfigurationError, CannotJudge where the checkpoint cannot be loaded.
    """
    from reference_runner.generate import generate
    from reference_runner.replay import load_reference

    def open_variant(precision: str, attention: str) -> Reference:
        return load_reference(
            settings.models[0].folder,
            precision,
            num_threads=settings.num_threads,
            attention=attention,
        )

    def answer(
        reference: Reference, requests: Sequence[GenerationRequest], batch_size: int
    ) -> list[tuple[int, ...]]:
        return generate(cast("TorchReference", reference), requests, batch_size=batch_size)

    reference = replay.library.open(Claim())
    traffic = HonestTraffic(
        open_variant=open_variant,
        generate=answer,
        profile_id=profile_id,
        num_tokens=num_tokens,
    )
    for variant in numeric_variants(reference.info.precision, policy.tolerated_precisions):
        for measured in traffic.measure(reference, variant, prompts):
            yield variant.name, measured

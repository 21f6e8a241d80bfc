"""All detectors that there are, by id: how each is built, and what measures its honest bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from audit.errors import ConfigurationError
from audit.judge.calibration import Calibration
from audit.judge.policy import Policy
from audit.records import Claim
from audit.sweeps.border.calibrate import BorderCalibrator
from audit.sweeps.border.greedy import GreedyBorder
from audit.sweeps.border.seeded import SeededBorder
from audit.sweeps.bundle import HonestBundle
from audit.sweeps.cells.calibrate import CellCalibrator
from audit.sweeps.cells.detector import OneTokenCells
from audit.sweeps.classifier.calibrate import ClassifierCalibrator
from audit.sweeps.classifier.comparer import TextClassifier
from audit.sweeps.compare.comparer import ProviderCompare
from audit.sweeps.decide.combine import own_threshold_nats
from audit.sweeps.detector import Calibrator, Comparer, Detector, HonestAnswers, Section, Tools
from audit.sweeps.logprobs.calibrate import (
    BindingCalibrator,
    KlCalibrator,
    TrackingCalibrator,
)
from audit.sweeps.logprobs.detector import LogprobKl, LogprobTracking
from audit.sweeps.logprobs.detector_binding import LogprobBinding
from audit.sweeps.policy import SweepPolicy
from audit.sweeps.preflight.detector import Preflight
from audit.sweeps.registry import ComparerKind, DetectorKind
from audit.sweeps.replay.detector import ReplayDetector
from audit.sweeps.text.calibrate_mmd import MmdCalibrator
from audit.sweeps.text.calibrate_rank import RankCalibrator
from audit.sweeps.text.calibrate_ratio import RatioCalibrator
from audit.sweeps.text.detector_mmd import TextMmd
from audit.sweeps.text.detector_rank import ConformalRank
from audit.sweeps.text.detector_ratio import CandidateRatio

CLASSIFIER_ID = "text-classifier/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeBasis:
    """What natural tokens are judged by: the same as single exchanges are."""

    claim: Claim
    policy: Policy
    calibration: Calibration | None
    version: str


def detector_kinds(judge: JudgeBasis) -> dict[str, DetectorKind]:
    """Return every detector that asks, by its id."""
    kinds = (
        DetectorKind(detector_id="preflight/1", build=_preflight, needs_nothing=True),
        DetectorKind(
            detector_id="border-greedy/1",
            build=GreedyBorder,
            calibrator=lambda tools, attacks: BorderCalibrator("border-greedy/1"),
        ),
        DetectorKind(
            detector_id="border-seeded/1",
            build=SeededBorder,
            calibrator=lambda tools, attacks: BorderCalibrator("border-seeded/1"),
        ),
        DetectorKind(detector_id="replay/1", build=partial(_replay, judge)),
        DetectorKind(
            detector_id="logprob-kl/1",
            build=LogprobKl,
            calibrator=lambda tools, attacks: KlCalibrator(tools),
        ),
        DetectorKind(
            detector_id="logprob-tracking/1",
            build=LogprobTracking,
            calibrator=lambda tools, attacks: TrackingCalibrator(tools),
        ),
        DetectorKind(
            detector_id="logprob-binding/1",
            build=LogprobBinding,
            calibrator=lambda tools, attacks: BindingCalibrator(tools),
        ),
        DetectorKind(detector_id="conformal-rank/1", build=ConformalRank, calibrator=_rank),
        DetectorKind(detector_id="text-mmd/1", build=TextMmd, calibrator=_mmd),
        DetectorKind(detector_id="candidate-ratio/1", build=CandidateRatio, calibrator=_ratio),
        DetectorKind(detector_id="one-token-cells/1", build=OneTokenCells, calibrator=_cells),
    )
    return {kind.detector_id: kind for kind in kinds}


def comparer_kinds() -> dict[str, ComparerKind]:
    """Return every detector that reads what others asked, by its id."""
    kinds = (
        # its own yardstick is that of the cells that it compares
        ComparerKind(
            detector_id="provider-compare/1", section_of="one-token-cells/1", build=ProviderCompare
        ),
        ComparerKind(
            detector_id=CLASSIFIER_ID,
            section_of=CLASSIFIER_ID,
            build=TextClassifier,
            calibrator=lambda tools, attacks: ClassifierCalibrator(tools=tools, attacks=attacks),
            fitted_on="candidate-ratio/1",
        ),
    )
    return {kind.detector_id: kind for kind in kinds}


def build_detectors(
    judge: JudgeBasis,
    tools: Tools,
    bundle: HonestBundle,
    wanted: Sequence[str],
    policy: SweepPolicy,
) -> tuple[Detector, ...]:
    """Return the wanted detectors, all where none is named; each with its section of the bundle.

    What each could have seen is told for the company that it decides in: the others that count.

    Raises: ConfigurationError for an unknown id; CalibrationError for a damaged section.
    """
    kinds = detector_kinds(judge)
    unknown = sorted(set(wanted) - set(kinds) - set(comparer_kinds()))
    if unknown:
        raise ConfigurationError(
            f"there is no detector {unknown[0]!r}; known are: {', '.join(sorted(kinds))}"
        )
    chosen = [name for name in kinds if not wanted or name in wanted]
    active = [name for name in chosen if _counts(name, judge, bundle, policy)]
    return tuple(
        kinds[name].build(_in_company(tools, name, active, policy), bundle.section(name))
        for name in chosen
    )


def _counts(name: str, judge: JudgeBasis, bundle: HonestBundle, policy: SweepPolicy) -> bool:
    rule = policy.rule_of(name)
    return rule.weight > 0 and rule.num_probes > 0 and _is_measured(name, judge, bundle)


def _is_measured(name: str, judge: JudgeBasis, bundle: HonestBundle) -> bool:
    found = judge.calibration if name == "replay/1" else bundle.section(name)
    return found is not None


def _in_company(tools: Tools, name: str, active: Sequence[str], policy: SweepPolicy) -> Tools:
    if name not in active:
        return tools
    # the first run's threshold: later runs of a sweep may have to be surer
    return replace(tools, log_threshold_nats=own_threshold_nats(name, active, policy, 1))


def num_probes(judge: JudgeBasis, bundle: HonestBundle, policy: SweepPolicy) -> dict[str, int]:
    """Return how many requests each detector may spend: none where no bound was ever measured."""
    return {
        name: policy.rule_of(name).num_probes
        for name, kind in detector_kinds(judge).items()
        if kind.needs_nothing or _is_measured(name, judge, bundle)
    }


def build_comparers(
    tools: Tools, bundle: HonestBundle, wanted: Sequence[str]
) -> tuple[Comparer, ...]:
    """Return the wanted detectors that read others' answers. Raises: CalibrationError."""
    return tuple(
        kind.build(tools, bundle.section(kind.section_of))
        for name, kind in comparer_kinds().items()
        if not wanted or name in wanted
    )


def _preflight(tools: Tools, section: Section | None) -> Detector:
    return Preflight(tools)


def _replay(judge: JudgeBasis, tools: Tools, section: Section | None) -> Detector:
    return ReplayDetector(
        tools, judge.claim, judge.policy, judge.calibration, version=judge.version
    )


def _rank(tools: Tools, attacks: HonestAnswers | None) -> Calibrator:
    return RankCalibrator(tools=tools, attacks=attacks)


def _mmd(tools: Tools, attacks: HonestAnswers | None) -> Calibrator:
    return MmdCalibrator(tools=tools, attacks=attacks)


def _ratio(tools: Tools, attacks: HonestAnswers | None) -> Calibrator:
    return RatioCalibrator(tools=tools, attacks=attacks)


def _cells(tools: Tools, attacks: HonestAnswers | None) -> Calibrator:
    return CellCalibrator(tools=tools, attacks=attacks)

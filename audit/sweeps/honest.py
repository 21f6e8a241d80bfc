"""Makes honest bundles: every detector's section, and each variant held out against the others.

A variant that is held out is audited with bounds that never saw it, in sweeps as long as real ones.
Where that raises more alarms than the promised rate can explain, the honest variants differ more
among themselves than the bounds allow, and the detector is disabled for this model: it would accuse
the next honest variant as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from scipy import stats

from audit.errors import CalibrationError
from audit.sweep_records import Endpoint, Probed
from audit.sweeps.bundle import HeldOut
from audit.sweeps.detector import HonestAnswers, Section, Tools
from audit.sweeps.policy import SweepPolicy
from audit.sweeps.registry import ComparerKind, DetectorKind, Kinds

#: So few alarms as were seen, or more, come up so seldom at the promised rate that it is refuted.
_REFUTED = 0.01

#: Fewer variants leave nothing to hold one out against.
_MIN_VARIANTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The detectors' parts of a bundle."""

    sections: Mapping[str, Section]
    disabled: Mapping[str, str]
    held_out: tuple[HeldOut, ...]


def measure(
    kinds: Kinds,
    honest: Mapping[str, HonestAnswers],
    attacks: Mapping[str, HonestAnswers],
    endpoint: Endpoint,
    tools: Tools,
    policy: SweepPolicy,
) -> Measured:
    """Fit every detector to what honest variants answered, given by detector and variant.

    `attacks` are answers of known substitutes: what could be seen is told by them.
    One that cannot be fitted is disabled with the reason. `endpoint` stands for all variants.
    """
    sections: dict[str, Section] = {}
    disabled: dict[str, str] = {}
    held_out: list[HeldOut] = []
    for detector_id, kind in kinds.items():
        answers = honest.get(detector_id)
        if kind.calibrator is None or not answers:
            continue
        try:
            calibrator = kind.calibrator(tools, attacks.get(detector_id))
            sections[detector_id] = calibrator.fit(
                answers, error=policy.calibration_error(detector_id)
            )
        except CalibrationError as error:
            disabled[detector_id] = str(error)
            continue
        rows = _hold_out(kind, answers, endpoint, tools, policy)
        held_out += rows
        reason = _refutation(rows, policy.test_rate(1))
        if reason is not None:
            disabled[detector_id] = reason
    return Measured(sections=sections, disabled=disabled, held_out=tuple(held_out))


def measure_comparers(
    kinds: Mapping[str, ComparerKind],
    honest: Mapping[str, HonestAnswers],
    attacks: Mapping[str, HonestAnswers],
    tools: Tools,
    policy: SweepPolicy,
) -> Measured:
    """Fit what reads the answers to others' probes; none of it counts as evidence by default."""
    sections: dict[str, Section] = {}
    disabled: dict[str, str] = {}
    for name, kind in kinds.items():
        answers = honest.get(kind.fitted_on or "")
        if kind.calibrator is None or not answers:
            continue
        calibrator = kind.calibrator(tools, attacks.get(kind.fitted_on or ""))
        try:
            sections[name] = calibrator.fit(answers, error=policy.calibration_error(name))
        except CalibrationError as error:
            disabled[name] = str(error)
    return Measured(sections=sections, disabled=disabled, held_out=())


def _hold_out(
    kind: DetectorKind,
    answers: HonestAnswers,
    endpoint: Endpoint,
    tools: Tools,
    policy: SweepPolicy,
) -> list[HeldOut]:
    rows: list[HeldOut] = []
    if len(answers) < _MIN_VARIANTS or kind.calibrator is None:
        return rows
    length = max(1, policy.rule_of(kind.detector_id).num_probes)
    for name, own in answers.items():
        others = {other: probed for other, probed in answers.items() if other != name}
        try:
            section = kind.calibrator(tools, None).fit(
                others, error=policy.calibration_error(kind.detector_id)
            )
        except CalibrationError:
            # what is left is too little to measure: nothing is learnt by holding this one out
            continue
        detector = kind.build(tools, section)
        readings = [detector.read(endpoint, sweep) for sweep in _sweeps(own, length)]
        alarms = [
            max(reading.log_e_nats_N, default=0.0) >= policy.log_threshold_nats(1)
            for reading in readings
        ]
        rows.append(
            HeldOut(
                detector=kind.detector_id,
                variant=name,
                num_sweeps=len(alarms),
                num_alarms=sum(alarms),
            )
        )
    return rows


def _sweeps(probed: Sequence[Probed], length: int) -> list[list[Probed]]:
    """Return the answers as sweeps of a length; a last one that is shorter is left out."""
    rest, sweeps = iter(probed), list[list[Probed]]()
    while len(sweep := list(islice(rest, length))) == length:
        sweeps.append(sweep)
    return sweeps or [list(probed)]


def _refutation(rows: Sequence[HeldOut], rate: float) -> str | None:
    for row in rows:
        chance = float(stats.binom.sf(row.num_alarms - 1, row.num_sweeps, rate))
        if row.num_alarms and chance < _REFUTED:
            return (
                f"held against the other honest variants, {row.variant} raised {row.num_alarms} "
                f"alarms in {row.num_sweeps} sweeps; add variants like it, or leave it out"
            )
    return None

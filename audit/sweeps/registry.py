"""What there is to build of one detector: itself from a bundle's section, and who measures that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from audit.sweeps.detector import (
    Calibrator,
    Comparer,
    Detector,
    HonestAnswers,
    Section,
    Tools,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorKind:
    """A detector that asks."""

    detector_id: str
    build: Callable[[Tools, Section | None], Detector]
    calibrator: Callable[[Tools, HonestAnswers | None], Calibrator] | None = None
    """Takes answers of known substitutes too; None where the bundle holds nothing of it."""
    needs_nothing: bool = False
    """Whether it says what it sees without any measured bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparerKind:
    """A detector that reads what others asked."""

    detector_id: str
    section_of: str
    """Whose part of a bundle it reads."""
    build: Callable[[Tools, Section | None], Comparer]
    calibrator: Callable[[Tools, HonestAnswers | None], Calibrator] | None = None
    fitted_on: str | None = None
    """The detector whose honest answers its own part is made from."""


Kinds = Mapping[str, DetectorKind]

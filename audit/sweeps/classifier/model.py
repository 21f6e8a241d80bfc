"""The classifier's part of a bundle: numbers in JSON, read strictly, and what they say of texts.

Legend: N texts, V terms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.sweeps.classifier.features import Vocabulary
from audit.sweeps.detector import Section
from audit.sweeps.text.calibrate import SectionReader

Float64Array = NDArray[np.float64]

CLASSIFIER_ID = "text-classifier/1"

_MEMBERS = ("settings", "terms", "rarity", "attacks", "honestTellRate", "variants")
_ATTACK_MEMBERS = (
    *("coefficients", "intercept", "threshold", "tellRate"),
    *("accuracy", "accuracyLow", "accuracyHigh", "heldOut"),
)

#: No coefficient of a regularised fit comes near this.
_LARGEST = 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierSettings:
    """How a classifier is trained, and what counts as a sign."""

    max_terms: int = 1000
    strength: float = 10.0
    """The inverse of the regularisation."""
    honest_tell_share: float = 0.05
    """Of honest answers, the share that thresholds leave above them for each substitute."""

    def members(self) -> dict[str, object]:
        """Return the settings as JSON members."""
        return {
            "maxTerms": self.max_terms,
            "strength": self.strength,
            "honestTellShare": self.honest_tell_share,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackModel:
    """Honest answers against those of one substitute."""

    coefficient_V: Float64Array
    intercept: float
    threshold: float
    """A score above is a sign."""
    tell_rate: float
    """Share of the substitute's held-out answers above the threshold."""
    accuracy: float
    """On held-out prompts, honest and substitute weighted alike; 1/2 is chance."""
    accuracy_low: float
    accuracy_high: float
    num_held_out: int

    @property
    def is_at_chance(self) -> bool:
        """Whether held-out answers do not show that texts can be told apart at all."""
        return self.accuracy_low <= 0.5

    def scores(self, features_NV: Float64Array) -> Float64Array:
        """Return each text's probability of being the substitute's, at even odds, [N]."""
        return np.asarray(special.expit(features_NV @ self.coefficient_V + self.intercept))


@dataclass(frozen=True, slots=True, kw_only=True)
class TextClassifierModel:
    """A section as read."""

    vocabulary: Vocabulary
    attacks: Mapping[str, AttackModel]
    honest_tell_rate: float

    @property
    def telling(self) -> tuple[str, ...]:
        """The substitutes that are told apart better than by chance."""
        return tuple(name for name, model in self.attacks.items() if not model.is_at_chance)

    def scores(self, texts: Sequence[str]) -> dict[str, Float64Array]:
        """Return the scores of texts under each substitute's classifier."""
        features_NV = self.vocabulary.features(texts)
        return {name: model.scores(features_NV) for name, model in self.attacks.items()}


def tells_of(
    scores: Mapping[str, Float64Array], attacks: Mapping[str, AttackModel], num_texts: int
) -> NDArray[np.bool_]:
    """Return which texts lie above the threshold of a substitute that can be told apart, [N]."""
    tells_N = np.zeros(num_texts, dtype=bool)
    for name, model in attacks.items():
        if not model.is_at_chance:
            tells_N |= scores[name] > model.threshold
    return tells_N


def read_section(section: Section, settings: ClassifierSettings) -> TextClassifierModel:
    """Return what a section holds. Raises: CalibrationError where it is not as it is written."""
    reader = SectionReader(section, CLASSIFIER_ID).members(*_MEMBERS)
    reader.settings(settings.members())
    terms = section["terms"]
    if (
        not isinstance(terms, list)
        or not all(isinstance(term, str) and term for term in terms)
        or len(set(terms)) < len(terms)
        or not 0 < len(terms) <= settings.max_terms
    ):
        raise reader.error(f"terms must be different texts, 1 to {settings.max_terms}")
    attacks = reader.nested("attacks")
    return TextClassifierModel(
        vocabulary=Vocabulary(
            terms=tuple(terms), rarity_V=_numbers(reader, section["rarity"], "rarity", len(terms))
        ),
        attacks={
            name: _attack(attacks.nested(name), attacks.mapping(name), name, len(terms))
            for name in sorted(reader.mapping("attacks"))
        },
        honest_tell_rate=reader.number("honestTellRate", 0.0, 1.0 - 1e-6),
    )


def _attack(
    reader: SectionReader, values: Mapping[str, object], name: str, num_terms: int
) -> AttackModel:
    reader.members(*_ATTACK_MEMBERS)
    return AttackModel(
        coefficient_V=_numbers(reader, values["coefficients"], f"{name}.coefficients", num_terms),
        intercept=reader.number("intercept", -_LARGEST, _LARGEST),
        threshold=reader.number("threshold", 0.0, 1.0),
        tell_rate=reader.number("tellRate", 0.0, 1.0),
        accuracy=reader.number("accuracy", 0.0, 1.0),
        accuracy_low=reader.number("accuracyLow", 0.0, 1.0),
        accuracy_high=reader.number("accuracyHigh", 0.0, 1.0),
        num_held_out=int(reader.number("heldOut", 1, 1e9)),
    )


def _numbers(reader: SectionReader, value: object, name: str, num: int) -> Float64Array:
    if not isinstance(value, list) or len(value) != num:
        raise reader.error(f"{name} must hold one number for each term")
    return np.asarray([reader.as_number(one, name, -_LARGEST, _LARGEST) for one in value])

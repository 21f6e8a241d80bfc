"""Trains the text classifiers: honest answers against those of each substitute.

Prompts, not answers, are split into three parts: one to train on, one to set thresholds, one to
measure with. A classifier that saw a prompt's other answers would know its subject.

Legend: N texts, V terms.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.errors import CalibrationError, ConfigurationError
from audit.judge.intervals import lower_limit, upper_limit
from audit.sweep_records import Probed, ProbeKind
from audit.sweeps.classifier.features import Vocabulary, learn_vocabulary
from audit.sweeps.classifier.model import AttackModel, ClassifierSettings, tells_of
from audit.sweeps.detector import HonestAnswers, Section, Tools
from audit.sweeps.text import calibrate, samples

Float64Array = NDArray[np.float64]

#: Parts of the prompts, of 20: training, thresholds, measurement.
_TRAIN, _TUNE = 10, 14

#: Fewer texts of one side in one part say next to nothing.
MIN_TEXTS = 20

#: Of the two-sided interval of the accuracy.
_CONFIDENCE = 0.95

_PARTS = ("train", "tune", "measure")

Split = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierCalibrator:
    """Trains on answers to text probes of any detector, those of all honest variants together."""

    tools: Tools
    settings: ClassifierSettings = field(default_factory=ClassifierSettings)
    attacks: HonestAnswers | None = None
    """Answers of substitutes; None lets each candidate answer what the first variant answered."""

    def fit(self, honest: HonestAnswers, *, error: float) -> Section:
        """Return the classifiers; the honest rate of signs is wrong with probability `error`.

        Raises: CalibrationError where there is too little; ConfigurationError without the library.
        """
        calibrate.check_error(error)
        if not honest:
            raise CalibrationError("no honest variant was recorded: record one endpoint at least")
        own = {name: _split(honest[name]) for name in sorted(honest)}
        others = {name: _split(probed) for name, probed in sorted(self._attacked(honest).items())}
        if not others:
            raise CalibrationError(
                "a text classifier needs the answers of a substitute, or a candidate that can be "
                "asked: record one"
            )
        for name, split in (*own.items(), *others.items()):
            _require(name, split)
        pooled = {part: [text for split in own.values() for text in split[part]] for part in _PARTS}
        train = [*pooled["train"], *(text for s in others.values() for text in s["train"])]
        vocabulary = learn_vocabulary(train, self.settings.max_terms)
        models = {
            name: self._model(vocabulary, pooled, own, split)
            for name, split in sorted(others.items())
        }
        return {
            "settings": self.settings.members(),
            "terms": list(vocabulary.terms),
            "rarity": vocabulary.rarity_V.tolist(),
            "attacks": {name: _members(model) for name, model in models.items()},
            "honestTellRate": _honest_rate(vocabulary, models, own, error),
            "variants": {name: sum(map(len, split.values())) for name, split in own.items()},
        }

    def _attacked(self, honest: HonestAnswers) -> HonestAnswers:
        if self.attacks is not None:
            return self.attacks
        first = honest[min(honest)]
        probes = [item.probe for item in first if item.probe.kind is ProbeKind.TEXT]
        return {
            name: samples.answer_locally(model, probes, name.encode())
            for name, model in sorted(self.tools.candidates.items())
        }

    def _model(
        self, vocabulary: Vocabulary, honest: Split, own: Mapping[str, Split], attack: Split
    ) -> AttackModel:
        trained = _trained(
            vocabulary.features([*honest["train"], *attack["train"]]),
            np.repeat([0, 1], [len(honest["train"]), len(attack["train"])]),
            self.settings.strength,
        )
        # six digits are the section's; thresholds and rates are those of what is stored
        draft = AttackModel(
            coefficient_V=np.round(trained.coef_[0], 6),
            intercept=round(float(trained.intercept_[0]), 6),
            threshold=1.0,
            tell_rate=0.0,
            accuracy=0.0,
            accuracy_low=0.0,
            accuracy_high=1.0,
            num_held_out=1,
        )
        tuned_N = draft.scores(vocabulary.features(honest["tune"]))
        threshold = float(np.quantile(tuned_N, 1.0 - self.settings.honest_tell_share))
        attack_N = draft.scores(vocabulary.features(attack["measure"]))
        # variants may have answered alike from the same seeds, so the worst of them is counted
        right = min(
            (draft.scores(vocabulary.features(split["measure"])) <= 0.5 for split in own.values()),
            key=lambda right_N: float(right_N.mean()),
        )
        low, high = _accuracy_limits((right, attack_N > 0.5))
        return AttackModel(
            coefficient_V=draft.coefficient_V,
            intercept=draft.intercept,
            threshold=round(threshold, 6),
            tell_rate=float((attack_N > round(threshold, 6)).mean()),
            accuracy=float(right.mean() + (attack_N > 0.5).mean()) / 2.0,
            accuracy_low=low,
            accuracy_high=high,
            num_held_out=len(right) + len(attack_N),
        )


def _accuracy_limits(right: Sequence[NDArray[np.bool_]]) -> tuple[float, float]:
    """Return limits of the mean of two rates: each side's own limits, the error split evenly."""
    tail = (1.0 - _CONFIDENCE) / 4.0
    low = [float(lower_limit(side.sum(), len(side), tail)) for side in right]
    high = [float(upper_limit(side.sum(), len(side), tail)) for side in right]
    return sum(low) / 2.0, sum(high) / 2.0


def _honest_rate(
    vocabulary: Vocabulary,
    models: Mapping[str, AttackModel],
    own: Mapping[str, Split],
    error: float,
) -> float:
    rates = []
    for split in own.values():
        features_NV = vocabulary.features(split["measure"])
        scores = {name: model.scores(features_NV) for name, model in models.items()}
        tells_N = tells_of(scores, models, len(features_NV))
        rates.append(float(upper_limit(tells_N.sum(), len(tells_N), error / len(own))))
    return min(max(rates), 1.0 - 1e-6)


def _trained(features_NV: Float64Array, label_N: NDArray[np.int64], strength: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigurationError(
            "the text classifier needs scikit-learn: pip install 'inference-audit[sweeps]'"
        ) from error
    model = LogisticRegression(
        C=strength, class_weight="balanced", solver="liblinear", random_state=0, max_iter=1000
    )
    return model.fit(features_NV, label_N)


def _split(probed: Sequence[Probed]) -> dict[str, list[str]]:
    """Return texts by part; all answers to a prompt fall into the same, whoever gave them."""
    parts: dict[str, list[str]] = {part: [] for part in _PARTS}
    for item in probed:
        text = samples.answer_text(item.answer)
        if item.probe.kind is ProbeKind.TEXT and text is not None:
            digest = hashlib.sha256(samples.prompt_of(item.probe).encode()).digest()
            place = int.from_bytes(digest[:8]) % 20
            part = "train" if place < _TRAIN else "tune" if place < _TUNE else "measure"
            parts[part].append(text)
    return parts


def _require(name: str, split: Split) -> None:
    part = min(_PARTS, key=lambda one: len(split[one]))
    if len(split[part]) < MIN_TEXTS:
        raise CalibrationError(
            f"{name!r} has {len(split[part])} texts to {part} a classifier with, {MIN_TEXTS} are "
            "needed: record answers to more prompts"
        )


def _members(model: AttackModel) -> dict[str, object]:
    return {
        "coefficients": model.coefficient_V.tolist(),
        "intercept": model.intercept,
        "threshold": model.threshold,
        "tellRate": model.tell_rate,
        "accuracy": model.accuracy,
        "accuracyLow": model.accuracy_low,
        "accuracyHigh": model.accuracy_high,
        "heldOut": model.num_held_out,
    }

"""Comparer `text-classifier/1`: a classifier of texts, trained on honest and substitutes' answers.

It is the baseline of the audit literature (arXiv 2504.04715), reported and without weight: a
classifier tells other models apart and is at chance against rounded copies of the same model.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from audit.sweep_records import Endpoint, Probed, ProbeKind, Reading, ReadingStatus, Visible
from audit.sweeps.classifier.model import (
    CLASSIFIER_ID,
    ClassifierSettings,
    TextClassifierModel,
    read_section,
    tells_of,
)
from audit.sweeps.detector import Section, Tools
from audit.sweeps.text import samples


class TextClassifier:
    """Scores the texts that other detectors asked for; see the module."""

    detector_id = CLASSIFIER_ID
    tier = 4

    def __init__(
        self,
        tools: Tools,
        section: Section | None = None,
        settings: ClassifierSettings | None = None,
    ) -> None:
        """Raises: CalibrationError for a section that is not one of this detector."""
        self._power = tools.power
        self._model = (
            None if section is None else read_section(section, settings or ClassifierSettings())
        )

    def compare(self, endpoint: Endpoint, run: Mapping[str, Sequence[Probed]]) -> Reading:
        """Return what the classifiers say of one endpoint's texts; other endpoints play no part."""
        asked = [i for i in run.get(endpoint.name, ()) if i.probe.kind is ProbeKind.TEXT]
        read = [samples.answer_text(item.answer) for item in asked]
        texts = [text for text in read if text is not None]
        model = self._model
        if model is None:
            return _nothing(
                ReadingStatus.UNCALIBRATED,
                "no bundle holds a text classifier for this model",
                len(asked),
            )
        if not asked:
            return _nothing(ReadingStatus.NOT_APPLICABLE, "the run asked for no texts", 0)
        if not texts:
            return _nothing(ReadingStatus.TOO_LITTLE, "no answer with text came back", len(asked))
        return self._reading(model, texts, len(asked))

    def _reading(self, model: TextClassifierModel, texts: Sequence[str], num_sent: int) -> Reading:
        scores = model.scores(texts)
        tells_N = tells_of(scores, model.attacks, len(texts))
        statistics = [
            row
            for name, attack in model.attacks.items()
            for row in (
                (f"mean_score:{name}", float(np.mean(scores[name]))),
                (f"accuracy:{name}", attack.accuracy),
                (f"tell_rate:{name}", attack.tell_rate),
            )
        ]
        return Reading(
            detector=CLASSIFIER_ID,
            tier=self.tier,
            status=ReadingStatus.READ,
            tells="".join("1" if tell else "0" for tell in tells_N) if model.telling else "",
            honest_tell_rate=model.honest_tell_rate if model.telling else None,
            num_sent=num_sent,
            num_used=len(texts),
            statistics=tuple(statistics),
            visible=self._visible(model, len(texts)),
            notes=tuple(_accuracy_note(name, model) for name in model.attacks),
        )

    def _visible(self, model: TextClassifierModel, num_used: int) -> Visible:
        blind = [name for name in model.attacks if name not in model.telling]
        sentences = []
        if model.telling:
            sentences.append(
                f"Texts of {', '.join(model.telling)} can be told from honest ones better than by "
                "chance; how many requests that takes was not worked out."
            )
        if blind:
            sentences.append(
                f"Against {', '.join(blind)} the classifier is at chance: what it says of them is "
                "no pass."
            )
        return Visible(power=self._power, smallest_share=None, statement=" ".join(sentences))


def _accuracy_note(name: str, model: TextClassifierModel) -> str:
    attack = model.attacks[name]
    verdict = "at chance" if attack.is_at_chance else "better than chance"
    return (
        f"{name}: {verdict}, {attack.accuracy:.0%} of {attack.num_held_out} held-out answers right "
        f"({attack.accuracy_low:.0%} to {attack.accuracy_high:.0%})."
    )


def _nothing(status: ReadingStatus, reason: str, num_sent: int) -> Reading:
    return Reading(detector=CLASSIFIER_ID, tier=4, status=status, reason=reason, num_sent=num_sent)

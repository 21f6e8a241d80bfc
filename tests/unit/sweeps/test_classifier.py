"""The text classifier: a sibling is told apart, a rounded copy is not, and that is said."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from audit.errors import CalibrationError
from audit.sweep_records import AnswerStatus, Probe, Probed, ReadingStatus
from audit.sweeps.classifier.calibrate import ClassifierCalibrator
from audit.sweeps.classifier.comparer import TextClassifier
from audit.sweeps.classifier.features import learn_vocabulary, terms_of
from audit.sweeps.classifier.model import ClassifierSettings, read_section
from audit.sweeps.detector import Section
from audit.sweeps.text.detector_ratio import CandidateRatio, RatioSettings
from audit.sweeps.text.samples import answer_locally
from tests.support.example_model import example_reference
from tests.unit.sweeps.text_arms import ENDPOINT, failed, honest_answers, retuned_answers, tools

SETTINGS = ClassifierSettings(max_terms=300)


@cache
def probes(seed: bytes = b"texts", num: int = 140) -> tuple[Probe, ...]:
    return CandidateRatio(tools(), None, RatioSettings(max_tokens=6)).plan(ENDPOINT, seed, num)


@cache
def fp8_answers() -> list[Probed]:
    return answer_locally(example_reference().rounded("fp8-e4m3"), probes(), b"fp8")


@cache
def bf16_answers() -> list[Probed]:
    return honest_answers(probes())


@cache
def hotter_answers() -> list[Probed]:
    return retuned_answers(probes(), 3.0)


@cache
def section() -> Section:
    attacks = {"hotter": hotter_answers(), "fp8-e4m3": fp8_answers()}
    honest = {"bf16": bf16_answers()}
    return ClassifierCalibrator(tools=tools(), settings=SETTINGS, attacks=attacks).fit(
        honest, error=0.01
    )


def classifier() -> TextClassifier:
    return TextClassifier(tools(), section(), SETTINGS)


def test_features_are_those_of_the_library() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["def read(self):", "import os, re", "self.read(path)", "", "zzz \0 import"]
    vocabulary = learn_vocabulary(texts, 60)
    library = TfidfVectorizer(
        analyzer=terms_of, vocabulary=list(vocabulary.terms), sublinear_tf=True
    ).fit(texts)
    np.testing.assert_allclose(
        vocabulary.features(texts), library.transform(texts).toarray(), atol=1e-5
    )
    assert not vocabulary.features([""]).any()
    assert learn_vocabulary(["a", "b"], 10).terms == ()


def test_scores_are_those_of_the_trained_classifier() -> None:
    from sklearn.linear_model import LogisticRegression

    from audit.sweeps.classifier.calibrate import _split

    model = read_section(section(), SETTINGS)
    honest = _split(bf16_answers())["train"]
    hotter = _split(hotter_answers())["train"]
    features_NV = model.vocabulary.features([*honest, *hotter])
    library = LogisticRegression(
        C=10.0, class_weight="balanced", solver="liblinear", random_state=0, max_iter=1000
    ).fit(features_NV, np.repeat([0, 1], [len(honest), len(hotter)]))
    np.testing.assert_allclose(
        model.attacks["hotter"].scores(features_NV),
        library.predict_proba(features_NV)[:, 1],
        atol=1e-4,
    )


def test_another_law_is_told_apart_and_a_rounded_copy_is_at_chance() -> None:
    model = read_section(section(), SETTINGS)
    assert model.attacks["hotter"].accuracy > 0.6
    assert model.attacks["fp8-e4m3"].is_at_chance
    assert model.telling == ("hotter",)


def test_readings_say_what_is_at_chance_and_never_pass() -> None:
    run = probes(b"run", 60)
    honest = classifier().compare(ENDPOINT, {"arm": honest_answers(run)})
    hotter = classifier().compare(ENDPOINT, {"arm": retuned_answers(run, 3.0)})
    for reading in (honest, hotter):
        assert (reading.status, reading.tier) == (ReadingStatus.READ, 4)
        assert reading.log_e_nats_N == ()
        assert len(reading.tells) == reading.num_used == 60
        assert reading.visible is not None
        assert "Against fp8-e4m3 the classifier is at chance" in reading.visible.statement
        assert reading.visible.smallest_share is None
        assert any(note.startswith("fp8-e4m3: at chance") for note in reading.notes)
        assert any(note.startswith("hotter: better than chance") for note in reading.notes)
    rate = honest.honest_tell_rate
    assert rate is not None
    assert honest.tells.count("1") / 60 < rate
    assert hotter.tells.count("1") > 2 * honest.tells.count("1")
    scores = dict(hotter.statistics)
    assert scores["mean_score:hotter"] > dict(honest.statistics)["mean_score:hotter"] + 0.05
    assert {"accuracy:hotter", "tell_rate:hotter", "accuracy:fp8-e4m3"} <= set(scores)


def test_where_all_is_at_chance_there_are_no_signs() -> None:
    honest = {"bf16": bf16_answers()}
    alone = ClassifierCalibrator(
        tools=tools(), settings=SETTINGS, attacks={"fp8-e4m3": fp8_answers()}
    ).fit(honest, error=0.01)
    reading = TextClassifier(tools(), alone, SETTINGS).compare(
        ENDPOINT, {"arm": honest_answers(probes(b"run", 20))}
    )
    assert reading.tells == ""
    assert reading.honest_tell_rate is None
    assert reading.visible is not None
    assert "no pass" in reading.visible.statement


def test_nothing_to_read_is_said() -> None:
    uncalibrated = TextClassifier(tools()).compare(ENDPOINT, {})
    assert uncalibrated.status is ReadingStatus.UNCALIBRATED
    assert "no bundle holds a text classifier" in uncalibrated.reason
    assert classifier().compare(ENDPOINT, {}).status is ReadingStatus.NOT_APPLICABLE
    lost = [failed(probe, AnswerStatus.GARBAGE) for probe in probes(b"run", 5)]
    assert classifier().compare(ENDPOINT, {"arm": lost}).status is ReadingStatus.TOO_LITTLE


def test_prompts_are_split_not_answers() -> None:
    from audit.sweeps.classifier.calibrate import _split

    first, second = _split(bf16_answers()), _split(fp8_answers())
    assert {part: len(texts) for part, texts in first.items()} == {
        part: len(texts) for part, texts in second.items()
    }
    assert sum(map(len, first.values())) == len(probes())


def test_too_little_is_refused() -> None:
    answers = bf16_answers()
    calibrator = ClassifierCalibrator(
        tools=tools(), settings=SETTINGS, attacks={"fp8": fp8_answers()}
    )
    with pytest.raises(CalibrationError, match="no honest variant"):
        calibrator.fit({}, error=0.01)
    with pytest.raises(CalibrationError, match=r"'bf16' has \d+ texts to tune a classifier with"):
        calibrator.fit({"bf16": answers[:60]}, error=0.01)
    with pytest.raises(CalibrationError, match="needs the answers of a substitute"):
        replace(calibrator, attacks={}).fit({"bf16": answers}, error=0.01)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda s: s.pop("terms"), "its members must be"),
        (lambda s: s["settings"].update(maxTerms=5), "measured under other settings"),
        (lambda s: s.update(terms=["a", "a"]), "terms must be different texts"),
        (lambda s: s["rarity"].pop(), "rarity must hold one number for each term"),
        (lambda s: s["rarity"].__setitem__(0, "x"), "rarity must be a number"),
        (lambda s: s["attacks"]["hotter"].pop("intercept"), "its members must be"),
        (lambda s: s["attacks"]["hotter"].update(threshold=2), "threshold must be a number"),
        (lambda s: s.update(attacks=[]), "attacks must be an object"),
        (lambda s: s.update(honestTellRate=1.0), "honestTellRate must be a number"),
    ],
)
def test_damaged_sections_are_refused(
    spoil: Callable[[dict[str, Any]], object], problem: str
) -> None:
    spoilt = copy.deepcopy(json.loads(json.dumps(section())))
    TextClassifier(tools(), spoilt, SETTINGS)
    spoil(spoilt)
    with pytest.raises(CalibrationError, match=problem):
        TextClassifier(tools(), spoilt, SETTINGS)

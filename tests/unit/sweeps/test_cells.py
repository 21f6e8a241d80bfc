"""First words without weights: ranks by hand, honest runs, a sibling, and what goes wrong."""

import copy
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from audit.errors import CalibrationError
from audit.records import Prompt
from audit.sweep_records import AnswerStatus, ApiStyle, ProbeAnswer, ProbeKind, ReadingStatus
from audit.sweeps.cells.calibrate import CellCalibrator
from audit.sweeps.cells.cells import TASKS, law_of_model, log_probability, token_of
from audit.sweeps.cells.detector import OneTokenCells, uniform_of
from audit.sweeps.cells.divergence import corrected_jsd_nats, jsd_nats, permuted_jsd
from audit.sweeps.cells.ranks import Cell, feature_names, feature_weights, features_of
from audit.sweeps.cells.section import CellSettings
from audit.sweeps.detector import Tools
from audit.sweeps.text.samples import answer_locally, derived_rng
from tests.support.example_model import example_reference
from tests.unit.sweeps.cell_arms import (
    CELLS,
    answered,
    calibration_probes,
    cell_detector,
    cell_section,
    drawn,
)
from tests.unit.sweeps.text_arms import CHAT_ENDPOINT, ENDPOINT, failed, texts, tools

CELL = Cell(
    prompt="p",
    baseline={"a": 5, "b": 3, "c": 1},
    honest={"a": 0.6, "b": 0.3},
    attacks={"other": {"a": 0.2, "b": 0.3}},
)


def test_ranks_by_hand() -> None:
    # with itself added: a 6, b 3, c 1 of 10
    common, rare, unseen = CELL.place("a"), CELL.place("c"), CELL.place("z")
    assert (common.below, common.tied, common.is_unseen) == (0.4, 0.6, False)
    # c 2, b 3, a 5 of 10; and an unseen one ties with c, which came once
    assert (rare.below, rare.tied) == (0.0, 0.2)
    assert (unseen.below, unseen.tied, unseen.is_unseen) == (0.0, 0.2, True)
    assert rare.rank(0.5) == pytest.approx(0.1)
    assert rare.share_below(0.05) == pytest.approx(0.25)
    assert common.share_below(0.4) == 0.0
    assert common.middle == pytest.approx(0.7)


def test_ranks_are_uniform_where_baseline_and_token_are_drawn_alike() -> None:
    rng = derived_rng(b"ranks", "cells")
    shares = np.asarray([0.4, 0.3, 0.15, 0.1, 0.05])
    ranks = []
    for _ in range(3000):
        picks = rng.choice(5, size=21, p=shares)
        cell = replace(CELL, baseline=Counter(map(str, picks[:-1])), _places={}, _ratios={})
        ranks.append(cell.place(str(picks[-1])).rank(float(rng.random())))
    for level in (0.05, 0.1, 0.25, 0.5, 0.9):
        share = float((np.asarray(ranks) <= level).mean())
        assert abs(share - level) < 4.0 * math.sqrt(level * (1 - level) / 3000)


def test_ratios_toward_a_candidate_are_capped() -> None:
    assert CELL.toward("other", "b") == pytest.approx(0.25)
    assert CELL.toward("other", "a") == pytest.approx(0.25 / 3)
    # rare tokens are one: 0.5 against 0.1, capped at 4
    assert CELL.toward("other", "z") == 1.0
    assert log_probability(CELL.honest, "z") == pytest.approx(math.log(0.1))
    features_NF = features_of([(CELL, "a"), (CELL, "z")], ["other"])
    assert features_NF.shape == (2, len(feature_names(["other"])))
    assert ((features_NF >= 0) & (features_NF <= 1)).all()
    assert features_of([], []).shape == (0, 6)
    for attacks in ([], ["other"], ["x", "y"]):
        assert sum(feature_weights(attacks)) == pytest.approx(1.0)


def test_divergence_of_equal_laws_is_near_zero_once_corrected() -> None:
    rng = derived_rng(b"divergence", "")
    shares = np.asarray([0.5, 0.2, 0.15, 0.1, 0.05])
    first, second = (rng.multinomial(num, shares, size=300) for num in (20, 60))
    named = [
        [{str(k): int(n) for k, n in enumerate(counts) if n} for counts in side]
        for side in (first, second)
    ]
    plain = float(jsd_nats(first, second).mean())
    corrected = np.mean([corrected_jsd_nats(a, b) for a, b in zip(*named, strict=True)])
    permuted = np.mean(
        [permuted_jsd(a, b, 50, rng).excess_nats for a, b in zip(*named, strict=True)]
    )
    assert plain > 0.02
    assert abs(corrected) < plain / 4
    assert abs(permuted) < plain / 10
    assert float(jsd_nats([1, 0], [0, 1])) == pytest.approx(math.log(2.0))
    with pytest.raises(ValueError, match="both sides need at least one answer"):
        corrected_jsd_nats({}, {"a": 1})


def test_cells_stay_the_same_and_the_order_is_the_runs() -> None:
    first, second = (cell_detector().plan(ENDPOINT, seed, 60) for seed in (b"one", b"two"))
    assert first == cell_detector().plan(ENDPOINT, b"one", 60)
    asked = {probe.prompt.text for probe in calibration_probes()}
    assert {p.prompt.text for p in first} == {p.prompt.text for p in second} == asked
    assert [p.group for p in first] != [p.group for p in second]
    assert len({p.sampling.seed for p in (*first, *second)}) == 120
    assert {p.kind for p in first} == {ProbeKind.CELL}
    assert {p.sampling.max_tokens for p in first} == {1}
    assert len({uniform_of(p) for p in first}) == 60
    # for a calibration, each cell comes equally often
    assert set(Counter(p.group for p in calibration_probes()).values()) == {200}


def test_without_a_section_nothing_is_said() -> None:
    reading = OneTokenCells(tools(), None, CELLS).read(ENDPOINT, [])
    assert reading.status is ReadingStatus.UNCALIBRATED
    assert "no bundle says which first words" in reading.reason
    assert reading.log_e_nats_N == ()


def test_another_route_has_no_baseline() -> None:
    assert cell_detector().plan(CHAT_ENDPOINT, b"run", 60) == ()
    reading = cell_detector().read(CHAT_ENDPOINT, [])
    assert reading.status is ReadingStatus.NOT_APPLICABLE
    assert reading.reason == "the first words were counted on the completions route only"


@pytest.mark.parametrize("variant", ["bfloat16", "float32"])
def test_honest_runs_are_no_evidence(variant: str) -> None:
    detector = cell_detector()
    peaks, tells = [], 0
    for run in range(25):
        probes = detector.plan(ENDPOINT, f"honest {run}".encode(), 120)
        reading = detector.read(ENDPOINT, drawn(variant, probes, f"{run}".encode()))
        peaks.append(max(reading.log_e_nats_N))
        tells += reading.tells.count("1")
    assert max(peaks) < 4.6
    assert reading.honest_tell_rate is not None
    assert tells / (25 * 120) < reading.honest_tell_rate
    assert abs(dict(reading.statistics)["jsd_nats"]) < 0.05


def test_a_sibling_is_found_and_named() -> None:
    detector = cell_detector()
    probes = detector.plan(ENDPOINT, b"run", 240)
    reading = detector.read(ENDPOINT, drawn("sibling", probes))
    assert reading.log_e_nats_N[-1] > 4.6
    assert len(reading.log_e_nats_N) == len(reading.tells) == reading.num_used == 240
    likelihood = {c.name: c.log_likelihood_nats for c in reading.candidates}
    assert likelihood["sibling"] > likelihood["honest"] + 3.0
    statistics = dict(reading.statistics)
    assert 0.0 <= statistics["tell_rate:sibling"] <= 1.0
    assert statistics["jsd_nats"] > 0.02
    assert "jsd_nats:cell-00" in statistics
    assert reading.visible is not None
    # nine runs in ten need more than one that was found
    assert dict(reading.visible.needed)["sibling"] <= 1000
    assert "sibling would have been found" in reading.visible.statement


def test_early_looks_are_prefixes_of_later_ones() -> None:
    detector = cell_detector()
    answers = drawn("sibling", detector.plan(ENDPOINT, b"run", 80))
    whole = detector.read(ENDPOINT, answers)
    assert detector.read(ENDPOINT, answers) == whole
    early = detector.read(ENDPOINT, answers[:30])
    assert early.log_e_nats_N == whole.log_e_nats_N[:30]
    assert early.tells == whole.tells[:30]


def test_unanswered_and_foreign_probes_are_counted_and_add_nothing() -> None:
    detector = cell_detector()
    probes = detector.plan(ENDPOINT, b"run", 20)
    good = drawn("float32", probes)
    bad = [failed(p, s) for p, s in zip(probes, list(AnswerStatus)[1:], strict=False)]
    reading = detector.read(ENDPOINT, [*bad, *good[len(bad) :]])
    assert (reading.num_sent, reading.num_used) == (20, 20 - len(bad))
    foreign = replace(probes[0], prompt=Prompt(text="never counted"))
    assert detector.read(ENDPOINT, [answered(foreign, "x")]).status is ReadingStatus.TOO_LITTLE
    nothing = detector.read(ENDPOINT, bad)
    assert nothing.reason == "no answer of one token came back"


def test_unusual_tokens_are_read_without_error() -> None:
    detector = cell_detector()
    odd = ["", " \n", "\ufffd", "\ud800", "\x00", "\U0001f600" * 40, "a" * 9000]
    probes = detector.plan(ENDPOINT, b"run", len(odd))
    reading = detector.read(
        ENDPOINT, [answered(p, text) for p, text in zip(probes, odd, strict=True)]
    )
    assert reading.num_used == len(odd)
    assert np.isfinite(reading.log_e_nats_N).all()
    lone = ProbeAnswer(status=AnswerStatus.ANSWERED, text="\ud800")
    assert token_of(lone) == "?"


def test_no_weights_are_needed_with_answers_of_a_trusted_endpoint() -> None:
    blind = Tools(reference=None, candidates={}, texts=texts())  # type: ignore[arg-type]
    detector = OneTokenCells(blind, None, CELLS)
    probes = detector.plan(ENDPOINT, b"calibration", 480)
    assert {p.prompt.text for p in probes} != {p.prompt.text for p in calibration_probes()}
    asked = detector.plan(CHAT_ENDPOINT, b"calibration", 6)
    assert {p.prompt.messages[0].content for p in asked if p.prompt.messages} == set(TASKS[:6])
    honest = {"trusted": answer_locally(example_reference("bfloat16"), probes, b"trusted")}
    attacks = {"sibling": drawn("sibling", probes)}
    section = CellCalibrator(tools=blind, settings=CELLS, attacks=attacks).fit(honest, error=0.01)
    calibrated = OneTokenCells(blind, section, CELLS)
    run = calibrated.plan(ENDPOINT, b"run", 60)
    reading = calibrated.read(
        ENDPOINT, answer_locally(example_reference(), run, b"another", batch_size=8)
    )
    assert reading.status is ReadingStatus.READ
    assert max(reading.log_e_nats_N) < 4.6
    assert {c.name for c in reading.candidates} == {"honest", "sibling"}
    alone = CellCalibrator(tools=blind, settings=CELLS).fit(honest, error=0.01)
    bare = OneTokenCells(blind, alone, CELLS).read(ENDPOINT, drawn("float32", run))
    assert bare.candidates == ()
    assert bare.visible is not None
    assert "nothing is known of the power" in bare.visible.statement


def test_laws_are_those_of_the_model() -> None:
    law = law_of_model(example_reference(), Prompt(text="import os\nimport"))
    assert 0.5 < sum(law.values()) <= 1.0 + 1e-9
    assert all(token == token.strip() for token in law)


def test_calibrations_that_are_too_small_or_mixed_are_refused() -> None:
    calibrator = CellCalibrator(tools=tools(), settings=CELLS)
    answers = drawn("float32", calibration_probes())
    with pytest.raises(CalibrationError, match="no honest variant was asked the cells"):
        calibrator.fit({}, error=0.01)
    with pytest.raises(CalibrationError, match="'bf16' answered a cell 9 times, 10 are needed"):
        calibrator.fit({"bf16": answers[:54]}, error=0.01)
    with pytest.raises(CalibrationError, match="has 30 usable answers, 40 are needed"):
        calibrator.fit({"bf16": answers[:60]}, error=0.01)
    chat = replace(answers[0], probe=replace(answers[0].probe, api=ApiStyle.CHAT))
    with pytest.raises(CalibrationError, match="different routes"):
        calibrator.fit({"bf16": [*answers, chat]}, error=0.01)
    other = replace(answers[0], probe=replace(answers[0].probe, prompt=Prompt(text="else")))
    with pytest.raises(CalibrationError, match="different cells"):
        calibrator.fit({"bf16": [*answers, other]}, error=0.01)
    with pytest.raises(CalibrationError, match="must lie in"):
        calibrator.fit({"bf16": answers}, error=0.0)
    few = replace(calibrator, attacks={"sibling": answers[:6]})
    with pytest.raises(CalibrationError, match="substitute 'sibling' answered some cell"):
        few.fit({"bf16": answers}, error=0.01)


Spoil = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda s: s.pop("bounds"), "its members must be"),
        (lambda s: s["settings"].update(numCells=7), "measured under other settings"),
        (lambda s: s.update(api="telex"), "api must be completions or chat"),
        (lambda s: s.update(cells=[]), "cells must be a list of one or more"),
        (lambda s: s["cells"].append(s["cells"][0]), "cells must have different prompts"),
        (lambda s: s["cells"].append(3), "must be an object"),
        (lambda s: s["cells"][0].update(prompt=""), "prompt must be a text"),
        (lambda s: s["cells"][0].update(baseline={}), "baseline must hold counts"),
        (lambda s: s["cells"][0]["baseline"].update(x={"a": 1.5}), "must hold whole numbers"),
        (lambda s: s["cells"][0]["honest"].update(a=1.0, b=1.0), "sum to 1 at most"),
        (lambda s: s["cells"][0].update(attacks={}), "attacks must be those that the section"),
        (lambda s: s["bounds"].update(tell=1.5), "bounds.tell must be a number"),
        (lambda s: s["bounds"].pop("unseen"), "bounds must name"),
        (lambda s: s.update(tellRates={}), "tellRates must name the attacks"),
        (lambda s: s.update(attacks="sibling"), "attacks must be a list of names"),
        (lambda s: s.update(attacks=["b", "a"]), "attacks must be different and in order"),
        (lambda s: s["power"].update(sibling=[1]), "must hold 5 numbers or nulls"),
    ],
)
def test_damaged_sections_are_refused(spoil: Spoil, problem: str) -> None:
    section = copy.deepcopy(json.loads(json.dumps(cell_section())))
    OneTokenCells(tools(), section, CELLS)
    spoil(section)
    with pytest.raises(CalibrationError, match=problem):
        OneTokenCells(tools(), section, CELLS)


def test_default_settings_do_not_read_another_calibration() -> None:
    with pytest.raises(CalibrationError, match="other settings"):
        OneTokenCells(tools(), cell_section(), CellSettings())

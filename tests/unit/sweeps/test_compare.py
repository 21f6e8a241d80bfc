"""Endpoints of one run held against each other: the safe test, the matrix, the odd one out."""

from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from audit.errors import CalibrationError
from audit.records import Prompt, SamplingRequest
from audit.sweep_records import ApiStyle, Probe, Probed, ProbeKind, ReadingStatus
from audit.sweeps.compare.comparer import CompareSettings, ProviderCompare
from audit.sweeps.compare.pairs import cell_gap, text_gap
from audit.sweeps.compare.safe import log_e_of_samples
from audit.sweeps.compare.samples import prompt_text, said_by
from audit.sweeps.probe import make_probe
from audit.sweeps.text.samples import answer_locally, derived_rng
from tests.support.example_model import example_reference
from tests.unit.sweeps.cell_arms import CELLS, answered, cell_detector, cell_section, drawn
from tests.unit.sweeps.text_arms import ENDPOINT, failed, sibling, tools

FEW = CompareSettings(num_permutations=199)


def comparer() -> ProviderCompare:
    return ProviderCompare(tools(), cell_section(), FEW, CELLS)


@cache
def cell_run() -> dict[str, list[Probed]]:
    probes = cell_detector().plan(ENDPOINT, b"run", 360)
    return {
        "arm": drawn("float32", probes, b"1"),
        "b": drawn("bfloat16", probes, b"2"),
        "c": drawn("float32", probes, b"3"),
        "odd": drawn("sibling", probes, b"4"),
    }


def text_probe(prompt: str, seed: int, *, temperature: float = 1.0) -> Probe:
    return make_probe(
        kind=ProbeKind.TEXT,
        detector="text-mmd/1",
        group="block",
        api=ApiStyle.COMPLETIONS,
        prompt=Prompt(text=prompt),
        sampling=SamplingRequest(temperature=temperature, top_p=1.0, seed=seed, max_tokens=8),
    )


def test_the_safe_test_never_gains_on_average_where_laws_are_equal() -> None:
    rng = derived_rng(b"safe", "equal")
    shares = np.asarray([0.5, 0.3, 0.2])
    values = []
    for _ in range(400):
        sides = [
            {f"{p}": [str(t) for t in rng.choice(3, size=20, p=shares)] for p in range(3)}
            for _ in range(3)
        ]
        values.append(log_e_of_samples(sides))
    # an e-value exceeds 20 with probability 1/20 at most
    assert np.mean(np.asarray(values) >= np.log(20.0)) <= 0.05
    assert np.mean(np.exp(values)) < 1.5


def test_the_safe_test_finds_different_laws_and_equal_draws_are_safe() -> None:
    rng = derived_rng(b"safe", "different")
    first, second = (
        {"p": [str(t) for t in rng.choice(2, size=60, p=[share, 1.0 - share])]}
        for share in (0.85, 0.3)
    )
    assert log_e_of_samples([first, second]) > np.log(20.0)
    assert log_e_of_samples([first, first]) <= 0.0
    assert log_e_of_samples([first, {"q": ["1"]}]) == 0.0
    assert log_e_of_samples([]) == 0.0


def test_p_values_are_never_zero_and_uniform_where_laws_are_equal() -> None:
    rng = derived_rng(b"pairs", "p")
    values = []
    for number in range(200):
        sides = [
            {f"{p}": [str(t) for t in rng.choice(4, size=10)] for p in range(5)} for _ in range(2)
        ]
        counts = [{p: Counter(tokens) for p, tokens in side.items()} for side in sides]
        gap = cell_gap(counts[0], counts[1], sides[0], sides[1], 99, f"{number}")
        assert gap is not None
        values.append(gap.p_value)
        assert gap.low_nats <= gap.excess_nats <= gap.high_nats
    assert min(values) >= 0.01
    # 200 trials at 10 %: at most 35 with probability 0.9995
    assert sum(value <= 0.1 for value in values) <= 35


def test_the_odd_one_out_is_named_and_no_majority_is_called_the_truth() -> None:
    run = cell_run()
    reading = comparer().compare(ENDPOINT, run)
    assert (reading.status, reading.tier) == (ReadingStatus.READ, 4)
    statistics = dict(reading.statistics)
    assert statistics["jsd_nats:odd"] > 0.02 > abs(statistics["jsd_nats:b"])
    assert statistics["jsd_low_nats:odd"] < statistics["jsd_nats:odd"]
    assert statistics["jsd_high_nats:odd"] > statistics["jsd_nats:odd"]
    assert statistics["p:odd"] == pytest.approx(1 / 200)
    assert statistics["p:b"] > 0.01
    assert abs(statistics["jsd_nats:honest bundle"]) < 0.02
    notes = " ".join(reading.notes)
    assert "odd is the odd one out against arm, b, c." in notes
    assert "arm differs from odd." in notes
    assert "A majority is not the truth" in notes
    assert reading.log_e_nats_N == ()
    assert reading.honest_tell_rate is None
    assert reading.num_used == 360


def test_the_matrix_is_the_same_for_every_endpoint_and_worked_out_once() -> None:
    one = comparer()
    matrix = one.matrix(cell_run())
    assert one.matrix(dict(reversed(cell_run().items()))) is matrix
    assert matrix.gap("odd", "arm") is matrix.gap("arm", "odd")
    assert matrix.clusters() == [["arm", "b", "c"], ["odd"]]
    assert comparer().matrix(cell_run()) == matrix


def test_honest_endpoints_are_not_found_to_differ() -> None:
    run = {name: probed for name, probed in cell_run().items() if name != "odd"}
    reading = ProviderCompare(tools(), None, FEW).compare(ENDPOINT, run)
    assert reading.notes == (
        "No two endpoints of this run were found to differ in their first words.",
    )
    assert not any("bundle" in name for name, _ in reading.statistics)


def test_texts_are_compared_within_prompts() -> None:
    prompts = ("def read(self):\n", "import os\nimport ", "class Node:\n    ")
    probes = [text_probe(prompt, seed) for prompt in prompts for seed in range(8)]
    honest, other = (
        said_by(answer_locally(model, probes, seed)).texts
        for model, seed in ((example_reference(), b"a"), (example_reference("bfloat16"), b"b"))
    )
    cheap = said_by(answer_locally(sibling(), probes, b"c")).texts
    same, gap = text_gap(honest, other, 199, "same"), text_gap(honest, cheap, 199, "other")
    assert same is not None
    assert gap is not None
    assert same.p_value > 0.01
    assert gap.squared > same.squared
    assert (same.num_answers, len(honest)) == (48, 3)


def test_greedy_answers_are_no_draws_and_seeds_do_not_part_questions() -> None:
    drawn_probes = [text_probe("p", 1), text_probe("p", 2)]
    greedy = text_probe("p", 3, temperature=0.0)
    said = said_by([answered(probe, "x") for probe in (*drawn_probes, greedy)])
    assert [list(texts) for texts in said.texts.values()] == [["x", "x"]]
    assert [prompt_text(question) for question in said.texts] == ["p"]


def one_text(text: str) -> Sequence[Probed]:
    return [answered(text_probe("p", 1), text)]


def test_too_little_to_compare_is_said() -> None:
    bare = ProviderCompare(tools(), None, FEW)
    alone = bare.compare(ENDPOINT, {"arm": cell_run()["arm"]})
    assert alone.status is ReadingStatus.NOT_APPLICABLE
    assert alone.reason == "the run has no other endpoint to compare with"
    little = bare.compare(ENDPOINT, {"arm": one_text("x"), "b": one_text("y")})
    assert little.status is ReadingStatus.TOO_LITTLE
    assert "no other endpoint answered the same" in little.reason
    silent = [failed(item.probe, item.answer.status) for item in cell_run()["b"]]
    quiet = bare.compare(ENDPOINT, {"arm": cell_run()["arm"], "b": silent})
    assert quiet.status is ReadingStatus.TOO_LITTLE
    alone = comparer().compare(ENDPOINT, {"arm": cell_run()["arm"]})
    assert alone.status is ReadingStatus.READ
    assert alone.notes == ("No other endpoint answered the same questions.",)


def test_a_section_of_another_detector_is_refused() -> None:
    with pytest.raises(CalibrationError, match="one-token-cells/1: its members must be"):
        ProviderCompare(tools(), {"terms": []})

"""Bounds hold, bets are fair against honest laws, and sections are read strictly."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from audit.errors import CalibrationError
from audit.records import Prompt, SamplingRequest
from audit.sweep_records import AnswerStatus, ApiStyle, Probe, ProbeAnswer, Probed, ProbeKind
from audit.sweeps.border.bands import (
    CELL_NAMES,
    NO_CELL,
    NUM_CELLS,
    CellCounts,
    bound_rates,
    cell_of,
    count,
)
from audit.sweeps.border.calibrate import MIN_ANSWERS, BorderCalibrator, read_section
from audit.sweeps.border.evidence import (
    Spots,
    log_e_process,
    named_rates,
    requests_needed,
)
from audit.sweeps.border.expected import expected_members
from audit.sweeps.border.pool import Choice, Spot, firmness, num_leaning
from audit.sweeps.probe import make_probe

ID = "border-greedy/1"


BOUNDS = np.asarray([0.05, 0.02, 0.6, 0.3, 0.2, 0.04, 0.03])


def spots(num: int, generator: np.random.Generator) -> Spots:
    firm_N = generator.uniform(0.75, 3.0, num)
    margin_1N = generator.normal(0.0, 3.0, (1, num))
    cell_N = [cell_of(f, m < 0.25) for f, m in zip(firm_N, margin_1N[0], strict=True)]
    return Spots(
        firm_steps_N=firm_N,
        cell_N=np.asarray(cell_N),
        names=("int4-g32",),
        margin_steps_MN=margin_1N,
    )


def test_cells_cover_their_bands_and_nothing_else() -> None:
    assert NUM_CELLS == len(CELL_NAMES) == 7
    plain = [cell_of(f, False) for f in (0.74, 0.75, 1.24, 1.25, 3.0)]
    assert plain == [NO_CELL, 0, 0, 1, NO_CELL]
    leaning = [cell_of(f, True) for f in (-25.0, 0.44, 0.45, 1.24, 1.25, 23.9, 24.0)]
    assert leaning == [NO_CELL, 2, 3, 4, 5, 6, NO_CELL]


def test_firmness_is_the_mean_of_the_gap_and_what_gentle_copies_say() -> None:
    choices = {
        "int8-g32": Choice(token=8, margin_steps=-1.0),
        "int4-g32": Choice(token=8, margin_steps=-9.0),
    }
    assert firmness(2.0, choices) == 0.5
    assert firmness(2.0, {}) == 2.0
    assert num_leaning(choices) == 2


def test_counts_leave_out_what_lies_in_no_cell() -> None:
    counts = count(np.asarray([0, 0, 3, NO_CELL]), np.asarray([1, 0, 1, 1]))
    assert counts.num_calls_C.tolist() == [2, 0, 0, 1, 0, 0, 0]
    assert counts.num_tells_C.tolist() == [1, 0, 0, 1, 0, 0, 0]


def counts_of(calls: list[int], tells: list[int]) -> CellCounts:
    return CellCounts(num_calls_C=np.asarray(calls), num_tells_C=np.asarray(tells))


def test_bounds_are_clopper_pearsons_shared_over_cells_and_variants() -> None:
    calls = [300, 900, 100, 150, 200, 300, 400]
    one = counts_of(calls, [5, 1, 20, 20, 9, 2, 0])
    two = counts_of(calls, [2, 4, 10, 11, 9, 3, 1])
    found = bound_rates({"a": one, "b": two}, 0.01)
    each = 0.01 / (7 * 2)
    # SciPy's own beta quantile, cell by cell
    slow = [
        max(
            stats.beta.ppf(1 - each, c.num_tells_C[i] + 1, c.num_calls_C[i] - c.num_tells_C[i])
            for c in (one, two)
        )
        for i in range(7)
    ]
    np.testing.assert_allclose(found, slow, rtol=1e-9)


def test_a_cell_without_answers_is_bounded_by_the_nearer_ties_of_its_kind() -> None:
    counts = counts_of([500, 0, 0, 0, 500, 0, 0], [3, 0, 0, 0, 3, 0, 0])
    bound_C = bound_rates({"a": counts}, 0.01)
    assert bound_C[1] == bound_C[0] < 0.05
    assert bound_C[2] == bound_C[3] == 1.0
    assert bound_C[4] == bound_C[5] == bound_C[6] < 0.05
    assert bound_rates({}, 0.01).tolist() == [1.0] * 7


def test_the_requests_needed_are_about_those_of_simulated_runs() -> None:
    generator = np.random.default_rng(8)
    here = spots(120, generator)
    rate_N = named_rates(here)[0]
    needed = requests_needed(here, BOUNDS, rate_N, power=0.9, log_threshold_nats=np.log(100))
    delays = []
    for _ in range(300):
        index_N = generator.integers(0, 120, 400)
        log_e_N = log_e_process(here.at(index_N), BOUNDS, generator.random(400) < rate_N[index_N])
        delays.append(np.flatnonzero(log_e_N >= np.log(100))[0] + 1)
    assert needed is not None
    assert 0.8 <= needed / np.quantile(delays, 0.9) <= 2.0
    honest = requests_needed(here, BOUNDS, np.zeros(120), power=0.9, log_threshold_nats=4.6)
    assert honest is None


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_honest_endpoints_are_accused_at_most_as_often_as_stated(factor: float) -> None:
    generator = np.random.default_rng(3)
    bound_C = BOUNDS
    accused = 0
    for _ in range(1500):
        here = spots(120, generator)
        tell_N = generator.random(120) < factor * bound_C[here.cell_N]
        accused += log_e_process(here, bound_C, tell_N).max() >= np.log(100)
    # 99.9 % binomial limit of 1 % in 1500 sweeps
    assert accused <= stats.binom.ppf(0.999, 1500, 0.01)


def test_each_bet_is_worth_at_most_one_on_average() -> None:
    here = spots(1, np.random.default_rng(1))
    bound_C = BOUNDS
    rate = bound_C[here.cell_N[0]]
    on_tell, on_match = (
        np.exp(log_e_process(here, bound_C, np.asarray([tell]))[0]) for tell in (True, False)
    )
    assert rate * on_tell + (1 - rate) * on_match == pytest.approx(1.0)
    assert 0.5 * rate * on_tell + (1 - 0.5 * rate) * on_match < 1.0


def test_where_nothing_was_measured_nothing_is_evidence() -> None:
    here = spots(50, np.random.default_rng(2))
    log_e_N = log_e_process(here, np.ones(NUM_CELLS), np.ones(50, dtype=np.bool_))
    np.testing.assert_allclose(log_e_N, 0.0, atol=1e-12)


def probe_of(number: int) -> Probe:
    spot = Spot(
        prompt_token_ids=(number,),
        text=None,
        first=7,
        second=8,
        gap_logits=0.05,
        contender_logit=5.0,
        choices={"int4-g32": Choice(token=8 if number % 2 else 7, margin_steps=1.0)},
    )
    return make_probe(
        kind=ProbeKind.BORDER,
        detector=ID,
        group="",
        api=ApiStyle.COMPLETIONS,
        prompt=Prompt(token_ids=spot.prompt_token_ids),
        sampling=SamplingRequest(temperature=0.0, max_tokens=1),
        expected=expected_members(spot, None),
    )


def answers(num: int, num_lost: int = 0) -> list[Probed]:
    return [
        Probed(
            probe=probe_of(n),
            answer=ProbeAnswer(status=AnswerStatus.TIMED_OUT)
            if n < num_lost
            else ProbeAnswer(status=AnswerStatus.ANSWERED, token_ids=(8 if n % 50 == 0 else 7,)),
        )
        for n in range(num)
    ]


def section() -> dict[str, Any]:
    return dict(BorderCalibrator(ID).fit({"a": answers(200), "b": answers(300)}, error=0.001))


def test_a_section_holds_the_counts_and_gives_the_same_bounds_again() -> None:
    found = read_section(section(), ID)
    assert found.variants["b"].num_calls_C.sum() == 300
    assert found.variants["b"].num_tells_C.sum() == 6
    np.testing.assert_array_equal(found.bound_C, bound_rates(found.variants, 0.001))


def test_probes_of_different_candidates_are_not_counted_together() -> None:
    members = json.loads(answers(1)[0].probe.expected_json) | {"choices": {}}
    other = replace(answers(1)[0], probe=replace(probe_of(0), expected_json=json.dumps(members)))
    with pytest.raises(CalibrationError, match="different candidates: none; int4-g32"):
        BorderCalibrator(ID).fit({"a": [*answers(200), other]}, error=0.1)
    assert section()["candidates"] == ["int4-g32"]


BAD_FITS: dict[str, tuple[Callable[[], object], str]] = {
    "nobody": (lambda: BorderCalibrator(ID).fit({}, error=0.1), "at least one honest variant"),
    "too_few": (
        lambda: BorderCalibrator(ID).fit({"a": answers(MIN_ANSWERS - 1)}, error=0.1),
        "gave 99 usable answers to 99 probes",
    ),
    "many_lost": (
        lambda: BorderCalibrator(ID).fit({"a": answers(200, 20)}, error=0.1),
        "gave 180 usable answers to 200",
    ),
    "repeated": (
        lambda: BorderCalibrator(ID).fit({"a": answers(60) * 3}, error=0.1),
        "gave 60 usable answers to 180",
    ),
    "others_probes": (
        lambda: BorderCalibrator("border-seeded/1").fit({"a": answers(200)}, error=0.1),
        "0 usable answers to 0 probes of border-seeded/1",
    ),
    "bad_error": (
        lambda: BorderCalibrator(ID).fit({"a": answers(200)}, error=1.0),
        "between 0 and 1",
    ),
}


@pytest.mark.parametrize("name", BAD_FITS)
def test_what_cannot_be_calibrated_is_named(name: str) -> None:
    call, message = BAD_FITS[name]
    with pytest.raises(CalibrationError, match=message):
        call()


BAD_SECTIONS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "missing": (lambda s: s.pop("cells"), "must hold exactly"),
    "more": (lambda s: s.update(extra=1), "must hold exactly"),
    "other_schema": (lambda s: s.update(schema="border/1"), "is for 'border-greedy/1', 'border/1'"),
    "other_detector": (lambda s: s.update(detector="x/1"), "is for 'x/1'"),
    "other_cells": (lambda s: s.update(cells=["a"]), "other cells"),
    "unsorted": (lambda s: s.update(candidates=["b", "a"]), "sorted list of names"),
    "no_names": (lambda s: s.update(candidates=[1]), "sorted list of names"),
    "error_text": (lambda s: s.update(error="0.1"), "error must be a number"),
    "error_range": (lambda s: s.update(error=0.0), "between 0 and 1"),
    "no_variants": (lambda s: s.update(variants={}), "no honest variants"),
    "no_counts": (lambda s: s["variants"].update(a={"calls": []}), "must hold calls and tells"),
    "short": (lambda s: s["variants"]["a"].update(calls=[1]), "7 whole counts"),
    "negative": (lambda s: s["variants"]["a"].update(tells=[-1, *[0] * 6]), "7 whole counts"),
    "fraction": (lambda s: s["variants"]["a"].update(calls=[1.5, *[0] * 6]), "7 whole counts"),
    "truth": (lambda s: s["variants"]["a"].update(calls=[True, *[0] * 6]), "7 whole counts"),
    "more_tells": (
        lambda s: s["variants"]["a"].update(tells=[999, *[0] * 6]),
        "more tells than calls",
    ),
}


@pytest.mark.parametrize("name", BAD_SECTIONS)
def test_a_section_that_is_not_one_is_refused(name: str) -> None:
    change, message = BAD_SECTIONS[name]
    bad = copy.deepcopy(section())
    change(bad)
    with pytest.raises(CalibrationError, match=message):
        read_section(bad, ID)

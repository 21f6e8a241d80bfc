"""The probe finds a planned length in hidden states, keeps its promise, and refuses the rest."""

import copy
import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.billing_records import (
    BilledRequest,
    BilledUsage,
    Reading,
    Refusal,
    Unchecked,
    UsageSchema,
)
from audit.errors import CalibrationError, ConfigurationError
from audit.hidden_tokens.conformal import cell_key
from audit.hidden_tokens.probe import Probe, ProbeHead, calibrate_probe, fit_probe

WIDTH = 64
CELL = cell_key("m", "math", "")


def planned(num: int, seed: int, noise: float = 0.2) -> tuple[NDArray[Any], list[int]]:
    """Return states that hold a planned log count in one direction, [N, F], and counts."""
    rng = np.random.default_rng(seed)
    states_NF = rng.normal(size=(num, WIDTH)) * np.linspace(0.1, 3.0, WIDTH) + 5.0
    plan_N = 6.0 + 0.8 * (states_NF[:, 5] - 5.0) / 0.33 + noise * rng.normal(size=num)
    return states_NF, [max(1, round(float(np.exp(plan)))) for plan in plan_N]


@cache
def fitted(num: int = 400) -> ProbeHead:
    states_NF, counts_N = planned(num, seed=1)
    groups_N = [str(index) for index in range(num)]
    return fit_probe(states_NF, counts_N, groups_N, model="m", model_digest="sha256:0")


@cache
def calibrated() -> Probe:
    states_NF, counts_N = planned(300, seed=2)
    return calibrate_probe(fitted(), states_NF, counts_N, [CELL] * 300, calibration_id="c")


def bill(tokens: int | None, model: str = "m") -> BilledRequest:
    usage = BilledUsage(schema=UsageSchema.VLLM, output_tokens=10**6, reasoning_tokens=tokens)
    return BilledRequest(
        request_id="r",
        account="a",
        provider="p",
        model=model,
        usage=usage,
        observed_at="2026-11-21T00:00:00Z",
    )


def readings(probe: Probe, factor: float) -> list[Reading]:
    states_NF, counts_N = planned(300, seed=3)
    found = [
        probe.read(bill(round(count * factor)), "math", state_F)
        for state_F, count in zip(states_NF, counts_N, strict=True)
    ]
    return [reading for reading in found if isinstance(reading, Reading)]


def test_a_plan_that_is_there_is_read() -> None:
    states_NF, counts_N = planned(300, seed=3)
    errors_N = np.abs(np.log(fitted().predict(states_NF)) - np.log(counts_N))
    # the noise put in has a mean absolute error of 0.16
    assert errors_N.mean() < 0.2


def test_honest_bills_have_even_p_values_and_inflated_ones_small_ones() -> None:
    honest = readings(calibrated(), 1.0)
    assert len(honest) == 300
    assert np.mean([r.p_over <= 0.05 for r in honest]) < 0.10
    assert 0.42 < np.mean([r.p_over for r in honest]) < 0.58
    # a head without any error of its own would give 0.08 at this noise
    assert np.mean([r.p_over for r in readings(calibrated(), 1.5)]) < 0.15
    assert np.mean([r.p_under for r in readings(calibrated(), 0.6)]) < 0.15


def test_intervals_and_sums_hold_on_new_requests() -> None:
    honest = readings(calibrated(), 1.0)
    _, counts_N = planned(300, seed=3)
    pairs = list(zip(honest, counts_N, strict=True))
    inside = [(r.low_tokens or 0) <= count <= (r.high_tokens or 0) for r, count in pairs]
    assert 0.84 < np.mean(inside) < 0.96
    total = sum(r.expected_tokens or 0.0 for r in honest)
    assert total == pytest.approx(sum(counts_N), rel=0.1)


def test_a_probe_survives_its_file_bit_for_bit() -> None:
    probe = calibrated()
    again = Probe.from_json(json.loads(json.dumps(probe.to_json())))
    assert again == probe and again.to_json() == probe.to_json()


def test_fits_are_the_same_every_time() -> None:
    assert fitted() == fitted()


@pytest.mark.parametrize(
    ("request_", "domain", "state_F", "reason"),
    [
        (bill(5, model="other"), "math", np.zeros(WIDTH), Refusal.UNKNOWN_MODEL),
        (bill(None), "math", np.zeros(WIDTH), Refusal.NO_COUNT),
        (bill(5), "math", None, Refusal.NO_EVIDENCE),
        (bill(5), "math", np.full(WIDTH, np.nan), Refusal.UNREADABLE_EVIDENCE),
        (bill(5), "medical", np.zeros(WIDTH), Refusal.UNSEEN_CELL),
    ],
)
def test_what_cannot_be_read_is_refused(
    request_: BilledRequest, domain: str, state_F: NDArray[Any] | None, reason: Refusal
) -> None:
    found = calibrated().read(request_, domain, state_F)
    assert isinstance(found, Unchecked) and found.reason is reason


def test_states_of_another_width_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="width 64, not 3"):
        calibrated().read(bill(5), "math", np.zeros(3))


@pytest.mark.parametrize(
    ("rows", "groups", "problem"),
    [
        (29, [str(i) for i in range(29)], "needs 30 rows, not 29"),
        (40, ["same"] * 40, "rows of more questions"),
        (40, ["few"], "one hidden state, count and question a row"),
    ],
)
def test_too_little_to_fit_on_is_refused(rows: int, groups: list[str], problem: str) -> None:
    states_NF, counts_N = planned(rows, seed=1)
    with pytest.raises(CalibrationError, match=problem):
        fit_probe(states_NF, counts_N, groups, model="m", model_digest="")


def test_counts_of_zero_cannot_be_fitted() -> None:
    states_NF, counts_N = planned(40, seed=1)
    with pytest.raises(CalibrationError, match="counts of 1 or more"):
        groups = [str(i) for i in range(40)]
        fit_probe(states_NF, [0, *counts_N[1:]], groups, model="m", model_digest="")


def test_small_cells_are_left_out_and_none_at_all_is_an_error() -> None:
    states_NF, counts_N = planned(60, seed=2)
    small = cell_key("m", "code", "")
    cells = [CELL] * 40 + [small] * 20
    probe = calibrate_probe(fitted(), states_NF, counts_N, cells)
    assert set(probe.residuals) == {CELL}
    with pytest.raises(CalibrationError, match="no cell holds 99 rows"):
        calibrate_probe(fitted(), states_NF, counts_N, cells, min_cell=99)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("format",), "other", "probe.format must be"),
        (("delta",), 0.9, "probe.delta must lie"),
        (("delta",), "x", "probe.delta must hold finite numbers"),
        (("residuals", CELL), [2.0, 1.0], "must ascend"),
        (("residuals", CELL), [], "a cell without scores"),
        (("head", "layer"), True, "probe.head.layer must be a whole number"),
        (("head", "weights_F"), [1.0], "of the same length"),
        (("head", "weights_F"), 1.0, "must be a list of numbers"),
        (("head", "total_factor"), 0.0, "total_factor must be positive"),
        (("head", "model"), 3, "probe.head.model must be text"),
        (("head", "extra"), 3, "probe.head must be an object with exactly"),
    ],
)
def test_damaged_files_are_refused(path: tuple[str, ...], value: object, problem: str) -> None:
    document = copy.deepcopy(calibrated().to_json())
    place: Any = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(CalibrationError, match=problem):
        Probe.from_json(document)


def test_a_state_unlike_any_seen_gives_a_finite_prediction() -> None:
    head = replace(fitted(), intercept=900.0)
    assert np.isfinite(head.predict(np.zeros((1, WIDTH)))).all()

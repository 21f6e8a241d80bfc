"""Honest bounds cover, bets at the bound are fair, and the power table means what it says."""

from functools import partial

import numpy as np
import pytest

from audit.errors import CalibrationError
from audit.sweep_records import ApiStyle
from audit.sweeps.text.calibrate import bounds_of, log_e_process, tell_rates, upper_mean
from audit.sweeps.text.memory import Remembered
from audit.sweeps.text.power import LOOKS, SHARES, PowerTable, needed_requests, visible
from audit.sweeps.text.rank import FEATURES, features_of, text_grid
from audit.sweeps.text.ratio import TEMPERS, temper_names, tempered
from audit.sweeps.text.samples import (
    as_prompt,
    canonical_answer,
    cut_prompts,
    derived_rng,
    derived_seed,
)
from tests.support.example_model import example_reference
from tests.unit.sweeps.text_arms import texts

WEIGHTS = [weight for _, weight in FEATURES]
EXACT = [0.05, 0.1, 0.25, 0.5, 0.05, 0.25, 0.5, 0.5, 0.5]


def test_upper_means_are_seldom_too_low() -> None:
    rng = derived_rng(b"cover", "")
    missed = {True: 0, False: 0}
    for _ in range(200):
        skewed = rng.beta(0.5, 4.0, size=60)
        missed[False] += upper_mean(skewed, 0.1, is_binary=False) < 0.5 / 4.5
        missed[True] += (
            upper_mean((rng.random(60) < 0.1).astype(np.float64), 0.1, is_binary=True) < 0.1
        )
    # 200 trials at 10 %: at most 33 with probability 0.998
    assert max(missed.values()) <= 33


def test_upper_means_close_in_on_what_varies_little() -> None:
    rng = derived_rng(b"close", "")
    values = 0.37 + 0.05 * rng.standard_normal(400)
    bound = upper_mean(values, 0.001, is_binary=False)
    assert values.mean() < bound < values.mean() + 0.03


def test_bounds_are_those_of_the_worst_variant() -> None:
    rng = derived_rng(b"worst", "")
    low, high = ((rng.random((200, 1)) < rate).astype(np.float64) for rate in (0.05, 0.3))
    both = bounds_of({"low": low, "high": high}, [True], 0.01)
    assert both[0] > high.mean()
    with pytest.raises(CalibrationError, match="'few' has 3 usable answers"):
        bounds_of({"few": low[:3], "high": high}, [True], 0.01)


def test_evidence_at_the_bound_is_seldom_large_at_any_look() -> None:
    rng = derived_rng(b"ville", "")
    num_streams, over = 400, 0
    for _ in range(num_streams):
        log_e_N = log_e_process(features_of(rng.random(200)), EXACT, WEIGHTS)
        over += log_e_N.max() >= np.log(20.0)
    # 400 streams at 5 %: at most 34 with probability 0.999
    assert over <= 34


def test_shifted_ranks_are_found() -> None:
    rng = derived_rng(b"shift", "")
    log_e_N = log_e_process(features_of(rng.random(200) ** 2), EXACT, WEIGHTS)
    assert log_e_N[-1] > 4.6
    assert log_e_process(features_of([]), EXACT, WEIGHTS).shape == (0,)


def test_tempered_ratios_are_fair_for_half_powers() -> None:
    assert len(temper_names()) == len(TEMPERS) == tempered([0.0]).shape[1]
    features = tempered([-99.0, 0.0, 99.0])
    np.testing.assert_allclose(features[0], 0.0)
    np.testing.assert_allclose(features[2], 1.0)
    # the ratio of two normal laws one apart: the mean of its root is exp(-1 / 8)
    rng = derived_rng(b"normal", "")
    ratios = rng.standard_normal(200_000) - 0.5
    low, high = np.exp(-3.0), np.exp(3.0)
    mean = tempered(ratios)[:, 2].mean() * (high - low) + low
    assert mean == pytest.approx(np.exp(-1 / 8), abs=0.005)


def test_requests_needed_grow_as_the_share_falls() -> None:
    rng = derived_rng(b"power", "")
    table = needed_requests(
        features_of(rng.random(300)),
        features_of(rng.random(300) ** 3),
        bounds_F=[value * 1.1 for value in EXACT],
        weights_F=WEIGHTS,
        grid=text_grid(),
        log_threshold_nats=4.6,
        power=0.9,
    )
    found = [count for count in table if count is not None]
    assert len(table) == len(SHARES)
    assert found == sorted(found)
    assert set(found) <= set(LOOKS)
    assert 5 <= found[0] <= 40


def test_what_is_visible_names_what_is_not() -> None:
    table: PowerTable = {"plain": [10, 40, 200, None, None], "subtle": [None] * 5}
    seen = visible(table, 50, power=0.9)
    assert seen.smallest_share == 0.4
    assert seen.needed == (("plain", 10),)
    assert seen.statement.endswith("at least 0.4 of the requests went there; subtle would not.")
    assert visible({}, 50, power=0.9).smallest_share is None
    assert "nothing is known" in visible({}, 50, power=0.9).statement


def test_answers_are_spelled_in_one_way() -> None:
    assert canonical_answer("\n  one\r\ntwo \ufffd\ufffd") == "one\ntwo"
    assert canonical_answer("e\u0301") == "\u00e9"
    assert canonical_answer(" \n") == ""


def test_prompts_are_different_passages_and_end_with_the_texts() -> None:
    reference = example_reference()
    prompts = cut_prompts(
        reference, texts(), ApiStyle.COMPLETIONS, b"s", num_prompts=30, max_tokens=8
    )
    assert len({prompt.text for prompt in prompts}) == len(prompts) == 30
    assert all(any(str(prompt.text) in text for text in texts()) for prompt in prompts)
    few = cut_prompts(
        reference, ["one short text"], ApiStyle.COMPLETIONS, b"s", num_prompts=5, max_tokens=8
    )
    assert len(few) == 1
    assert not cut_prompts(reference, [], ApiStyle.CHAT, b"s", num_prompts=5, max_tokens=8)
    none = cut_prompts(
        reference, texts(), ApiStyle.COMPLETIONS, b"s", num_prompts=2, max_tokens=1024
    )
    assert none == []
    assert as_prompt("hi", ApiStyle.CHAT).messages is not None


def test_seeds_fit_every_server() -> None:
    seeds = {derived_seed(b"s", f"{n}") for n in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_values_are_made_once_and_the_oldest_are_forgotten() -> None:
    made: list[int] = []

    def make(value: int) -> int:
        made.append(value)
        return value

    memory = Remembered[int, int](2)
    asked = [1, 1, 2, 3, 3, 1]
    assert [memory.get(key, partial(make, key)) for key in asked] == asked
    assert made == [1, 2, 3, 1]


def test_rates_of_signs_are_lower_limits() -> None:
    rates = tell_rates({"always": np.ones(40), "never": np.zeros(40), "none": np.zeros(0)}, 0.05)
    assert rates["never"] == rates["none"] == 0.0
    # all of 40 at a third of 5 %: the rate whose 40th power is that
    assert rates["always"] == pytest.approx((0.05 / 3) ** (1 / 40))

"""Bounds on honest distances, and the bets on them."""

import numpy as np
import pytest

from audit.errors import CalibrationError
from audit.sweeps.logprobs.law import LOG2_THRESHOLDS, THRESHOLDS_C, count_above, read_law
from audit.sweeps.logprobs.prompts import cut_prompts, draw_seeds, generator
from audit.sweeps.logprobs.visible import describe, requests_needed, smallest_share

ERROR = 0.001


def honest(seed: int, num: int, scale: float = 1e-5) -> list[float]:
    drawn = np.random.default_rng(seed).lognormal(0.0, 0.8, num)
    return [scale * float(value) for value in drawn]


@pytest.fixture(scope="module")
def variants() -> dict[str, object]:
    return count_above({"one": honest(1, 200), "two": honest(2, 200, 2e-5)})


def test_honest_distances_seldom_reach_the_threshold(variants: dict[str, object]) -> None:
    law = read_law(variants, ERROR)
    reached = sum(
        law.log_e(honest(1000 + run, 60, 2e-5)).max() >= np.log(100.0) for run in range(500)
    )
    assert reached <= 1  # 0 of 500 when written; 1 % would be 5


def test_foreign_distances_are_found_within_a_few_answers(variants: dict[str, object]) -> None:
    law = read_law(variants, ERROR)
    log_e = law.log_e(honest(7, 40, 1e-2))
    assert int(np.argmax(log_e >= np.log(100.0))) + 1 <= 6
    assert (np.asarray(honest(7, 40, 1e-2)) > law.tell_threshold_nats).all()


def test_the_bounds_hold_for_every_variant(variants: dict[str, object]) -> None:
    law = read_law(variants, ERROR)
    for seed, scale in ((11, 1e-5), (12, 2e-5)):
        truth = np.asarray(honest(seed, 200_000, scale))
        for threshold, rate in zip(law.thresholds_C, law.max_rates_C, strict=True):
            assert (truth > threshold).mean() <= rate
    assert law.honest_tell_rate == law.max_rates_C.min()


def test_evidence_of_a_prefix_is_a_prefix_of_the_evidence(variants: dict[str, object]) -> None:
    law = read_law(variants, ERROR)
    distances = honest(3, 30, 1e-4)
    assert law.log_e(distances[:10]).tolist() == law.log_e(distances)[:10].tolist()
    assert law.log_e([]).tolist() == []


def test_the_likelihood_prefers_honest_distances(variants: dict[str, object]) -> None:
    law = read_law(variants, ERROR)
    assert law.log_likelihood(honest(4, 20)) > law.log_likelihood(honest(4, 20, 1e-1))
    assert np.isfinite(law.log_likelihood([0.0, 1e9]))


def test_too_few_answers_and_no_variants_are_refused() -> None:
    with pytest.raises(CalibrationError, match="gave 19 usable answers"):
        count_above({"one": honest(1, 19)})
    with pytest.raises(CalibrationError, match="no honest variant"):
        count_above({})


def test_answers_that_differ_wildly_leave_no_bet() -> None:
    with pytest.raises(CalibrationError, match="differ too much"):
        read_law(count_above({"one": [100.0] * 30}), ERROR)


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ({}, ERROR, "names no variants"),
        ([1], ERROR, "names no variants"),
        ({"a": {"num": 30}}, ERROR, "variant a are malformed"),
        ({"a": {"num": 30, "above": [0]}}, ERROR, "variant a are malformed"),
        ({"a": {"num": 30, "above": [True] * len(LOG2_THRESHOLDS)}}, ERROR, "malformed"),
        ({"a": {"num": 5, "above": [0] * len(LOG2_THRESHOLDS)}}, ERROR, "malformed"),
        ({"a": {"num": 30, "above": [31] * len(LOG2_THRESHOLDS)}}, ERROR, "malformed"),
        ({"a": {"num": 30, "above": [-1] * len(LOG2_THRESHOLDS)}}, ERROR, "malformed"),
        ({"a": {"num": 30, "above": [0] * len(LOG2_THRESHOLDS)}}, 1.0, "error is no number"),
        ({"a": {"num": 30, "above": [0] * len(LOG2_THRESHOLDS)}}, True, "error is no number"),
    ],
)
def test_malformed_counts_are_refused(body: object, error: object, said: str) -> None:
    with pytest.raises(CalibrationError, match=said):
        read_law(body, error)


def test_the_share_that_is_seen_falls_with_the_number_of_answers() -> None:
    seen = [
        smallest_share(num, 0.05, num_bets=3, power=0.9, log_threshold=4.6)
        for num in (0, 2, 20, 80, 320)
    ]
    assert seen[:2] == [None, None]
    few, more, many = seen[2:]
    assert few is not None and more is not None and many is not None
    assert few > more > many


def test_needed_requests_are_what_a_simulation_needs(variants: dict[str, object]) -> None:
    law = read_law(variants, ERROR)
    distances = honest(5, 100, 6e-5)
    needed = requests_needed(distances, law, generator(b"s", "x"), power=0.9, log_threshold=4.6)
    assert needed is not None
    found = 0
    for run in range(100):
        drawn = np.random.default_rng(run).choice(distances, size=needed)
        found += bool((law.log_e(drawn) >= 4.6).any())
    assert found >= 80
    low = [0.0] * 50
    assert requests_needed(low, law, generator(b"s", "x"), power=0.9, log_threshold=4.6) is None


def test_what_could_be_seen_is_said() -> None:
    visible = describe(0.9, 0.25, [("int4", 9), ("int8", None)], 40)
    assert visible.needed == (("int4", 9),)
    assert "25%" in visible.statement and "int8 takes more than 4096 answers" in visible.statement
    assert "not even a full substitution" in describe(0.9, None, [], 1).statement


def test_prompts_are_different_whole_words_and_reproducible() -> None:
    texts = ["alpha beta gamma delta " * 200, "short"]
    cuts = cut_prompts(texts, generator(b"s", "a"), 30, min_chars=40, max_chars=90)
    assert cuts == cut_prompts(texts, generator(b"s", "a"), 30, min_chars=40, max_chars=90)
    assert cuts != cut_prompts(texts, generator(b"s", "b"), 30, min_chars=40, max_chars=90)
    assert len(set(cuts)) == len(cuts) > 5
    assert {word for cut in cuts for word in cut.split(" ")} <= {"alpha", "beta", "gamma", "delta"}
    assert cut_prompts(["short"], generator(b"s", "a"), 3, min_chars=40, max_chars=90) == []
    seeds = draw_seeds(generator(b"s", "seeds"), 100)
    assert len(set(seeds)) == 100 and all(0 < seed < 2**31 for seed in seeds)


def test_thresholds_are_powers_of_two() -> None:
    assert np.log2(THRESHOLDS_C).tolist() == list(LOG2_THRESHOLDS)

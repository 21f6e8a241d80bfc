"""Draws from laws that are known exactly: what is claimed of the e-process must hold there."""

import numpy as np
import pytest

from audit.sweeps.logprobs.binding import (
    MIN_REST,
    TEMPERATURES,
    Outcome,
    is_not_favourite,
    log_ratios,
    with_shares,
)
from audit.sweeps.logprobs.compare import Aligned
from audit.sweeps.logprobs.detector_binding import WeighedAnswer, sampled_log_e

EMPTY = Aligned(prompt_token_ids=(1,), output_token_ids=(), positions=())


def law(random: np.random.Generator, num: int = 5) -> np.ndarray:
    """Return a law of the likeliest tokens, and of any other."""
    masses = random.dirichlet(np.full(12, 0.4))
    best = np.sort(masses)[::-1][:num]
    return np.append(best, max(1.0 - best.sum(), MIN_REST))


def answer(random: np.random.Generator, temperature: float, num_tokens: int) -> WeighedAnswer:
    """Return an answer whose tokens are drawn at a temperature, and weighed as if at 1."""
    outcomes = []
    for _ in range(num_tokens):
        masses = law(random)
        drawn_by = masses ** (1.0 / temperature)
        drawn = int(random.choice(len(masses), p=drawn_by / drawn_by.sum()))
        outcomes.append(
            Outcome(
                log_law_J=np.log(masses),
                token_ids=tuple(range(len(masses) - 1)),
                drawn=drawn,
                uniform=float(random.random()),
            )
        )
    return WeighedAnswer(False, False, log_ratios(outcomes, EMPTY, ()), EMPTY)


def test_draws_by_the_returned_law_seldom_accuse() -> None:
    random = np.random.default_rng(1)
    reached = sum(
        sampled_log_e([answer(random, 1.0, 8) for _ in range(12)]) >= np.log(20.0)
        for _ in range(200)
    )
    assert reached <= 10  # at most 5 %; 1 of 200 when written


@pytest.mark.parametrize("temperature", [1.4, 0.6])
def test_draws_by_another_temperature_are_found(temperature: float) -> None:
    random = np.random.default_rng(2)
    found = sum(
        sampled_log_e([answer(random, temperature, 16) for _ in range(40)]) >= np.log(100.0)
        for _ in range(20)
    )
    assert found >= 14  # 16 at the higher temperature when written


def test_every_ratio_has_a_mean_of_at_most_one() -> None:
    random = np.random.default_rng(3)
    masses = law(random)
    means = np.zeros(len(TEMPERATURES))
    for drawn, mass in enumerate(masses / masses.sum()):
        outcome = Outcome(
            log_law_J=np.log(masses),
            token_ids=tuple(range(len(masses) - 1)),
            drawn=drawn,
            uniform=0.5,
        )
        ratios = log_ratios([outcome], EMPTY, ())
        means += mass * np.exp(ratios[: len(TEMPERATURES)])
    assert means == pytest.approx(np.ones(len(TEMPERATURES)))


def test_a_share_of_foreign_answers_bounds_the_loss() -> None:
    ratios_NA = np.asarray([[-50.0, 3.0]])
    shared = with_shares(ratios_NA)
    assert shared.shape == (1, 4)
    assert shared[0, :2].tolist() == [-50.0, 3.0]
    assert shared[0, 2] == pytest.approx(np.log(0.75))


def test_only_the_favourite_is_greedy() -> None:
    named = np.log([0.5, 0.3, 0.2])

    def drawn(index: int, log_law: np.ndarray = named) -> list[Outcome]:
        return [Outcome(log_law_J=log_law, token_ids=(7, 8), drawn=index, uniform=0.5)]

    assert not is_not_favourite(drawn(0))
    assert is_not_favourite(drawn(1))
    assert is_not_favourite(drawn(2))
    assert not is_not_favourite(drawn(1, np.log([0.4, 0.4, 0.2])))  # a tie

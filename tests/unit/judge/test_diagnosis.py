"""A diagnosis names what made the tokens, pays for freedom, and never says more than it knows."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from audit.findings import Disposition
from audit.judge.bins import EDGES_B, RateBounds
from audit.judge.calls import FAR, MATCH, NEAR, Calls
from audit.judge.diagnosis import (
    UNKNOWN,
    Candidate,
    Score,
    best_choice,
    find_burst,
    fit_figure,
    fit_unknown,
    honest_log_likelihood,
    honest_log_rates,
    parameter_cost,
    rank,
    unseeded_log_likelihood,
)

Float64Array = NDArray[np.float64]
STEP_LOGITS = 1.0 / 16.0
DISPOSITIONS = {"temperature": Disposition.MISCONFIGURED, UNKNOWN: Disposition.UNKNOWN}


def bounds() -> RateBounds:
    """Return bounds that fall from 0.5 to 0.0005 within some steps."""
    mismatch_B = np.maximum(0.5 * np.exp(-2.0 * EDGES_B), 5e-4)
    return RateBounds(mismatch_B=mismatch_B, far_B=np.minimum(mismatch_B, 1e-3))


def calls_of(gap_logits: Float64Array, turned: NDArray[np.bool_], is_far: bool = True) -> Calls:
    gap_steps = gap_logits / STEP_LOGITS
    kind = np.where((gap_steps >= 4.0) | is_far, FAR, NEAR)
    return Calls(
        gap_logits_R=gap_logits,
        gap_steps_R=gap_steps,
        outcome_R=np.where(turned, kind, MATCH).astype(np.int8),
        counts_R=np.ones(len(gap_logits), dtype=np.bool_),
    )


def noisy(rng: np.random.Generator, num: int, sigma: float, stray: float = 0.0) -> Calls:
    gap = rng.exponential(2.0, num)
    rate = stray + (1.0 - stray) * special.ndtr(-gap / sigma)
    return calls_of(gap, rng.random(num) < rate, is_far=False)


def candidate(name: str, nats: float, *, is_refuted: bool = False) -> Candidate:
    return Candidate(
        name=name, statement=f"it was {name}", log_likelihood_nats=nats, is_refuted=is_refuted
    )


def test_three_outcomes_share_one_probability() -> None:
    gap = np.array([0.05, 0.1, 0.2, 0.5])
    turned = np.ones(4, dtype=np.bool_)
    match = honest_log_rates(calls_of(gap, ~turned), bounds())
    near = honest_log_rates(calls_of(gap[:3], turned[:3], is_far=False), bounds())
    far = honest_log_rates(calls_of(gap, turned), bounds())
    total = np.exp(match) + np.exp(far) + np.append(np.exp(near), 0.0)
    np.testing.assert_allclose(total, 1.0)


def test_calls_that_do_not_count_weigh_nothing() -> None:
    calls = noisy(np.random.default_rng(0), 50, 1.0)
    uncounted = Calls(
        gap_logits_R=calls.gap_logits_R,
        gap_steps_R=calls.gap_steps_R,
        outcome_R=calls.outcome_R,
        counts_R=np.zeros(50, dtype=np.bool_),
    )
    assert honest_log_likelihood(uncounted, bounds()) == 0.0
    assert fit_unknown([uncounted]).log_likelihood_nats == 0.0
    assert find_burst(uncounted, bounds()) is None


@pytest.mark.parametrize(("sigma", "stray"), [(0.2, 1e-4), (1.0, 1e-4), (0.1, 0.2)])
def test_unknown_finds_noise_and_strays_again(sigma: float, stray: float) -> None:
    rng = np.random.default_rng(3)
    fit = fit_unknown([noisy(rng, 2000, sigma, stray) for _ in range(4)])
    assert sigma / 1.6 < fit.noise_logits < sigma * 1.6
    assert math.isclose(fit.stray_share, stray, rel_tol=1e-9) or fit.stray_share <= 1e-3


def test_a_burst_is_found_where_it_is() -> None:
    rng = np.random.default_rng(1)
    gap = rng.exponential(2.0, 300)
    turned = np.zeros(300, dtype=np.bool_)
    turned[120:160] = rng.random(40) < 0.7
    burst = find_burst(calls_of(gap, turned), bounds())
    assert burst is not None and burst.gain_nats > 30
    assert abs(burst.first_token - 120) <= 5 and abs(burst.last_token - 159) <= 5


def test_honest_calls_and_wholly_different_ones_hold_no_burst() -> None:
    rng = np.random.default_rng(2)
    gap = rng.exponential(2.0, 300)
    assert find_burst(calls_of(gap, np.zeros(300, dtype=np.bool_)), bounds()) is None
    assert find_burst(calls_of(gap, rng.random(300) < 0.7), bounds()) is None


def test_a_seed_without_influence_looks_like_any_other_and_one_with_does_not() -> None:
    rng = np.random.default_rng(4)

    def unrelated() -> Calls:
        gap = rng.exponential(2.0, 400)
        return calls_of(gap, rng.random(400) < 1.0 / (1.0 + gap), is_far=False)

    seeds = [unrelated() for _ in range(8)]
    ignored, heeded = unrelated(), noisy(rng, 400, 0.1)
    cost = parameter_cost(2, 400)
    by_noise = fit_unknown([ignored]).log_likelihood_nats - cost
    assert unseeded_log_likelihood([ignored], seeds) > by_noise
    assert unseeded_log_likelihood([heeded], seeds) < fit_unknown([heeded]).log_likelihood_nats


@given(peak=st.floats(-0.6, 0.6))
def test_a_figure_is_fitted_to_a_fraction_of_the_grid(peak: float) -> None:
    def score(figures: Sequence[float]) -> list[Score | None]:
        return [
            Score(log_likelihood_nats=-abs(figure - peak), is_refuted=False) for figure in figures
        ]

    best = fit_figure([0.1 * i - 0.6 for i in range(13)], score)
    assert best is not None
    assert abs(best[0] - peak) < 0.1 / 64 + 1e-9


def test_a_figure_that_cannot_be_tried_is_none() -> None:
    assert fit_figure([0.0, 1.0], lambda figures: [None] * len(figures)) is None


def test_choices_are_paid_for_and_refuted_ones_come_last() -> None:
    chosen = best_choice([candidate("a", -3.0), candidate("a", -2.0, is_refuted=True)])
    assert not chosen.is_refuted
    assert chosen.log_likelihood_nats == pytest.approx(-3.0 - math.log(2))
    assert best_choice([candidate("a", -3.0)]).log_likelihood_nats == -3.0


def test_the_statement_and_its_meaning_come_through() -> None:
    named = Candidate(
        name="temperature", statement="hot", log_likelihood_nats=-1.0, estimate=0.8, first_token=3
    )
    first, second = rank(
        [candidate(UNKNOWN, -9.0), named], honest_nats=-99.0, dispositions=DISPOSITIONS
    )
    assert (first.name, first.statement, first.estimate, first.first_token) == (
        "temperature",
        "hot",
        0.8,
        3,
    )
    assert first.disposition is Disposition.MISCONFIGURED
    assert first.probability == pytest.approx(1 / (1 + math.exp(-8.0)))
    assert second.name == UNKNOWN


def test_a_name_without_a_disposition_has_none() -> None:
    first, _ = rank(
        [candidate("new", 0.0), candidate(UNKNOWN, -9.0)], honest_nats=-99.0, dispositions={}
    )
    assert first.disposition is Disposition.UNKNOWN


def test_what_leaves_a_fail_stays_behind_unknown() -> None:
    ranked = rank(
        [candidate("int4-g32", -1.0, is_refuted=True), candidate(UNKNOWN, -50.0)],
        honest_nats=-99.0,
        dispositions=DISPOSITIONS,
    )
    assert [e.name for e in ranked] == [UNKNOWN, "int4-g32"]
    assert ranked[0].probability == pytest.approx(2 / 3)


def test_where_the_claim_itself_is_likelier_nothing_but_unknown_is_left() -> None:
    ranked = rank(
        [candidate("burst", -5.0), candidate(UNKNOWN, -9.0)],
        honest_nats=-4.0,
        dispositions=DISPOSITIONS,
    )
    assert [(e.name, e.probability) for e in ranked] == [(UNKNOWN, 1.0)]


@pytest.mark.parametrize("names", [[], ["a"], [UNKNOWN, UNKNOWN], ["a", "a", UNKNOWN]])
def test_names_must_be_distinct_and_unknown_among_them(names: list[str]) -> None:
    with pytest.raises(ValueError, match=UNKNOWN):
        rank([candidate(name, 0.0) for name in names], honest_nats=-1.0, dispositions={})


CANDIDATES = st.lists(
    st.tuples(st.floats(-1e4, 0.0), st.booleans()), min_size=0, max_size=8
).flatmap(
    lambda drawn: st.permutations(
        [candidate(f"c{i}", nats, is_refuted=bad) for i, (nats, bad) in enumerate(drawn)]
        + [candidate(UNKNOWN, -500.0)]
    ).map(lambda shuffled: (shuffled, sorted(shuffled, key=lambda c: c.name)))
)


@given(pair=CANDIDATES)
def test_the_order_of_candidates_does_not_matter(
    pair: tuple[list[Candidate], list[Candidate]],
) -> None:
    shuffled, ordered = pair
    ranked = rank(shuffled, honest_nats=-2e4, dispositions={})
    assert ranked == rank(ordered, honest_nats=-2e4, dispositions={})
    assert sum(e.probability for e in ranked) == pytest.approx(1.0)
    shares = [e.probability for e in ranked]
    assert shares == sorted(shares, reverse=True)


@given(pair=CANDIDATES, nats=st.floats(-1e4, 0.0), is_refuted=st.booleans())
def test_one_more_explanation_never_raises_another(
    pair: tuple[list[Candidate], list[Candidate]], nats: float, is_refuted: bool
) -> None:
    before = {e.name: e.probability for e in rank(pair[0], honest_nats=-2e4, dispositions={})}
    more = [*pair[0], candidate("new", nats, is_refuted=is_refuted)]
    for explanation in rank(more, honest_nats=-2e4, dispositions={}):
        if explanation.name != "new":
            assert explanation.probability <= before[explanation.name] * (1 + 1e-9)

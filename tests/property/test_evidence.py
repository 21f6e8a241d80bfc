"""No honest provider, whatever its errors below the bounds, gains evidence against it on average.

For every call the expectation of its e-value over the three outcomes is computed exactly.

Legend: R calls, B gap bins, K alternatives, O outcomes.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.judge.alternatives import LOG_PRIOR_K, NUM_ALTERNATIVES, EvidenceLaw, mix
from audit.judge.bins import (
    EDGES_B,
    NUM_BINS,
    BinCounts,
    RateBounds,
    bin_of,
    bound_rates,
)
from audit.judge.calls import FAR, FAR_MARGIN_STEPS, MATCH, NEAR
from audit.judge.eprocess import weigh
from tests.support.measurements import Float64Array, calls_of

#: What rounding adds to an expectation of 1.
ROUNDING = 1e-9

seeds = st.integers(0, 2**32 - 1)
gaps = st.lists(
    st.one_of(
        st.sampled_from([0.0, 1e-12, 3.999999, FAR_MARGIN_STEPS, 32.0, 1e4, 1e7]),
        st.floats(0.0, 40.0),
        st.floats(0.0, 1e7),
    ),
    min_size=1,
    max_size=40,
)


@st.composite
def bounds(draw: st.DrawFn) -> RateBounds:
    """Return bounds as `bound_rates` gives them: never rising, far ones at most all."""
    rng = np.random.default_rng(draw(seeds))
    first = draw(st.sampled_from([1.0, 0.999, 0.98, 0.9, 0.5, 0.1, 1e-3]))
    last = draw(st.sampled_from([1.0, 0.98, 0.7, 0.1, 1e-3, 1e-8]))
    num_steps = draw(st.integers(1, NUM_BINS))
    levels = np.exp(rng.uniform(np.log(min(first, last)), np.log(first), num_steps))
    levels[0] = first
    mismatch_B = np.sort(levels[rng.integers(0, num_steps, NUM_BINS)])[::-1]
    share = draw(st.sampled_from([1.0, 0.5, 0.1, 1e-4]))
    far_B = np.where(EDGES_B >= FAR_MARGIN_STEPS, mismatch_B, mismatch_B * share)
    return RateBounds(mismatch_B=mismatch_B.copy(), far_B=far_B)


def log_e_OKR(law: EvidenceLaw, gap_R: list[float]) -> Float64Array:
    outcomes = (MATCH, NEAR, FAR)
    return np.stack([law.log_e_KR(calls_of(gap_R, [o] * len(gap_R))) for o in outcomes])


def honest_rates(
    rng: np.random.Generator, bounds: RateBounds, gap_R: list[float], *, at_the_bound: bool
) -> tuple[Float64Array, Float64Array]:
    """Return rates of near and far mismatches whose sum and far part stay below the bounds."""
    bin_R = bin_of(np.asarray(gap_R))
    size = len(gap_R)
    used_R, far_share_R = (np.ones(size), np.ones(size)) if at_the_bound else rng.random((2, size))
    total_R = bounds.mismatch_B[bin_R] * used_R
    far_R = np.minimum(bounds.far_B[bin_R] * far_share_R, total_R)
    near_R = total_R - far_R
    # a near mismatch cannot be had where the runner-up is far
    near_R = np.where(np.asarray(gap_R) >= FAR_MARGIN_STEPS, 0.0, near_R)
    return near_R, far_R


def expectations(
    law: EvidenceLaw, gap_R: list[float], near_R: Float64Array, far_R: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return the expected e-value of each call, for each alternative [K, R] and the mixture [R]."""
    e_OKR = np.exp(log_e_OKR(law, gap_R))
    rate_OR = np.stack([1.0 - near_R - far_R, near_R, far_R])
    expected_KR: Float64Array = np.einsum("okr,or->kr", e_OKR, rate_OR)
    mixed_OR = np.exp(np.stack([mix(x) for x in log_e_OKR(law, gap_R)]))
    expected_R: Float64Array = (mixed_OR * rate_OR).sum(axis=0)
    return expected_KR, expected_R


@settings(max_examples=300, deadline=None)
@given(bounds(), gaps, seeds, st.booleans())
def test_no_honest_law_below_the_bounds_gains_evidence_on_average(
    bounds: RateBounds, gap_R: list[float], seed: int, at_the_bound: bool
) -> None:
    rng = np.random.default_rng(seed)
    near_R, far_R = honest_rates(rng, bounds, gap_R, at_the_bound=at_the_bound)
    expected_KR, expected_R = expectations(EvidenceLaw(bounds), gap_R, near_R, far_R)
    assert (expected_KR <= 1.0 + ROUNDING).all()
    assert (expected_R <= 1.0 + ROUNDING).all()


@settings(max_examples=100, deadline=None)
@given(seeds, gaps)
def test_the_bounds_of_any_counts_give_evidence_that_no_honest_law_gains(
    seed: int, gap_R: list[float]
) -> None:
    rng = np.random.default_rng(seed)
    variants = []
    for _ in range(2):
        gap = np.exp(rng.uniform(-4, 5, int(rng.integers(0, 3000))))
        missed = rng.random(len(gap)) < 0.6 * np.exp(-gap)
        is_far = missed & (gap >= FAR_MARGIN_STEPS)
        bin_N = bin_of(gap)
        variants.append(
            BinCounts(
                num_calls_B=np.bincount(bin_N, minlength=NUM_BINS),
                num_mismatches_B=np.bincount(bin_N[missed], minlength=NUM_BINS),
                num_far_B=np.bincount(bin_N[is_far], minlength=NUM_BINS),
            )
        )
    found = bound_rates(tuple(variants), 0.01)
    near_R, far_R = honest_rates(rng, found, gap_R, at_the_bound=bool(rng.random() < 0.5))
    expected_KR, expected_R = expectations(EvidenceLaw(found), gap_R, near_R, far_R)
    assert (expected_KR <= 1.0 + ROUNDING).all() and (expected_R <= 1.0 + ROUNDING).all()


@settings(max_examples=300, deadline=None)
@given(bounds(), gaps)
def test_evidence_is_finite_and_no_match_speaks_against_a_provider(
    bounds: RateBounds, gap_R: list[float]
) -> None:
    match_KR, near_KR, far_KR = log_e_OKR(EvidenceLaw(bounds), gap_R)
    assert np.isfinite([match_KR, near_KR, far_KR]).all()
    # an alternative below the honest bounds would do one of these
    assert (match_KR <= ROUNDING).all()
    assert (far_KR >= -ROUNDING).all()
    # a match costs at most what a rate of 98 % makes it cost
    assert (match_KR >= np.log(0.02) - ROUNDING).all()


@settings(max_examples=200, deadline=None)
@given(bounds(), gaps, seeds)
def test_evidence_of_an_answer_is_the_sum_of_its_calls_mixed(
    bounds: RateBounds, gap_R: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    outcomes = rng.choice([MATCH, NEAR, FAR], len(gap_R))
    calls = calls_of(gap_R, outcomes, rng.random(len(gap_R)) < 0.8)
    law = EvidenceLaw(bounds)
    found = weigh(calls, law)
    totals = [
        float(np.log(np.sum(np.exp(LOG_PRIOR_K + law.log_e_KR(calls)[:, :n].sum(axis=1)))))
        for n in range(len(gap_R) + 1)
    ]
    assert len(found.log_e_nats_K) == NUM_ALTERNATIVES
    np.testing.assert_allclose(found.log_e_nats, totals[-1], atol=1e-8)
    np.testing.assert_allclose(found.peak_log_e_nats, max(totals), atol=1e-8)
    np.testing.assert_allclose(totals[found.peak_token], max(totals), atol=1e-8)
    assert found.peak_log_e_nats >= max(found.log_e_nats, 0.0)

"""Boundaries against the constants in confseq's own unit tests, and against crossing streams."""

import numpy as np
import pytest
from scipy import integrate, stats

from audit.judge.betting import lower_bound, upper_bound
from tests.support.boundaries import (
    bernoulli_interval,
    best_rho,
    gamma_exponential_bound,
    normal_mixture_bound,
    polynomial_stitching_bound,
)

TOLERANCE = 1e-5


def test_normal_mixtures_match_confseq() -> None:
    assert best_rho(100, 0.05) == pytest.approx(12.60056, abs=TOLERANCE)
    two_sided = normal_mixture_bound(100, 0.05, v_opt=100)
    assert two_sided == pytest.approx(30.35209, abs=TOLERANCE)
    one_sided = normal_mixture_bound(100, 0.05, v_opt=100, one_sided=True)
    assert one_sided == pytest.approx(27.66071, abs=TOLERANCE)


def test_the_gamma_exponential_bound_matches_confseq() -> None:
    bound = gamma_exponential_bound(100, 0.05, v_opt=100, scale=2)
    assert bound == pytest.approx(33.02017, abs=TOLERANCE)


@pytest.mark.parametrize(("scale", "expected"), [(3, 64.48755), (-1, 28.99389)])
def test_polynomial_stitching_matches_confseq(scale: float, expected: float) -> None:
    bound = polynomial_stitching_bound(100, 0.05, v_min=10, scale=scale)
    assert bound == pytest.approx(expected, abs=TOLERANCE)
    assert polynomial_stitching_bound(1, 0.05, v_min=10) == polynomial_stitching_bound(
        10, 0.05, v_min=10
    )


@pytest.mark.parametrize(
    ("num_ones", "num_total", "t_opt", "expected"),
    [
        (700, 1000, 100, (0.651629, 0.745949)),
        (15, 50, 50, (0.129556, 0.511896)),
        (5, 50, 50, (0.013021, 0.269264)),
        (1, 50, 50, (0.0, 0.13489)),
        (1, 2, 50, (0.0, 1.0)),
        (100, 200, 1, (0.328923, 0.671076)),
        (0, 1, 50, (0.0, 1.0)),
        (1, 1, 50, (0.0, 1.0)),
    ],
)
def test_bernoulli_intervals_match_confseq(
    num_ones: int, num_total: int, t_opt: int, expected: tuple[float, float]
) -> None:
    found = bernoulli_interval(num_ones, num_total, 0.05, t_opt=t_opt)
    assert found == pytest.approx(expected, abs=TOLERANCE)


def test_best_rho_is_near_the_best_there_is() -> None:
    rho = best_rho(100, 0.05)
    bounds = [
        np.sqrt((100 + r) * (np.log1p(100 / r) + 2 * np.log(20)))
        for r in rho * np.geomspace(0.2, 5, 401)
    ]
    assert normal_mixture_bound(100, 0.05, v_opt=100) <= min(bounds) * 1.001


def test_the_gamma_exponential_mixture_is_the_integral_that_it_claims() -> None:
    """At the bound, the mixture integrated numerically reaches 1 / alpha."""
    v, alpha, scale, v_opt = 30.0, 0.02, 0.7, 50.0
    s = gamma_exponential_bound(v, alpha, v_opt=v_opt, scale=scale)
    shape = best_rho(v_opt, 0.1) / scale**2

    def integrand(u: float) -> float:
        growth = (1 - u) * (s / scale + v / scale**2) + v / scale**2 * np.log(u)
        return float(np.exp(growth) * stats.gamma.pdf(u, shape, scale=1 / shape))

    mixture = integrate.quad(integrand, 1e-12, 1)[0] / stats.gamma.cdf(1, shape, scale=1 / shape)
    assert mixture == pytest.approx(1 / alpha, rel=1e-6)


def test_gaussian_walks_cross_as_seldom_as_stated() -> None:
    rng = np.random.default_rng(0)
    walks = rng.standard_normal((2000, 500)).cumsum(axis=1)
    times, alpha = range(1, 501), 0.05
    limit = stats.binom.ppf(0.99, 2000, alpha)
    one = [normal_mixture_bound(t, alpha, v_opt=100, one_sided=True) for t in times]
    two = [normal_mixture_bound(t, alpha, v_opt=100) for t in times]
    stitched = [polynomial_stitching_bound(t, alpha, v_min=1) for t in times]
    assert (walks >= one).any(axis=1).sum() <= limit
    assert (np.abs(walks) >= two).any(axis=1).sum() <= limit
    assert (walks >= stitched).any(axis=1).sum() <= limit
    assert (walks >= np.asarray(one)).any(axis=1).sum() > 0


@pytest.mark.parametrize(("num_ones", "num_total"), [(30, 100), (700, 1000), (20_000, 100_000)])
def test_bets_give_bounds_close_to_the_published_interval(num_ones: int, num_total: int) -> None:
    lower, upper = bernoulli_interval(num_ones, num_total, 0.05, t_opt=num_total)
    low = float(lower_bound(num_ones, num_total, 0.025))
    high = float(upper_bound(num_ones, num_total, 0.025))
    assert 0.75 <= (high - low) / (upper - lower) <= 1.35


def test_nonsense_is_refused() -> None:
    for alpha in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="alpha"):
            best_rho(1.0, alpha)
        with pytest.raises(ValueError, match="alpha"):
            polynomial_stitching_bound(1.0, alpha, v_min=1.0)
    with pytest.raises(ValueError, match="v must"):
        normal_mixture_bound(0.0, 0.05, v_opt=1.0)
    with pytest.raises(ValueError, match="scale"):
        gamma_exponential_bound(1.0, 0.05, v_opt=1.0, scale=0.0)
    with pytest.raises(ValueError, match="above 1"):
        polynomial_stitching_bound(1.0, 0.05, v_min=1.0, power=1.0)
    with pytest.raises(ValueError, match="ones must"):
        bernoulli_interval(3, 2, 0.05, t_opt=10)

"""Top-k and top-p keep what the engines' sort path keeps, also on ties."""

import numpy as np
import pytest
import torch

from reference_runner.samplers.filters import cut_distances, kept_mask
from tests.support.sampling_twin import kept_columns, random_logits

FILTERS = [(1, 1.0), (5, 1.0), (0, 0.9), (0, 0.1), (7, 0.8), (3, 1e-9), (10**9, 0.5)]


def kept(logits: list[float], *, top_k: int = 0, top_p: float = 1.0) -> list[bool] | None:
    mask = kept_mask(torch.tensor([logits]), top_k=top_k, top_p=top_p)
    return None if mask is None else [bool(x) for x in mask[0]]


@pytest.mark.parametrize(("top_k", "top_p"), FILTERS)
@pytest.mark.parametrize("vocab_size", [1, 2, 13, 101])
def test_the_mask_equals_the_slow_twins(vocab_size: int, top_k: int, top_p: float) -> None:
    rng = np.random.default_rng([vocab_size, top_k])
    logits = random_logits(rng, 40, vocab_size)
    mask = kept_mask(torch.from_numpy(logits), top_k=top_k, top_p=top_p)
    num_compared = 0
    for row, values in enumerate(logits):
        expected, ambiguous = kept_columns(values.tolist(), top_k=top_k, top_p=top_p)
        if ambiguous:
            continue
        num_compared += 1
        found = set(range(vocab_size)) if mask is None else set(np.flatnonzero(mask[row].numpy()))
        assert found == expected
    assert num_compared >= 20


def test_no_filter_means_no_mask() -> None:
    assert kept([1.0, 2.0]) is None
    assert kept([1.0, 2.0], top_k=2) is None
    assert kept([1.0, 2.0], top_k=3) is None


def test_top_k_keeps_every_token_tied_with_the_kth() -> None:
    assert kept([3.0, 1.0, 2.0, 2.0], top_k=2) == [True, False, True, True]


def test_top_p_keeps_the_most_likely_token_however_small_p_is() -> None:
    assert kept([0.0, 1.0, 0.5], top_p=1e-12) == [False, True, False]


def test_of_tied_best_tokens_a_tiny_p_keeps_the_last_as_a_stable_sort_does() -> None:
    assert kept([1.0, 1.0, 0.0], top_p=1e-12) == [False, True, False]


def test_top_p_counts_mass_among_the_top_k_survivors_only() -> None:
    logits = [float(np.log(p)) for p in (0.4, 0.3, 0.2, 0.1)]
    assert kept(logits, top_p=0.6) == [True, True, False, False]
    assert kept(logits, top_k=2, top_p=0.55) == [True, False, False, False]


@pytest.mark.parametrize(("top_k", "top_p"), FILTERS)
def test_distances_agree_with_the_mask_and_are_never_nan(top_k: int, top_p: float) -> None:
    logits = torch.from_numpy(random_logits(np.random.default_rng(top_k), 60, 31))
    mask = kept_mask(logits, top_k=top_k, top_p=top_p)
    keep = torch.ones_like(logits, dtype=torch.bool) if mask is None else mask
    cuts = cut_distances(logits, top_k=top_k, top_p=top_p)
    assert (cuts is None) == (mask is None)
    if cuts is None:
        return
    found, leave, enter = cuts
    assert torch.equal(found, keep)
    assert not bool(leave.isnan().any() or enter.isnan().any())
    assert bool((leave >= 0).all()) and bool((enter >= 0).all())
    assert bool((enter[keep] == 0).all())
    assert bool((leave[~keep] == torch.inf).all())
    if top_p == 1.0:
        assert bool((enter[~keep] > 0).all())


def test_top_k_distances_are_those_to_the_tokens_at_the_cut() -> None:
    cuts = cut_distances(torch.tensor([[5.0, 3.0, 2.5, 0.0]]), top_k=2, top_p=1.0)
    assert cuts is not None
    _, leave, enter = cuts
    assert leave[0, :2].tolist() == [2.5, 0.5]
    assert enter[0].tolist() == [0.0, 0.0, 0.5, 3.0]


def test_moving_a_logit_by_its_top_k_distance_moves_the_token_across_the_cut() -> None:
    logits = torch.from_numpy(random_logits(np.random.default_rng(3), 30, 17))
    cuts = cut_distances(logits, top_k=4, top_p=1.0)
    assert cuts is not None
    keep, _, enter = cuts
    for row, column in (~keep).nonzero()[:100].tolist():
        moved = logits[row : row + 1].clone()
        moved[0, column] += enter[row, column] + 1e-4
        after = kept_mask(moved, top_k=4, top_p=1.0)
        assert after is not None and bool(after[0, column])

"""Top-k and top-p, as vLLM's PyTorch path and transformers apply them.

K first, then p on the survivors.

Source: vLLM 0.32.0 `vllm/v1/sample/ops/topk_topp_sampler.py`; transformers 5.19.0
`generation/logits_process.py`. Both keep all tokens tied with the k-th, sum top-p in ascending
order, and keep at least the most likely token.

A token close to a cut may fall on either side of it on another machine. How close is told as a
distance: the change of a logit (over T) that would move the token across.

Legend: R rows, V vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class CutDistances(NamedTuple):
    """Which tokens survive, and how far each is from a cut, in logits over T, all [R, V]."""

    keep_RV: Tensor
    """As `kept_mask` gives it, bool."""
    to_leave_RV: Tensor
    """For kept tokens, the change that would drop them; infinite where nothing can. float32."""
    to_enter_RV: Tensor
    """For dropped tokens, the change that would keep them; 0 for kept ones. float32."""


def kept_mask(scaled_RV: Tensor, *, top_k: int, top_p: float) -> Tensor | None:
    """Return which tokens survive, shape [R, V] bool, or None where nothing is filtered.

    `scaled_RV` are logits divided by the temperature, float32.
    """
    inside_RV = _top_k_mask(scaled_RV, top_k)
    return _nucleus(scaled_RV, inside_RV, top_p)[0] if top_p < 1.0 else inside_RV


def cut_distances(scaled_RV: Tensor, *, top_k: int, top_p: float) -> CutDistances | None:
    """Return how far each token is from being dropped or kept, or None where nothing is filtered.

    For top-k that is the distance to the nearest logit on the other side, for top-p see below. The
    mask is that of `kept_mask`, from the same sort.
    """
    inside_RV = _top_k_mask(scaled_RV, top_k)
    cuts = None if inside_RV is None else _swap_distances(scaled_RV, inside_RV)
    if top_p < 1.0:
        nucleus = _nucleus_distances(scaled_RV, inside_RV, top_p)
        cuts = nucleus if cuts is None else _both(cuts, nucleus)
    if cuts is None:
        return None
    leave_RV = cuts.to_leave_RV.masked_fill(~cuts.keep_RV, torch.inf)
    return CutDistances(cuts.keep_RV, leave_RV, cuts.to_enter_RV.masked_fill(cuts.keep_RV, 0.0))


def _both(first: CutDistances, second: CutDistances) -> CutDistances:
    return CutDistances(
        second.keep_RV,
        torch.minimum(first.to_leave_RV, second.to_leave_RV),
        torch.maximum(first.to_enter_RV, second.to_enter_RV),
    )


def _swap_distances(scaled_RV: Tensor, keep_RV: Tensor) -> CutDistances:
    """Return each token's distance to the nearest one on the other side, 0 where it is past it."""
    worst_kept_R1 = scaled_RV.masked_fill(~keep_RV, torch.inf).amin(dim=-1, keepdim=True)
    best_dropped_R1 = scaled_RV.masked_fill(keep_RV, -torch.inf).amax(dim=-1, keepdim=True)
    return CutDistances(
        keep_RV,
        (scaled_RV - best_dropped_R1).clamp_(min=0.0),
        (worst_kept_R1 - scaled_RV).clamp_(min=0.0),
    )


def _nucleus_distances(scaled_RV: Tensor, inside_RV: Tensor | None, top_p: float) -> CutDistances:
    """Return the distances for top-p alone, by the nearer of two ways across the cut.

    Either kept logits shift against dropped ones until the token's cumulative mass meets the cut
    (to first order by the missing mass over p (1 - p)), or the token changes places with the
    nearest one on the other side.
    """
    keep_RV, mass_RV = _nucleus(scaled_RV, inside_RV, top_p)
    if inside_RV is not None:
        # a token that top-k dropped would enter at the light end: its mass is its own alone
        survivors_RV = scaled_RV.masked_fill(~inside_RV, -torch.inf)
        own_mass_RV = (scaled_RV - survivors_RV.logsumexp(dim=-1, keepdim=True)).exp_()
        mass_RV = torch.where(inside_RV, mass_RV, own_mass_RV)
    # float32 would take a tiny p for 0, and 0 / 0 is no distance
    shift_RV = (mass_RV - (1.0 - top_p)).abs_().div_(max(top_p * (1.0 - top_p), 1e-30))
    swap = _swap_distances(scaled_RV, keep_RV)
    return CutDistances(
        keep_RV,
        torch.minimum(shift_RV, swap.to_leave_RV),
        torch.minimum(shift_RV, swap.to_enter_RV),
    )


def _nucleus(scaled_RV: Tensor, inside_RV: Tensor | None, top_p: float) -> tuple[Tensor, Tensor]:
    """Return which tokens top-p keeps of those inside, and their cumulative mass, both [R, V]."""
    survivors_RV, num_inside = scaled_RV, None
    if inside_RV is not None:
        survivors_RV = scaled_RV.masked_fill(~inside_RV, -torch.inf)
        num_inside = int(inside_RV.sum(dim=-1).max())
    mass_RV = ascending_mass(survivors_RV, num_inside)
    keep_RV = mass_RV > 1.0 - top_p
    keep_RV &= survivors_RV > -torch.inf
    keep_RV.scatter_(-1, _last_in_order(survivors_RV), True)
    return keep_RV, mass_RV


def _top_k_mask(scaled_RV: Tensor, top_k: int) -> Tensor | None:
    if not 0 < top_k < scaled_RV.shape[-1]:
        return None
    kth_R1 = torch.topk(scaled_RV, top_k, dim=-1).values[:, -1:]
    # a logit of -inf is never kept, not even where fewer than k are finite
    return scaled_RV >= kth_R1.clamp(min=torch.finfo(scaled_RV.dtype).min)


def ascending_mass(scaled_RV: Tensor, num_kept: int | None = None) -> Tensor:
    """Return each token's probability plus that of all less likely ones, shape [R, V].

    No row has more than `num_kept` finite logits (None: any number); the fewer, the less is sorted.
    """
    if num_kept is not None:
        # in column order, so that equal logits keep the order of a sort of the whole row
        columns_RK = torch.topk(scaled_RV, num_kept, dim=-1).indices.sort(dim=-1).values
        mass_RK = ascending_mass(scaled_RV.gather(-1, columns_RK))
        return torch.zeros_like(scaled_RV).scatter_(-1, columns_RK, mass_RK)
    ascending_RV, order_RV = scaled_RV.sort(dim=-1, descending=False, stable=True)
    mass_RV = ascending_RV.softmax(dim=-1).cumsum(dim=-1)
    return torch.empty_like(mass_RV).scatter_(-1, order_RV, mass_RV)


def _last_in_order(scaled_RV: Tensor) -> Tensor:
    """Return the column that a stable ascending sort puts last, [R, 1].

    The last of the most likely tokens.
    """
    columns_V = torch.arange(scaled_RV.shape[-1], device=scaled_RV.device)
    best_R1 = scaled_RV.amax(dim=-1, keepdim=True)
    return torch.where(scaled_RV == best_R1, columns_V, -1).amax(dim=-1, keepdim=True)

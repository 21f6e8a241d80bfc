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
    """How far tokens are from a filter's cut, in logits over T, both [R, V] float32."""

    to_leave_RV: Tensor
    """For kept tokens, the change that would drop them; infinite where nothing can."""
    to_enter_RV: Tensor
    """For dropped tokens, the change that would keep them; 0 for kept ones."""


def kept_mask(scaled_RV: Tensor, *, top_k: int, top_p: float) -> Tensor | None:
    """Return which tokens survive, shape [R, V] bool, or None where nothing is filtered.

    `scaled_RV` are logits divided by the temperature, float32.
    """
    keep_RV: Tensor | None = None
    if 0 < top_k < scaled_RV.shape[-1]:
        keep_RV = scaled_RV >= _kth_largest(scaled_RV, top_k)
    if top_p < 1.0:
        survivors_RV = scaled_RV if keep_RV is None else scaled_RV.masked_fill(~keep_RV, -torch.inf)
        mass_RV = ascending_mass(survivors_RV, _max_kept(keep_RV))
        dropped_RV = mass_RV <= 1.0 - top_p
        dropped_RV |= survivors_RV == -torch.inf
        dropped_RV.scatter_(-1, _last_in_order(survivors_RV), False)
        keep_RV = ~dropped_RV
    return keep_RV


def cut_distances(scaled_RV: Tensor, *, top_k: int, top_p: float) -> CutDistances:
    """Return how far each token is from being dropped, or from being kept.

    For top-k that is the distance to the best dropped or the worst kept logit, for top-p see below.
    """
    leave_RV = torch.full_like(scaled_RV, torch.inf)
    enter_RV = torch.zeros_like(scaled_RV)
    survivors_RV = scaled_RV
    if 0 < top_k < scaled_RV.shape[-1]:
        kth_R1 = _kth_largest(scaled_RV, top_k)
        keep_RV = scaled_RV >= kth_R1
        next_R1 = scaled_RV.masked_fill(keep_RV, -torch.inf).amax(dim=-1, keepdim=True)
        leave_RV = torch.where(keep_RV, scaled_RV - next_R1, leave_RV)
        enter_RV = torch.where(keep_RV, enter_RV, kth_R1 - scaled_RV)
        survivors_RV = scaled_RV.masked_fill(~keep_RV, -torch.inf)
    if top_p < 1.0:
        nucleus = _nucleus_distances(scaled_RV, survivors_RV, top_p)
        leave_RV = torch.minimum(leave_RV, nucleus.to_leave_RV)
        enter_RV = torch.maximum(enter_RV, nucleus.to_enter_RV)
    return CutDistances(leave_RV, enter_RV)


def _nucleus_distances(scaled_RV: Tensor, survivors_RV: Tensor, top_p: float) -> CutDistances:
    """Return the distances for top-p alone, by the nearer of two ways across the cut.

    Either kept logits shift against dropped ones until the token's cumulative mass meets the cut
    (to first order by the missing mass over p (1 - p)), or the token changes places with the
    nearest one on the other side.
    """
    # a token that top-k dropped would enter at the light end: its mass is its own alone
    own_mass_RV = (scaled_RV - survivors_RV.logsumexp(dim=-1, keepdim=True)).exp()
    inside_RV = survivors_RV > -torch.inf
    mass_RV = ascending_mass(survivors_RV, _max_kept(inside_RV))
    mass_RV = torch.where(inside_RV, mass_RV, own_mass_RV)
    slack_RV = mass_RV - (1.0 - top_p)
    # float32 would take a tiny p for 0, and 0 / 0 is no distance
    shift_RV = slack_RV.abs() / max(top_p * (1.0 - top_p), 1e-30)
    keep_RV = inside_RV & (slack_RV > 0.0)
    lowest_kept_R1 = scaled_RV.masked_fill(~keep_RV, torch.inf).amin(dim=-1, keepdim=True)
    best_dropped_R1 = scaled_RV.masked_fill(keep_RV, -torch.inf).amax(dim=-1, keepdim=True)
    leave_RV = torch.minimum(shift_RV, (scaled_RV - best_dropped_R1).clamp(min=0.0))
    enter_RV = torch.minimum(shift_RV, (lowest_kept_R1 - scaled_RV).clamp(min=0.0))
    none_RV = torch.zeros_like(enter_RV)
    return CutDistances(
        torch.where(keep_RV, leave_RV, none_RV + torch.inf), torch.where(keep_RV, none_RV, enter_RV)
    )


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


def _max_kept(keep_RV: Tensor | None) -> int | None:
    return None if keep_RV is None else int(keep_RV.sum(dim=-1).max())


def _kth_largest(scaled_RV: Tensor, top_k: int) -> Tensor:
    return torch.topk(scaled_RV, top_k, dim=-1).values[:, -1:]


def _last_in_order(scaled_RV: Tensor) -> Tensor:
    """Return the column that a stable ascending sort puts last, [R, 1].

    The last of the most likely tokens.
    """
    columns_V = torch.arange(scaled_RV.shape[-1], device=scaled_RV.device)
    best_R1 = scaled_RV.amax(dim=-1, keepdim=True)
    return torch.where(scaled_RV == best_R1, columns_V, -1).amax(dim=-1, keepdim=True)

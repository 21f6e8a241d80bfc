"""Compares claimed tokens with what the reference's sampler would have drawn.

Plain torch, the truth.

One call scores the rows of one sequence under one profile. It knows logits and noise, no model and
no text.

Legend: R scored rows (output tokens), M rows whose tokens differ, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from reference_runner.records import NO_RIVAL_LOGITS, Sampling
from reference_runner.samplers.filters import CutDistances, cut_distances, kept_mask


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScores:
    """What `Evidence` holds, as tensors of one chunk of rows."""

    signed_margin_R: Tensor
    matched_R: Tensor
    rank_R: Tensor
    logprob_R: Tensor
    top_two_gap_R: Tensor
    contender_logit_R: Tensor
    excluded_R: Tensor
    best_token_R: Tensor
    """What the sampler draws."""
    rival_token_R: Tensor
    """What the smallest change would make it draw instead."""


def score_rows(
    logits_RV: Tensor, claimed_R: Tensor, noise_RV: Tensor | None, sampling: Sampling
) -> RowScores:
    """Score each claimed token against the reference's own draw.

    `logits_RV` float32, as the model gave them; `claimed_R` int64 token ids; `noise_RV` Gumbel
    noise, float64, or None for greedy. Margins are in logits: noise is scaled by the temperature,
    logits are not (Token-DiFR). With filters on, margin and gap are those of `_shortfall` and
    `_smallest_change`.
    """
    cuts, temperature = None, 1.0
    if noise_RV is None:
        noised_RV = logits_RV.double()
    else:
        temperature = sampling.temperature
        scaled_RV = logits_RV / temperature
        cuts = cut_distances(scaled_RV, top_k=sampling.top_k, top_p=sampling.top_p)
        noised_RV = scaled_RV.double() + noise_RV

    rivals_RV = _only_kept(noised_RV, None if cuts is None else cuts.keep_RV)
    best_R, best_token_R = _draw(rivals_RV)
    matched_R = best_token_R == claimed_R
    excluded_R = torch.zeros_like(matched_R)
    if cuts is None:
        second = rivals_RV.scatter(-1, best_token_R[:, None], -torch.inf).max(dim=-1)
        gap_R, rival_R = best_R - second.values, second.indices
        margin_R = torch.where(matched_R, gap_R, _pick(noised_RV, claimed_R) - best_R)
    else:
        gap_R, rival_R = _smallest_change(noised_RV, best_R, best_token_R, cuts)
        margin_R = gap_R.clone()
        rows_M = (~matched_R).nonzero().squeeze(-1)
        if len(rows_M):
            excluded_R = ~_pick(cuts.keep_RV, claimed_R)
            near = CutDistances(*(part_RV[rows_M] for part_RV in cuts))
            claimed_M = claimed_R[rows_M]
            margin_R[rows_M] = -_shortfall(rivals_RV[rows_M], noised_RV[rows_M], claimed_M, near)

    claimed_logit_R = _pick(logits_RV, claimed_R)
    return RowScores(
        signed_margin_R=_finite_logits(margin_R * temperature),
        matched_R=matched_R,
        rank_R=(logits_RV > claimed_logit_R[:, None]).sum(dim=-1).int(),
        logprob_R=claimed_logit_R - logits_RV.logsumexp(dim=-1),
        top_two_gap_R=_finite_logits(gap_R * temperature),
        contender_logit_R=torch.maximum(
            _pick(logits_RV, best_token_R).abs(), _pick(logits_RV, rival_R).abs()
        ),
        excluded_R=excluded_R,
        best_token_R=best_token_R,
        rival_token_R=rival_R,
    )


def draw_tokens(logits_RV: Tensor, noise_RV: Tensor | None, sampling: Sampling) -> Tensor:
    """Return the token that the sampler draws in each row, [R] int64; as `score_rows` does.

    Arguments as there. Of equal tokens the lowest id wins.
    """
    if noise_RV is None:
        return _draw(logits_RV)[1]
    scaled_RV = logits_RV / sampling.temperature
    keep_RV = kept_mask(scaled_RV, top_k=sampling.top_k, top_p=sampling.top_p)
    return _draw(_only_kept(scaled_RV.double() + noise_RV, keep_RV))[1]


def _draw(rivals_RV: Tensor) -> tuple[Tensor, Tensor]:
    # max returns the first of equal columns, so the lowest token id wins the ties of bf16 logits
    best = rivals_RV.max(dim=-1)
    return best.values, best.indices


def _only_kept(noised_RV: Tensor, keep_RV: Tensor | None) -> Tensor:
    return noised_RV if keep_RV is None else noised_RV.masked_fill(~keep_RV, -torch.inf)


def _smallest_change(
    noised_RV: Tensor, best_R: Tensor, best_token_R: Tensor, cuts: CutDistances
) -> tuple[Tensor, Tensor]:
    """Return the smallest change of logits (over T) that would draw any other token, and that one.

    Both [R]. The least over all other tokens of a lower bound of their `_shortfall`: the token must
    be kept, and the best one overtaken or dropped, whichever is nearer. It never exceeds the
    shortfall of a claimed token, which must also pass what else is ahead of it.
    """
    best_leaves_R1 = _pick(cuts.to_leave_RV, best_token_R)[:, None]
    change_RV = (best_R[:, None] - noised_RV).clamp_(min=0.0)
    change_RV = torch.minimum(change_RV, best_leaves_R1)
    change_RV = torch.maximum(change_RV, cuts.to_enter_RV)
    least = change_RV.scatter_(-1, best_token_R[:, None], torch.inf).min(dim=-1)
    return least.values, least.indices


def _shortfall(
    rivals_MV: Tensor, noised_MV: Tensor, claimed_M: Tensor, cuts: CutDistances
) -> Tensor:
    """Return the smallest change of logits (over T) that would draw the claimed token, [M].

    The token must be kept by the filters, and each rival ahead of it must be overtaken or fall out
    of them, whichever is nearer. Without filters this is the distance to the best rival; near a cut
    it stays small where an honest engine's rounding moves a token across, instead of jumping to the
    whole distance.
    """
    ahead_MV = rivals_MV - _pick(noised_MV, claimed_M)[:, None]
    # a claimed logit of -inf is infinitely far behind, which the way inside says already
    obstacle_MV = torch.minimum(ahead_MV, cuts.to_leave_RV).nan_to_num_(0.0, torch.inf, 0.0)
    obstacle_MV = obstacle_MV.clamp_(min=0.0)
    return torch.maximum(obstacle_MV.amax(dim=-1), _pick(cuts.to_enter_RV, claimed_M).double())


def _finite_logits(values_R: Tensor) -> Tensor:
    return values_R.clamp(-NO_RIVAL_LOGITS, NO_RIVAL_LOGITS).float()


def _pick(values_RV: Tensor, token_R: Tensor) -> Tensor:
    return values_RV.gather(-1, token_R[:, None]).squeeze(-1)

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
from reference_runner.samplers.filters import cut_distances, kept_mask


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScores:
    """What `Evidence` holds, as tensors of one chunk of rows."""

    signed_margin_R: Tensor
    matched_R: Tensor
    rank_R: Tensor
    logprob_R: Tensor
    top_two_gap_R: Tensor
    excluded_R: Tensor


def score_rows(
    logits_RV: Tensor, claimed_R: Tensor, noise_RV: Tensor | None, sampling: Sampling
) -> RowScores:
    """Score each claimed token against the reference's own draw.

    `logits_RV` float32, as the model gave them; `claimed_R` int64 token ids; `noise_RV` Gumbel
    noise, float64, or None for greedy. Margins are in logits: noise is scaled by the temperature,
    logits are not (Token-DiFR). Where tokens differ and filters are on, the margin is that of
    `_shortfall`.
    """
    keep_RV, temperature = None, 1.0
    if noise_RV is None:
        noised_RV = logits_RV.double()
    else:
        temperature = sampling.temperature
        scaled_RV = logits_RV / temperature
        keep_RV = kept_mask(scaled_RV, top_k=sampling.top_k, top_p=sampling.top_p)
        noised_RV = scaled_RV.double() + noise_RV

    rivals_RV = noised_RV if keep_RV is None else noised_RV.masked_fill(~keep_RV, -torch.inf)
    # max returns the first of equal columns, so the lowest token id wins the ties of bf16 logits
    best_R, best_token_R = rivals_RV.max(dim=-1)
    second_R = rivals_RV.scatter(-1, best_token_R[:, None], -torch.inf).amax(dim=-1)
    matched_R = best_token_R == claimed_R

    gap_R = best_R - second_R
    margin_R = torch.where(matched_R, gap_R, _pick(noised_RV, claimed_R) - best_R)
    excluded_R = torch.zeros_like(matched_R)
    if keep_RV is not None and not bool(matched_R.all()):
        excluded_R = ~_pick(keep_RV, claimed_R)
        rows_M = (~matched_R).nonzero().squeeze(-1)
        margin_R[rows_M] = -_shortfall(
            scaled_RV[rows_M], rivals_RV[rows_M], noised_RV[rows_M], claimed_R[rows_M], sampling
        )

    claimed_logit_R = _pick(logits_RV, claimed_R)
    return RowScores(
        signed_margin_R=_finite_logits(margin_R * temperature),
        matched_R=matched_R,
        rank_R=(logits_RV > claimed_logit_R[:, None]).sum(dim=-1).int(),
        logprob_R=claimed_logit_R - logits_RV.logsumexp(dim=-1),
        top_two_gap_R=_finite_logits(gap_R * temperature),
        excluded_R=excluded_R,
    )


def _shortfall(
    scaled_MV: Tensor, rivals_MV: Tensor, noised_MV: Tensor, claimed_M: Tensor, sampling: Sampling
) -> Tensor:
    """Return the smallest change of logits (over T) that would draw the claimed token, [M].

    The token must be kept by the filters, and each rival ahead of it must be overtaken or fall out
    of them, whichever is nearer. Without filters this is the distance to the best rival; near a cut
    it stays small where an honest engine's rounding moves a token across, instead of jumping to the
    whole distance.
    """
    leave_MV, enter_MV = cut_distances(scaled_MV, top_k=sampling.top_k, top_p=sampling.top_p)
    ahead_MV = rivals_MV - _pick(noised_MV, claimed_M)[:, None]
    obstacle_MV = torch.minimum(ahead_MV, leave_MV.double()).clamp(min=0.0)
    return torch.maximum(obstacle_MV.amax(dim=-1), _pick(enter_MV, claimed_M).double())


def _finite_logits(values_R: Tensor) -> Tensor:
    return values_R.clamp(-NO_RIVAL_LOGITS, NO_RIVAL_LOGITS).float()


def _pick(values_RV: Tensor, token_R: Tensor) -> Tensor:
    return values_RV.gather(-1, token_R[:, None]).squeeze(-1)

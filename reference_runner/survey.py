"""Looks at the model's own choices: how close they are, what seeds draw, what is likeliest.

Legend: T tokens of a text, R scored rows (output tokens), S seeds, K candidates, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reference_runner.checks import check_lengths, check_token_ids
from reference_runner.errors import BadSequence
from reference_runner.model import ReferenceModel
from reference_runner.records import NO_RIVAL_LOGITS, Sampling, SeededDraws, Survey, TopLogprobs
from reference_runner.samplers.base import NoiseStream
from reference_runner.scoring import RowScores, score_rows

#: Rows times vocabulary that are scored at once in float64: fits a processor's cache.
MAX_CHUNK_ELEMENTS = 1 << 18


def survey(model: ReferenceModel, token_ids: tuple[int, ...]) -> Survey:
    """Return the two best tokens after each prefix of a text, from one pass over all of it.

    Memory is that of T x V float32 logits. Equal logits give the lowest id first, as greedy engines
    do. Raises: BadSequence where the text and one more token exceed the context.
    """
    _check_prompt(model, token_ids, 1)
    # the token after the text stands in for an answer; a causal model cannot see it from before
    logits_TV = _finite(model.output_logits((*token_ids, token_ids[-1]), len(token_ids)))
    # max names the first of equal columns, so the lowest id wins ties
    best = logits_TV.max(dim=-1)
    second = logits_TV.scatter(-1, best.indices[:, None], -torch.inf).max(dim=-1)
    gap_T = (best.values.double() - second.values.double()).clamp(max=NO_RIVAL_LOGITS)
    return Survey(
        best_token_T=best.indices.int().numpy(),
        second_token_T=second.indices.int().numpy(),
        gap_logits_T=gap_T.float().numpy(),
        contender_logit_T=torch.maximum(best.values.abs(), second.values.abs()).numpy(),
    )


def seeded_draws(
    model: ReferenceModel,
    prompt_token_ids: tuple[int, ...],
    sampling: Sampling,
    streams_S: Sequence[NoiseStream | None],
) -> SeededDraws:
    """Return what each noise stream draws as the first token, from one pass over the prompt.

    A stream of None draws greedily. Raises: BadSequence for a prompt that does not fit.
    """
    _check_prompt(model, prompt_token_ids, 1)
    if not streams_S:
        return _no_draws()
    logits_1V = _finite(model.output_logits((*prompt_token_ids, prompt_token_ids[-1]), 1))
    scores = []
    for rows in _chunks((len(streams_S), logits_1V.shape[-1])):
        noises = [stream.take(1) for stream in streams_S[rows] if stream is not None]
        num_rows = rows.stop - rows.start
        noise_SV = torch.from_numpy(np.concatenate(noises)) if noises else None
        scores.append(_score(logits_1V.expand(num_rows, -1), noise_SV, sampling))
    return SeededDraws(
        token_S=_joined(scores, "best_token_R").astype(np.int32),
        runner_up_S=_joined(scores, "rival_token_R").astype(np.int32),
        gap_logits_S=_joined(scores, "top_two_gap_R"),
        contender_logit_S=_joined(scores, "contender_logit_R"),
    )


def top_logprobs(
    model: ReferenceModel,
    prompt_token_ids: tuple[int, ...],
    output_token_ids: tuple[int, ...],
    k: int,
) -> TopLogprobs:
    """Return the k likeliest tokens at each output position and the output's own likelihood.

    Of equal tokens the lowest id comes first. Raises: BadSequence where the tokens do not fit the
    model, or k is not within the vocabulary.
    """
    _check_prompt(model, prompt_token_ids, len(output_token_ids))
    check_token_ids("output", output_token_ids, model.info)
    if not 1 <= k <= model.info.vocab_size:
        raise BadSequence(
            "invalid_exchange",
            f"{k} likeliest tokens were asked for; ask for 1 to {model.info.vocab_size}",
        )
    logits_RV = _finite(
        model.output_logits(prompt_token_ids + output_token_ids, len(output_token_ids))
    )
    tokens, logprobs, claimed = [], [], []
    for logits_V, token in zip(logits_RV, output_token_ids, strict=True):
        logprob_V = logits_V.double().log_softmax(dim=-1).numpy()
        best_K = _first_k(logprob_V, k)
        tokens.append(best_K)
        logprobs.append(logprob_V[best_K])
        claimed.append(logprob_V[token])
    return TopLogprobs(
        token_RK=np.stack(tokens).astype(np.int32),
        logprob_nats_RK=np.stack(logprobs),
        claimed_logprob_nats_R=np.asarray(claimed, dtype=np.float64),
    )


def _check_prompt(model: ReferenceModel, prompt: tuple[int, ...], num_outputs: int) -> None:
    check_lengths(len(prompt), num_outputs, model.info)
    check_token_ids("prompt", prompt, model.info)


def _finite(logits_RV: Tensor) -> Tensor:
    if not bool(logits_RV.amax(dim=-1).isfinite().all()):
        raise BadSequence(
            "replay_failed",
            "the model's logits are not finite; its numbers may be too large for this precision",
        )
    return logits_RV.cpu()


def _score(logits_RV: Tensor, noise_RV: Tensor | None, sampling: Sampling) -> "RowScores | _TopTwo":
    if noise_RV is not None and not sampling.top_k and sampling.top_p >= 1.0:
        return _top_two(logits_RV, noise_RV, sampling.temperature)
    # no token is claimed here; margins against token 0 are thrown away
    nobody_R = torch.zeros(len(logits_RV), dtype=torch.long)
    return score_rows(logits_RV, nobody_R, noise_RV, sampling)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TopTwo:
    """The part of `RowScores` that draws need."""

    best_token_R: Tensor
    rival_token_R: Tensor
    top_two_gap_R: Tensor
    contender_logit_R: Tensor


def _top_two(logits_RV: Tensor, noise_RV: Tensor, temperature: float) -> _TopTwo:
    """Return what `score_rows` would of an unfiltered draw, without what nobody asks for here."""
    noised_RV = noise_RV.double().add_(logits_RV / temperature)
    best = noised_RV.max(dim=-1)
    second = noised_RV.scatter_(-1, best.indices[:, None], -torch.inf).max(dim=-1)
    gap_R = ((best.values - second.values) * temperature).clamp(max=NO_RIVAL_LOGITS)
    pair_R2 = torch.stack([best.indices, second.indices], dim=-1)
    return _TopTwo(
        best_token_R=best.indices,
        rival_token_R=second.indices,
        top_two_gap_R=gap_R.float(),
        contender_logit_R=logits_RV.gather(-1, pair_R2).abs().amax(dim=-1),
    )


def _chunks(shape: Sequence[int]) -> list[slice]:
    num_rows, vocab_size = shape
    step = max(1, MAX_CHUNK_ELEMENTS // vocab_size)
    return [slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]


def _joined(scores: Sequence[RowScores | _TopTwo], name: str) -> np.ndarray:
    joined: np.ndarray = torch.cat([getattr(score, name) for score in scores]).numpy()
    return joined


def _no_draws() -> SeededDraws:
    none = np.zeros(0, dtype=np.int32)
    return SeededDraws(
        token_S=none,
        runner_up_S=none,
        gap_logits_S=none.astype(np.float32),
        contender_logit_S=none.astype(np.float32),
    )


def _first_k(logprob_V: np.ndarray, k: int) -> np.ndarray:
    """Return the k best columns, largest first and of equals the lowest first."""
    kth = np.partition(logprob_V, len(logprob_V) - k)[len(logprob_V) - k]
    reached = np.flatnonzero(logprob_V >= kth)
    ordered: np.ndarray = reached[np.lexsort((reached, -logprob_V[reached]))][:k]
    return ordered

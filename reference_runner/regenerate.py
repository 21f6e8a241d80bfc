"""Regenerates hidden tokens of a seeded answer: whole chains, or onwards from a given start.

`generate` draws an answer from its first token. Here each chain has tokens already, its noise goes
on at their end, and a batch holds many starts of the same answer: the chains that rounding may have
led to. Two more questions are answered: where a draw was so close that rounding decides it, and at
which place in the noise a visible answer was drawn.

Legend: B chains of a batch, P tokens of the longest start, T tokens so far, R rows (output tokens),
V vocabulary, K near ties, C contenders of each, S offsets, E rates of strangeness.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_runner.checks import check_lengths, check_sequence, check_token_ids
from reference_runner.model import ReferenceModel
from reference_runner.records import ReferenceInfo, ReplaySequence, Sampling
from reference_runner.replay import TorchReference, open_stream
from reference_runner.samplers.base import NoiseStream
from reference_runner.samplers.filters import kept_mask
from reference_runner.scoring import draw_tokens, score_rows

Float64Array = NDArray[np.float64]

#: So many tokens beside the drawn one are asked whether rounding could have drawn them.
NUM_CONTENDERS = 4

#: Shares of rows that have nothing to do with the noise although the offset is right: the context
#: before the answer is only the reference's guess of it. Each is tried, all weigh the same.
STRANGENESS_E = (0.01, 0.05, 0.2, 0.5)

#: Noise that is only passed over is drawn so many rows at a time.
_SKIPPED_ROWS = 64


class NearTie(NamedTuple):
    """A token that the reference nearly drew."""

    row: int
    """Index of the output token."""
    token_id: int
    shortfall_logits: float
    """The change of logits that would have drawn it."""


@dataclass(slots=True)
class _Chain:
    token_ids: list[int]
    stream: NoiseStream | None
    is_open: bool


class ChainRunner:
    """Regenerates chains on one reference; `batch_size` chains share a forward pass."""

    def __init__(self, reference: TorchReference, *, batch_size: int) -> None:
        self._reference = reference
        self._batch_size = batch_size

    @property
    def info(self) -> ReferenceInfo:
        """What was loaded."""
        return self._reference.info

    def regenerate(
        self,
        sequence: ReplaySequence,
        starts: Sequence[tuple[int, ...]],
        *,
        num_tokens: int,
        stops_at: tuple[int, ...] = (),
    ) -> list[tuple[int, ...]]:
        """Return each start with what the reference draws after it, `num_tokens` in all.

        `sequence` gives prompt, sampling and (first) profile; its output is not looked at. A chain
        ends early behind a token of `stops_at`. Raises: BadSequence, UnsupportedProfile.
        """
        check_lengths(len(sequence.prompt_token_ids), num_tokens, self.info)
        check_token_ids("prompt", sequence.prompt_token_ids, self.info)
        chains = [self._open(sequence, start, num_tokens) for start in starts]
        for first in range(0, len(chains), self._batch_size):
            batch = chains[first : first + self._batch_size]
            self._draw(sequence, batch, num_tokens, stops_at)
        return [tuple(chain.token_ids) for chain in chains]

    def near_ties(self, sequence: ReplaySequence, *, tolerance_logits: float) -> list[NearTie]:
        """Return the tokens that a change of logits up to `tolerance_logits` would have drawn.

        The output of `sequence` must be the reference's own chain. In order of rows, the nearest
        first. Raises: BadSequence, UnsupportedProfile.
        """
        logits_RV, noise_RV = self._logits(sequence), self._noise(sequence)
        drawn_R = torch.tensor(sequence.output_token_ids)
        scores = score_rows(logits_RV, drawn_R, noise_RV, sequence.sampling)
        rows_K = (scores.top_two_gap_R <= tolerance_logits).nonzero().squeeze(-1)
        if not len(rows_K):
            return []
        noise_KV = None if noise_RV is None else noise_RV[rows_K]
        near = _contenders(logits_RV[rows_K], drawn_R[rows_K], noise_KV, sequence.sampling)
        found = [
            NearTie(row, token_id, shortfall)
            for row, ties in zip(rows_K.tolist(), near, strict=True)
            for token_id, shortfall in ties
            if shortfall <= tolerance_logits
        ]
        return sorted(found, key=lambda tie: (tie.row, tie.shortfall_logits))

    def offset_log_e(
        self, sequence: ReplaySequence, context: tuple[int, ...], *, num_offsets: int
    ) -> Float64Array:
        """Return for each offset the log e-value that the output was drawn with its noise, [S].

        The null: the noise from that offset on has nothing to do with the output. A row matches
        then with the token's probability, and under the alternative always, but for a share of
        strange rows; bets on all rows multiply, rates of strangeness are averaged. `context` are
        the tokens thought to stand before the output. All offsets give 0 where sampling is greedy.
        Raises: BadSequence, UnsupportedProfile.
        """
        stream = self._stream(sequence)
        if stream is None:
            return np.zeros(num_offsets)
        output_R = torch.tensor(sequence.output_token_ids)
        whole = ReplaySequence(
            prompt_token_ids=sequence.prompt_token_ids + context,
            output_token_ids=sequence.output_token_ids,
            sampling=sequence.sampling,
            profile_ids=sequence.profile_ids,
        )
        scaled_RV = self._logits(whole) / sequence.sampling.temperature
        sampling = sequence.sampling
        keep_RV = kept_mask(scaled_RV, top_k=sampling.top_k, top_p=sampling.top_p)
        if keep_RV is not None:
            scaled_RV = scaled_RV.masked_fill(~keep_RV, -torch.inf)
        scaled_RV = scaled_RV.double()
        log_p_R = scaled_RV.log_softmax(dim=-1).gather(-1, output_R[:, None]).squeeze(-1)
        matched_SR = _matched_at_offsets(scaled_RV, output_R, stream, num_offsets)
        return _log_e(matched_SR, log_p_R.exp().numpy())

    def _open(self, sequence: ReplaySequence, start: tuple[int, ...], num_tokens: int) -> _Chain:
        if start:
            check_token_ids("output", start, self.info)
        stream = self._stream(sequence)
        if stream is not None:
            for first in range(0, len(start), _SKIPPED_ROWS):
                stream.take(min(_SKIPPED_ROWS, len(start) - first))
        return _Chain(list(start), stream, len(start) < num_tokens)

    def _draw(
        self,
        sequence: ReplaySequence,
        batch: list[_Chain],
        num_tokens: int,
        stops_at: tuple[int, ...],
    ) -> None:
        steps = _decode(self._reference.model, sequence.prompt_token_ids, batch)
        while any(chain.is_open for chain in batch):
            logits_BV = next(steps)
            for row, chain in enumerate(batch):
                if not chain.is_open:
                    continue
                noise_1V = None
                if chain.stream is not None:
                    noise_1V = torch.from_numpy(chain.stream.take(1))
                token_1 = draw_tokens(logits_BV[row : row + 1], noise_1V, sequence.sampling)
                chain.token_ids.append(int(token_1))
                has_ended = chain.token_ids[-1] in stops_at
                chain.is_open = not has_ended and len(chain.token_ids) < num_tokens

    def _stream(self, sequence: ReplaySequence) -> NoiseStream | None:
        num_prompt_tokens = len(sequence.prompt_token_ids)
        profile_id = sequence.profile_ids[0]
        return open_stream(sequence.sampling, profile_id, num_prompt_tokens, self.info.vocab_size)

    def _noise(self, sequence: ReplaySequence) -> Tensor | None:
        stream = self._stream(sequence)
        num_rows = len(sequence.output_token_ids)
        return None if stream is None else torch.from_numpy(stream.take(num_rows))

    def _logits(self, sequence: ReplaySequence) -> Tensor:
        check_sequence(sequence, self.info)
        token_ids = sequence.prompt_token_ids + sequence.output_token_ids
        num_rows = len(sequence.output_token_ids)
        return self._reference.model.output_logits(token_ids, num_rows).cpu()


def _decode(
    model: ReferenceModel, prompt: tuple[int, ...], batch: Sequence[_Chain]
) -> Iterator[Tensor]:
    """Yield the logits of each chain's next token, [B, V] float32, as the chains grow.

    Starts are of different lengths, so they are filled up on the left; a chain that has ended is
    given its last token again.
    """
    longest = max(len(chain.token_ids) for chain in batch)
    gaps_B = torch.tensor([longest - len(chain.token_ids) for chain in batch])
    ids_BP = torch.tensor(
        [[0] * (longest - len(c.token_ids)) + list(prompt) + c.token_ids for c in batch]
    )
    columns_P = torch.arange(ids_BP.shape[1])
    mask_BT = (columns_P >= gaps_B[:, None]).long()
    positions_BP = (columns_P - gaps_B[:, None]).clamp(min=0)
    logits_BV, cache = model.next_logits(ids_BP, mask_BT, positions_BP, None)
    last_B1: Any = positions_BP[:, -1:]
    while True:
        yield logits_BV
        newest_B1 = torch.tensor([[chain.token_ids[-1]] for chain in batch])
        mask_BT = torch.nn.functional.pad(mask_BT, (0, 1), value=1)
        last_B1 = (last_B1 + 1).clamp(max=model.info.max_positions - 1)
        logits_BV, cache = model.next_logits(newest_B1, mask_BT, last_B1, cache)


def _contenders(
    logits_KV: Tensor, drawn_K: Tensor, noise_KV: Tensor | None, sampling: Sampling
) -> list[list[tuple[int, float]]]:
    """Return for each near tie its likeliest other tokens with their shortfalls in logits."""
    noised_KV = logits_KV.double()
    if noise_KV is not None:
        noised_KV = noised_KV + noise_KV * sampling.temperature
    others_KV = noised_KV.scatter(-1, drawn_K[:, None], -torch.inf)
    tokens_KC = others_KV.topk(min(NUM_CONTENDERS, others_KV.shape[-1] - 1), dim=-1).indices
    shortfalls_C = [
        -score_rows(logits_KV, tokens_K, noise_KV, sampling).signed_margin_R
        for tokens_K in tokens_KC.T
    ]
    shortfalls_KC = torch.stack(shortfalls_C, dim=-1)
    pairs = zip(tokens_KC.tolist(), shortfalls_KC.tolist(), strict=True)
    return [list(zip(tokens, shortfalls, strict=True)) for tokens, shortfalls in pairs]


def _matched_at_offsets(
    scaled_RV: Tensor, output_R: Tensor, stream: NoiseStream, num_offsets: int
) -> NDArray[np.bool_]:
    """Return whether each row's token is drawn with the noise of each offset, [S, R] bool.

    A row of noise serves one output row at each offset, so it is drawn once and used for all.
    """
    num_rows = len(output_R)
    matched_SR = np.zeros((num_offsets, num_rows), dtype=np.bool_)
    for step in range(num_offsets + num_rows - 1):
        noise_V = torch.from_numpy(stream.take(1)[0])
        rows = range(max(0, step - num_offsets + 1), min(num_rows, step + 1))
        drawn = (scaled_RV[rows.start : rows.stop] + noise_V).argmax(dim=-1)
        is_same = (drawn == output_R[rows.start : rows.stop]).numpy()
        matched_SR[step - np.asarray(rows), np.asarray(rows)] = is_same
    return matched_SR


def _log_e(matched_SR: NDArray[np.bool_], p_R: Float64Array) -> Float64Array:
    p_R = p_R.clip(1e-12, 1.0)
    by_rate = []
    for strange in STRANGENESS_E:
        gain_R = np.log((1.0 - strange * (1.0 - p_R)) / p_R)
        by_rate.append(np.where(matched_SR, gain_R, np.log(strange)).sum(axis=-1))
    log_e_SE = np.stack(by_rate, axis=-1) - np.log(len(STRANGENESS_E))
    return np.asarray(np.logaddexp.reduce(log_e_SE, axis=-1), dtype=np.float64)

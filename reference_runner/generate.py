"""Draws answers from the reference itself: honest traffic, token by token with a key-value cache.

Each token is drawn from the sampler profile's own noise as scoring does. Arithmetic in batches and
with a cache differs from a replay's in the last bits, as it does in engines.

Legend: B requests of a batch, P tokens of the longest prompt, T tokens so far, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from reference_runner.checks import check_lengths, check_token_ids
from reference_runner.model import ReferenceModel
from reference_runner.records import GenerationRequest, ReferenceInfo
from reference_runner.replay import TorchReference, open_stream
from reference_runner.samplers.base import NoiseStream
from reference_runner.scoring import draw_tokens


@dataclass(slots=True)
class _Answer:
    request: GenerationRequest
    stream: NoiseStream | None
    token_ids: list[int] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        ended = bool(self.token_ids) and self.token_ids[-1] in self.request.stops_at
        return not ended and len(self.token_ids) < self.request.num_tokens

    def draw_next(self, logits_1V: Tensor) -> None:
        """Append the next token."""
        noise_1V = None if self.stream is None else torch.from_numpy(self.stream.take(1))
        self.token_ids.append(int(draw_tokens(logits_1V, noise_1V, self.request.sampling)))


def generate(
    reference: TorchReference, requests: Sequence[GenerationRequest], *, batch_size: int
) -> list[tuple[int, ...]]:
    """Return the drawn token ids of each request, in order; `batch_size` share a forward pass.

    Raises: BadSequence where a request does not fit the model, before any token is drawn;
    UnsupportedProfile.
    """
    answers = [_open(request, reference.info) for request in requests]
    for start in range(0, len(answers), batch_size):
        _answer_batch(reference.model, answers[start : start + batch_size])
    return [tuple(answer.token_ids) for answer in answers]


def _open(request: GenerationRequest, info: ReferenceInfo) -> _Answer:
    num_prompt_tokens = len(request.prompt_token_ids)
    check_lengths(num_prompt_tokens, request.num_tokens, info)
    check_token_ids("prompt", request.prompt_token_ids, info)
    stream = open_stream(request.sampling, request.profile_id, num_prompt_tokens, info.vocab_size)
    return _Answer(request, stream)


def _answer_batch(model: ReferenceModel, batch: Sequence[_Answer]) -> None:
    steps = _decode(model, batch)
    while any(answer.is_open for answer in batch):
        logits_BV = next(steps)
        for row, answer in enumerate(batch):
            if answer.is_open:
                answer.draw_next(logits_BV[row : row + 1])


def _decode(model: ReferenceModel, batch: Sequence[_Answer]) -> Iterator[Tensor]:
    """Yield the next tokens' logits, [B, V] float32; tokens drawn in between are taken up.

    Prompts are filled up on the left. An ended answer repeats its last token, unheard.
    """
    ids_BT, mask_BT = _left_padded([a.request.prompt_token_ids for a in batch])
    positions_BT = (mask_BT.cumsum(dim=-1) - 1).clamp(min=0)
    cache: Any = None
    while True:
        logits_BV, cache = model.next_logits(ids_BT, mask_BT, positions_BT, cache)
        yield logits_BV
        ids_BT = torch.tensor([answer.token_ids[-1:] for answer in batch])
        mask_BT = torch.cat([mask_BT, torch.ones_like(mask_BT[:, :1])], dim=-1)
        last = model.info.max_positions - 1
        positions_BT = (positions_BT[:, -1:] + 1).clamp(max=last)


def _left_padded(prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask, both [B, P] int64."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(mask)

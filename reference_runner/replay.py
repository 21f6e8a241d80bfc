"""The package's entry point: ReplayBatch in, Evidence out.

One teacher-forced pass per sequence, no padding, no cache; only the output rows reach the LM head.
Evidence therefore does not depend on which sequences share a batch.

Legend: R scored rows (output tokens), V vocabulary.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reference_runner.errors import BadSequence, CheckpointError
from reference_runner.model import ReferenceModel, load_model
from reference_runner.records import (
    Evidence,
    ReferenceInfo,
    ReplayBatch,
    ReplaySequence,
)
from reference_runner.samplers.base import NoiseRequest, NoiseStream
from reference_runner.samplers.registry import get_profile
from reference_runner.scoring import RowScores, score_rows
from reference_runner.tokens import CheckpointTokenizer, load_tokenizer

#: Noise and scores are float64 [rows, V]. So many elements at once fit a processor's cache, and
#: memory stays the same whatever the traffic.
MAX_CHUNK_ELEMENTS = 1 << 18

#: The keys of generation_config.json that servers merge into requests (vLLM 0.32
#: `--generation-config auto`).
GENERATION_DEFAULT_KEYS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


class TorchReference:
    """A reference model with its tokenizer, on this machine."""

    def __init__(
        self, model: ReferenceModel, tokenizer: CheckpointTokenizer, defaults: dict[str, float]
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.generation_defaults = defaults

    @property
    def info(self) -> ReferenceInfo:
        """What was loaded."""
        return self._model.info

    def tokenize_text(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a completion prompt."""
        return self._tokenizer.encode_prompt(text)

    def tokenize_messages(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        """Return the token ids of a chat prompt.

        Raises: BadSequence without a usable chat template.
        """
        return self._tokenizer.encode_messages(messages)

    def tokenize_output(self, text: str) -> tuple[int, ...] | None:
        """Return the token ids of an answer, or None where they do not decode to the same text."""
        return self._tokenizer.encode_output(text)

    def replay(self, batch: ReplayBatch) -> tuple[tuple[Evidence, ...], ...]:
        """Return for each sequence one Evidence per candidate profile, in the sequence's order.

        Raises: BadSequence where a sequence does not fit this model; UnsupportedProfile.
        """
        return tuple(self._replay_one(sequence) for sequence in batch.sequences)

    def _replay_one(self, sequence: ReplaySequence) -> tuple[Evidence, ...]:
        check_sequence(sequence, self.info)
        token_ids = sequence.prompt_token_ids + sequence.output_token_ids
        logits_RV = self._model.output_logits(token_ids, len(sequence.output_token_ids))
        if not bool(logits_RV.amax(dim=-1).isfinite().all()):
            raise BadSequence(
                "replay_failed",
                f"the model's logits are not finite at precision {self.info.precision}; its "
                "numbers may be too large for it, so claim the checkpoint's own",
            )
        return tuple(
            measure(logits_RV, sequence, profile_id) for profile_id in sequence.profile_ids
        )


def check_sequence(sequence: ReplaySequence, info: ReferenceInfo) -> None:
    """Refuse what the model cannot replay. Raises: BadSequence with the reason's code."""
    if not sequence.output_token_ids:
        raise BadSequence(
            "output_empty",
            "the answer holds no tokens, so there is nothing to compare; audit an answer with text",
        )
    if not sequence.prompt_token_ids:
        raise BadSequence(
            "invalid_exchange", "the prompt holds no tokens; record the prompt as it was sent"
        )
    num_tokens = len(sequence.prompt_token_ids) + len(sequence.output_token_ids)
    if num_tokens > info.max_positions:
        raise BadSequence(
            "context_exceeded",
            f"prompt and answer hold {num_tokens} tokens, the model's context "
            f"{info.max_positions}; is this the claimed checkpoint?",
        )
    for name in ("prompt", "output"):
        ids: tuple[int, ...] = getattr(sequence, f"{name}_token_ids")
        worst = max(ids) if min(ids) >= 0 else min(ids)
        if not 0 <= worst < info.vocab_size:
            raise BadSequence(
                "token_out_of_vocabulary",
                f"{name} token id {worst} is not in the model's vocabulary of "
                f"{info.vocab_size}; is this the claimed checkpoint?",
            )


def measure(logits_RV: Tensor, sequence: ReplaySequence, profile_id: str) -> Evidence:
    """Score one sequence's rows under one profile, a bounded chunk of rows at a time."""
    chunks = list(_score_chunks(logits_RV, sequence, _open_stream(sequence, profile_id, logits_RV)))

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(chunk, name) for chunk in chunks]).cpu()

    return Evidence(
        profile_id=profile_id,
        signed_margin_logits_R=joined("signed_margin_R").numpy(),
        matched_R=joined("matched_R").numpy(),
        rank_R=joined("rank_R").numpy(),
        logprob_nats_R=joined("logprob_R").numpy().astype(np.float32),
        top_two_gap_logits_R=joined("top_two_gap_R").numpy(),
        excluded_R=joined("excluded_R").numpy(),
    )


def _open_stream(
    sequence: ReplaySequence, profile_id: str, logits_RV: Tensor
) -> NoiseStream | None:
    profile = get_profile(profile_id)
    if profile.open_stream is None or sequence.sampling.is_greedy:
        return None
    if sequence.sampling.seed is None:
        raise BadSequence("seed_missing", f"profile {profile_id} needs the request's seed")
    return profile.open_stream(
        NoiseRequest(
            seed=sequence.sampling.seed,
            num_prompt_tokens=len(sequence.prompt_token_ids),
            vocab_size=logits_RV.shape[-1],
        )
    )


def _score_chunks(
    logits_RV: Tensor, sequence: ReplaySequence, stream: NoiseStream | None
) -> Iterator[RowScores]:
    claimed_R = torch.tensor(sequence.output_token_ids, dtype=torch.long)
    num_rows = max(1, MAX_CHUNK_ELEMENTS // logits_RV.shape[-1])
    for start in range(0, len(claimed_R), num_rows):
        rows = slice(start, min(start + num_rows, len(claimed_R)))
        noise = None if stream is None else torch.from_numpy(stream.take(rows.stop - rows.start))
        yield score_rows(logits_RV[rows], claimed_R[rows], noise, sequence.sampling)


def load_reference(folder: Path, precision: str, *, num_threads: int) -> TorchReference:
    """Load model and tokenizer of the checkpoint in `folder`. Raises: CheckpointError."""
    model = load_model(folder, precision, num_threads=num_threads)
    return TorchReference(model, load_tokenizer(folder), _read_defaults(folder))


def _read_defaults(folder: Path) -> dict[str, float]:
    path = folder / "generation_config.json"
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return {k: float(config[k]) for k in GENERATION_DEFAULT_KEYS if config.get(k) is not None}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error

"""The package's entry point: ReplayBatch in, Evidence out.

One teacher-forced pass per run of equal token lists, no cache; only the output rows reach the LM
head. Evidence therefore does not depend on which sequences share a batch.

Legend: R scored rows (output tokens), V vocabulary.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from reference_runner.checks import check_sequence, check_token_ids
from reference_runner.errors import BadSequence, CheckpointError
from reference_runner.model import ReferenceModel, load_model
from reference_runner.records import (
    Evidence,
    GenerationRequest,
    ReferenceInfo,
    ReplayBatch,
    ReplaySequence,
    Sampling,
    SeededDraws,
    Survey,
    TopLogprobs,
)
from reference_runner.rounding import rounded_copy
from reference_runner.samplers.base import NoiseRequest, NoiseStream
from reference_runner.samplers.registry import get_profile
from reference_runner.scoring import RowScores, score_rows
from reference_runner.survey import seeded_draws, survey, top_logprobs
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
        self.model = model
        self._tokenizer = tokenizer
        self.generation_defaults = defaults

    @property
    def info(self) -> ReferenceInfo:
        """What was loaded."""
        return self.model.info

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

        Neighbours with the same tokens share one forward pass; only its logits are held.
        Raises: BadSequence where a sequence does not fit this model; UnsupportedProfile.
        """
        runs = groupby(batch.sequences, key=lambda s: (s.prompt_token_ids, s.output_token_ids))
        return tuple(evidence for _, run in runs for evidence in self._replay_run(tuple(run)))

    def rounded(self, kind: str) -> "TorchReference":
        """Return a copy whose model holds rounded numbers; `kind` is one of `rounding.ROUNDINGS`.

        This reference stays as it is, and `info` is the same: it names the checkpoint. The copy
        adds the rounded layers to memory and shares all else.
        Raises: CheckpointError for an unknown kind, or one that this architecture cannot take.
        """
        return self.with_network(rounded_copy(self.model.network, kind))

    def with_network(self, network: PreTrainedModel) -> "TorchReference":
        """Return a reference with this tokenizer and description around another network."""
        model = ReferenceModel(network, self.info)
        return TorchReference(model, self._tokenizer, self.generation_defaults)

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer: the tokenizer's and generation_config.json's."""
        config: Any = self.model.network.generation_config
        named = getattr(config, "eos_token_id", None)
        found = [named] if isinstance(named, int) else list(named or ())
        found.append(self._tokenizer.end_token_id)
        return tuple(sorted({int(token) for token in found if token is not None}))

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Return the text of token ids, special tokens left out. Raises: BadSequence."""
        if token_ids:
            check_token_ids("decoded", token_ids, self.info)
        return self._tokenizer.decode(token_ids, keep_special=False)

    def token_text(self, token_id: int) -> str:
        """Return one token as servers spell it in log-probabilities. Raises: BadSequence.

        A token that holds part of a character only is spelt with U+FFFD, as vLLM 0.32 does.
        """
        check_token_ids("decoded", (token_id,), self.info)
        return self._tokenizer.decode((token_id,), keep_special=True)

    def generate(
        self, requests: Sequence[GenerationRequest], *, batch_size: int
    ) -> list[tuple[int, ...]]:
        """Return the drawn token ids of each request, in order; `batch_size` share a pass.

        Raises: BadSequence where a request does not fit the model; UnsupportedProfile.
        """
        # generate.py draws from a TorchReference, so it cannot be imported before this class is
        from reference_runner.generate import generate

        return generate(self, requests, batch_size=batch_size)

    def survey(self, token_ids: tuple[int, ...]) -> Survey:
        """Return how close the model's greedy choice is after each token. Raises: BadSequence."""
        return survey(self.model, token_ids)

    def seeded_draws(
        self,
        prompt_token_ids: tuple[int, ...],
        sampling: Sampling,
        profile_id: str,
        seeds: Sequence[int],
    ) -> SeededDraws:
        """Return what each seed draws as the first token, and how closely.

        The seed of `sampling` is not looked at. Raises: BadSequence; UnsupportedProfile.
        """
        streams = [
            open_stream(
                replace(sampling, seed=seed),
                profile_id,
                len(prompt_token_ids),
                self.info.vocab_size,
            )
            for seed in seeds
        ]
        return seeded_draws(self.model, prompt_token_ids, sampling, streams)

    def top_logprobs(
        self, prompt_token_ids: tuple[int, ...], output_token_ids: tuple[int, ...], k: int
    ) -> TopLogprobs:
        """Return the k likeliest tokens at each output position. Raises: BadSequence."""
        return top_logprobs(self.model, prompt_token_ids, output_token_ids, k)

    def _replay_run(self, run: Sequence[ReplaySequence]) -> list[tuple[Evidence, ...]]:
        first = run[0]
        check_sequence(first, self.info)
        token_ids = first.prompt_token_ids + first.output_token_ids
        logits_RV = self.model.output_logits(token_ids, len(first.output_token_ids))
        if not bool(logits_RV.amax(dim=-1).isfinite().all()):
            raise BadSequence(
                "replay_failed",
                f"the model's logits are not finite at precision {self.info.precision}; its "
                "numbers may be too large for it, so claim the checkpoint's own",
            )
        return [
            tuple(measure(logits_RV, sequence, profile_id) for profile_id in sequence.profile_ids)
            for sequence in run
        ]


def measure(logits_RV: Tensor, sequence: ReplaySequence, profile_id: str) -> Evidence:
    """Score one sequence's rows under one profile, a bounded chunk of rows at a time."""
    stream = open_stream(
        sequence.sampling, profile_id, len(sequence.prompt_token_ids), logits_RV.shape[-1]
    )
    chunks = list(_score_chunks(logits_RV, sequence, stream))

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(chunk, name) for chunk in chunks]).cpu()

    return Evidence(
        profile_id=profile_id,
        signed_margin_logits_R=joined("signed_margin_R").numpy(),
        matched_R=joined("matched_R").numpy(),
        rank_R=joined("rank_R").numpy(),
        logprob_nats_R=joined("logprob_R").numpy().astype(np.float32),
        top_two_gap_logits_R=joined("top_two_gap_R").numpy(),
        contender_logit_R=joined("contender_logit_R").numpy(),
        excluded_R=joined("excluded_R").numpy(),
    )


def open_stream(
    sampling: Sampling, profile_id: str, num_prompt_tokens: int, vocab_size: int
) -> NoiseStream | None:
    """Return the noise of one request from its first output token on, or None where it is greedy.

    Raises: BadSequence where the profile needs a seed and none is stated; UnsupportedProfile.
    """
    profile = get_profile(profile_id)
    if profile.open_stream is None or sampling.is_greedy:
        return None
    if sampling.seed is None:
        raise BadSequence("seed_missing", f"profile {profile_id} needs the request's seed")
    return profile.open_stream(
        NoiseRequest(seed=sampling.seed, num_prompt_tokens=num_prompt_tokens, vocab_size=vocab_size)
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


def load_reference(
    folder: Path, precision: str, *, num_threads: int, attention: str = "sdpa"
) -> TorchReference:
    """Load model and tokenizer of the checkpoint in `folder`; `attention` as in `load_model`.

    Raises: CheckpointError.
    """
    model = load_model(folder, precision, num_threads=num_threads, attention=attention)
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

"""How likely a model finds an answer, measured from its text alone.

The text is split into tokens anew and the first token is left out: it carries the white space that
servers strip. Endpoint's and local answers are measured alike, so that they stay comparable.

Legend: R output tokens.
"""

from dataclasses import dataclass

import numpy as np

from audit.ports import ProbeReference
from audit.sweeps.text.memory import PerModel
from reference_runner.records import Evidence, ReplayBatch, ReplaySequence, Sampling

_GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=None)

#: What an answer scores whose text does not survive being split into tokens: far below all others.
_UNREADABLE_NATS = -1.0e3


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScore:
    """An answer as a model sees it, at temperature 1."""

    logprob_nats: float
    """Sum over the scored tokens."""
    mean_log_rank: float
    """Mean natural logarithm of each token's place among all tokens, the likeliest being 1."""
    num_scored: int
    num_characters: int
    is_readable: bool = True

    @property
    def mean_logprob_nats(self) -> float:
        """Mean over the scored tokens; 0 where there is none."""
        return self.logprob_nats / max(1, self.num_scored)


_SCORES: PerModel[tuple[tuple[int, ...], str], TextScore] = PerModel()
_SUMS: PerModel[tuple[tuple[int, ...], tuple[int, ...]], float] = PerModel()


class Scorer:
    """Scores answers under one model; all scorers of a model share what they remember."""

    def __init__(self, reference: ProbeReference) -> None:
        self._reference = reference
        self._known = _SCORES.of(reference)
        self._sums = _SUMS.of(reference)

    def score(self, prompt_token_ids: tuple[int, ...], text: str) -> TextScore:
        """Return the score of a canonical answer. Raises: BadSequence."""
        key = (prompt_token_ids, text)
        return self._known.get(key, lambda: self._measure(prompt_token_ids, text))

    def log_likelihood(
        self, prompt_token_ids: tuple[int, ...], output_token_ids: tuple[int, ...]
    ) -> float:
        """Return the log-likelihood of all tokens of an answer, in nats. Raises: BadSequence."""
        key = (prompt_token_ids, output_token_ids)
        return self._sums.get(key, lambda: self._sum(prompt_token_ids, output_token_ids))

    def _sum(self, prompt_token_ids: tuple[int, ...], output_token_ids: tuple[int, ...]) -> float:
        kept = output_token_ids[: self._reference.info.max_positions - len(prompt_token_ids)]
        logprob_R = self._evidence(prompt_token_ids, kept).logprob_nats_R if kept else ()
        return float(np.asarray(logprob_R, dtype=np.float64).sum())

    def _evidence(self, prompt_token_ids: tuple[int, ...], kept: tuple[int, ...]) -> Evidence:
        sequence = ReplaySequence(
            prompt_token_ids=prompt_token_ids,
            output_token_ids=kept,
            sampling=_GREEDY,
            profile_ids=("greedy",),
        )
        return self._reference.replay(ReplayBatch(sequences=(sequence,)))[0][0]

    def _measure(self, prompt_token_ids: tuple[int, ...], text: str) -> TextScore:
        token_ids = self._reference.tokenize_output(text) if text else ()
        if token_ids is None:
            return TextScore(
                logprob_nats=_UNREADABLE_NATS,
                mean_log_rank=-_UNREADABLE_NATS,
                num_scored=1,
                num_characters=len(text),
                is_readable=False,
            )
        # an answer that a server let grow too long is scored as far as the model reaches
        room = self._reference.info.max_positions - len(prompt_token_ids)
        kept = token_ids[:room]
        if len(kept) < 2:
            return TextScore(
                logprob_nats=0.0, mean_log_rank=0.0, num_scored=0, num_characters=len(text)
            )
        evidence = self._evidence(prompt_token_ids, kept)
        logprob_R = evidence.logprob_nats_R[1:].astype(np.float64)
        rank_R = evidence.rank_R[1:].astype(np.float64)
        return TextScore(
            logprob_nats=float(logprob_R.sum()),
            mean_log_rank=float(np.log1p(rank_R).mean()),
            num_scored=len(logprob_R),
            num_characters=len(text),
        )

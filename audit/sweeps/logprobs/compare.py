"""Sets returned log-probabilities against those of the teacher-forced reference.

The two laws are compared on the tokens that both name; all others share one bucket, whose mass is
what is left. Lumping tokens together only lowers a divergence, so an endpoint that returns fewer
alternatives than were asked for never looks worse for it.

Legend: R output positions, K candidates of the reference, S tokens that both name.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from audit.ports import ProbeReference
from audit.records import Prompt
from audit.sweep_records import AnswerStatus, PositionLogprobs, Probe, ProbeAnswer
from reference_runner.errors import BadSequence
from reference_runner.records import TopLogprobs

#: Candidates of the reference that returned tokens are looked up in.
NUM_CANDIDATES = 64

#: The smallest mass that the bucket of all other tokens is taken to have: returned numbers are
#: rounded, and a sum of them may exceed 1.
_MIN_REST = 1e-6

#: Where engines cut log-probabilities of impossible tokens (vLLM writes -9999).
_LOWEST_NATS = -1.0e4

_MAX_REMEMBERED = 4096

Key = TypeVar("Key")
Value = TypeVar("Value")

#: Log-probabilities of tokens by their ids, in nats.
Law = dict[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """An answer whose tokens and log-probabilities were brought together."""

    prompt_token_ids: tuple[int, ...]
    output_token_ids: tuple[int, ...]
    positions: tuple[PositionLogprobs, ...]
    """One for each output token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far an answer's log-probabilities are from a reference's."""

    kl_nats: float
    """Mean over positions of the lumped Kullback-Leibler divergence from the reference."""
    max_gap_nats: float
    """Largest difference of two log-probabilities of one token."""


class Scorer:
    """A reference with a memory, so that a growing run is not scored anew at each look."""

    def __init__(self, reference: ProbeReference) -> None:
        self._reference = reference
        self._laws: OrderedDict[tuple[tuple[int, ...], tuple[int, ...]], list[Law] | None]
        self._laws = OrderedDict()
        self._distances: OrderedDict[Aligned, Distance | None] = OrderedDict()
        self._spelling: dict[int, str] = {}
        self._ids: dict[str, int | None] = {}

    def spell(self, token_id: int) -> str:
        """Return a token as servers spell it."""
        if token_id not in self._spelling:
            self._spelling[token_id] = self._reference.token_text(token_id)
        return self._spelling[token_id]

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...] | None:
        """Return the prompt's tokens; None where the checkpoint cannot read it."""
        if prompt.token_ids is not None:
            return prompt.token_ids
        try:
            if prompt.messages is not None:
                turns = [{"role": m.role, "content": m.content} for m in prompt.messages]
                return self._reference.tokenize_messages(turns)
            return self._reference.tokenize_text(prompt.text or "")
        except BadSequence:
            return None

    def output_ids(self, answer: ProbeAnswer) -> tuple[int, ...] | None:
        """Return the answer's tokens, its own or those of its text."""
        if answer.token_ids is not None:
            return answer.token_ids
        return None if answer.text is None else self._reference.tokenize_output(answer.text)

    def id_of(self, spelling: str) -> int | None:
        """Return the token that is spelt so by itself; None where none is."""
        if spelling not in self._ids:
            found = self._reference.tokenize_output(spelling)
            self._ids[spelling] = found[0] if found is not None and len(found) == 1 else None
        return self._ids[spelling]

    def laws(self, aligned: Aligned) -> list[Law] | None:
        """Return log-probabilities of likely tokens and the drawn one at each position.

        None where the tokens do not fit this model.
        """
        key = (aligned.prompt_token_ids, aligned.output_token_ids)
        if key not in self._laws:
            count = min(NUM_CANDIDATES, self._reference.info.vocab_size)
            try:
                found = _laws(self._reference.top_logprobs(*key, count), key[1])
            except BadSequence:
                found = None
            _keep(self._laws, key, found)
            return found
        return self._laws[key]

    def distance(self, aligned: Aligned) -> Distance | None:
        """Return how far the answer is from this reference; None where it does not fit."""
        if aligned not in self._distances:
            found = self._distance(aligned)
            _keep(self._distances, aligned, found)
            return found
        return self._distances[aligned]

    def _distance(self, aligned: Aligned) -> Distance | None:
        known_R = self.laws(aligned)
        if known_R is None:
            return None
        pairs = [
            _compare(named(position, token_id, known, self.spell))
            for position, token_id, known in zip(
                aligned.positions, aligned.output_token_ids, known_R, strict=True
            )
        ]
        return Distance(
            kl_nats=float(np.mean([kl for kl, _ in pairs])),
            max_gap_nats=max(gap for _, gap in pairs),
        )


def _keep(memory: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    memory[key] = value
    if len(memory) > _MAX_REMEMBERED:
        memory.popitem(last=False)


def align(probe: Probe, answer: ProbeAnswer, scorer: Scorer) -> Aligned | None:
    """Return an answer with its tokens; None where it carries none that can be scored."""
    if answer.status is not AnswerStatus.ANSWERED or not answer.logprobs:
        return None
    prompt = scorer.prompt_ids(probe.prompt)
    output = scorer.output_ids(answer)
    if not prompt or not output:
        return None
    # the token that ended the answer has log-probabilities, and no text
    if len(answer.logprobs) - len(output) not in ({0} if answer.token_ids is not None else {0, 1}):
        return None
    # whoever answers at greater length than asked is measured by what was asked
    length = min(len(output), probe.sampling.max_tokens or len(output))
    return Aligned(
        prompt_token_ids=prompt,
        output_token_ids=output[:length],
        positions=answer.logprobs[:length],
    )


def named(
    position: PositionLogprobs,
    token_id: int,
    known: dict[int, float],
    spell: Callable[[int], str],
) -> dict[int, tuple[float, float]]:
    """Return (returned, reference's) log-probability of each token that both name.

    A spelling that several of the reference's candidates share names none of them.
    """
    by_text: dict[str, list[int]] = {}
    if any(item.token_id is None for item in position.top):
        for known_id in known:
            by_text.setdefault(spell(known_id), []).append(known_id)
    both = {token_id: (position.chosen.logprob_nats, known[token_id])}
    for item in position.top:
        found = item.token_id
        if found is None and item.token is not None:
            spelt = by_text.get(item.token, [])
            found = spelt[0] if len(spelt) == 1 else None
        if found is not None and found in known and found != token_id:
            both[found] = (item.logprob_nats, known[found])
    return both


def _laws(top: TopLogprobs, output: tuple[int, ...]) -> list[Law]:
    known = []
    for row, token_id in enumerate(output):
        tokens = dict(
            zip(top.token_RK[row].tolist(), top.logprob_nats_RK[row].tolist(), strict=True)
        )
        tokens[token_id] = float(top.claimed_logprob_nats_R[row])
        known.append(tokens)
    return known


def _compare(both: dict[int, tuple[float, float]]) -> tuple[float, float]:
    """Return (divergence, largest gap) of one position, in nats."""
    returned_S = np.clip([pair[0] for pair in both.values()], _LOWEST_NATS, 0.0)
    ours_S = np.asarray([pair[1] for pair in both.values()])
    mass_S = np.exp(returned_S)
    rest = max(1.0 - float(mass_S.sum()), _MIN_REST)
    our_rest = max(1.0 - float(np.exp(ours_S).sum()), _MIN_REST)
    divergence = float(np.sum(mass_S * (returned_S - ours_S))) + rest * np.log(rest / our_rest)
    return max(float(divergence), 0.0), float(np.abs(returned_S - ours_S).max())

"""What the local reference says about prompts and answers, for checks that compare with it."""

import numpy as np
from numpy.typing import NDArray

from audit.ports import ProbeReference
from audit.records import Prompt
from audit.sweep_records import ProbeAnswer
from reference_runner.errors import BadSequence
from reference_runner.records import GenerationRequest, Sampling

Float64Array = NDArray[np.float64]

#: Tokens that a law is read by; the others count as one.
_NUM_LIKELY = 64

_GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, seed=None)


class LocalModel:
    """The reference, asked about single prompts; unreadable prompts give neutral values."""

    def __init__(self, reference: ProbeReference) -> None:
        self._reference = reference

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...] | None:
        """Return the prompt's tokens; None where the checkpoint cannot read it."""
        if prompt.token_ids is not None:
            return prompt.token_ids
        try:
            if prompt.messages is None:
                return self._reference.tokenize_text(prompt.text or "") or None
            turns = [{"role": m.role, "content": m.content} for m in prompt.messages]
            return self._reference.tokenize_messages(turns)
        except BadSequence:
            return None

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Return the text of tokens; a question mark where they are none of the model's."""
        try:
            return self._reference.decode(token_ids)
        except BadSequence:
            return "?"

    def spell(self, token_id: int) -> str | None:
        """Return a token as servers spell it; None for one that is none of the model's."""
        try:
            return self._reference.token_text(token_id)
        except BadSequence:
            return None

    def gap_logits(self, prompt: Prompt) -> float:
        """Return the lead of the best first token; 0 where the prompt cannot be read."""
        token_ids = self.prompt_ids(prompt)
        try:
            return (
                0.0 if not token_ids else float(self._reference.survey(token_ids).gap_logits_T[-1])
            )
        except BadSequence:
            return 0.0

    def entropy_nats(self, prompt: Prompt) -> float:
        """Return how uncertain the first token is, rare tokens lumped; 0 where unreadable."""
        law = self.first_law(prompt)
        masses = np.append(law, max(1.0 - float(law.sum()), 1e-12))
        return 0.0 if not len(law) else float(-(masses * np.log(masses)).sum())

    def first_law(self, prompt: Prompt) -> Float64Array:
        """Return the probabilities of the likeliest first tokens, largest first."""
        token_ids = self.prompt_ids(prompt)
        count = min(_NUM_LIKELY, self._reference.info.vocab_size)
        if not token_ids:
            return np.zeros(0)
        try:
            # the row does not depend on the token that stands in for the answer
            top = self._reference.top_logprobs(token_ids, token_ids[:1], count)
        except BadSequence:
            return np.zeros(0)
        return np.asarray(np.maximum(np.exp(top.logprob_nats_RK[0]), 1e-300), dtype=np.float64)

    def greedy_text(self, prompt: Prompt, num_tokens: int) -> str:
        """Return the reference's own greedy answer; empty where the prompt cannot be read."""
        token_ids = self.prompt_ids(prompt)
        if not token_ids:
            return ""
        request = GenerationRequest(
            prompt_token_ids=token_ids,
            sampling=_GREEDY,
            profile_id="greedy",
            num_tokens=num_tokens,
            stops_at=self._reference.end_token_ids,
        )
        try:
            return self._reference.decode(self._reference.generate([request], batch_size=1)[0])
        except BadSequence:
            return ""

    def answer_ids(self, answer: ProbeAnswer) -> tuple[int, ...] | None:
        """Return the answer's tokens, its own or those of its text."""
        if answer.token_ids is not None:
            return answer.token_ids
        return None if answer.text is None else self._reference.tokenize_output(answer.text)

    def likelihood(self, prompt: Prompt, output: tuple[int, ...]) -> tuple[float, float] | None:
        """Return (log-likelihood in nats, share of tokens that are the best) of an answer.

        None where it does not fit the model.
        """
        token_ids = self.prompt_ids(prompt)
        if not token_ids or not output:
            return None
        try:
            top = self._reference.top_logprobs(token_ids, output, 1)
        except BadSequence:
            return None
        share = float(np.mean(top.token_RK[:, 0] == np.asarray(output)))
        return float(top.claimed_logprob_nats_R.sum()), share

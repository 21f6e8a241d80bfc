"""An honest server's inside: tokens are drawn by a reference, several requests in one pass.

Requests that come in while a pass runs wait and share the next one, up to the batch size: numbers
then depend in the last bits on who shares a pass, as they do in engines. A pass lasts as long as
its longest answer.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from audit.ports import ProbeReference
from audit.sweep_records import ApiStyle, TokenLogprob
from audit.sweeps.adversaries.exchange import Answered, Ask, Row, content_key, draw_seed
from reference_runner.errors import BadSequence, RunnerError
from reference_runner.records import GenerationRequest, Sampling

#: What OpenAI's completions route draws where nothing is said.
_COMPLETION_TOKENS = 16


@dataclass(slots=True)
class _Job:
    request: GenerationRequest
    num_logprobs: int | None
    done: "asyncio.Future[_Drawn]"


@dataclass(frozen=True, slots=True)
class _Drawn:
    token_ids: tuple[int, ...]
    rows: tuple[Row, ...] | None


class Engine:
    """Answers every request with one reference, as an honest server does."""

    def __init__(
        self,
        reference: ProbeReference,
        *,
        seed: bytes,
        batch_size: int = 1,
        profile_id: str = "torch-cpu-exponential",
    ) -> None:
        self._reference = reference
        self._seed = seed
        self._batch_size = batch_size
        self._profile_id = profile_id
        self._waiting: list[_Job] = []
        self._worker: asyncio.Task[None] | None = None

    async def answer(self, ask: Ask) -> Answered:
        """Return what the reference draws. Raises: RunnerError."""
        request = self._request(ask)
        job = _Job(request, ask.num_logprobs, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        drawn = await job.done
        return self._finished(ask, request, drawn)

    async def scored(self, ask: Ask, answered: Answered) -> Answered:
        """Return another's answer with this reference's log-probabilities. Raises: RunnerError."""
        rows = await asyncio.to_thread(
            self._rows, self.prompt_token_ids(ask), answered.token_ids, ask.num_logprobs
        )
        return replace(answered, rows=rows)

    def prompt_token_ids(self, ask: Ask) -> tuple[int, ...]:
        """Return the tokens of a prompt. Raises: BadSequence where they cannot be made."""
        if ask.prompt_token_ids is not None:
            return ask.prompt_token_ids
        if ask.messages is not None:
            messages = [{"role": role, "content": content} for role, content in ask.messages]
            return self._reference.tokenize_messages(messages)
        return self._reference.tokenize_text(ask.text or "")

    def _request(self, ask: Ask) -> GenerationRequest:
        prompt = self.prompt_token_ids(ask)
        sampling = self._sampling(ask)
        room = self._reference.info.max_positions - len(prompt)
        num_tokens = ask.max_tokens
        if num_tokens is None:
            num_tokens = room if ask.api is ApiStyle.CHAT else min(room, _COMPLETION_TOKENS)
        if num_tokens > room:
            raise BadSequence(
                "context_exceeded",
                f"the prompt holds {len(prompt)} tokens and {num_tokens} more are asked for; the "
                f"context holds {self._reference.info.max_positions}",
            )
        return GenerationRequest(
            prompt_token_ids=prompt,
            sampling=sampling,
            profile_id=self._profile_id,
            num_tokens=num_tokens,
            stops_at=() if ask.ignores_end else self._reference.end_token_ids,
        )

    def _sampling(self, ask: Ask) -> Sampling:
        defaults = self._reference.generation_defaults
        temperature, top_p, top_k = ask.temperature, ask.top_p, ask.top_k
        seed = ask.seed
        if seed is None:
            seed = draw_seed(self._seed, "unseeded", content_key(ask), ask.occurrence)
        return Sampling(
            temperature=defaults.get("temperature", 1.0) if temperature is None else temperature,
            top_p=defaults.get("top_p", 1.0) if top_p is None else top_p,
            top_k=max(0, int(defaults.get("top_k", 0)) if top_k is None else top_k),
            seed=seed,
        )

    async def _work(self) -> None:
        batch: list[_Job] = []
        try:
            while self._waiting:
                batch = self._waiting[: self._batch_size]
                del self._waiting[: self._batch_size]
                results = await asyncio.to_thread(self._results, batch)
                for job, result in zip(batch, results, strict=True):
                    _settle(job.done, result)
        finally:
            # who still waits when a pass breaks down must not wait for ever
            for job in (*batch, *self._waiting):
                job.done.cancel()
            self._waiting.clear()
            self._worker = None

    def _results(self, batch: Sequence[_Job]) -> list[_Drawn | RunnerError]:
        """Return one result a job; what one request does wrong does not spoil the others."""
        try:
            return list(self._drawn(batch))
        except RunnerError as error:
            if len(batch) == 1:
                return [error]
        return [result for job in batch for result in self._results([job])]

    def _drawn(self, batch: Sequence[_Job]) -> list[_Drawn]:
        answers = self._reference.generate(
            [job.request for job in batch], batch_size=self._batch_size
        )
        return [
            _Drawn(ids, self._rows(job.request.prompt_token_ids, ids, job.num_logprobs))
            for job, ids in zip(batch, answers, strict=True)
        ]

    def _rows(
        self, prompt: tuple[int, ...], token_ids: tuple[int, ...], k: int | None
    ) -> tuple[Row, ...] | None:
        if k is None:
            return None
        found = self._reference.top_logprobs(prompt, token_ids, max(1, k))
        spell = self._reference.token_text

        def candidate(token_id: int, logprob_nats: float) -> TokenLogprob:
            return TokenLogprob(
                token=spell(token_id), token_id=token_id, logprob_nats=float(logprob_nats)
            )

        return tuple(
            Row(
                chosen=candidate(token_id, float(found.claimed_logprob_nats_R[row])),
                top=tuple(
                    candidate(int(found.token_RK[row, i]), float(found.logprob_nats_RK[row, i]))
                    for i in range(k)
                ),
            )
            for row, token_id in enumerate(token_ids)
        )

    def _finished(self, ask: Ask, request: GenerationRequest, drawn: _Drawn) -> Answered:
        pieces = text_pieces(drawn.token_ids, self._reference.decode)
        kept, pieces, was_stopped = cut_at_stop(pieces, ask.stop)
        has_ended = was_stopped or drawn.token_ids[-1] in request.stops_at
        return Answered(
            prompt_token_ids=request.prompt_token_ids,
            token_ids=drawn.token_ids[:kept],
            pieces=pieces,
            finish_reason="stop" if has_ended else "length",
            rows=None if drawn.rows is None else drawn.rows[:kept],
            prompt_tokens=len(request.prompt_token_ids),
            completion_tokens=kept,
        )


def text_pieces(
    token_ids: tuple[int, ...], decode: Callable[[tuple[int, ...]], str]
) -> tuple[str, ...]:
    """Return the text that each token adds; a token in the midst of a character adds none yet."""
    if len(token_ids) == 1:
        return (decode(token_ids),)
    pieces: list[str] = []
    said = ""
    for end in range(1, len(token_ids) + 1):
        whole = decode(token_ids[:end])
        is_partial = whole.endswith("\ufffd") and end < len(token_ids)
        pieces.append("" if is_partial or not whole.startswith(said) else whole[len(said) :])
        said += pieces[-1]
    return tuple(pieces)


def cut_at_stop(
    pieces: tuple[str, ...], stop: tuple[str, ...]
) -> tuple[int, tuple[str, ...], bool]:
    """Return how many tokens are kept, their text before the first stop string, whether it was met.

    The token that completes the stop string is kept, its text is not.
    """
    text = ""
    for end, piece in enumerate(pieces, start=1):
        text += piece
        found = [at for at in (text.find(word) for word in stop) if at >= 0]
        if found:
            return end, _shortened(pieces[:end], min(found)), True
    return len(pieces), pieces, False


def _shortened(pieces: tuple[str, ...], length: int) -> tuple[str, ...]:
    kept: list[str] = []
    for piece in pieces:
        kept.append(piece[: max(0, length)])
        length -= len(piece)
    return tuple(kept)


def _settle(done: "asyncio.Future[_Drawn]", result: _Drawn | RunnerError) -> None:
    # a client that hung up has cancelled its future
    if done.done():
        return
    if isinstance(result, RunnerError):
        done.set_exception(result)
    else:
        done.set_result(result)

"""What a provider may do instead of running the claimed model. Each trick wraps behaviours.

All are deterministic: chance comes from a seed and from what was asked, so that requests which
overtake each other on the way still meet the same fate.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from audit.sweeps.adversaries.answering import Engine
from audit.sweeps.adversaries.drift import Share
from audit.sweeps.adversaries.exchange import Answered, Ask, Behaviour, content_key, draw_unit
from reference_runner.errors import RunnerError

#: Requests of the same unit are diverted together, or not at all.
Unit = Callable[[Ask], object]

IsTest = Callable[[Ask], bool]

#: What is asked instead.
Change = Callable[[Ask], Ask]

#: What is told instead.
Account = Callable[[Answered], Answered]

_NUM_CACHED = 100_000


def each_request(ask: Ask) -> object:
    """Return a unit of its own for every request, repeated ones too."""
    return (content_key(ask), ask.occurrence)


def each_caller(ask: Ask) -> object:
    """Return one unit for all requests with the same key."""
    return ask.caller


def count_block(length: int) -> Unit:
    """Return one unit for so many requests in a row."""
    return lambda ask: ask.index // length


def clock_block(length_s: float) -> Unit:
    """Return one unit for all requests of the same stretch of time."""
    return lambda ask: int(ask.arrived_s // length_s)


class Diverted:
    """Sends a share of the traffic to a cheaper model."""

    def __init__(
        self, true: Behaviour, cheap: Behaviour, *, share: Share, unit: Unit, seed: bytes
    ) -> None:
        self._true = true
        self._cheap = cheap
        self._share = share
        self._unit = unit
        self._seed = seed

    async def answer(self, ask: Ask) -> Answered:
        """Return what whoever the request falls to answers. Raises: RunnerError."""
        is_diverted = draw_unit(self._seed, "diverted", self._unit(ask)) < self._share(ask)
        return await (self._cheap if is_diverted else self._true).answer(ask)


class Evading:
    """Runs the true model for what it takes for a test, the cheap one for all else."""

    def __init__(self, true: Behaviour, cheap: Behaviour, *, is_test: IsTest) -> None:
        self._true = true
        self._cheap = cheap
        self._is_test = is_test

    async def answer(self, ask: Ask) -> Answered:
        """Return the true answer to tests, the cheap one to users. Raises: RunnerError."""
        return await (self._true if self._is_test(ask) else self._cheap).answer(ask)


def wants_one_token(ask: Ask) -> bool:
    """Return whether an answer of one token is asked for, as probes do."""
    return ask.max_tokens is not None and ask.max_tokens <= 1


def looks_like_probe(ask: Ask) -> bool:
    """Return whether a request is like no user's: one token, token ids or log-probabilities."""
    return wants_one_token(ask) or ask.prompt_token_ids is not None or ask.num_logprobs is not None


def is_known(prompts: frozenset[str]) -> IsTest:
    """Return whether a request's text, or its last message, is one of a published list."""

    def known(ask: Ask) -> bool:
        said = ask.text if ask.messages is None else ask.messages[-1][1]
        return said in prompts

    return known


class Cached:
    """Answers a request that it answered before with the same answer."""

    def __init__(self, inner: Behaviour, *, with_seed: bool) -> None:
        self._inner = inner
        self._with_seed = with_seed
        self._kept: dict[bytes, asyncio.Task[Answered]] = {}

    async def answer(self, ask: Ask) -> Answered:
        """Return the first answer to the same request. Raises: RunnerError."""
        key = content_key(ask, with_seed=self._with_seed)
        task = self._kept.get(key)
        if task is None:
            # two equal requests at once share the task, so that both get one answer
            task = asyncio.ensure_future(_run(self._inner, ask))
            self._kept[key] = task
            if len(self._kept) > _NUM_CACHED:
                del self._kept[next(iter(self._kept))]
        try:
            return await asyncio.shield(task)
        except RunnerError:
            self._kept.pop(key, None)
            raise


async def _run(inner: Behaviour, ask: Ask) -> Answered:
    return await inner.answer(ask)


class Rewritten:
    """Asks something else than it was asked."""

    def __init__(self, inner: Behaviour, change: Change) -> None:
        self._inner = inner
        self._change = change

    async def answer(self, ask: Ask) -> Answered:
        """Return the answer to the changed request. Raises: RunnerError."""
        return await self._inner.answer(self._change(ask))


def retuned(factor: float) -> Change:
    """Return a change that multiplies the temperature."""

    def change(ask: Ask) -> Ask:
        stated = 1.0 if ask.temperature is None else ask.temperature
        return replace(ask, temperature=stated * factor)

    return change


def without_seed() -> Change:
    """Return a change that takes the seed away; requests that differ in it alone draw afresh."""
    num_same: Counter[bytes] = Counter()

    def change(ask: Ask) -> Ask:
        bare = replace(ask, seed=None)
        # the server counted requests with their seeds; without, these are repeats of one another
        key = content_key(bare)
        num_same[key] += 1
        return replace(bare, occurrence=num_same[key] - 1)

    return change


def without_stop(ask: Ask) -> Ask:
    """Return the request without its stop strings."""
    return replace(ask, stop=())


def at_least_tokens(num_tokens: int) -> Change:
    """Return a change that ignores a shorter limit of the answer's length."""
    return lambda ask: replace(ask, max_tokens=max(num_tokens, ask.max_tokens or 0))


def other_template(ask: Ask) -> Ask:
    """Return a chat put into words by another template than the model's own."""
    if ask.messages is None:
        return ask
    said = [f"### {role.capitalize()}:\n{content}\n\n" for role, content in ask.messages]
    return replace(ask, messages=None, text="".join(said) + "### Assistant:\n")


class Injected:
    """Puts text of its own before every prompt; `hides` it from counts and echoed ids."""

    def __init__(self, inner: Behaviour, *, text: str, tokens: Engine, hides: bool) -> None:
        self._inner = inner
        self._text = text
        self._tokens = tokens
        self._hides = hides

    async def answer(self, ask: Ask) -> Answered:
        """Return the answer to the longer prompt. Raises: RunnerError."""
        answered = await self._inner.answer(self._longer(ask))
        if not self._hides:
            return answered
        plain = self._tokens.prompt_token_ids(ask)
        return replace(answered, prompt_token_ids=plain, prompt_tokens=len(plain))

    def _longer(self, ask: Ask) -> Ask:
        if ask.messages is not None:
            return replace(ask, messages=(("system", self._text), *ask.messages))
        if ask.text is not None:
            return replace(ask, text=self._text + ask.text)
        before = self._tokens.prompt_token_ids(replace(ask, prompt_token_ids=None, text=self._text))
        return replace(ask, prompt_token_ids=before + (ask.prompt_token_ids or ()))


class Laundered:
    """Takes the text from a cheap model, and its log-probabilities from the true one."""

    def __init__(self, cheap: Behaviour, *, true: Engine) -> None:
        self._cheap = cheap
        self._true = true

    async def answer(self, ask: Ask) -> Answered:
        """Return the cheap text; the true model runs only where numbers are wanted.

        Raises: RunnerError.
        """
        answered = await self._cheap.answer(replace(ask, num_logprobs=None))
        return answered if ask.num_logprobs is None else await self._true.scored(ask, answered)


class Restated:
    """Tells something else than it did."""

    def __init__(self, inner: Behaviour, change: Account) -> None:
        self._inner = inner
        self._change = change

    async def answer(self, ask: Ask) -> Answered:
        """Return the answer with another account of it. Raises: RunnerError."""
        return self._change(await self._inner.answer(ask))


def inflated(factor: float) -> Account:
    """Return a change that bills more output tokens than were drawn, at least one more."""

    def change(answered: Answered) -> Answered:
        billed = max(answered.completion_tokens + 1, math.ceil(answered.completion_tokens * factor))
        return replace(answered, completion_tokens=billed)

    return change


def named(upstream: str) -> Account:
    """Return a change that names an upstream, whoever answered."""
    return lambda answered: replace(answered, upstream=upstream)


def served_as(model: str) -> Account:
    """Return a change that names another model than was asked for."""
    return lambda answered: replace(answered, served_model=model)

"""Finds spots where the reference hesitates, and what named substitutes do there.

A spot is a prompt after which the two best (noised) logits of the reference lie close together.
Spots of one window come from the same stretch of text and may share rounding errors, so plans take
one of a cell at most, and few of a window.

Legend: T tokens of a window.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from audit.judge.calls import step_logits
from audit.ports import ProbeReference
from audit.records import Message, Prompt
from audit.sweep_records import ApiStyle
from reference_runner.records import Sampling, Survey

#: Characters of text that a window is cut from, for each token that it may have: plenty.
_CHARACTERS_PER_TOKEN = 8

#: Seeds fit what every API and JSON reader takes.
_MAX_SEED = 2**31

#: Copies whose rounding is smaller than an engine's own are second opinions of the reference.
_WITNESS_PREFIX = "int8"

#: A substitute leans to another token where it prefers the reference's by less than this.
LEANING_STEPS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How text is cut into prompts, and which spots are worth keeping."""

    min_prompt_tokens: int = 16
    window_tokens: int = 63
    """With the token that is asked for a multiple of 64, which references fill up to."""
    lowest_gap_steps: float = 0.4
    """Below, the honest kernel's order decides; a step is the spacing of bfloat16 numbers."""
    highest_gap_steps: float = 12.0
    seeds_per_prompt: int = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one substitute does at a spot."""

    token: int
    margin_steps: float
    """How far it prefers the reference's first choice; below 0 it prefers `token` by so much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A prompt on a near-tie of the reference."""

    prompt_token_ids: tuple[int, ...]
    text: str | None
    """Where the prompt was made from text as a whole, as in chats."""
    first: int
    second: int
    gap_logits: float
    contender_logit: float
    seed: int | None = None
    choices: Mapping[str, Choice] = field(default_factory=dict)

    @property
    def gap_steps(self) -> float:
        """The gap in spacings of bfloat16 numbers at the size of the contenders."""
        return self.gap_logits / _step(self.contender_logit)

    @property
    def firm_steps(self) -> float:
        """How clearly the claimed model prefers its first choice, as `firmness` has it."""
        return firmness(self.gap_steps, self.choices)

    @property
    def num_leaning(self) -> int:
        """How many substitutes lean to another token here."""
        return num_leaning(self.choices)

    def rebased(self, first: int) -> "Spot":
        """Return the spot with another first choice, such as the one of the provider's engine."""
        choices = {
            name: Choice(
                token=choice.token,
                margin_steps=abs(choice.margin_steps) * (1 if choice.token == first else -1),
            )
            for name, choice in self.choices.items()
        }
        if first == self.first:
            return self
        gap = -self.gap_logits
        return replace(self, first=first, second=self.first, gap_logits=gap, choices=choices)


def firmness(gap_steps: float, choices: Mapping[str, Choice]) -> float:
    """Return the mean of the reference's gap and its nearest copies' margins, in steps.

    Each is the exact gap with a rounding error of its own. The mean foretells honest endpoints
    much better than the gap alone.
    """
    margins = [c.margin_steps for name, c in choices.items() if name.startswith(_WITNESS_PREFIX)]
    return (gap_steps + sum(margins)) / (1 + len(margins))


def num_leaning(choices: Mapping[str, Choice]) -> int:
    """Return how many substitutes lean to another token than the reference's first choice."""
    return sum(choice.margin_steps < LEANING_STEPS for choice in choices.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where spots are looked for."""

    reference: ProbeReference
    candidates: Mapping[str, ProbeReference]
    texts: Sequence[str]
    api: ApiStyle
    settings: PoolSettings


def greedy_spots(ground: Ground, seed: bytes, num_windows: int) -> Iterator[tuple[Spot, ...]]:
    """Yield for each window of text the spots in it, for greedy answers."""
    for text in _passages(ground, seed, num_windows):
        if ground.api is ApiStyle.CHAT:
            yield _chat_spots(ground, text)
        else:
            yield _window_spots(ground, text)


def seeded_spots(
    ground: Ground, seed: bytes, num_windows: int, sampling: Sampling, profile_id: str
) -> Iterator[tuple[Spot, ...]]:
    """Yield for each prompt the spots that seeds make of it, under a known sampler."""
    generator = generator_of(seed, b"border seeds")
    settings = ground.settings
    for text in _passages(ground, seed, num_windows):
        length = int(generator.integers(settings.min_prompt_tokens, settings.window_tokens + 1))
        seeds = generator.integers(0, _MAX_SEED, settings.seeds_per_prompt).tolist()
        whole, prompt = _cut(ground, text, length)
        if prompt is None:
            yield ()
            continue
        found = ground.reference.seeded_draws(prompt, sampling, profile_id, seeds)
        spots = [
            Spot(
                prompt_token_ids=prompt,
                text=whole,
                first=int(found.token_S[s]),
                second=int(found.runner_up_S[s]),
                gap_logits=float(found.gap_logits_S[s]),
                contender_logit=float(found.contender_logit_S[s]),
                seed=seeds[s],
            )
            for s in range(len(seeds))
        ]
        near = [s for s in spots if _is_hesitant(ground, s.gap_logits, s.contender_logit)]
        yield _with_draws(ground, near, sampling, profile_id)


def prompt_of(spot: Spot, ground: Ground, *, as_token_ids: bool) -> Prompt | None:
    """Return what is sent for a spot; None where text would not give the same tokens again."""
    if ground.api is ApiStyle.CHAT:
        return Prompt(messages=(Message(role="user", content=spot.text or ""),))
    if as_token_ids:
        return Prompt(token_ids=spot.prompt_token_ids)
    text = ground.reference.decode(spot.prompt_token_ids)
    if ground.reference.tokenize_text(text) != spot.prompt_token_ids:
        return None
    return Prompt(text=text)


def generator_of(seed: bytes, label: bytes) -> np.random.Generator:
    """Return a generator that gives the same numbers on every machine."""
    digest = hashlib.sha256(seed + b"/" + label).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))


def _passages(ground: Ground, seed: bytes, num_windows: int) -> Iterator[str]:
    """Yield stretches of text that start after white space, at places that the seed draws."""
    generator = generator_of(seed, b"border text")
    size = ground.settings.window_tokens * _CHARACTERS_PER_TOKEN
    weights = np.asarray([len(text) for text in ground.texts], dtype=np.float64)
    if not weights.sum():
        return
    for _ in range(num_windows):
        text = ground.texts[int(generator.choice(len(weights), p=weights / weights.sum()))]
        start = int(generator.integers(0, max(1, len(text) - size)))
        yield text[start : start + size].partition("\n")[2] or text[start : start + size]


def _window_spots(ground: Ground, text: str) -> tuple[Spot, ...]:
    settings = ground.settings
    ids = ground.reference.tokenize_text(text)[: settings.window_tokens]
    if len(ids) < settings.min_prompt_tokens:
        return ()
    survey = ground.reference.survey(ids)
    gap_steps_T = survey.gap_logits_T / step_logits(survey.contender_logit_T.astype(np.float64))
    is_near_T = (gap_steps_T >= settings.lowest_gap_steps) & (
        gap_steps_T < settings.highest_gap_steps
    )
    is_near_T[: settings.min_prompt_tokens - 1] = False
    kept = np.flatnonzero(is_near_T).tolist()
    if not kept:
        return ()
    others = {name: other.survey(ids) for name, other in ground.candidates.items()}
    return tuple(_spot_of(survey, others, t, ids[: t + 1], None) for t in kept)


def _chat_spots(ground: Ground, text: str) -> tuple[Spot, ...]:
    whole, prompt = _cut(ground, text, ground.settings.window_tokens)
    if prompt is None:
        return ()
    survey = ground.reference.survey(prompt)
    gap, contender = float(survey.gap_logits_T[-1]), float(survey.contender_logit_T[-1])
    if not _is_hesitant(ground, gap, contender):
        return ()
    others = {name: other.survey(prompt) for name, other in ground.candidates.items()}
    return (_spot_of(survey, others, len(prompt) - 1, prompt, whole),)


def _cut(ground: Ground, text: str, num_tokens: int) -> tuple[str | None, tuple[int, ...] | None]:
    """Return a chat's text and the prompt's tokens; (None, None) where there is too little."""
    reference = ground.reference
    ids = reference.tokenize_text(text)[:num_tokens]
    if len(ids) < ground.settings.min_prompt_tokens:
        return None, None
    if ground.api is not ApiStyle.CHAT:
        return None, ids
    whole = reference.decode(ids)
    return whole, reference.tokenize_messages([{"role": "user", "content": whole}])


def _spot_of(
    survey: Survey, others: Mapping[str, Survey], t: int, prompt: tuple[int, ...], text: str | None
) -> Spot:
    first, contender = int(survey.best_token_T[t]), float(survey.contender_logit_T[t])
    choices = {
        name: _choice(first, int(other.best_token_T[t]), float(other.gap_logits_T[t]), contender)
        for name, other in others.items()
    }
    return Spot(
        prompt_token_ids=prompt,
        text=text,
        first=first,
        second=int(survey.second_token_T[t]),
        gap_logits=float(survey.gap_logits_T[t]),
        contender_logit=contender,
        choices=choices,
    )


def _with_draws(
    ground: Ground, spots: Sequence[Spot], sampling: Sampling, profile_id: str
) -> tuple[Spot, ...]:
    """Return the spots of one prompt with what each substitute draws from the same noise."""
    if not spots:
        return ()
    seeds = [spot.seed for spot in spots if spot.seed is not None]
    prompt = spots[0].prompt_token_ids
    choices: list[dict[str, Choice]] = [{} for _ in spots]
    for name, other in ground.candidates.items():
        drawn = other.seeded_draws(prompt, sampling, profile_id, seeds)
        for s, spot in enumerate(spots):
            token, gap = int(drawn.token_S[s]), float(drawn.gap_logits_S[s])
            choices[s][name] = _choice(spot.first, token, gap, spot.contender_logit)
    return tuple(replace(spot, choices=known) for spot, known in zip(spots, choices, strict=True))


def _choice(first: int, token: int, gap_logits: float, contender: float) -> Choice:
    signed = gap_logits if token == first else -gap_logits
    return Choice(token=token, margin_steps=signed / _step(contender))


def _is_hesitant(ground: Ground, gap_logits: float, contender: float) -> bool:
    settings = ground.settings
    gap_steps = gap_logits / _step(contender)
    return settings.lowest_gap_steps <= gap_steps < settings.highest_gap_steps


@lru_cache(maxsize=4096)
def _step(contender: float) -> float:
    return float(step_logits(np.asarray([contender]))[0])

"""Plans the pre-flight: a few requests for each setting that an endpoint may not obey.

Checks come in the order of their worth; a check that does not fit what is left of the requests is
left out as a whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from audit.ports import ProbeReference
from audit.records import Message, Prompt, SamplingRequest
from audit.sweep_records import ApiStyle, Endpoint, Probe, ProbeKind
from audit.sweeps.logprobs.prompts import cut_prompts, draw_seeds, generator
from audit.sweeps.preflight.local import LocalModel
from audit.sweeps.probe import make_probe

PREFLIGHT_ID = "preflight/1"

#: Lengths of the prompts whose tokens are counted: a surplus that grows with them is another
#: tokenizer or a padded bill, one that does not is added text.
_COUNTED_CHARS = (20, 60, 140, 300, 600)

#: Cuts among which prompts for temperature checks are chosen by the reference.
_NUM_CHOICES = 12

_MAX_TOKENS = (1, 5)
_STOP_TOKENS = 24
_SEED_TOKENS = 16
_LONG_TOKENS = 32
_NUM_DRAWS = 5

#: A lead that no honest rounding makes up for, while a draw at temperature 1 often does.
_LEAD_LOGITS = 1.0

#: Asked for the record; what a model says of itself decides nothing.
_IDENTITY = ("Which language model are you, and who made you?", "What is your knowledge cutoff?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What all checks of one plan are made from."""

    endpoint: Endpoint
    local: LocalModel
    texts: Sequence[str]
    seed: bytes

    def random(self, label: str) -> np.random.Generator:
        """Return the random numbers of one check."""
        return generator(self.seed, f"{PREFLIGHT_ID}/{label}")

    def cuts(self, label: str, num: int, num_chars: int) -> list[str]:
        """Return different prompts of about so many characters."""
        return cut_prompts(
            self.texts, self.random(label), num, min_chars=num_chars // 2, max_chars=num_chars
        )

    def probe(
        self,
        check: str,
        text: str,
        sampling: SamplingRequest,
        *,
        stop: tuple[str, ...] = (),
        wants_logprobs: int | None = None,
        expected: dict[str, object] | None = None,
    ) -> Probe:
        """Return a request of a check; what is expected holds the prompt's own text too."""
        return make_probe(
            kind=ProbeKind.PREFLIGHT,
            detector=PREFLIGHT_ID,
            group=check,
            api=self.endpoint.api,
            prompt=self.prompt(text),
            sampling=sampling,
            stop=stop,
            wants_logprobs=wants_logprobs,
            expected=expected,
        )

    def prompt(self, text: str) -> Prompt:
        """Return a text as the endpoint's route takes it."""
        if self.endpoint.api is ApiStyle.CHAT:
            return Prompt(messages=(Message(role="user", content=text),))
        return Prompt(text=text)


def plan_preflight(
    endpoint: Endpoint, reference: ProbeReference, texts: Sequence[str], seed: bytes, num: int
) -> tuple[Probe, ...]:
    """Return up to `num` requests, whole checks only. Nothing is asked that texts do not allow."""
    draft = Draft(endpoint=endpoint, local=LocalModel(reference), texts=texts, seed=seed)
    probes: list[Probe] = []
    for check in _CHECKS:
        made = check(draft)
        if len(probes) + len(made) <= num:
            probes += made
    return tuple(probes)


def drawn(seed: int | None, num_tokens: int) -> SamplingRequest:
    """Return temperature 1 without filters."""
    return SamplingRequest(temperature=1.0, top_p=1.0, seed=seed, max_tokens=num_tokens)


def greedy(num_tokens: int) -> SamplingRequest:
    """Return temperature 0."""
    return SamplingRequest(temperature=0.0, top_p=1.0, max_tokens=num_tokens)


def _counts(draft: Draft) -> list[Probe]:
    texts = [
        text
        for num_chars in _COUNTED_CHARS
        for text in draft.cuts(f"prompt-count/{num_chars}", 1, num_chars)
    ]
    return [draft.probe("prompt-count", text, greedy(1)) for text in texts]


def _lengths(draft: Draft) -> list[Probe]:
    texts = draft.cuts("max-tokens", len(_MAX_TOKENS), 120)
    return [
        draft.probe("max-tokens", text, greedy(length))
        for text, length in zip(texts, _MAX_TOKENS, strict=False)
    ]


def _temperature_0(draft: Draft) -> list[Probe]:
    """Ask prompts twice whose best token leads clearly, and is far from certain to be drawn."""
    local = draft.local

    def worth(text: str) -> tuple[float, str]:
        prompt = draft.prompt(text)
        gap = local.gap_logits(prompt)
        return (local.entropy_nats(prompt) if gap >= _LEAD_LOGITS else gap - 1e3, text)

    best = sorted(draft.cuts("greedy", _NUM_CHOICES, 160), key=worth, reverse=True)
    return [
        draft.probe("greedy", text, greedy(1), expected={"pair": pair, "time": time})
        for pair, text in enumerate(best[:2])
        for time in range(2)
    ]


def _temperature_1(draft: Draft) -> list[Probe]:
    """Ask the prompt whose first token is least certain, again and again."""
    texts = draft.cuts("entropy", _NUM_CHOICES, 160)
    if not texts:
        return []
    text = max(texts, key=lambda text: (draft.local.entropy_nats(draft.prompt(text)), text))
    seeds = draw_seeds(draft.random("entropy/seeds"), _NUM_DRAWS)
    return [draft.probe("entropy", text, drawn(seed, 1)) for seed in seeds]


def _seeds(draft: Draft) -> list[Probe]:
    texts = draft.cuts("seed", 3, 160)
    seeds = draw_seeds(draft.random("seed/seeds"), 3)
    return [
        draft.probe("seed", text, drawn(seed, _SEED_TOKENS), expected={"pair": pair, "time": time})
        for pair, (text, seed) in enumerate(zip(texts, seeds, strict=False))
        for time in range(2)
    ]


def _cache(draft: Draft) -> list[Probe]:
    """Ask one prompt for long answers with different seeds, and once without any."""
    seeds: list[int | None] = [*draw_seeds(draft.random("cache/seeds"), 2), None]
    return [
        draft.probe("cache", text, drawn(seed, _LONG_TOKENS))
        for text in draft.cuts("cache", 1, 160)
        for seed in seeds
    ]


def _stops(draft: Draft) -> list[Probe]:
    """Stop at text that the reference itself writes; an answer may never hold it."""
    probes = []
    for text in draft.cuts("stop", 2, 160):
        answer = draft.local.greedy_text(draft.prompt(text), _STOP_TOKENS)
        stop = _stop_in(answer)
        if stop is not None:
            probes.append(draft.probe("stop", text, greedy(_STOP_TOKENS), stop=(stop,)))
    return probes


def _logprobs(draft: Draft) -> list[Probe]:
    if not draft.endpoint.offers_logprobs:
        return []
    seeds = draw_seeds(draft.random("logprobs/seeds"), 3)
    return [
        draft.probe("logprobs", text, drawn(seed, 6), wants_logprobs=5)
        for text, seed in zip(draft.cuts("logprobs", 3, 160), seeds, strict=False)
    ]


def _identity(draft: Draft) -> list[Probe]:
    return [draft.probe("identity", text, greedy(_LONG_TOKENS)) for text in _IDENTITY]


_CHECKS: tuple[Callable[[Draft], list[Probe]], ...] = (
    _counts,
    _temperature_1,
    _temperature_0,
    _seeds,
    _cache,
    _lengths,
    _stops,
    _logprobs,
    _identity,
)


def _stop_in(answer: str) -> str | None:
    """Return the word with its blank that an answer holds after its first few characters."""
    for word in answer[4:].split(" ")[1:-1]:
        if word.strip() == word and len(word) >= 2:
            return word
    return answer[len(answer) // 2 :][:2] or None

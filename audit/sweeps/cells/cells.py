"""Cells: short prompts that are asked for one token, over and over, and the laws of their tokens.

Cells are the same in every run of a series: what was counted once is held against all later runs.
They are therefore chosen without the run's seed, at calibration, and kept in the bundle. Source of
the idea: "One Token Is Enough" (arXiv 2607.10252); prompts, choice and statistics are this
package's own.

Legend: C cells or passages, A candidates.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from audit.ports import ProbeReference
from audit.records import Prompt
from audit.sweep_records import ApiStyle, ProbeAnswer
from audit.sweeps.detector import Tools
from audit.sweeps.text import samples

Float64Array = NDArray[np.float64]

#: A token's text with its probability or its count; probabilities may sum to less than 1.
Law = Mapping[str, float]

#: Asked on the chat route where no candidate is at hand to choose passages by.
TASKS = (
    "Name a colour. One word only.",
    "Think of a whole number from 1 to 100 and write just that number.",
    "Write one random lower-case letter and nothing else.",
    "Name an animal, one word.",
    "Give me a first name for a cat. One word.",
    "Which city comes to mind first? One word.",
    "Name a fruit. One word only.",
    "Pick a weekday at random, answer with the day alone.",
    "Say a verb in English, one word.",
    "Name a musical instrument in one word.",
    "Choose heads or tails. One word.",
    "Pick a month. One word.",
    "Nenne eine Farbe. Nur ein Wort.",
    "Nenne irgendein Tier, nur ein Wort.",
    "Schreibe eine beliebige Zahl zwischen 1 und 50, sonst nichts.",
    "Welches Land kommt dir zuerst in den Sinn? Ein Wort.",
    "Donne-moi une couleur, en un seul mot.",
    "Cite un animal, en un seul mot.",
    "Choisis un nombre de 1 à 100 et écris-le seul.",
    "Cite une ville. Un seul mot.",
    "Di un color. Una sola palabra.",
    "Nombra una fruta, una sola palabra.",
    "Elige un número del 1 al 100 y escribe solo el número.",
    "Nombra un país. Una sola palabra.",
)

#: Shortest and longest passage that ends in a cell's token, in characters.
_SHORTEST, _LONGEST = 24, 72

#: Passages that are looked at for each cell that is wanted, where candidates can choose.
_NUM_LOOKED_AT = 10

#: Cuts that are tried for each wanted passage before the texts count as used up.
_NUM_TRIES = 20

#: Tokens of a model's law that are looked at.
_NUM_TOP = 128

#: Longest text that a token has; more is no single token.
_MAX_CHARACTERS = 64

#: A token that no law says as often as this is one of the others.
_COMMON = 0.02

#: Mean divergences far below this take more requests than any run has.
_UNSEEN_NATS = 0.002

#: No token is less likely than this under any law: laws are known from a hundred answers or so.
_LEAST_SHARE = 1e-3


def token_of(answer: ProbeAnswer) -> str | None:
    """Return the text of a one-token answer as it is counted; None where there is none."""
    text = samples.answer_text(answer)
    return None if text is None else _counted(text)


def choose_cells(tools: Tools, api: ApiStyle, num_cells: int) -> tuple[str, ...]:
    """Return the texts of the cells: what candidates answer most unlike the reference.

    Without candidates no weights are needed: tasks on the chat route, passages of the texts
    otherwise, fewer where the texts do not hold so many. Raises: BadSequence.
    """
    if not tools.candidates:
        if api is ApiStyle.CHAT:
            return TASKS[:num_cells]
        return tuple(_passages(tools.texts, num_cells))
    passages = _passages(tools.texts, _NUM_LOOKED_AT * num_cells)
    if not passages:
        return ()
    score_C = _scores(tools, api, passages)
    chosen = np.argsort(-score_C, kind="stable")[:num_cells]
    return tuple(passages[int(index)] for index in chosen)


def law_of_model(reference: ProbeReference, prompt: Prompt) -> dict[str, float]:
    """Return the law of a model's first token at temperature 1, its likeliest tokens.

    Raises: BadSequence.
    """
    token_ids = samples.prompt_token_ids(reference, prompt)
    top = reference.top_logprobs(token_ids, (0,), min(reference.info.vocab_size, _NUM_TOP))
    law: dict[str, float] = {}
    for token_id, logprob in zip(top.token_RK[0], top.logprob_nats_RK[0], strict=True):
        text = _counted(samples.canonical_answer(reference.decode((int(token_id),))))
        law[text] = law.get(text, 0.0) + math.exp(float(logprob))
    return law


def law_of_counts(tokens: Iterable[str]) -> dict[str, float]:
    """Return the observed frequencies, with half an answer left for what was not seen."""
    counts = Counter(tokens)
    total = sum(counts.values()) + 0.5
    return {token: count / total for token, count in sorted(counts.items())}


def on_common_tokens(laws: Mapping[str, Law]) -> dict[str, dict[str, float]]:
    """Return laws by name on one and the same tokens, those that some law says often enough.

    All others are one to them, so that laws that were cut at different tokens can be compared.
    """
    common = sorted({t for law in laws.values() for t, share in law.items() if share >= _COMMON})
    # six digits are finer than anything that is counted, and the same on every machine
    return {
        name: {token: round(law.get(token, 0.0), 6) for token in common}
        for name, law in laws.items()
    }


def rest_of(law: Law) -> float:
    """Return the probability of all tokens together that a law does not name."""
    return min(max(1.0 - math.fsum(law.values()), 0.0), 1.0)


def log_probability(law: Law, token: str) -> float:
    """Return the log-probability of a token; those not named share the rest as one."""
    share = law[token] if token in law else rest_of(law)
    return math.log(max(share, _LEAST_SHARE))


def _bounded_divergence(honest: Law, law: Law) -> float:
    """Return how far two laws on the same tokens are apart, in nats; at most log 2."""
    total = 0.0
    for first, second in (
        *((honest[token], law[token]) for token in honest),
        (rest_of(honest), rest_of(law)),
    ):
        middle = (first + second) / 2.0
        total += sum(p * math.log(p / middle) / 2.0 for p in (first, second) if p > 0.0)
    return max(total, 0.0)


def _scores(tools: Tools, api: ApiStyle, passages: Sequence[str]) -> Float64Array:
    """Return how well each passage would tell the candidates from the reference, [C]."""
    models = {"": tools.reference, **tools.candidates}
    divergence_CA, coverage_C = [], []
    for passage in passages:
        prompt = samples.as_prompt(passage, api)
        laws = on_common_tokens({name: law_of_model(m, prompt) for name, m in models.items()})
        coverage_C.append(1.0 - rest_of(laws[""]))
        divergence_CA.append(
            [_bounded_divergence(laws[""], laws[name]) for name in sorted(tools.candidates)]
        )
    divergence = np.asarray(divergence_CA)
    # every candidate has its say, in so far as it can be seen at all
    scale_A = divergence.mean(axis=0) + _UNSEEN_NATS
    # a hundred answers are no baseline where most are the only ones of their kind
    return np.asarray((divergence / scale_A).sum(axis=1) * np.asarray(coverage_C) ** 2)


def _passages(texts: Sequence[str], num: int) -> list[str]:
    """Return different short passages between words, the same for the same texts."""
    rng = samples.derived_rng(b"one-token-cells/1", "passages")
    passages: dict[str, None] = {}
    for _ in range(_NUM_TRIES * num if texts else 0):
        if len(passages) == num:
            break
        text = texts[int(rng.integers(len(texts)))]
        length = int(rng.integers(_SHORTEST, _LONGEST + 1))
        start = int(rng.integers(max(1, len(text) - length + 1)))
        words = text[start : start + length].split(" ")
        passage = " ".join(words[1:-1]).strip()
        if len(passage) >= _SHORTEST // 2:
            passages[passage] = None
    return list(passages)


def _counted(text: str) -> str:
    # a lone surrogate is no text that JSON could carry
    return text[:_MAX_CHARACTERS].encode("utf-8", "replace").decode()

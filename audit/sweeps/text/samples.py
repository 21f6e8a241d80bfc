"""Prompts cut from ordinary text, answers drawn locally, and the one spelling that is compared.

An endpoint's answer and the local ones pass through the same `canonical_answer`: one stripped
leading space is enough to make a two-sample test "find" an honest endpoint.
"""

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np

from audit.ports import ProbeReference
from audit.records import Message, Prompt
from audit.sweep_records import AnswerStatus, ApiStyle, Probe, ProbeAnswer, Probed
from reference_runner.records import GenerationRequest, Sampling

#: How local answers are drawn; any profile samples the same law.
LOCAL_PROFILE = "torch-cpu-exponential"

#: Shortest and longest prompt in characters, about what people type.
SHORTEST_PROMPT, LONGEST_PROMPT = 80, 260

#: Requests that share a forward pass; more fill memory and gain nothing on a processor.
_BATCH_SIZE = 32

#: Cuts that are tried for each wanted prompt before the texts count as used up.
_NUM_TRIES = 20

#: Seeds are sent to servers that hold them in 32 signed bits.
_SEED_BITS = 31


def canonical_answer(text: str) -> str:
    """Return an answer in the one spelling that is compared and scored.

    Servers differ in line ends, in the white space around an answer, and in what they make of a
    character that the last token left unfinished; none of it says anything about the model.
    """
    joined = unicodedata.normalize("NFC", text.replace("\r\n", "\n"))
    return joined.rstrip("\ufffd").strip()


def answer_text(answer: ProbeAnswer) -> str | None:
    """Return the canonical text of an answer, or None where it carries no evidence."""
    if answer.status is not AnswerStatus.ANSWERED or answer.text is None:
        return None
    return canonical_answer(answer.text)


def answer_token_ids(reference: ProbeReference, answer: ProbeAnswer) -> tuple[int, ...]:
    """Return the tokens of an answer: those that it states, where they spell its text.

    Otherwise the text is split anew; none where that does not give the text back.
    """
    text = answer.text or ""
    stated = answer.token_ids or ()
    are_known = all(0 <= token_id < reference.info.vocab_size for token_id in stated)
    if stated and are_known and _same(reference.decode(stated), text):
        return stated
    return reference.tokenize_output(text) or ()


def _same(one: str, other: str) -> bool:
    return canonical_answer(one) == canonical_answer(other)


def derived_rng(seed: bytes, label: str) -> np.random.Generator:
    """Return a generator that depends on seed and label alone, the same on every machine."""
    digest = hashlib.sha256(seed + b"/text/" + label.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))


def derived_seed(seed: bytes, label: str) -> int:
    """Return a sampler seed that every server takes."""
    digest = hashlib.sha256(seed + b"/seed/" + label.encode()).digest()
    return int.from_bytes(digest[:4]) >> (32 - _SEED_BITS)


def secret_seed(seed: bytes, label: str) -> str:
    """Return a seed in hex that a plan may hold: it tells nothing of the one it came from."""
    return hashlib.sha256(seed + b"/secret/" + label.encode()).hexdigest()[:32]


def cut_prompts(
    reference: ProbeReference,
    texts: Sequence[str],
    api: ApiStyle,
    seed: bytes,
    *,
    num_prompts: int,
    max_tokens: int,
) -> list[Prompt]:
    """Return different passages of the texts as prompts, fewer where the texts do not hold so many.

    Each leaves room for `max_tokens` of an answer.
    """
    rng = derived_rng(seed, "prompts")
    seen: set[str] = set()
    prompts: list[Prompt] = []
    for _ in range(_NUM_TRIES * num_prompts if texts else 0):
        if len(prompts) == num_prompts:
            break
        passage = _passage(texts[int(rng.integers(len(texts)))], rng)
        if passage and passage not in seen:
            seen.add(passage)
            prompt = as_prompt(passage, api)
            room = reference.info.max_positions - len(prompt_token_ids(reference, prompt))
            prompts += [prompt] if room >= max_tokens else []
    return prompts


def as_prompt(text: str, api: ApiStyle) -> Prompt:
    """Return a text as the route takes it: ids would give the auditor away."""
    if api is ApiStyle.CHAT:
        return Prompt(messages=(Message(role="user", content=text),))
    return Prompt(text=text)


def prompt_token_ids(reference: ProbeReference, prompt: Prompt) -> tuple[int, ...]:
    """Return the ids that an honest endpoint makes of a prompt. Raises: BadSequence."""
    if prompt.messages is not None:
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        return reference.tokenize_messages(messages)
    return reference.tokenize_text(prompt.text or "")


def prompt_of(probe: Probe) -> str:
    """Return a prompt's text, for comparing prompts."""
    messages = probe.prompt.messages or ()
    return probe.prompt.text or "\n".join(message.content for message in messages)


def draw_answers(
    reference: ProbeReference,
    prompts: Sequence[Prompt],
    seed: bytes,
    *,
    per_prompt: int,
    max_tokens: int,
    temperature: float,
) -> list[list[str]]:
    """Return fresh answers of the reference in canonical spelling, `per_prompt` for each prompt.

    The last bits of numbers depend on who shares a pass: only the same prompts with the same seed
    are sure to give the same answers. Raises: BadSequence.
    """
    requests = [
        GenerationRequest(
            prompt_token_ids=token_ids,
            sampling=Sampling(
                temperature=temperature,
                top_k=0,
                top_p=1.0,
                seed=derived_seed(seed, f"local {number} {repeat}"),
            ),
            profile_id=LOCAL_PROFILE,
            num_tokens=max_tokens,
            stops_at=reference.end_token_ids,
        )
        for number, token_ids in enumerate(prompt_token_ids(reference, p) for p in prompts)
        for repeat in range(per_prompt)
    ]
    answers = reference.generate(requests, batch_size=_BATCH_SIZE)
    texts = [canonical_answer(reference.decode(answer)) for answer in answers]
    return [texts[start : start + per_prompt] for start in range(0, len(texts), per_prompt)]


def answer_locally(
    reference: ProbeReference,
    probes: Sequence[Probe],
    seed: bytes,
    *,
    batch_size: int = _BATCH_SIZE,
) -> list[Probed]:
    """Return probes as a reference answers them, text alone, for working out what would be seen.

    Raises: BadSequence.
    """
    requests = [
        GenerationRequest(
            prompt_token_ids=prompt_token_ids(reference, probe.prompt),
            sampling=Sampling(
                temperature=probe.sampling.temperature or 0.0,
                top_k=0,
                top_p=1.0,
                seed=derived_seed(seed, f"answer {number}"),
            ),
            profile_id=LOCAL_PROFILE,
            num_tokens=probe.sampling.max_tokens or 1,
            stops_at=reference.end_token_ids,
        )
        for number, probe in enumerate(probes)
    ]
    answers = reference.generate(requests, batch_size=batch_size)
    return [
        Probed(
            probe=probe,
            answer=ProbeAnswer(
                status=AnswerStatus.ANSWERED,
                text=reference.decode(token_ids),
                token_ids=token_ids,
            ),
        )
        for probe, token_ids in zip(probes, answers, strict=True)
    ]


def _passage(text: str, rng: np.random.Generator) -> str:
    """Return a stretch of a text that begins and ends between words, or nothing."""
    length = int(rng.integers(SHORTEST_PROMPT, LONGEST_PROMPT + 1))
    start = int(rng.integers(max(1, len(text) - length + 1)))
    words = text[start : start + length].split(" ")
    # the outer words may be cut in half
    inner = words[1:-1] if len(words) > 2 else words
    return " ".join(inner).strip()

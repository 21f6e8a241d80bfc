"""Rival explanations of an exchange, each as what would have to be replayed to try it.

All exchanges of one provider are tried together, so a rival is known by its name and its choice,
and is listed for every exchange: where it changes nothing, its sequence is the plan's own.
Temperatures are not listed, as they are fitted.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, runtime_checkable

from audit.ports import Reference
from audit.records import AuditRequest, Message
from reference_runner.errors import BadSequence, RunnerError
from reference_runner.records import Evidence, ReplayBatch, ReplaySequence, Sampling
from reference_runner.samplers.registry import PROFILES, get_profile

#: What providers put in front of a conversation without saying so.
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful, respectful and honest assistant.",
    "You are a coding assistant.",
)

#: Texts that stand for the beginning-of-text token in common vocabularies.
BEGIN_TEXTS = ("<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<|endoftext|>")

#: Larger seeds fit no sampler.
LARGEST_SEED = 2**63 - 1

SEEDS: tuple[tuple[str, Callable[[int], int]], ...] = (
    ("seed 0", lambda seed: 0),
    ("seed 1", lambda seed: 1),
    ("seed 42", lambda seed: 42),
    ("the stated seed plus one", lambda seed: min(seed + 1, LARGEST_SEED)),
    ("the stated seed cut to 32 bits", lambda seed: seed & 0xFFFFFFFF),
)

PromptMaker = tuple[str, str, Callable[[], tuple[int, ...] | None]]
"""A rival's name and statement, and what makes its prompt; None where it does not apply."""

FILTERS_OFF: tuple[tuple[str, Callable[[Sampling], Sampling]], ...] = (
    ("top_p", lambda sampling: replace(sampling, top_p=1.0)),
    ("top_k", lambda sampling: replace(sampling, top_k=0)),
    ("top_k and top_p", lambda sampling: replace(sampling, top_k=0, top_p=1.0)),
)


@runtime_checkable
class Roundable(Protocol):
    """A reference that can make copies of itself with rounded numbers."""

    def rounded(self, kind: str) -> Reference:
        """Return such a copy. Raises: CheckpointError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """One choice of one explanation, for one exchange."""

    name: str
    """The explanation that it belongs to, as policies name it."""
    statement: str
    """What it says, and what tells its choices apart."""
    sequence: ReplaySequence
    copy: str | None = None
    """The rounded copy to replay on; None for the reference itself."""
    sibling: str | None = None
    """The name of another reference to replay on."""
    estimate: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What is the same for all exchanges."""
        return self.name, self.statement


def list_rivals(
    sequence: ReplaySequence,
    request: AuditRequest,
    reference: Reference,
    *,
    copies: Sequence[str] = (),
    siblings: Sequence[str] = (),
    system_prompts: Sequence[str] = (),
) -> tuple[Rival, ...]:
    """Return the rivals of one exchange; `sequence` is its plan's, with one sampler profile.

    What tokenizer, template or this machine's samplers cannot make is left out. `system_prompts`
    are tried beside the built-in ones.
    """
    prompts = tuple(dict.fromkeys((*system_prompts, *SYSTEM_PROMPTS)))
    return (
        *_samplings(sequence),
        *_profiles(sequence),
        *_prompts(sequence, request, reference, prompts),
        *(
            Rival(
                name=kind,
                statement=f"answered by a copy rounded to {kind}",
                sequence=sequence,
                copy=kind,
            )
            for kind in copies
        ),
        *(
            Rival(
                name="sibling",
                statement=f"answered by {name} instead of the claimed model",
                sequence=sequence,
                sibling=name,
            )
            for name in siblings
        ),
    )


def _samplings(sequence: ReplaySequence) -> Iterator[Rival]:
    """Yield what else the stated parameters may have become; greedy requests stay as they are."""
    sampling = sequence.sampling
    for label, turn_off in FILTERS_OFF:
        changed = sampling if sampling.is_greedy else turn_off(sampling)
        yield Rival(
            name="filters_off",
            statement=f"sampled without {label}",
            sequence=replace(sequence, sampling=changed),
        )
    for label, seed_of in SEEDS:
        seed = sampling.seed
        if seed is not None and not sampling.is_greedy:
            seed = seed_of(seed)
        yield Rival(
            name="other_seed",
            statement=f"drawn with {label}",
            sequence=replace(sequence, sampling=replace(sampling, seed=seed)),
            estimate=seed,
        )


def _profiles(sequence: ReplaySequence) -> Iterator[Rival]:
    for profile_id in PROFILES:
        try:
            get_profile(profile_id)
        except RunnerError:
            continue
        profile_ids = sequence.profile_ids if sequence.sampling.is_greedy else (profile_id,)
        yield Rival(
            name="other_profile",
            statement=f"drawn by the sampler {profile_id}",
            sequence=replace(sequence, profile_ids=profile_ids),
        )


def _prompts(
    sequence: ReplaySequence,
    request: AuditRequest,
    reference: Reference,
    system_prompts: Sequence[str],
) -> Iterator[Rival]:
    """Yield other prompts; one that cannot be made for this exchange is not listed."""
    sent = sequence.prompt_token_ids
    makers = (
        *_template_makers(sent, request, reference),
        *_system_makers(sent, request, reference, system_prompts),
    )
    for name, statement, make in makers:
        try:
            ids = make()
        except BadSequence:
            continue
        if ids:
            yield Rival(
                name=name,
                statement=statement,
                sequence=replace(sequence, prompt_token_ids=ids),
            )


def _template_makers(
    sent: tuple[int, ...], request: AuditRequest, reference: Reference
) -> Iterator[PromptMaker]:
    for statement, make in (
        (
            "answered a prompt with the beginning-of-text token added",
            partial(_with_begin, sent, reference),
        ),
        (
            "answered a prompt without its beginning-of-text token",
            partial(_without_begin, sent, reference),
        ),
        (
            "answered with the chat template put around a plain prompt",
            partial(_templated, request, reference, None),
        ),
        (
            "answered without the chat template",
            partial(_untemplated, request, reference),
        ),
    ):
        yield "template", statement, make


def _system_makers(
    sent: tuple[int, ...],
    request: AuditRequest,
    reference: Reference,
    system_prompts: Sequence[str],
) -> Iterator[PromptMaker]:
    name = "system_prompt"
    dropped = partial(_without_system, request, reference)
    yield name, "answered without the system message", dropped
    for text in system_prompts:
        hidden = partial(_templated, request, reference, text)
        yield name, f"answered behind the hidden system prompt {text!r}", hidden
        plain = partial(_prefixed, sent, request, reference, text)
        yield name, f"answered behind the hidden text {text!r}, as plain text", plain


def _begin_tokens(reference: Reference) -> tuple[int, ...]:
    """Return the ids that may begin a text here, the tokenizer's own first."""
    own = reference.tokenize_text("")[:1]
    found = [reference.tokenize_output(text) for text in BEGIN_TEXTS]
    return (*own, *(ids[0] for ids in found if ids is not None and len(ids) == 1))


def _with_begin(prompt_ids: tuple[int, ...], reference: Reference) -> tuple[int, ...] | None:
    begin = _begin_tokens(reference)
    if not begin or prompt_ids[:1] == begin[:1]:
        return None
    return begin[:1] + prompt_ids


def _without_begin(prompt_ids: tuple[int, ...], reference: Reference) -> tuple[int, ...] | None:
    is_begun = len(prompt_ids) > 1 and prompt_ids[0] in _begin_tokens(reference)
    return prompt_ids[1:] if is_begun else None


def _templated(
    request: AuditRequest, reference: Reference, system: str | None
) -> tuple[int, ...] | None:
    """Return the prompt as a chat, behind a system message where one is given.

    None where it is a chat already and nothing is to be added.
    """
    prompt = request.exchange.prompt
    if prompt.messages is None and prompt.text is None:
        return None
    if prompt.messages is not None and system is None:
        return None
    messages = list(prompt.messages or (Message(role="user", content=prompt.text or ""),))
    if system is not None:
        if messages[0].role == "system":
            # templates refuse a second one
            stated = messages.pop(0).content
            system = f"{system}\n{stated}"
        messages.insert(0, Message(role="system", content=system))
    return reference.tokenize_messages([{"role": m.role, "content": m.content} for m in messages])


def _untemplated(request: AuditRequest, reference: Reference) -> tuple[int, ...] | None:
    messages = request.exchange.prompt.messages
    if messages is None:
        return None
    return reference.tokenize_text("\n".join(message.content for message in messages))


def _without_system(request: AuditRequest, reference: Reference) -> tuple[int, ...] | None:
    messages = request.exchange.prompt.messages or ()
    kept = [m for m in messages if m.role != "system"]
    if not kept or len(kept) == len(messages):
        return None
    return reference.tokenize_messages([{"role": m.role, "content": m.content} for m in kept])


def _prefixed(
    prompt_ids: tuple[int, ...], request: AuditRequest, reference: Reference, text: str
) -> tuple[int, ...] | None:
    """Return a plain prompt behind a text and an empty line; None for chats."""
    prompt = request.exchange.prompt
    if prompt.messages is not None:
        return None
    if prompt.text is not None:
        return reference.tokenize_text(f"{text}\n\n{prompt.text}")
    return reference.tokenize_text(f"{text}\n\n") + prompt_ids


def is_deaf(sequence: ReplaySequence) -> bool:
    """Return whether neither seed nor temperature can change a replay."""
    return sequence.sampling.seed is None or sequence.profile_ids == ("greedy",)


def heated(sequence: ReplaySequence, log_temperature: float) -> ReplaySequence:
    """Return the same exchange at a temperature, given as its natural logarithm."""
    temperature = math.exp(log_temperature)
    return replace(sequence, sampling=replace(sequence.sampling, temperature=temperature))


def scaled(sequence: ReplaySequence, log_ratio: float) -> ReplaySequence:
    """Return the same exchange with its temperature multiplied; a greedy one stays as it is."""
    if sequence.sampling.is_greedy:
        return sequence
    return heated(sequence, math.log(sequence.sampling.temperature) + log_ratio)


def reseeded(sequence: ReplaySequence, seed: int) -> ReplaySequence:
    """Return the same exchange with another seed."""
    return replace(sequence, sampling=replace(sequence.sampling, seed=seed))


def rounded(reference: Reference, kind: str) -> Reference | None:
    """Return a rounded copy, or None where this reference or its architecture has none."""
    if not isinstance(reference, Roundable):
        return None
    try:
        return reference.rounded(kind)
    except RunnerError:
        return None


def replay_each(reference: Reference, sequences: Sequence[ReplaySequence]) -> list[Evidence | None]:
    """Replay sequences together, so that equal tokens share a pass; None for what cannot be.

    Every sequence names one sampler profile.
    """
    try:
        replays = reference.replay(ReplayBatch(sequences=tuple(sequences)))
    except RunnerError:
        if len(sequences) == 1:
            return [None]
        return [evidence for s in sequences for evidence in replay_each(reference, [s])]
    return [evidence for (evidence,) in replays]

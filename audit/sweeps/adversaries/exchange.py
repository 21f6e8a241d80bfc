"""What a server was asked, what it answers, and who decides that.

A behaviour turns an `Ask` into an `Answered`. Tricks are behaviours around behaviours.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol

from audit.sweep_records import ApiStyle, TokenLogprob


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request as the server understood it; `None` where the client left it to the server."""

    api: ApiStyle
    model: str
    prompt_token_ids: tuple[int, ...] | None = None
    text: str | None = None
    messages: tuple[tuple[str, str], ...] | None = None
    """(role, content) in order."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignores_end: bool = False
    """Whether the tokens that end an answer are drawn like all others."""
    num_logprobs: int | None = None
    """How many alternatives with log-probabilities are wanted; None means no log-probabilities."""
    wants_token_ids: bool = False
    spells_ids: bool = False
    """Whether log-probabilities name tokens `token_id:7` instead of by their text."""
    is_streamed: bool = False
    streams_usage: bool = False
    caller: str = ""
    """Digest of the Authorization header, or of the client's address where there is none."""
    index: int = 0
    """How many requests the server took before this one."""
    occurrence: int = 0
    """How many requests of the same content the server took before this one."""
    arrived_s: float = 0.0
    """On the server's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The log-probabilities that go with one output token."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]
    """The likeliest tokens, likeliest first; the chosen one is not added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the server says back."""

    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    """The text that each token adds; joined they are the answer."""
    finish_reason: str
    rows: tuple[Row, ...] | None = None
    prompt_tokens: int
    completion_tokens: int
    """The counts that are billed."""
    upstream: str | None = None
    """Who answered, as a marketplace says."""
    served_model: str | None = None
    """None means the name that was asked for."""

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)


class Behaviour(Protocol):
    """Decides what a server answers."""

    async def answer(self, ask: Ask) -> Answered:
        """Return the answer. Raises: RunnerError for what the model cannot take."""
        ...


def content_key(ask: Ask, *, with_seed: bool = True) -> bytes:
    """Return a digest of what was asked, whoever asks it and whenever."""
    seed = (ask.seed,) if with_seed else ()
    content = (ask.api.value, ask.prompt_token_ids, ask.text, ask.messages, ask.temperature)
    rest = (ask.top_p, ask.top_k, ask.max_tokens, ask.stop, ask.ignores_end, ask.num_logprobs)
    return hashlib.sha256(repr((content, rest, seed)).encode()).digest()


def draw_unit(seed: bytes, label: str, *what: object) -> float:
    """Return a number in [0, 1) that depends on nothing but the arguments."""
    digest = hashlib.sha256(seed + label.encode() + repr(what).encode()).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)


def draw_seed(seed: bytes, label: str, *what: object) -> int:
    """Return a sampling seed in [0, 2^31) that depends on nothing but the arguments."""
    return int(draw_unit(seed, label, *what) * (1 << 31))

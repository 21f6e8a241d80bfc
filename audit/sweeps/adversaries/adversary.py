"""What an adversary is, and what it is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from audit.errors import ConfigurationError
from audit.ports import ProbeReference
from audit.sweeps.adversaries import drift, tricks
from audit.sweeps.adversaries.answering import Engine
from audit.sweeps.adversaries.exchange import Behaviour


class AdversaryKind(StrEnum):
    """What an adversary does."""

    HONEST = "honest"
    COPY = "copy"
    """Another model, or rounded numbers, for all requests."""
    SHARE = "share"
    """Another model for a part of the requests."""
    EVASION = "evasion"
    """The true model for what looks like a test."""
    SERVICE = "service"
    """The true model, asked or accounted for wrongly."""
    DRIFT = "drift"
    """Honest at first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversaryTools:
    """What adversaries are made of."""

    copies: Mapping[str, ProbeReference]
    """Models by name: `bfloat16` and `float32` are the true one; roundings by their ids, `sibling`
    and `other-checkpoint` are what it is replaced by."""
    seed: bytes
    profile_id: str = "torch-cpu-exponential"
    batch_size: int = 8
    known_prompts: frozenset[str] = frozenset()
    """What a provider that evades benchmarks knows by heart."""
    upstream: str = "pinned"
    """The upstream that requests pin, where a marketplace is played."""
    change_at: float = 200.0
    """Where drift begins, along `position`."""
    change_end: float = 400.0
    """Where a ramp or a blip ends, and twice how long an alternation stays."""
    position: drift.Position = drift.by_count
    block_requests: int = 25
    block_s: float = 3600.0

    def engine(self, copy: str = "bfloat16", *, batch_size: int | None = None) -> Engine:
        """Return a server's inside around a copy. Raises: ConfigurationError without it."""
        reference = self.copies.get(copy)
        if reference is None:
            raise ConfigurationError(
                f"this adversary needs the model copy {copy!r}; at hand are: "
                f"{', '.join(sorted(self.copies))}"
            )
        return Engine(
            reference,
            seed=self.seed + copy.encode(),
            batch_size=self.batch_size if batch_size is None else batch_size,
            profile_id=self.profile_id,
        )

    def diverted(self, copy: str, share: drift.Share, unit: tricks.Unit) -> Behaviour:
        """Return the true model with a share of requests sent to a copy."""
        return tricks.Diverted(
            self.engine(), self.engine(copy), share=share, unit=unit, seed=self.seed
        )


Build = Callable[[AdversaryTools], Behaviour]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversary:
    """One way to behave, by name."""

    name: str
    label: str
    kind: AdversaryKind
    build: Build
    """A fresh behaviour, for one server. Raises: ConfigurationError where a copy is missing."""

    @property
    def is_honest(self) -> bool:
        """Whether accusing it is a false alarm."""
        return self.kind is AdversaryKind.HONEST

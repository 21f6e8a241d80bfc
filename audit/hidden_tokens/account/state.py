"""An account's evidence between requests.

It is bounded: one entry for each tier, twenty violations, one count for each tier and reason.

Legend: B staked fractions.
"""

from dataclasses import dataclass, field

from audit.billing_records import (
    Adversary,
    Controller,
    Refusal,
    Tier,
    Violation,
)
from audit.hidden_tokens.account.bets import START_B
from audit.hidden_tokens.account.change import Cusum
from audit.hidden_tokens.account.ratio import RatioSums

MAX_VIOLATIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """What gave a reading, and where it was calibrated; the error of each is paid once."""

    channel: str
    cell: str
    calibration_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """One tier's evidence over the requests that it read."""

    tier: Tier
    laws: tuple[Law, ...]
    """Of its first readings, `MAX_LAWS` at most."""
    controller: Controller
    stops: Adversary
    is_exact: bool
    """Whether its p-values need no calibration."""
    num_requests: int = 0
    num_other_law: int = 0
    """Readings of the tier by further laws, which were not added up."""
    over_B: tuple[float, ...] = START_B
    """Log wealth against "not too high"."""
    under_B: tuple[float, ...] = START_B
    ratio: RatioSums = field(default_factory=RatioSums)

    def wealth_B(self, direction: str) -> tuple[float, ...]:
        """Return the log wealth in one direction, `over` or `under`."""
        return self.over_B if direction == "over" else self.under_B


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """The first time that the meter disagreed; it stays."""

    request: int
    """Counted from 1."""
    direction: str | None
    tier: Tier
    change_at: int
    is_violation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """All evidence about one account so far."""

    rules_id: str
    num_requests: int = 0
    billed_tokens: int = 0
    num_violations: int = 0
    violations: tuple[Violation, ...] = ()
    channels: tuple[ChannelState, ...] = ()
    together_over_B: tuple[float, ...] = START_B
    together_under_B: tuple[float, ...] = START_B
    rise_over: Cusum = field(default_factory=Cusum)
    rise_under: Cusum = field(default_factory=Cusum)
    alarm: Alarm | None = None
    unchecked: tuple[tuple[Tier, Refusal, int], ...] = ()
    cost: str = "0"
    """Exact decimal: what the reasoning tokens of all priced requests were billed."""
    currency: str | None = None
    num_unpriced: int = 0
    """Requests without a price, or in another currency than the first."""

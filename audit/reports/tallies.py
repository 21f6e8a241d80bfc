"""Sums that are kept while the log is read; their size does not grow with the verdicts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Generic

from audit.reports.members import parse_time
from audit.reports.opening import Opened
from audit.reports.records import (
    AttackRange,
    Item,
    KeyUse,
    Listing,
    RunnerUse,
    SourceUse,
    VerdictLine,
)

#: How many of each kind a report lists; all are counted.
MAX_LISTED = 200


class Lister(Generic[Item]):
    """Counts all and keeps the first."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._total = 0

    def add(self, item: Item) -> None:
        """Take the next."""
        self._total += 1
        if len(self._items) < MAX_LISTED:
            self._items.append(item)

    def listing(self) -> Listing[Item]:
        """Return what was taken."""
        return Listing(total=self._total, items=tuple(self._items))


def listing_of(items: Iterable[Item], order: Callable[[Item], tuple[object, ...]]) -> Listing[Item]:
    """Return the first of some items in an order."""
    found = sorted(items, key=order)
    return Listing(total=len(found), items=tuple(found[:MAX_LISTED]))


@dataclass(slots=True)
class LatestTime:
    """The latest of the times that were signed for."""

    text: str | None = None
    _time: datetime | None = None

    def see(self, stated: str) -> None:
        """Take a time, RFC 3339 in UTC."""
        if stated == self.text:
            return
        time = parse_time(stated, "a time")
        if self._time is None or time > self._time:
            self.text, self._time = stated, time


@dataclass(slots=True)
class _Count:
    """How many used something, and the first and last of them."""

    number: int = 0
    first_index: int = 0
    last_index: int = 0

    def add(self, log_index: int) -> None:
        if not self.number:
            self.first_index = log_index
        self.number += 1
        self.last_index = log_index


@dataclass(slots=True)
class SourceTally:
    """Policies, or calibrations: those in the log and those that verdicts name."""

    _entered: dict[str, SourceUse] = field(default_factory=dict)
    _counts: dict[str, _Count] = field(default_factory=dict)

    def enter(self, source_id: str, opened: Opened, statement: str) -> None:
        """Take the entry of one; the first entry of an id counts."""
        if source_id not in self._entered:
            self._entered[source_id] = SourceUse(
                source_id=source_id,
                digest=opened.subject_digest,
                log_index=opened.log_index,
                entered_at=opened.signed_at,
                num_verdicts=0,
                first_verdict_index=None,
                last_verdict_index=None,
                statement=statement,
            )

    def use(self, source_id: str | None, log_index: int) -> None:
        """Take a verdict that names one."""
        if source_id is not None:
            self._counts.setdefault(source_id, _Count()).add(log_index)

    def listing(self) -> Listing[SourceUse]:
        """Return those in the log in its order, then those that are only named."""
        return listing_of(
            map(self._use_of, self._entered | self._counts),
            lambda use: (use.log_index is None, use.log_index or 0, use.source_id),
        )

    def _use_of(self, source_id: str) -> SourceUse:
        use = self._entered.get(source_id) or SourceUse(
            source_id=source_id,
            digest=None,
            log_index=None,
            entered_at=None,
            num_verdicts=0,
            first_verdict_index=None,
            last_verdict_index=None,
            statement=None,
        )
        count = self._counts.get(source_id)
        if count is None:
            return use
        return replace(
            use,
            num_verdicts=count.number,
            first_verdict_index=count.first_index,
            last_verdict_index=count.last_index,
        )


@dataclass(slots=True)
class KeyTally:
    """Which keys signed how much."""

    _counts: dict[str, _Count] = field(default_factory=dict)

    def use(self, opened: Opened) -> None:
        """Take an entry."""
        self._counts.setdefault(opened.key_id, _Count()).add(opened.log_index)

    def listing(self) -> Listing[KeyUse]:
        """Return the keys in the order of their first entry."""
        uses = (
            KeyUse(
                key_id=key_id,
                num_entries=count.number,
                first_index=count.first_index,
                last_index=count.last_index,
            )
            for key_id, count in self._counts.items()
        )
        return listing_of(uses, lambda use: (use.first_index,))


#: Version, device, threads, libraries.
RunnerKey = tuple[str, str, int, tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class RunnerTally:
    """Which builds of the reference runner measured how much."""

    _counts: dict[RunnerKey, int] = field(default_factory=dict)

    def use(self, runner: RunnerKey) -> None:
        """Take a verdict."""
        self._counts[runner] = self._counts.get(runner, 0) + 1

    def listing(self) -> Listing[RunnerUse]:
        """Return the builds, the most used first."""
        uses = (
            RunnerUse(
                version=version,
                device=device,
                num_threads=num_threads,
                libraries=libraries,
                num_verdicts=count,
            )
            for (version, device, num_threads, libraries), count in self._counts.items()
        )
        return listing_of(
            uses, lambda use: (-use.num_verdicts, use.version, use.device, use.libraries)
        )


@dataclass(slots=True)
class _AttackSum:
    label: str
    powers: list[float]
    """Lowest, sum, highest."""
    tokens: list[int | None]
    """Fewest, most; None where some study saw none."""
    num_verdicts: int


@dataclass(slots=True)
class PowerTally:
    """False alarms to expect, and power against named attacks."""

    num_tested: int = 0
    expected_false_alarms: float = 0.0
    _attacks: dict[str, _AttackSum] = field(default_factory=dict)

    def see(self, line: VerdictLine) -> None:
        """Take a verdict in scope."""
        if line.false_alarm_rate is not None:
            self.num_tested += 1
            self.expected_false_alarms += line.false_alarm_rate
        for attack in line.attacks:
            power, needed = attack.power, attack.num_tokens_needed
            known = self._attacks.get(attack.attack)
            if known is None:
                self._attacks[attack.attack] = _AttackSum(
                    attack.label, [power, power, power], [needed, needed], 1
                )
                continue
            low, total, high = known.powers
            known.powers = [min(low, power), total + power, max(high, power)]
            fewest, most = known.tokens
            known.tokens = [_fewest(fewest, needed), _most(most, needed)]
            known.num_verdicts += 1

    def attacks(self) -> tuple[AttackRange, ...]:
        """Return the attacks by name."""
        return tuple(
            AttackRange(
                attack=attack,
                label=found.label,
                num_verdicts=found.num_verdicts,
                low_power=found.powers[0],
                mean_power=found.powers[1] / found.num_verdicts,
                high_power=found.powers[2],
                low_tokens_needed=found.tokens[0],
                high_tokens_needed=found.tokens[1],
            )
            for attack, found in sorted(self._attacks.items())[:MAX_LISTED]
        )


def _fewest(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _most(one: int | None, other: int | None) -> int | None:
    # A verdict for which no number would do is worse than any number.
    return None if one is None or other is None else max(one, other)

"""Finds where a visible answer begins in the chain that the reference regenerates.

    seeded chain -- holds the answer? --yes--> count
         | no: take the nearest ties another way, likeliest first
    more chains  -- hold the answer?  --yes--> count
         | no: with the seed's noise from which token on is the answer drawn?
    offset with its confidence set, or REFERENCE_DIVERGED

Rounding moves few tokens of a chain and only at near ties, so the provider's own chain is mostly
among the first that are tried.
"""

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from audit.billing_records import Refusal, Tier, Unchecked
from audit.hidden_tokens.recount_records import (
    ChainRunner,
    HiddenExchange,
    Recount,
    RecountMethod,
    RecountRules,
)
from audit.ports import Reference
from reference_runner.errors import BadSequence
from reference_runner.records import ReplayBatch

#: So many of the answer's first tokens must stand in a chain before the rest is held against it.
NUM_ANCHOR = 16

#: Places in one chain at which the rest is held against the answer.
_MAX_ANCHORS = 4

#: A near tie as close as this share of the tolerance is as good as drawn either way.
_TYPICAL_SHARE = 0.25


def find_count(
    exchange: HiddenExchange, runner: ChainRunner, reference: Reference, rules: RecountRules
) -> Recount | Unchecked:
    """Return how many tokens the reference counts before the visible answer, or why it cannot."""
    num_visible = len(exchange.visible_token_ids)
    if num_visible < rules.min_visible_tokens:
        return _unchecked(
            Refusal.NO_EVIDENCE,
            f"the visible answer holds {num_visible} tokens; {rules.min_visible_tokens} are "
            "needed to tell where it begins",
        )
    num_tokens = _num_to_generate(exchange, runner, rules)
    if num_tokens < num_visible:
        return _unchecked(
            Refusal.UNREADABLE_EVIDENCE,
            f"prompt and visible answer do not fit the model's {runner.info.max_positions} tokens",
        )
    try:
        search = _Search(exchange, runner, reference, rules, num_tokens)
        return search.run() or _align(exchange, runner, rules, search.first_chain, num_tokens)
    except BadSequence as error:
        return _unchecked(Refusal.UNREADABLE_EVIDENCE, str(error))


def counted(exchange: HiddenExchange, hidden: tuple[int, ...]) -> tuple[int, int]:
    """Return the fewest and the most tokens of a hidden part that a meter may bill."""
    num_optional = sum(token in exchange.unbilled_ids for token in hidden)
    return len(hidden) - num_optional, len(hidden)


@dataclass(frozen=True, slots=True, order=True)
class _Start:
    """A chain's beginning, up to a near tie that is taken another way."""

    cost: float
    token_ids: tuple[int, ...]
    changed_rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Match:
    chain: tuple[int, ...]
    offset: int
    changed_rows: tuple[int, ...]


@dataclass(slots=True)
class _Search:
    exchange: HiddenExchange
    runner: ChainRunner
    reference: Reference
    rules: RecountRules
    num_tokens: int
    first_chain: tuple[int, ...] = ()
    num_chains: int = 0
    waiting: list[_Start] = field(default_factory=lambda: [_Start(0.0, (), ())])

    def run(self) -> Recount | None:
        """Return the count of the likeliest chains that hold the answer; None where none does.

        Where rounding could have led elsewhere before the answer began, the likeliest other ways
        are tried too: text that repeats can hold the same answer behind another count.
        """
        found: list[_Match] = []
        num_ties = 0
        while self.waiting and self.num_chains < self.rules.num_chains:
            is_second_look = bool(found)
            room = min(self.rules.chains_at_once, self.rules.num_chains - self.num_chains)
            starts = [heapq.heappop(self.waiting) for _ in range(min(room, len(self.waiting)))]
            pairs = list(zip(starts, self._regenerate(starts), strict=True))
            found += [match for start, chain in pairs for match in self._matches(start, chain)]
            if is_second_look:
                break
            if found:
                num_ties = max(self._num_ties(match) for match in found)
                if not num_ties:
                    break
            for start, chain in pairs:
                self._branch(start, chain)
        return self._recount(found, num_ties) if found else None

    def _num_ties(self, match: _Match) -> int:
        """Return how many draws before the answer rounding could have turned."""
        hidden = match.chain[: match.offset]
        if not hidden:
            return 0
        ties = self.runner.near_ties(
            self.exchange.with_output(hidden), tolerance_logits=self.rules.tolerance_logits
        )
        return len({row for row, _, _ in ties})

    def _regenerate(self, starts: list[_Start]) -> list[tuple[int, ...]]:
        chains = self.runner.regenerate(
            self.exchange.visible,
            [start.token_ids for start in starts],
            num_tokens=self.num_tokens,
            stops_at=self.exchange.stops_at,
        )
        self.first_chain = self.first_chain or chains[0]
        self.num_chains += len(chains)
        return chains

    def _branch(self, start: _Start, chain: tuple[int, ...]) -> None:
        tolerance = self.rules.tolerance_logits
        ties = self.runner.near_ties(self.exchange.with_output(chain), tolerance_logits=tolerance)
        for row, token_id, shortfall_logits in ties:
            # what stands before the start's own change was offered when that one was made
            if row < len(start.token_ids):
                continue
            # how unlikely normal rounding errors are to reach so far, and to fall this way
            scaled = shortfall_logits / max(tolerance * _TYPICAL_SHARE, 1e-12)
            cost = start.cost + scaled**2 / 2.0 + math.log(2.0)
            changed = (*start.changed_rows, row)
            heapq.heappush(self.waiting, _Start(cost, (*chain[:row], token_id), changed))

    def _matches(self, start: _Start, chain: tuple[int, ...]) -> list[_Match]:
        visible = self.exchange.visible_token_ids
        offsets = list(_offsets(chain, self.exchange))
        whole = [o for o in offsets if chain[o : o + len(visible)] == visible]
        if whole:
            return [_Match(chain, offset, start.changed_rows) for offset in whole]
        anchor = visible[:NUM_ANCHOR]
        near = [o for o in offsets if chain[o : o + len(anchor)] == anchor][:_MAX_ANCHORS]
        forced = [(offset, self._forced_rows(chain[:offset])) for offset in near]
        return [
            _Match(chain, offset, (*start.changed_rows, *rows))
            for offset, rows in forced
            if rows is not None
        ]

    def _forced_rows(self, hidden: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return where the answer behind `hidden` is drawn only by rounding; None if otherwise."""
        output = hidden + self.exchange.visible_token_ids
        batch = ReplayBatch(sequences=(self.exchange.with_output(output),))
        ((evidence, *_),) = self.reference.replay(batch)
        differs_R = ~evidence.matched_R
        differs_R[: len(hidden)] = False
        shortfalls = -evidence.signed_margin_logits_R[differs_R]
        if (shortfalls > self.rules.tolerance_logits).any():
            return None
        return tuple(int(row) for row in np.flatnonzero(differs_R))

    def _recount(self, matches: list[_Match], num_ties: int) -> Recount:
        counts = [counted(self.exchange, match.chain[: match.offset]) for match in matches]
        fewest = min(matches, key=lambda match: len(match.changed_rows))
        rows = fewest.changed_rows
        return Recount(
            method=RecountMethod.BRANCHED if rows else RecountMethod.REGENERATED,
            low_tokens=min(low for low, _ in counts),
            high_tokens=max(high for _, high in counts),
            confidence=1.0,
            first_divergence=min(rows, default=None),
            num_divergences=len(rows),
            num_near_ties=num_ties,
            num_chains=self.num_chains,
        )


def _offsets(chain: tuple[int, ...], exchange: HiddenExchange) -> Iterable[int]:
    """Return where the answer may begin in a chain."""
    if exchange.end_mark_ids:
        marks = (i for i, token in enumerate(chain) if token in exchange.end_mark_ids)
        first = next(marks, None)
        return () if first is None else (first + 1,)
    if exchange.was_cut_off and exchange.max_output_tokens is not None:
        return (exchange.max_output_tokens - len(exchange.visible_token_ids),)
    return range(len(chain))


def _num_to_generate(exchange: HiddenExchange, runner: ChainRunner, rules: RecountRules) -> int:
    num_visible = len(exchange.visible_token_ids)
    most = runner.info.max_positions - len(exchange.prompt_token_ids)
    if exchange.max_output_tokens is not None:
        most = min(most, exchange.max_output_tokens)
    if exchange.was_cut_off:
        return most
    return min(most, math.ceil(exchange.billed_tokens * rules.search_factor) + num_visible)


def _align(
    exchange: HiddenExchange,
    runner: ChainRunner,
    rules: RecountRules,
    chain: tuple[int, ...],
    num_tokens: int,
) -> Recount | Unchecked:
    """Place the answer by the seed's noise alone.

    The true offset is missed with probability `alignment_alpha` at most, as far as the alternative
    of `offset_log_e` describes it: any other offset's e-value, held against the true one's, has
    expectation 1 at most, and all offsets share the error rate.
    """
    diverged = (
        f"none of the chains that rounding may lead to holds the visible answer within "
        f"{num_tokens} tokens"
    )
    if exchange.sampling.is_greedy:
        return _unchecked(
            Refusal.REFERENCE_DIVERGED, f"{diverged}, and greedy sampling has no noise to align"
        )
    num_offsets = num_tokens - len(exchange.visible_token_ids) + 1
    context = chain[: min(exchange.billed_tokens, num_offsets - 1)]
    log_e_S = runner.offset_log_e(exchange.visible, context, num_offsets=num_offsets)
    threshold = math.log(num_offsets / rules.alignment_alpha)
    if log_e_S.max() < threshold:
        return _unchecked(
            Refusal.REFERENCE_DIVERGED, f"{diverged}, and it was not drawn with the seed's noise"
        )
    inside_S = np.flatnonzero(log_e_S >= log_e_S.max() - threshold)
    return Recount(
        method=RecountMethod.ALIGNED,
        low_tokens=max(0, int(inside_S.min()) - len(exchange.unbilled_ids)),
        high_tokens=int(inside_S.max()),
        confidence=1.0 - rules.alignment_alpha,
        num_chains=rules.num_chains,
    )


def _unchecked(reason: Refusal, detail: str) -> Unchecked:
    return Unchecked(tier=Tier.RECOUNT, reason=reason, detail=detail)

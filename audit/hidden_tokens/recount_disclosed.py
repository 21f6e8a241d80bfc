"""Recounts a hidden part that is shown: what the model would not have drawn is padding.

The reference replays the shown chain and stops at the first token that it would not have drawn,
rounding or not. It draws on from there by itself, and where its own tokens turn up again further on
in the chain, everything between was put in. Chains that never come back are not this model's.
"""

from dataclasses import dataclass

import numpy as np

from audit.billing_records import Refusal, Tier, Unchecked
from audit.hidden_tokens.recount_records import (
    ChainRunner,
    HiddenExchange,
    Recount,
    RecountMethod,
    RecountRules,
)
from audit.hidden_tokens.recount_search import counted
from audit.ports import Reference
from reference_runner.errors import BadSequence
from reference_runner.records import ReplayBatch

#: Tokens that the reference draws onwards, to be looked for further on.
_NUM_DRAWN = 24

#: So many of them in a row must turn up; fewer may stand anywhere.
_MIN_RESUMED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """A run of tokens in a shown chain that the reference would not have drawn."""

    first: int
    """Index in the chain as shown."""
    num_tokens: int


def recount_disclosed(
    exchange: HiddenExchange,
    chain: tuple[int, ...],
    runner: ChainRunner,
    reference: Reference,
    rules: RecountRules,
) -> tuple[Recount | Unchecked, tuple[Padding, ...]]:
    """Return the count of a shown chain without its padding, and the padding, in order.

    Where the rest of a chain is not the model's, the count is refused and what was found so far is
    still told.
    """
    paddings: list[Padding] = []
    num_removed, kept = 0, chain
    try:
        for _ in range(rules.max_paddings + 1):
            row = _first_not_drawn(exchange, kept, reference, rules)
            if row is None:
                return _counted(exchange, kept, paddings), tuple(paddings)
            resumed = _resumes_at(exchange, kept, row, runner)
            if resumed is None:
                return _diverged(row + num_removed), tuple(paddings)
            paddings.append(Padding(first=row + num_removed, num_tokens=resumed - row))
            num_removed += resumed - row
            kept = kept[:row] + kept[resumed:]
    except BadSequence as error:
        return _unchecked(Refusal.UNREADABLE_EVIDENCE, str(error)), tuple(paddings)
    return (
        _unchecked(Refusal.REFERENCE_DIVERGED, f"more than {rules.max_paddings} runs of padding"),
        tuple(paddings),
    )


def _first_not_drawn(
    exchange: HiddenExchange, chain: tuple[int, ...], reference: Reference, rules: RecountRules
) -> int | None:
    sequence = exchange.with_output(chain + exchange.visible_token_ids)
    ((evidence, *_),) = reference.replay(ReplayBatch(sequences=(sequence,)))
    beyond_R = -evidence.signed_margin_logits_R > rules.tolerance_logits
    rows = np.flatnonzero(beyond_R & ~evidence.matched_R)
    return int(rows[0]) if len(rows) else None


def _resumes_at(
    exchange: HiddenExchange, chain: tuple[int, ...], row: int, runner: ChainRunner
) -> int | None:
    """Return where the reference's own continuation turns up again, at the latest at the answer."""
    if row >= len(chain):
        return None
    output = chain + exchange.visible_token_ids
    num_tokens = min(row + _NUM_DRAWN, len(output))
    (drawn,) = runner.regenerate(
        exchange.visible, [output[:row]], num_tokens=num_tokens, stops_at=exchange.stops_at
    )
    onwards = drawn[row:]
    runs = {start: _common(onwards, output[start:]) for start in range(row + 1, len(chain) + 1)}
    longest = max(runs.values(), default=0)
    if longest < min(_MIN_RESUMED, len(exchange.visible_token_ids)):
        return None
    return min(start for start, run in runs.items() if run == longest)


def _common(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def _counted(exchange: HiddenExchange, kept: tuple[int, ...], paddings: list[Padding]) -> Recount:
    low, high = counted(exchange, kept)
    return Recount(
        method=RecountMethod.DISCLOSED,
        low_tokens=low,
        high_tokens=high,
        confidence=1.0,
        first_divergence=paddings[0].first if paddings else None,
        num_divergences=len(paddings),
    )


def _diverged(row: int) -> Unchecked:
    return _unchecked(
        Refusal.REFERENCE_DIVERGED,
        f"the reference would not have drawn token {row} of the shown output, nor does its own "
        "continuation turn up further on",
    )


def _unchecked(reason: Refusal, detail: str) -> Unchecked:
    return Unchecked(tier=Tier.RECOUNT, reason=reason, detail=detail)

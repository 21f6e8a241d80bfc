"""Whether text and log-probabilities come from one model: no weights are needed for this.

A sampled token is a draw from the law that came with it. Each alternative puts another law on the
same outcomes (the returned tokens in order, and "any other") and gains the ratio of the two, whose
mean is 1 at most where the endpoint is right about its own law. Alternatives: flatter and steeper
laws, tilts of the randomised probability transform, and the laws of candidate substitutes. At
temperature 0 the text must be the returned favourite.

Legend: J outcomes of a position (returned tokens, then any other), A alternatives, N answers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.sweep_records import PositionLogprobs
from audit.sweeps.logprobs.compare import Aligned, Scorer

Float64Array = NDArray[np.float64]

#: Returned numbers are rounded; a favourite is one within this many nats of the largest.
TIE_NATS = 1e-3

#: The mass of all tokens that are not named is taken to be this at least, for the same reason.
MIN_REST = 1e-4

#: Temperatures of the alternatives: a text whose tokens are less or more likely than they should.
TEMPERATURES = (0.5, 0.7, 0.85, 1.15, 1.4, 2.0, 4.0)

_TEMPERATURES_A1 = np.asarray(TEMPERATURES)[:, None]

#: Exponents of the densities a u^(a-1) and a (1-u)^(a-1) of the transform.
TILTS = (0.8, 1.25, 1.6)

#: Shares of answers that are taken to be foreign: all, or some.
SHARES = (1.0, 0.25)

#: A law of a candidate gives a token that it does not name this before it is scaled to 1.
_UNNAMED = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One position: the law that was returned, and what was drawn by it."""

    log_law_J: Float64Array
    """Likeliest token first, any other token last."""
    token_ids: tuple[int | None, ...]
    """Of the named tokens; None where it cannot be told."""
    drawn: int
    """Index of the outcome."""
    uniform: float
    """In (0, 1), from the probe's own salt; spreads an outcome over its share."""


def outcomes_of(aligned: Aligned, num_top: int, salt: str, scorer: Scorer) -> list[Outcome]:
    """Return an answer's positions; none where some position names no alternatives.

    Some servers append the drawn token to the `num_top` likeliest ones that were asked for. What is
    told apart must not depend on the draw, so all positions keep as many as the shortest of them.
    """
    shortest = min((len(position.top) for position in aligned.positions), default=0)
    num_named = min(shortest, num_top)
    if num_named < 1:
        return []
    outcomes = []
    for row, position in enumerate(aligned.positions):
        names = _name(position, aligned.output_token_ids[row], scorer)
        ordered = sorted(
            zip(position.top, names, strict=True), key=lambda pair: -pair[0].logprob_nats
        )[:num_named]
        named_J = np.clip([item.logprob_nats for item, _ in ordered], -1e4, 0.0)
        rest = max(1.0 - float(np.exp(named_J).sum()), MIN_REST)
        token_ids = tuple(name for _, name in ordered)
        token = aligned.output_token_ids[row]
        outcomes.append(
            Outcome(
                log_law_J=np.append(named_J, np.log(rest)),
                token_ids=token_ids,
                drawn=token_ids.index(token) if token in token_ids else len(token_ids),
                uniform=_uniform(salt, row),
            )
        )
    return outcomes


def log_ratios(
    outcomes: Sequence[Outcome], aligned: Aligned, candidates: Sequence[Scorer]
) -> Float64Array:
    """Return each alternative's log likelihood ratio of one answer, shape [A], before shares."""
    total = np.zeros(len(TEMPERATURES) + 2 * len(TILTS))
    for outcome in outcomes:
        total += np.concatenate([_tempered(outcome), _tilted(outcome)])
    foreign = [_foreign(outcomes, aligned, candidate) for candidate in candidates]
    return np.concatenate([total, np.asarray(foreign, dtype=np.float64)])


def with_shares(log_ratios_NA: Float64Array) -> Float64Array:
    """Return the ratios where only a share of the answers is foreign, [N, A * shares]."""
    return np.concatenate(
        [np.logaddexp(np.log(share) + log_ratios_NA, _log1m(share)) for share in SHARES], axis=1
    )


def is_not_favourite(outcomes: Sequence[Outcome]) -> bool:
    """Return whether a greedy answer holds a token that is not the returned favourite."""
    return any(
        outcome.log_law_J[outcome.drawn] < outcome.log_law_J[0] - TIE_NATS
        or outcome.drawn == len(outcome.token_ids)
        for outcome in outcomes
    )


def _log1m(share: float) -> float:
    return float(np.log1p(-share)) if share < 1.0 else -np.inf


def _tempered(outcome: Outcome) -> Float64Array:
    """Return log likelihood ratios of the law at other temperatures."""
    scaled_AJ = outcome.log_law_J / _TEMPERATURES_A1
    log_norm_A = np.log(np.exp(scaled_AJ).sum(axis=1))
    drawn = outcome.drawn
    return np.asarray(scaled_AJ[:, drawn] - log_norm_A - outcome.log_law_J[drawn])


def _tilted(outcome: Outcome) -> list[float]:
    law_J = np.exp(outcome.log_law_J)
    below = float(law_J[: outcome.drawn].sum())
    place = below + outcome.uniform * float(law_J[outcome.drawn])
    place = min(max(place, 1e-9), 1.0 - 1e-9)
    return [
        float(np.log(tilt) + (tilt - 1.0) * np.log(side))
        for side in (place, 1.0 - place)
        for tilt in TILTS
    ]


def _foreign(outcomes: Sequence[Outcome], aligned: Aligned, candidate: Scorer) -> float:
    """Return log of the candidate's law over the returned one, summed over an answer."""
    laws = candidate.laws(aligned)
    if laws is None:
        return 0.0
    total = 0.0
    for law, outcome in zip(laws, outcomes, strict=True):
        named = [
            _UNNAMED if token is None or token not in law else float(np.exp(law[token]))
            for token in outcome.token_ids
        ]
        mass_J = np.append(named, max(1.0 - sum(named), _UNNAMED))
        total += float(np.log(mass_J[outcome.drawn] / mass_J.sum()))
        total -= float(outcome.log_law_J[outcome.drawn])
    return total


def _name(position: PositionLogprobs, token_id: int, scorer: Scorer) -> list[int | None]:
    """Return the ids of the named tokens; spellings are looked up among likely tokens."""
    named: list[int | None] = []
    spelt = scorer.spell(token_id)
    for item in position.top:
        if item.token_id is not None:
            named.append(item.token_id)
        elif item.token is None:
            named.append(None)
        else:
            named.append(token_id if item.token == spelt else scorer.id_of(item.token))
    return named


def _uniform(salt: str, row: int) -> float:
    digest = hashlib.sha256(f"{salt}/{row}".encode()).digest()
    return (int.from_bytes(digest[:6]) + 0.5) / 2.0**48

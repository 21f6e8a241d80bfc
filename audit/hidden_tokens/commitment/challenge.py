"""Which leaves and blocks are to be opened: fixed by root, count and a nonce made after both.

Neither side can choose them: the provider does not know the nonce when it signs, and the auditor
cannot look at anything but the root when making it. Whoever has the three can derive them again.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

from audit.errors import InvalidRequest

MIN_NONCE_BYTES = 16
MAX_OPENINGS = 100_000

_TAG = b"hidden token challenge 1\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningRules:
    """How much is opened; agreed before the first request."""

    num_leaves: int = 44
    """Single tokens; 44 find one forged token in ten with 99 %."""
    num_blocks: int = 1
    block_tokens: int = 64
    """A power of two, so that a block is a subtree."""
    opens_prefix: bool = True
    """Whether the tokens before the last block are opened too, without which none but the first
    block can be replayed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Runs [start, end) of hidden tokens to be opened: single leaves first, then blocks."""

    runs: tuple[tuple[int, int], ...]


def derive_challenge(
    *, root: bytes, num_tokens: int, nonce: bytes, rules: OpeningRules
) -> Challenge:
    """Return what is to be opened; everything where the rules ask for more than there is.

    Leaves and blocks are drawn without replacement; where any leaf is opened the last one is as
    well, so that a count above the tree's own size cannot pass by luck. Blocks cut the tokens into
    equal parts from the first token on, so that every token is as likely to be opened.
    Raises: InvalidRequest for a short nonce and rules that cannot be.
    """
    _check(nonce, num_tokens, rules)
    seed = hashlib.sha256(_TAG + root + num_tokens.to_bytes(8, "big") + nonce).digest()
    leaves = _sample(seed, b"leaf", num_tokens, rules.num_leaves)
    if leaves and leaves[-1] != num_tokens - 1:
        leaves.append(num_tokens - 1)
    size = rules.block_tokens
    num_blocks = -(-num_tokens // size)
    blocks = [
        (block * size, min((block + 1) * size, num_tokens))
        for block in _sample(seed, b"block", num_blocks, rules.num_blocks)
    ]
    if rules.opens_prefix and blocks:
        # the tokens before it contain the other blocks
        blocks = [(0, blocks[-1][1])]
    return Challenge(runs=tuple((leaf, leaf + 1) for leaf in leaves) + tuple(blocks))


def detection_probability(fraction: float, num_openings: int) -> float:
    """Return how likely at least one opening hits a bad token, if `fraction` of them are bad.

    1 - (1 - f)^k holds with replacement, and is a lower bound without. Raises: InvalidRequest.
    """
    if not 0.0 <= fraction <= 1.0:
        raise InvalidRequest.of("fraction", "must lie between 0 and 1")
    if num_openings < 0:
        raise InvalidRequest.of("num_openings", "must not be negative")
    if fraction == 1.0:
        return float(num_openings > 0)
    return -math.expm1(num_openings * math.log1p(-fraction))


def openings_needed(fraction: float, probability: float) -> int:
    """Return the fewest openings that hit a share of bad tokens with at least `probability`.

    Raises: InvalidRequest where none suffices, or for shares outside (0, 1].
    """
    if not 0.0 < fraction <= 1.0:
        raise InvalidRequest.of("fraction", "must lie above 0, and at most at 1")
    if not 0.0 < probability < 1.0:
        raise InvalidRequest.of("probability", "must lie between 0 and 1")
    if fraction == 1.0:
        return 1
    return math.ceil(math.log1p(-probability) / math.log1p(-fraction))


def _sample(seed: bytes, label: bytes, num_all: int, num_wanted: int) -> list[int]:
    """Return that many different numbers below `num_all`, in ascending order."""
    if num_wanted >= num_all:
        return list(range(num_all))
    chosen: set[int] = set()
    # Floyd's method: each draw adds exactly one, however large the share
    for limit, number in zip(
        range(num_all - num_wanted, num_all), _numbers(seed, label), strict=False
    ):
        pick = number % (limit + 1)
        chosen.add(limit if pick in chosen else pick)
    return sorted(chosen)


def _numbers(seed: bytes, label: bytes) -> Iterator[int]:
    """Yield numbers below 2**256; a remainder of so large a number is even to within 2**-190."""
    counter = 0
    while True:
        yield int.from_bytes(
            hashlib.sha256(seed + label + counter.to_bytes(8, "big")).digest(), "big"
        )
        counter += 1


def _check(nonce: bytes, num_tokens: int, rules: OpeningRules) -> None:
    if len(nonce) < MIN_NONCE_BYTES:
        raise InvalidRequest.of("nonce", f"must have at least {MIN_NONCE_BYTES} bytes")
    if num_tokens < 0:
        raise InvalidRequest.of("num_tokens", "must not be negative")
    for field, count in (("num_leaves", rules.num_leaves), ("num_blocks", rules.num_blocks)):
        if not 0 <= count <= MAX_OPENINGS:
            raise InvalidRequest.of(field, f"must lie between 0 and {MAX_OPENINGS}")
    if rules.block_tokens < 1 or rules.block_tokens & (rules.block_tokens - 1):
        raise InvalidRequest.of("block_tokens", "must be a power of two")

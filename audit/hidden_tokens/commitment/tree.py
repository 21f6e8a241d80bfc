"""The salted Merkle tree over (index, token id), and openings of runs of its leaves.

A token id alone is soon guessed from its hash, so every leaf holds a salt of its own, and a leaf
that is not opened stays secret. Runs that are opened are subtrees of RFC 6962 trees, so that one
proof serves a whole run.
"""

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from audit.errors import InvalidRequest
from audit.ledger.merkle import (
    EMPTY_HEAD,
    grow,
    leaf_hash,
    node_hash,
    root_at,
    subtree_consistency_proof,
    verify_subtree_consistency,
)

SALT_BYTES = 16
MIN_SECRET_BYTES = 16
MAX_TOKEN_ID = 2**32 - 1

_TAG = b"hidden token leaf 1\x00"
_PLACE_AND_TOKEN = struct.Struct(">QI")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedToken:
    """A hidden token that the provider shows."""

    token_id: int
    salt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOpening:
    """The tokens at [start, start + their number), and the proof that the tree holds them there."""

    start: int
    tokens: tuple[OpenedToken, ...]
    proof: tuple[bytes, ...]

    @property
    def end(self) -> int:
        """The index after the last token."""
        return self.start + len(self.tokens)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """What was opened, in order."""
        return tuple(token.token_id for token in self.tokens)


def token_leaf(index: int, token: OpenedToken) -> bytes:
    """Return the hash of a token's leaf. Raises: InvalidRequest for what no leaf can hold."""
    if not 0 <= token.token_id <= MAX_TOKEN_ID:
        raise InvalidRequest.of("token_id", f"must lie between 0 and {MAX_TOKEN_ID}")
    if len(token.salt) != SALT_BYTES:
        raise InvalidRequest.of("salt", f"must have {SALT_BYTES} bytes")
    return leaf_hash(_TAG + _PLACE_AND_TOKEN.pack(index, token.token_id) + token.salt)


class TokenTree:
    """The provider's tree over one request's hidden tokens; it opens what it is asked to."""

    def __init__(self, token_ids: Sequence[int], secret: bytes) -> None:
        """Build the tree; `secret` is fresh for each request, or salts would repeat.

        Raises: InvalidRequest for token ids out of range and for a short secret.
        """
        if len(secret) < MIN_SECRET_BYTES:
            raise InvalidRequest.of("secret", f"must have at least {MIN_SECRET_BYTES} bytes")
        self._tokens = [
            OpenedToken(token_id=token_id, salt=_salt(secret, index))
            for index, token_id in enumerate(token_ids)
        ]
        leaves = [token_leaf(index, token) for index, token in enumerate(self._tokens)]
        self._levels = _levels(leaves)
        self.root = root_at(len(leaves), self._read)

    @property
    def num_tokens(self) -> int:
        """Number of leaves."""
        return len(self._tokens)

    def open(self, start: int, end: int) -> RunOpening:
        """Return the opening of [start, end). Raises: ProofError where that is no subtree."""
        proof = subtree_consistency_proof(start, end, self.num_tokens, self._read)
        return RunOpening(start=start, tokens=tuple(self._tokens[start:end]), proof=proof)

    def _read(self, level: int, index: int) -> bytes:
        return self._levels[level][index]


def verify_run(opening: RunOpening, *, num_tokens: int, root: bytes) -> None:
    """Pass where a tree of `num_tokens` leaves with this root holds the opened run.

    Raises: ProofError; InvalidRequest for what no leaf can hold.
    """
    leaves = [token_leaf(opening.start + at, token) for at, token in enumerate(opening.tokens)]
    verify_subtree_consistency(
        start=opening.start,
        end=opening.end,
        size=num_tokens,
        subtree=grow(EMPTY_HEAD, leaves).root,
        root=root,
        proof=opening.proof,
    )


def _salt(secret: bytes, index: int) -> bytes:
    return hmac.new(secret, index.to_bytes(8, "big"), hashlib.sha256).digest()[:SALT_BYTES]


def _levels(leaves: list[bytes]) -> list[list[bytes]]:
    """Return the hashes of all complete subtrees, by the log of their size."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        # an odd hash at the end belongs to no complete subtree of this size
        levels.append([node_hash(*below[at : at + 2]) for at in range(0, len(below) - 1, 2)])
    return levels

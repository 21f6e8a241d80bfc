"""The provider's side: commit to hidden tokens with their count, then open what is asked for.

The statement is signed before the auditor makes a nonce, and the count in it is the tree's size, so
that no leaf can be added, taken away or chosen afterwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audit.billing_records import BilledRequest
from audit.hidden_tokens.commitment.challenge import Challenge
from audit.hidden_tokens.commitment.tree import RunOpening, TokenTree
from audit.ledger.canonical import canonical

Sign = Callable[[bytes], bytes]
"""Message -> signature."""

STATEMENT_TYPE = "hidden-token-commitment/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CountStatement:
    """What a provider binds itself to about one request."""

    request_id: str
    provider: str
    model: str
    num_tokens: int
    """Hidden reasoning tokens; the number of leaves under the root."""
    root: bytes

    def to_bytes(self) -> bytes:
        """Return the bytes that are signed: canonical JSON that names its own type."""
        return canonical(
            {
                "type": STATEMENT_TYPE,
                "requestId": self.request_id,
                "provider": self.provider,
                "model": self.model,
                "numTokens": self.num_tokens,
                "root": self.root.hex(),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCount:
    """A statement with the provider's signature over its bytes."""

    statement: CountStatement
    signature: bytes


class Commitment:
    """What the provider keeps of one request until the auditor has asked."""

    def __init__(
        self, request: BilledRequest, token_ids: Sequence[int], *, secret: bytes, sign: Sign
    ) -> None:
        """Commit to the hidden tokens of one request; `secret` is fresh random bytes.

        Raises: InvalidRequest for token ids out of range and for a short secret.
        """
        self._tree = TokenTree(token_ids, secret)
        statement = CountStatement(
            request_id=request.request_id,
            provider=request.provider,
            model=request.model,
            num_tokens=self._tree.num_tokens,
            root=self._tree.root,
        )
        self.signed = SignedCount(statement=statement, signature=sign(statement.to_bytes()))

    def answer(self, challenge: Challenge) -> tuple[RunOpening, ...]:
        """Return the openings that a challenge asks for, in its order."""
        return tuple(self._tree.open(start, end) for start, end in challenge.runs)

"""Commitments, challenges and openings as JSON, and what a provider keeps of a chain.

Bytes are hex. Reading is strict: an unknown, missing or malformed member is refused by its name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from audit.errors import InvalidRequest
from audit.hidden_tokens.commitment.challenge import Challenge, OpeningRules, derive_challenge
from audit.hidden_tokens.commitment.prover import CountStatement, SignedCount
from audit.hidden_tokens.commitment.tree import OpenedToken, RunOpening
from audit.ledger.merkle import HASH_BYTES

_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_MAX_SIGNATURE_BYTES = 512
_MAX_TEXT_CHARS = 256

#: Canonical JSON, which is what gets signed, holds no larger number.
_MAX_COUNT = 2**53 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenChain:
    """The hidden tokens of one request, as the provider's engine drew them."""

    request_id: str
    provider: str
    model: str
    token_ids: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSecrets:
    """What the provider keeps until the auditor has asked; it tells the whole chain."""

    signed: SignedCount
    secret: bytes = field(repr=False)
    token_ids: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeTerms:
    """What a challenge is derived from, by either side."""

    root: bytes
    num_tokens: int
    nonce: bytes
    rules: OpeningRules

    def challenge_of(self, signed: SignedCount) -> Challenge:
        """Return what is to be opened of a commitment.

        Raises: InvalidRequest where the challenge was made for another one.
        """
        if (signed.statement.root, signed.statement.num_tokens) != (self.root, self.num_tokens):
            raise InvalidRequest.of("root", "is another commitment's: ask about this one first")
        return derive_challenge(
            root=self.root, num_tokens=self.num_tokens, nonce=self.nonce, rules=self.rules
        )


def parse_chain(document: object) -> HiddenChain:
    """Return the chain that a provider commits itself to. Raises: InvalidRequest."""
    names = ("requestId", "provider", "model", "numTokens", "tokenIds")
    members = _members(document, "chain", names)
    token_ids = _token_ids(members["tokenIds"])
    if _count(members["numTokens"], "numTokens") != len(token_ids):
        raise InvalidRequest.of("numTokens", f"must be the number of tokenIds, {len(token_ids)}")
    return HiddenChain(
        request_id=_text(members["requestId"], "requestId"),
        provider=_text(members["provider"], "provider"),
        model=_text(members["model"], "model"),
        token_ids=token_ids,
    )


def secrets_document(secrets: ProviderSecrets) -> dict[str, object]:
    """Return what the provider keeps as JSON members."""
    return {
        "commitment": signed_count_document(secrets.signed),
        "secret": secrets.secret.hex(),
        "tokenIds": list(secrets.token_ids),
    }


def parse_secrets(document: object) -> ProviderSecrets:
    """Return the secrets of `secrets_document`. Raises: InvalidRequest."""
    members = _members(document, "secrets", ("commitment", "secret", "tokenIds"))
    return ProviderSecrets(
        signed=parse_signed_count(members["commitment"]),
        secret=_bytes(members["secret"], "secret"),
        token_ids=_token_ids(members["tokenIds"]),
    )


def challenge_document(terms: ChallengeTerms) -> dict[str, object]:
    """Return a challenge as JSON members."""
    return {
        "root": terms.root.hex(),
        "numTokens": terms.num_tokens,
        "nonce": terms.nonce.hex(),
        "numLeaves": terms.rules.num_leaves,
        "numBlocks": terms.rules.num_blocks,
        "blockTokens": terms.rules.block_tokens,
        "opensPrefix": terms.rules.opens_prefix,
    }


def parse_challenge(document: object) -> ChallengeTerms:
    """Return the challenge of `challenge_document`. Raises: InvalidRequest."""
    counts = ("numTokens", "numLeaves", "numBlocks", "blockTokens")
    members = _members(document, "challenge", ("root", "nonce", "opensPrefix", *counts))
    num_tokens, num_leaves, num_blocks, block_tokens = (
        _count(members[name], name) for name in counts
    )
    opens_prefix = members["opensPrefix"]
    if not isinstance(opens_prefix, bool):
        raise InvalidRequest.of("opensPrefix", "must be true or false")
    return ChallengeTerms(
        root=_bytes(members["root"], "root"),
        num_tokens=num_tokens,
        nonce=_bytes(members["nonce"], "nonce"),
        rules=OpeningRules(
            num_leaves=num_leaves,
            num_blocks=num_blocks,
            block_tokens=block_tokens,
            opens_prefix=opens_prefix,
        ),
    )


def signed_count_document(signed: SignedCount) -> dict[str, object]:
    """Return a signed statement as JSON members."""
    statement = signed.statement
    return {
        "requestId": statement.request_id,
        "provider": statement.provider,
        "model": statement.model,
        "numTokens": statement.num_tokens,
        "root": statement.root.hex(),
        "signature": signed.signature.hex(),
    }


def parse_signed_count(document: object) -> SignedCount:
    """Return the signed statement of `signed_count_document`. Raises: InvalidRequest."""
    names = ("requestId", "provider", "model", "numTokens", "root", "signature")
    members = _members(document, "commitment", names)
    root, signature = _bytes(members["root"], "root"), _bytes(members["signature"], "signature")
    if len(root) != HASH_BYTES:
        raise InvalidRequest.of("root", f"must have {HASH_BYTES} bytes")
    if len(signature) > _MAX_SIGNATURE_BYTES:
        raise InvalidRequest.of("signature", f"must have {_MAX_SIGNATURE_BYTES} bytes at most")
    statement = CountStatement(
        request_id=_text(members["requestId"], "requestId"),
        provider=_text(members["provider"], "provider"),
        model=_text(members["model"], "model"),
        num_tokens=_count(members["numTokens"], "numTokens"),
        root=root,
    )
    return SignedCount(statement=statement, signature=signature)


def opening_document(opening: RunOpening) -> dict[str, object]:
    """Return one opened run as JSON members."""
    return {
        "start": opening.start,
        "tokenIds": list(opening.token_ids),
        "salts": [token.salt.hex() for token in opening.tokens],
        "proof": [value.hex() for value in opening.proof],
    }


def parse_opening(document: object) -> RunOpening:
    """Return the opened run of `opening_document`. Raises: InvalidRequest."""
    members = _members(document, "opening", ("start", "tokenIds", "salts", "proof"))
    token_ids, salts = _items(members["tokenIds"], "tokenIds"), _items(members["salts"], "salts")
    if len(token_ids) != len(salts):
        raise InvalidRequest.of("salts", "must hold one salt for each of tokenIds")
    tokens = tuple(
        OpenedToken(token_id=_count(token_id, "tokenIds"), salt=_bytes(salt, "salts"))
        for token_id, salt in zip(token_ids, salts, strict=True)
    )
    proof = tuple(_bytes(value, "proof") for value in _items(members["proof"], "proof"))
    return RunOpening(start=_count(members["start"], "start"), tokens=tokens, proof=proof)


def openings_document(openings: Sequence[RunOpening]) -> dict[str, object]:
    """Return all openings that answer a challenge as JSON members."""
    return {"openings": [opening_document(opening) for opening in openings]}


def parse_openings(document: object) -> tuple[RunOpening, ...]:
    """Return the openings of `openings_document`. Raises: InvalidRequest."""
    members = _members(document, "answer", ("openings",))
    return tuple(parse_opening(opening) for opening in _items(members["openings"], "openings"))


def _members(document: object, what: str, names: Sequence[str]) -> dict[str, object]:
    if not isinstance(document, dict):
        raise InvalidRequest.of(what, "must be a JSON object")
    for name in names:
        if name not in document:
            raise InvalidRequest.of(name, f"is missing in the {what}")
    for name in document:
        if name not in names:
            raise InvalidRequest.of(str(name), f"does not belong to the {what}; leave it out")
    return document


def _text(value: object, field: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequest.of(field, "must be a text that is not empty")
    if len(value) > _MAX_TEXT_CHARS or not value.isprintable():
        raise InvalidRequest.of(field, f"must be {_MAX_TEXT_CHARS} printable characters at most")
    return value


def _count(value: object, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_COUNT:
        raise InvalidRequest.of(field, "must be a whole number, 0 or more")
    return value


def _token_ids(value: object) -> tuple[int, ...]:
    return tuple(_count(token_id, "tokenIds") for token_id in _items(value, "tokenIds"))


def _bytes(value: object, field: str) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise InvalidRequest.of(field, "must be lower-case hex")
    return bytes.fromhex(value)


def _items(value: object, field: str) -> list[object]:
    if not isinstance(value, list):
        raise InvalidRequest.of(field, "must be a list")
    return value

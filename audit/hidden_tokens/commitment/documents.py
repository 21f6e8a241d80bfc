"""Commitments and openings as JSON, between provider and auditor.

Bytes are hex. Reading is strict: an unknown, missing or malformed member is refused by its name.
"""

import re
from collections.abc import Sequence

from audit.errors import InvalidRequest
from audit.hidden_tokens.commitment.prover import CountStatement, SignedCount
from audit.hidden_tokens.commitment.tree import OpenedToken, RunOpening
from audit.ledger.merkle import HASH_BYTES, MAX_SIZE

_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_MAX_SIGNATURE_BYTES = 512


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
    return value


def _count(value: object, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SIZE:
        raise InvalidRequest.of(field, "must be a whole number, 0 or more")
    return value


def _bytes(value: object, field: str) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise InvalidRequest.of(field, "must be lower-case hex")
    return bytes.fromhex(value)


def _items(value: object, field: str) -> list[object]:
    if not isinstance(value, list):
        raise InvalidRequest.of(field, "must be a list")
    return value

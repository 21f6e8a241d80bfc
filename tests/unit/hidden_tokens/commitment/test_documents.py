"""Commitments and openings come through JSON whole, and malformed ones are named."""

import json

import pytest

from audit.errors import InvalidRequest
from audit.hidden_tokens.commitment.challenge import Challenge
from audit.hidden_tokens.commitment.documents import (
    opening_document,
    parse_opening,
    parse_signed_count,
    signed_count_document,
)
from tests.unit.hidden_tokens.commitment.builders import a_commitment

COMMITMENT = a_commitment(tuple(range(100)))
OPENINGS = COMMITMENT.answer(Challenge(runs=((7, 8), (64, 100), (0, 100))))


def test_they_come_back_as_they_were() -> None:
    signed = json.loads(json.dumps(signed_count_document(COMMITMENT.signed)))
    assert parse_signed_count(signed) == COMMITMENT.signed
    openings = json.loads(json.dumps([opening_document(opening) for opening in OPENINGS]))
    assert tuple(parse_opening(opening) for opening in openings) == OPENINGS


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"root": "00"}, "root: must have 32 bytes"),
        ({"root": "0" * 63}, "root: must be lower-case hex"),
        ({"root": "A" * 64}, "root: must be lower-case hex"),
        ({"signature": 5}, "signature: must be lower-case hex"),
        ({"signature": "00" * 513}, "signature: must have 512 bytes at most"),
        ({"numTokens": -1}, "numTokens: must be a whole number"),
        ({"numTokens": True}, "numTokens: must be a whole number"),
        ({"numTokens": 1.0}, "numTokens: must be a whole number"),
        ({"requestId": ""}, "requestId: must be a text"),
        ({"model": None}, "model: must be a text"),
        ({"more": 1}, "more: does not belong to the commitment"),
    ],
)
def test_malformed_commitments_are_refused(changes: dict[str, object], problem: str) -> None:
    document = signed_count_document(COMMITMENT.signed) | changes
    with pytest.raises(InvalidRequest, match=problem):
        parse_signed_count(document)


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"start": "7"}, "start: must be a whole number"),
        ({"tokenIds": 7}, "tokenIds: must be a list"),
        ({"tokenIds": ["7"]}, "tokenIds: must be a whole number"),
        ({"tokenIds": [7, 8]}, "salts: must hold one salt for each of tokenIds"),
        ({"salts": ["xy"]}, "salts: must be lower-case hex"),
        ({"proof": [None]}, "proof: must be lower-case hex"),
        ({"more": 1}, "more: does not belong to the opening"),
    ],
)
def test_malformed_openings_are_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        parse_opening(opening_document(OPENINGS[0]) | changes)


def test_missing_members_and_other_values_are_refused() -> None:
    document = opening_document(OPENINGS[0])
    del document["proof"]
    with pytest.raises(InvalidRequest, match="proof: is missing in the opening"):
        parse_opening(document)
    with pytest.raises(InvalidRequest, match="commitment: must be a JSON object"):
        parse_signed_count([])

"""Proofs in one file: published cases, and each malformed file by its own text."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.ledger.tlog_proof import (
    TlogProof,
    TlogProofError,
    format_tlog_proof,
    parse_tlog_proof,
)
from tests.support.vectors import load_json

HEADER = "c2sp.org/tlog-proof@v1"
HASH = "rzFuy5Go7nrpkhBwKy1HWPMM3eO/YePY54fXRoH5Cm4="


def test_published_proofs_are_written_and_decided_as_published() -> None:
    published = load_json("tlog-proof/cases.json")
    assert (len(published["marshal"]), len(published["invalid"])) == (3, 7)
    for case in published["marshal"]:
        proof = TlogProof(
            case["index"],
            tuple(base64.b64decode(value) for value in case["hashes"]),
            case["checkpoint"].encode(),
            base64.b64decode(case["extra"]) if "extra" in case else None,
        )
        assert format_tlog_proof(proof) == case["want"].encode()
        assert parse_tlog_proof(case["want"].encode()) == proof
    for case in published["invalid"]:
        with pytest.raises(TlogProofError):
            parse_tlog_proof(case["proof"].encode())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "no empty line"),
        (f"{HEADER}\nindex 0\n", "no empty line"),
        (f"{HEADER}\nindex 0\n\n", "no checkpoint"),
        (f"{HEADER.replace('v1', 'v2')}\nindex 0\n\nc\n", "first line is not 'c2sp"),
        (f"\n{HEADER}\nindex 0\n\nc\n", "first line is not 'c2sp"),
        (f"{HEADER}\r\nindex 0\r\n\nc\n", "first line is not 'c2sp"),
        (f"{HEADER}\n\nc\n", "no line with its index"),
        (f"{HEADER}\nextra AAAA\n\nc\n", "no line with its index"),
        (f"{HEADER}\nindex 0\nextra AAAA\n\nc\n", "a hash of the proof is not base64"),
        (f"{HEADER}\nextra AA AA\nindex 0\n\nc\n", "extra data is not base64"),
        (f"{HEADER}\nextra AAB=\nindex 0\n\nc\n", "extra data is not written in canonical"),
        (f"{HEADER}\nindex 01\n\nc\n", "index '01' is not a number"),
        (f"{HEADER}\nindex +1\n\nc\n", "index '\\+1' is not a number"),
        (f"{HEADER}\nindex -1\n\nc\n", "index '-1' is not a number"),
        (f"{HEADER}\nindex  1\n\nc\n", "index ' 1' is not a number"),
        (f"{HEADER}\nindex \u0661\n\nc\n", "not ASCII"),
        (f"{HEADER}\nindex 9223372036854775807\n\nc\n", "is not a number below"),
        (f"{HEADER}\nindex 0\n{HASH} \n\nc\n", "a hash of the proof is not base64"),
        (f"{HEADER}\nindex 0\n{HASH[:-2]}5=\n\nc\n", "a hash of the proof is not written in"),
        (f"{HEADER}\nindex 0\nAAAA\n\nc\n", "has 3 bytes instead of 32"),
        (f"{HEADER}\nindex 0\n" + f"{HASH}\n" * 64 + "\nc\n", "has 64 hashes"),
        ("a" * 1_100_001, "has 1100001 bytes"),
    ],
)
def test_malformed_proofs_are_refused(data: str, message: str) -> None:
    with pytest.raises(TlogProofError, match=message):
        parse_tlog_proof(data.encode())


def test_a_proof_that_would_not_read_back_is_not_written() -> None:
    with pytest.raises(TlogProofError, match="no checkpoint"):
        format_tlog_proof(TlogProof(0, (), b""))
    with pytest.raises(TlogProofError, match="has 31 bytes"):
        format_tlog_proof(TlogProof(0, (bytes(31),), b"c\n"))
    with pytest.raises(TlogProofError, match="index '-1'"):
        format_tlog_proof(TlogProof(-1, (), b"c\n"))


@given(
    index=st.integers(0, 2**63 - 2),
    hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    checkpoint=st.binary(min_size=1),
    extra=st.none() | st.binary(),
)
def test_proofs_read_back(
    index: int, hashes: list[bytes], checkpoint: bytes, extra: bytes | None
) -> None:
    proof = TlogProof(index, tuple(hashes), checkpoint, extra)
    assert parse_tlog_proof(format_tlog_proof(proof)) == proof


@given(st.binary(max_size=200).map(lambda rest: f"{HEADER}\nindex 1\n".encode() + rest))
def test_reading_any_bytes_gives_their_only_proof_or_an_error(data: bytes) -> None:
    try:
        proof = parse_tlog_proof(data)
    except TlogProofError:
        return
    assert format_tlog_proof(proof) == data

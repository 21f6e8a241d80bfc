"""What the libraries under the log decide, held against published vectors.

They are not our code, but our promises rest on them: another version that decides otherwise has to
be noticed. ECDSA's vectors are in `test_verify`.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterator

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.support.vectors import load_json, vectors_folder


def is_accepted(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_every_wycheproof_ed25519_case_is_decided_as_published() -> None:
    published = load_json("ed25519/wycheproof_ed25519.json")
    wrong = []
    count = 0
    for group in published["testGroups"]:
        public = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            count += 1
            accepted = is_accepted(public, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            if accepted != (case["result"] == "valid"):
                wrong.append(case["tcId"])
    assert (count, wrong) == (151, [])


def test_ed25519_edge_cases_are_refused_by_exactly_two_rules() -> None:
    # the rule of the first implementation, which most share: no cofactor, canonical R; a witness
    # that verifies by another rule could disagree with us on signatures made to divide us, but not
    # on any that an honest key makes
    cases = load_json("ed25519/cctv_edge_cases.json")
    refusing = {"non_canonical_R", "low_order_residue"}
    accepted, wrong = 0, []
    for case in cases:
        is_good = is_accepted(
            bytes.fromhex(case["key"]), case["msg"].encode(), bytes.fromhex(case["sig"])
        )
        accepted += is_good
        if is_good == bool(refusing & set(case["flags"] or [])):
            wrong.append(case["number"])
    assert (len(cases), accepted, wrong) == (914, 208, [])


# Canonical JSON


@pytest.mark.parametrize("name", ["arrays", "french", "structures", "unicode", "values", "weird"])
def test_published_documents_are_canonical_as_published(name: str) -> None:
    folder = vectors_folder() / "jcs"
    document = json.loads((folder / "input" / f"{name}.json").read_text("utf-8"))
    canonical = rfc8785.dumps(document)
    assert canonical == (folder / "output" / f"{name}.json").read_bytes()
    assert canonical == bytes.fromhex((folder / "outhex" / f"{name}.txt").read_text("ascii"))


def fixed_numbers() -> list[int]:
    published = load_json("jcs/es6_numbers_checksums.json")
    return [int(value, 16) for value in published["staticValuesHex"]]


def numbers() -> Iterator[tuple[int, float]]:
    """Yield the published sequence as bits and values: fixed, then serial, then hashed ones."""
    for bits in (*fixed_numbers(), *(0x0010000000000000 + i for i in range(2000))):
        yield bits, struct.unpack("<d", struct.pack("<Q", bits))[0]
    block = bytes(32)
    while True:
        block = hashlib.sha256(block).digest()
        for bits, value in zip(
            struct.unpack("<4Q", block), struct.unpack("<4d", block), strict=True
        ):
            if value != 0 and math.isfinite(value):
                yield bits, value


def line_of(bits: int, value: float) -> str:
    return f"{bits:x},{rfc8785.dumps(value).decode()}\n"


def test_a_thousand_numbers_are_written_as_published() -> None:
    published = (vectors_folder() / "jcs/es6_numbers_1000.txt").read_text("ascii")
    lines = published.splitlines(keepends=True)
    written = [line_of(*number) for number, _ in zip(numbers(), range(1000), strict=False)]
    assert len(fixed_numbers()) == 168
    assert written == lines


def test_a_hundred_thousand_numbers_have_the_published_checksums() -> None:
    checksums = {
        entry["lines"]: entry["sha256"]
        for entry in load_json("jcs/es6_numbers_checksums.json")["checksums"]
        # a million take ten times as long, and the rest days
        if entry["lines"] <= 100_000
    }
    found = {}
    rolling = hashlib.sha256()
    for count, (bits, value) in enumerate(numbers(), start=1):
        rolling.update(line_of(bits, value).encode())
        if count in checksums:
            found[count] = rolling.hexdigest()
        if count == max(checksums):
            break
    assert found == checksums
    assert sorted(found) == [1000, 10_000, 100_000]

"""The verifier and the log's own code were written apart, and decide alike."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import VerificationError
from audit.ledger import verify
from audit.ledger.merkle import inclusion_proof, leaf_hash, node_hash, root_at, verify_inclusion
from audit.ledger.witness_policy import parse_policy
from tests.support.vectors import load_json, load_json_lines
from tests.unit.ledger.small_log import POLICY, TRUST_ROOT, WITNESSES, small_log

LEAVES = [leaf_hash(b"%d" % i) for i in range(70)]


def _read(level: int, index: int) -> bytes:
    if level == 0:
        return LEAVES[index]
    return node_hash(_read(level - 1, 2 * index), _read(level - 1, 2 * index + 1))


def _root(index: int, size: int, leaf: bytes, proof: list[bytes]) -> bytes | None:
    encoded: list[object] = [base64.b64encode(sibling).decode() for sibling in proof]
    return verify._root(index, size, leaf, encoded)


def test_every_proof_of_every_small_tree_leads_to_its_root() -> None:
    for size in range(1, len(LEAVES) + 1):
        root = root_at(size, _read)
        for index in range(size):
            proof = list(inclusion_proof(index, size, _read))
            assert _root(index, size, LEAVES[index], proof) == root


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 70), st.data())
def test_damaged_proofs_are_decided_alike(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    claimed = data.draw(st.integers(0, size - 1))
    proof = list(inclusion_proof(index, size, _read))
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(proof)))
        proof[at:at] = [data.draw(st.sampled_from(LEAVES))]
    is_cut = data.draw(st.booleans())
    if proof and is_cut:
        proof.pop(data.draw(st.integers(0, len(proof) - 1)))
    root = root_at(size, _read)
    try:
        verify_inclusion(leaf=LEAVES[index], index=claimed, size=size, proof=proof, root=root)
        expected = True
    except VerificationError:
        expected = False
    assert (_root(claimed, size, LEAVES[index], proof) == root) == expected


def test_every_published_inclusion_case_is_decided_as_published() -> None:
    num_cases = 0
    for case in load_json_lines("merkle/inclusion.jsonl"):
        index, size = int(case["leafIdx"]), int(case["treeSize"])
        proof = [base64.b64decode(text) for text in case["proof"] or []]
        leaf, root = base64.b64decode(case["leafHash"]), base64.b64decode(case["root"])
        # The verifier computes leaf hashes itself; none of another length can come up.
        is_possible = 0 <= index < size and len(leaf) == 32
        accepted = is_possible and _root(index, size, leaf, proof) == root
        assert accepted != case["wantErr"], case["desc"]
        num_cases += 1
    assert num_cases == 98


@pytest.mark.parametrize("group", ["valid", "invalid"])
def test_published_policies_are_read_or_refused_alike(group: str) -> None:
    bundle = json.loads(small_log().bundle())
    note = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]
    match = verify._NOTE.fullmatch(note["envelope"])
    assert match is not None
    for case in load_json("tlog-policy/cases.json")[group]:
        if group == "valid":
            _, witnesses, is_met = verify._apply_policy(case["policy"], match)
            assert (witnesses, is_met) == ({}, case["threshold"] == 0)
        else:
            with pytest.raises(VerificationError):
                verify._apply_policy(case["policy"], match)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 2)), st.sampled_from(["any", "all", "1", "2", "3"]), st.booleans())
def test_quorums_are_decided_alike(signed: set[int], threshold: str, nested: bool) -> None:
    text = POLICY.replace("two 2", f"two {threshold}")
    if nested:
        text = text.replace("quorum two", "group outer all two\nquorum outer")
    note = small_log().note(tuple(WITNESSES[n] for n in sorted(signed)))
    match = verify._NOTE.fullmatch(note.decode("utf-8"))
    assert match is not None
    _, witnesses, is_met = verify._apply_policy(text, match)
    assert set(witnesses) == {f"w{n + 1}" for n in signed}
    assert is_met == parse_policy(text).is_met(set(witnesses))
    assert TRUST_ROOT.policy == POLICY

"""The Merkle tree: published vectors, a slow reference, and every flipped bit."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.ledger import merkle
from audit.ledger.merkle import ProofError
from tests.support.vectors import load_json, load_json_lines
from tests.unit.ledger.slow_tree import (
    is_subtree,
    leaves_of,
    slow_consistency,
    slow_path,
    slow_reader,
    slow_root,
)

sizes = st.integers(min_value=1, max_value=300)


# Published vectors


def bytes_of(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def decided_wrongly(cases: list[Any], verify: Callable[[Any], None]) -> list[str]:
    wrong = []
    for case in cases:
        try:
            verify(case)
            is_refused = False
        except ProofError:
            is_refused = True
        if is_refused != case["wantErr"]:
            wrong.append(case["path"])
    return wrong


def proof_of(case: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(value) for value in case["proof"] or []]


def test_published_inclusion_proofs_are_decided_as_published() -> None:
    def verify(case: Any) -> None:
        merkle.verify_inclusion(
            leaf=bytes_of(case["leafHash"]),
            index=case["leafIdx"],
            size=case["treeSize"],
            proof=proof_of(case),
            root=bytes_of(case["root"]),
        )

    cases = load_json_lines("merkle/inclusion.jsonl")
    assert (len(cases), decided_wrongly(cases, verify)) == (98, [])


def test_published_consistency_proofs_are_decided_as_published() -> None:
    def verify(case: Any) -> None:
        merkle.verify_consistency(
            old_size=case["size1"],
            new_size=case["size2"],
            old_root=bytes_of(case["root1"]),
            new_root=bytes_of(case["root2"]),
            proof=proof_of(case),
        )

    cases = load_json_lines("merkle/consistency.jsonl")
    assert (len(cases), decided_wrongly(cases, verify)) == (98, [])


def test_published_subtree_inclusion_proofs_are_decided_as_published() -> None:
    def verify(case: Any) -> None:
        merkle.verify_subtree_inclusion(
            leaf=bytes_of(case["leafHash"]),
            index=case["leafIdx"],
            start=case["start"],
            end=case["end"],
            proof=proof_of(case),
            root=bytes_of(case["root"]),
        )

    cases = load_json_lines("merkle/subtreeinclusion.jsonl")
    assert (len(cases), decided_wrongly(cases, verify)) == (204, [])


def test_published_subtree_consistency_proofs_are_decided_as_published() -> None:
    def verify(case: Any) -> None:
        merkle.verify_subtree_consistency(
            start=case["start"],
            end=case["end"],
            size=case["size"],
            subtree=bytes_of(case["root1"]),
            root=bytes_of(case["root2"]),
            proof=proof_of(case),
        )

    cases = load_json_lines("merkle/subtreeconsistency.jsonl")
    assert (len(cases), decided_wrongly(cases, verify)) == (118, [])


def test_published_roots() -> None:
    vector = load_json("merkle/rfc6962_roots.json")
    hashes = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in vector["leafInputs"]]
    roots = [merkle.grow(merkle.EMPTY_HEAD, hashes[:size]).root.hex() for size in range(9)]
    assert roots == vector["roots"]


def hashes_text(hashes: tuple[bytes, ...]) -> str:
    return "".join(f" {value.hex()}" for value in hashes)


def subtrees(end: int) -> Iterator[tuple[int, int]]:
    return ((start, end) for start in range(end + 1) if is_subtree(start, end))


def test_rolling_hashes_over_all_subtrees_of_130_leaves() -> None:
    read = slow_reader([bytes([index]) for index in range(130)])
    rolling = {
        name: hashlib.sha256() for name in ("subtreeHash", "subtreeInclusion", "subtreeConsistency")
    }
    for size in range(131):
        for start, end in subtrees(size):
            root = merkle.subtree_root(start, end, read).hex()
            rolling["subtreeHash"].update(f"[{start}, {end}) {root}\n".encode())
            for index in range(start, end):
                path = hashes_text(merkle.subtree_inclusion_proof(index, start, end, read))
                line = f"{index} [{start}, {end}){path}\n"
                rolling["subtreeInclusion"].update(line.encode())
        for middle in range(size + 1):
            for start, end in subtrees(middle):
                proof = hashes_text(merkle.subtree_consistency_proof(start, end, size, read))
                line = f"[{start}, {end}) {size}{proof}\n"
                rolling["subtreeConsistency"].update(line.encode())
    published = load_json("merkle/accumulated.json")["vectors"]
    assert {name: hash_.hexdigest() for name, hash_ in rolling.items()} == {
        vector["name"]: vector["sha256"] for vector in published
    }


# Against the definition


@given(size=st.integers(0, 300), splits=st.lists(st.integers(0, 300), max_size=5))
@settings(deadline=None)
def test_growing_in_any_batches_gives_the_root_of_the_definition(
    size: int, splits: list[int]
) -> None:
    leaves = leaves_of(size)
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    head = merkle.EMPTY_HEAD
    bounds = sorted({0, size, *(min(split, size) for split in splits)})
    for first, end in pairwise(bounds):
        head = merkle.grow(head, hashes[first:end])
    assert (head.size, head.root) == (size, slow_root(leaves))
    assert len(head.range_hashes) == size.bit_count()
    assert head.root == merkle.root_at(size, slow_reader(leaves))


@given(size=sizes, data=st.data())
@settings(deadline=None)
def test_inclusion_proofs_are_those_of_the_definition_and_verify(
    size: int, data: st.DataObject
) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, slow_reader(leaves))
    assert list(proof) == slow_path(index, leaves)
    leaf, root = merkle.leaf_hash(leaves[index]), slow_root(leaves)
    merkle.verify_inclusion(leaf=leaf, index=index, size=size, proof=proof, root=root)


@given(new=sizes, data=st.data())
@settings(deadline=None)
def test_consistency_proofs_are_those_of_the_definition_and_verify(
    new: int, data: st.DataObject
) -> None:
    leaves = leaves_of(new)
    old = data.draw(st.integers(1, new))
    proof = merkle.consistency_proof(old, new, slow_reader(leaves))
    assert list(proof) == slow_consistency(old, leaves)
    merkle.verify_consistency(
        old_size=old,
        new_size=new,
        old_root=slow_root(leaves[:old]),
        new_root=slow_root(leaves),
        proof=proof,
    )


@given(size=sizes, data=st.data())
@settings(deadline=None)
def test_subtree_proofs_verify(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    read = slow_reader(leaves)
    end = data.draw(st.integers(1, size))
    start = data.draw(st.sampled_from([start for start, _ in subtrees(end) if start < end]))
    index = data.draw(st.integers(start, end - 1))
    subtree = slow_root(leaves[start:end])
    merkle.verify_subtree_inclusion(
        leaf=merkle.leaf_hash(leaves[index]),
        index=index,
        start=start,
        end=end,
        proof=merkle.subtree_inclusion_proof(index, start, end, read),
        root=subtree,
    )
    merkle.verify_subtree_consistency(
        start=start,
        end=end,
        size=size,
        subtree=subtree,
        root=slow_root(leaves),
        proof=merkle.subtree_consistency_proof(start, end, size, read),
    )


def flips(proof: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
    for position, value in enumerate(proof):
        for bit in range(len(value) * 8):
            changed = bytearray(value)
            changed[bit // 8] ^= 1 << bit % 8
            yield (*proof[:position], bytes(changed), *proof[position + 1 :])


@given(size=st.integers(1, 64), data=st.data())
@settings(deadline=None, max_examples=30)
def test_no_flipped_bit_of_an_inclusion_proof_passes(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, slow_reader(leaves))
    leaf, root = merkle.leaf_hash(leaves[index]), slow_root(leaves)

    def require_refused(**changed: Any) -> None:
        given_: dict[str, Any] = {
            "leaf": leaf,
            "index": index,
            "size": size,
            "proof": proof,
            "root": root,
        }
        with pytest.raises(ProofError):
            merkle.verify_inclusion(**(given_ | changed))

    for changed in flips(proof):
        require_refused(proof=changed)
    for (changed_leaf,) in flips((leaf,)):
        require_refused(leaf=changed_leaf)
    for (changed_root,) in flips((root,)):
        require_refused(root=changed_root)
    for other in set(range(size)) - {index}:
        require_refused(index=other)
    require_refused(proof=(*proof, root))
    if proof:
        require_refused(proof=proof[:-1])


@given(new=st.integers(2, 64), data=st.data())
@settings(deadline=None, max_examples=30)
def test_no_flipped_bit_of_a_consistency_proof_passes(new: int, data: st.DataObject) -> None:
    leaves = leaves_of(new)
    old = data.draw(st.integers(1, new - 1))
    proof = merkle.consistency_proof(old, new, slow_reader(leaves))
    roots = slow_root(leaves[:old]), slow_root(leaves)

    def require_refused(**changed: Any) -> None:
        given_: dict[str, Any] = {
            **{"old_size": old, "new_size": new, "proof": proof},
            **{"old_root": roots[0], "new_root": roots[1]},
        }
        with pytest.raises(ProofError):
            merkle.verify_consistency(**(given_ | changed))

    for changed in flips(proof):
        require_refused(proof=changed)
    for old_root, new_root in flips(roots):
        require_refused(old_root=old_root, new_root=new_root)
    require_refused(proof=(*proof, roots[0]))
    require_refused(proof=proof[:-1])
    require_refused(old_size=new)


# Each refusal says what is wrong

HASH = bytes(32)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"index": 8}, r"no entry 8 in a tree of entries \[0, 8\)"),
        ({"index": -1}, "no entry -1"),
        ({"size": 0}, r"no entry 3 in a tree of entries \[0, 0\)"),
        ({"size": 2**63}, "not part of a tree of size 9223372036854775808"),
        ({"proof": (HASH,) * 2}, "has 2 hashes instead of 3"),
        ({"proof": (HASH, HASH, b"short")}, "not of 32 bytes"),
        ({"leaf": b""}, "leaf's hash has 0 bytes"),
        ({"proof": (HASH,) * 3}, "inclusion proof of entry 3 leads to another root"),
    ],
)
def test_refused_inclusion_proofs_say_why(changed: dict[str, Any], text: str) -> None:
    given_: dict[str, Any] = {
        "leaf": HASH,
        "index": 3,
        "size": 8,
        "proof": (HASH,) * 3,
        "root": HASH,
    }
    with pytest.raises(ProofError, match=text):
        merkle.verify_inclusion(**(given_ | changed))


def test_refused_consistency_proofs_say_why() -> None:
    leaves = leaves_of(8)
    old, new = slow_root(leaves[:3]), slow_root(leaves)
    proof = merkle.consistency_proof(3, 8, slow_reader(leaves))

    def check(text: str, **changed: Any) -> None:
        given_: dict[str, Any] = {
            "old_size": 3,
            "new_size": 8,
            "old_root": old,
            "new_root": new,
            "proof": proof,
        }
        with pytest.raises(ProofError, match=text):
            merkle.verify_consistency(**(given_ | changed))

    check("the old tree is empty", old_size=0)
    check("not part of a tree of size 2", new_size=2)
    check(r"leads to another hash of \[0, 3\)", old_root=HASH)
    check("leads to another root of size 8", new_root=HASH)
    check("has 0 hashes instead of 4", proof=())
    check("another root of size 8", old_size=8, proof=(), old_root=old)


def test_a_subtree_off_its_boundary_and_a_false_empty_one_are_refused() -> None:
    same: dict[str, Any] = {"subtree": HASH, "root": HASH, "proof": ()}
    with pytest.raises(ProofError, match=r"\[1, 3\) is not a subtree"):
        merkle.verify_subtree_consistency(start=1, end=3, size=4, **same)
    with pytest.raises(ProofError, match="subtree is empty"):
        merkle.verify_subtree_consistency(start=2, end=2, size=4, **same)
    with pytest.raises(ProofError, match=r"\[3, 5\) is not a subtree"):
        merkle.subtree_inclusion_proof(3, 3, 5, slow_reader(leaves_of(5)))


def test_proofs_of_what_the_tree_lacks_are_not_made() -> None:
    read = slow_reader(leaves_of(4))
    with pytest.raises(ProofError, match="no entry 4"):
        merkle.inclusion_proof(4, 4, read)
    with pytest.raises(ProofError, match="not part of a tree of size 4"):
        merkle.consistency_proof(5, 4, read)
    assert merkle.consistency_proof(0, 4, read) == ()
    assert merkle.consistency_proof(4, 4, read) == ()

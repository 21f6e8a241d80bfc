"""The log's Merkle tree: RFC 6962 hashes, and proofs over them, made and checked.

A proof is fixed by three numbers. Descending from the root of a tree to one of its subtrees passes
one sibling at each step; `_descend` lists them, the prover looks their hashes up, and the verifier
folds the given hashes in the same order. An inclusion proof is the case of a subtree of one leaf.

Subtrees follow draft-ietf-plants-merkle-tree-certs, section 4: [start, end) where start is a
multiple of the smallest power of two that is not below end - start. Hashes are 32 bytes.
"""

import hashlib
from collections.abc import Callable, Sequence
from enum import Enum

from audit.errors import VerificationError
from audit.log_records import TreeHead

HashReader = Callable[[int, int], bytes]
"""(level, index) -> hash of the complete subtree of 2**level leaves from leaf index * 2**level."""

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
EMPTY_HEAD = TreeHead(size=0, root=EMPTY_ROOT, range_hashes=())
MAX_SIZE = 2**63 - 1


class ProofError(VerificationError):
    """A Merkle proof does not prove what it is said to."""


class _Side(Enum):
    RIGHT = "right"
    LEFT = "left"
    LEFT_INSIDE = "left, and part of the subtree"


_Step = tuple[_Side, int, int]
"""Where a sibling hangs, and its leaves [start, end)."""


def leaf_hash(body: bytes) -> bytes:
    """Return the hash of a leaf, given its bytes (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def range_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root of a tree, given its complete subtrees, largest first."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over 2**n hashes of one level."""
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [node_hash(left, right) for left, right in pairs]
    return hashes[0]


def grow(head: TreeHead, leaf_hashes: Sequence[bytes]) -> TreeHead:
    """Return the tree with these leaves appended."""
    size, hashes = head.size, list(head.range_hashes)
    for leaf in leaf_hashes:
        hashes.append(leaf)
        # each trailing one bit of the old size is a complete subtree that now gets its sibling
        for _ in range((~size & (size + 1)).bit_length() - 1):
            right = hashes.pop()
            hashes[-1] = node_hash(hashes[-1], right)
        size += 1
    return TreeHead(size=size, root=range_root(hashes), range_hashes=tuple(hashes))


def subtree_root(start: int, end: int, read: HashReader) -> bytes:
    """Return the hash of the subtree [start, end). Raises: ProofError where it is none."""
    _require_subtree(start, end, end)
    return _range_hash(start, end, read)


def root_at(size: int, read: HashReader) -> bytes:
    """Return the root of the tree's first `size` leaves."""
    return subtree_root(0, size, read)


def inclusion_proof(index: int, size: int, read: HashReader) -> tuple[bytes, ...]:
    """Return the path of a leaf, lowest sibling first (RFC 6962 section 2.1.1).

    Raises: ProofError where the tree has no such leaf.
    """
    return subtree_inclusion_proof(index, 0, size, read)


def subtree_inclusion_proof(
    index: int, start: int, end: int, read: HashReader
) -> tuple[bytes, ...]:
    """Return the path of a leaf within the subtree [start, end). Raises: ProofError."""
    _require_leaf(index, start, end)
    return _siblings(_descend(index, index + 1, start, end)[0], read)


def consistency_proof(old: int, new: int, read: HashReader) -> tuple[bytes, ...]:
    """Return the proof that the tree of size `new` begins with that of size `old`.

    Empty for old 0 (RFC 6962 section 2.1.2). Raises: ProofError where old is above new.
    """
    return subtree_consistency_proof(0, old, new, read)


def subtree_consistency_proof(
    start: int, end: int, size: int, read: HashReader
) -> tuple[bytes, ...]:
    """Return the proof that a tree contains the subtree [start, end). Raises: ProofError."""
    _require_subtree(start, end, size)
    if start == end:
        return ()
    steps, seed = _descend(start, end, 0, size)
    lowest = () if seed is None else (_range_hash(*seed, read),)
    return lowest + _siblings(steps, read)


def verify_inclusion(
    *, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Pass where the proof leads from a leaf's hash to the root. Raises: ProofError."""
    verify_subtree_inclusion(leaf=leaf, index=index, start=0, end=size, proof=proof, root=root)


def verify_subtree_inclusion(
    *, leaf: bytes, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Pass where the proof leads from a leaf's hash to the subtree's. Raises: ProofError."""
    _require_leaf(index, start, end)
    steps, _ = _descend(index, index + 1, start, end)
    _require_hashes(proof, len(steps))
    if len(leaf) != HASH_BYTES:
        raise ProofError(f"the leaf's hash has {len(leaf)} bytes instead of {HASH_BYTES}")
    _, computed = _fold(leaf, steps, proof)
    if computed != root:
        raise ProofError(f"the inclusion proof of entry {index} leads to another root")


def verify_consistency(
    *, old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Pass where the proof leads to both roots. Raises: ProofError, and always for old size 0.

    Every tree begins with the empty one, so there a proof would say nothing.
    """
    if old_size == 0:
        raise ProofError("the old tree is empty: that it is part of another proves nothing")
    verify_subtree_consistency(
        start=0, end=old_size, size=new_size, subtree=old_root, root=new_root, proof=proof
    )


def verify_subtree_consistency(
    *, start: int, end: int, size: int, subtree: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Pass where the proof leads to the subtree's hash and to the root. Raises: ProofError."""
    _require_subtree(start, end, size)
    if start == end:
        _require_hashes(proof, 0)
        if subtree != EMPTY_ROOT:
            raise ProofError("the subtree is empty, but its hash is not that of an empty tree")
        return
    steps, seed = _descend(start, end, 0, size)
    _require_hashes(proof, len(steps) + (seed is not None))
    lowest, path = (subtree, proof) if seed is None else (proof[0], proof[1:])
    inner, outer = _fold(lowest, steps, path)
    if inner != subtree:
        raise ProofError(f"the consistency proof leads to another hash of [{start}, {end})")
    if outer != root:
        raise ProofError(f"the consistency proof leads to another root of size {size}")


def _descend(
    start: int, end: int, low: int, high: int
) -> tuple[list[_Step], tuple[int, int] | None]:
    """Return the siblings on the way from [low, high) to [start, end), highest first.

    Where the subtree is no node of the tree, the way ends at its last node, returned beside them.
    """
    steps: list[_Step] = []
    is_node = True
    while (low, high) != (start, end):
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        if end <= middle:
            steps.append((_Side.RIGHT, middle, high))
            high = middle
        elif start >= middle:
            steps.append((_Side.LEFT, low, middle))
            low = middle
        else:
            # the subtree goes over both: its left part is a node, the way goes on to the rest
            steps.append((_Side.LEFT_INSIDE, low, middle))
            low = start = middle
            is_node = False
    return steps, None if is_node else (low, high)


def _fold(lowest: bytes, steps: list[_Step], path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the hashes of the subtree and of the tree, from the lowest hash up."""
    inner = outer = lowest
    for (side, _, _), sibling in zip(reversed(steps), path, strict=True):
        if side is _Side.LEFT_INSIDE:
            inner = node_hash(sibling, inner)
        outer = node_hash(outer, sibling) if side is _Side.RIGHT else node_hash(sibling, outer)
    return inner, outer


def _siblings(steps: list[_Step], read: HashReader) -> tuple[bytes, ...]:
    return tuple(_range_hash(start, end, read) for _, start, end in reversed(steps))


def _range_hash(start: int, end: int, read: HashReader) -> bytes:
    parts = []
    while start < end:
        level = (end - start).bit_length() - 1
        parts.append(read(level, start >> level))
        start += 1 << level
    return range_root(parts)


def _require_leaf(index: int, start: int, end: int) -> None:
    _require_subtree(start, end, end)
    if not start <= index < end:
        raise ProofError(f"there is no entry {index} in a tree of entries [{start}, {end})")


def _require_subtree(start: int, end: int, size: int) -> None:
    if not 0 <= start <= end <= size <= MAX_SIZE:
        raise ProofError(f"[{start}, {end}) is not part of a tree of size {size}")
    if start != end and start % (1 << (end - start - 1).bit_length()):
        raise ProofError(f"[{start}, {end}) is not a subtree: it does not start on a boundary")


def _require_hashes(proof: Sequence[bytes], expected: int) -> None:
    if len(proof) != expected:
        raise ProofError(f"the proof has {len(proof)} hashes instead of {expected}")
    if any(len(value) != HASH_BYTES for value in proof):
        raise ProofError(f"a hash of the proof is not of {HASH_BYTES} bytes")

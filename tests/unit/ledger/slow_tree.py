"""The tree as RFC 6962 defines it, word for word: slow, and written apart from ours."""

import hashlib
from collections.abc import Callable


def slow_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


def slow_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if index < k:
        return [*slow_path(index, leaves[:k]), slow_root(leaves[k:])]
    return [*slow_path(index - k, leaves[k:]), slow_root(leaves[:k])]


def slow_consistency(old: int, leaves: list[bytes], is_whole: bool = True) -> list[bytes]:
    """RFC 6962 section 2.1.2."""
    if old == len(leaves):
        return [] if is_whole else [slow_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if old <= k:
        return [*slow_consistency(old, leaves[:k], is_whole), slow_root(leaves[k:])]
    return [*slow_consistency(old - k, leaves[k:], False), slow_root(leaves[:k])]


def slow_reader(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    held: dict[tuple[int, int], bytes] = {}

    def read(level: int, index: int) -> bytes:
        first = index << level
        assert first + (1 << level) <= len(leaves), "a hash outside the tree was asked for"
        if (level, index) not in held:
            held[level, index] = slow_root(leaves[first : first + (1 << level)])
        return held[level, index]

    return read


def is_subtree(start: int, end: int) -> bool:
    boundary = 1
    while boundary < end - start:
        boundary *= 2
    return start == end or start % boundary == 0


def leaves_of(size: int) -> list[bytes]:
    return [index.to_bytes(2, "big") for index in range(size)]

"""Openings are fixed by root, count and nonce, spread evenly, and find what they say."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import InvalidRequest
from audit.hidden_tokens.commitment.challenge import (
    OpeningRules,
    derive_challenge,
    detection_probability,
    openings_needed,
)

ROOT = hashlib.sha256(b"root").digest()
LEAVES_ONLY = OpeningRules(num_leaves=44, num_blocks=0)


def _runs(
    num_tokens: int,
    rules: OpeningRules = LEAVES_ONLY,
    *,
    root: bytes = ROOT,
    nonce: bytes = b"n" * 16,
) -> tuple[tuple[int, int], ...]:
    return derive_challenge(root=root, num_tokens=num_tokens, nonce=nonce, rules=rules).runs


def _nonce(number: int) -> bytes:
    return hashlib.sha256(b"nonce %d" % number).digest()


def test_the_derivation_is_fixed_for_other_implementations() -> None:
    rules = OpeningRules(num_leaves=3, num_blocks=2, block_tokens=64, opens_prefix=False)
    runs = _runs(1000, rules)
    assert runs == _runs(1000, rules)
    assert runs == ((145, 146), (426, 427), (754, 755), (999, 1000), (128, 192), (832, 896))


def test_root_count_and_nonce_each_change_it() -> None:
    seen = {
        _runs(1000),
        _runs(1001),
        _runs(1000, root=hashlib.sha256(b"other").digest()),
        _runs(1000, nonce=b"m" * 16),
    }
    assert len(seen) == 4


@given(
    st.integers(0, 300),
    st.integers(0, 60),
    st.integers(0, 9),
    st.booleans(),
    st.binary(min_size=16),
)
def test_runs_are_distinct_inside_and_as_many_as_asked(
    num_tokens: int, num_leaves: int, num_blocks: int, opens_prefix: bool, nonce: bytes
) -> None:
    rules = OpeningRules(
        num_leaves=num_leaves, num_blocks=num_blocks, block_tokens=16, opens_prefix=opens_prefix
    )
    runs = _runs(num_tokens, rules, nonce=nonce)
    leaves = runs[: min(num_leaves, num_tokens)]
    assert len(set(leaves)) == len(leaves)
    assert all(0 <= start < end <= num_tokens for start, end in runs)
    assert all(end == start + 1 for start, end in leaves)
    if num_leaves and num_tokens:
        assert (num_tokens - 1, num_tokens) in runs
    blocks = [run for run in runs if run[1] > run[0] + 1 or run not in leaves]
    if opens_prefix and num_blocks and num_tokens > 1:
        assert any(start == 0 for start, _ in blocks)


def test_leaves_and_blocks_are_spread_evenly() -> None:
    rules = OpeningRules(num_leaves=5, num_blocks=1, block_tokens=4, opens_prefix=False)
    leaves: Counter[int] = Counter()
    blocks: Counter[int] = Counter()
    for number in range(4000):
        runs = _runs(41, rules, nonce=_nonce(number))
        leaves.update(start for start, _ in runs[:5])
        blocks[runs[-1][0] // 4] += 1
    # chi-square with 40 and 10 degrees of freedom, bounds at one in ten thousand
    assert sum((leaves[k] - 4000 * 5 / 41) ** 2 / (4000 * 5 / 41) for k in range(41)) < 82
    assert sum((blocks[k] - 4000 / 11) ** 2 / (4000 / 11) for k in range(11)) < 36


def test_short_chains_are_opened_whole_and_empty_ones_not_at_all() -> None:
    assert _runs(3, OpeningRules()) == ((0, 1), (1, 2), (2, 3), (0, 3))
    assert _runs(0, OpeningRules()) == ()


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.2])
def test_forged_shares_are_found_as_often_as_stated(share: float) -> None:
    num_tokens, num_trials = 1000, 600
    rules = OpeningRules(num_leaves=20, num_blocks=0)
    first_bad = int(num_tokens * 0.3)
    bad = range(first_bad, first_bad + int(num_tokens * share))
    found = sum(
        any(start in bad for start, _ in _runs(num_tokens, rules, nonce=_nonce(number)))
        for number in range(num_trials)
    )
    stated = detection_probability(share, 20)
    spread = 4 * (stated * (1 - stated) / num_trials) ** 0.5
    assert stated - spread <= found / num_trials <= stated + spread + 0.02


def test_stated_probabilities() -> None:
    assert openings_needed(0.1, 0.99) == 44
    assert detection_probability(0.1, 44) == pytest.approx(0.99030, abs=1e-5)
    assert detection_probability(0.1, 43) < 0.99
    assert [detection_probability(f, k) for f, k in ((0.0, 9), (1.0, 1), (1.0, 0), (0.5, 0))] == [
        0.0,
        1.0,
        0.0,
        0.0,
    ]
    assert openings_needed(1.0, 0.999) == 1


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_the_openings_needed_suffice_and_one_fewer_does_not(share: float, wanted: float) -> None:
    needed = openings_needed(share, wanted)
    assert detection_probability(share, needed) >= wanted - 1e-12
    assert detection_probability(share, needed - 1) < wanted + 1e-12


@pytest.mark.parametrize(
    "rules, problem",
    [
        (OpeningRules(num_leaves=-1), "num_leaves: must lie between 0 and 100000"),
        (OpeningRules(num_blocks=100_001), "num_blocks: must lie between"),
        (OpeningRules(block_tokens=48), "block_tokens: must be a power of two"),
        (OpeningRules(block_tokens=0), "block_tokens: must be a power of two"),
    ],
)
def test_rules_that_cannot_be_are_refused(rules: OpeningRules, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        _runs(10, rules)


def test_short_nonces_and_negative_counts_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="nonce: must have at least 16 bytes"):
        _runs(10, nonce=b"short")
    with pytest.raises(InvalidRequest, match="num_tokens: must not be negative"):
        _runs(-1)


@pytest.mark.parametrize(
    "share, number, problem",
    [(-0.1, 1, "fraction: must lie between 0 and 1"), (0.1, -1, "num_openings: must not be")],
)
def test_shares_and_numbers_that_cannot_be_are_refused(
    share: float, number: int, problem: str
) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        detection_probability(share, number)


@pytest.mark.parametrize(
    "share, wanted, problem",
    [(0.0, 0.9, "fraction: must lie above 0"), (0.1, 1.0, "probability: must lie between")],
)
def test_what_no_number_of_openings_reaches_is_refused(
    share: float, wanted: float, problem: str
) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        openings_needed(share, wanted)

"""The tree is RFC 6962's, hides what is not opened and opens in one way only."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import InvalidRequest
from audit.hidden_tokens.commitment.tree import (
    MAX_TOKEN_ID,
    OpenedToken,
    RunOpening,
    TokenTree,
    token_leaf,
    verify_run,
)
from audit.ledger.merkle import EMPTY_ROOT, ProofError, node_hash
from tests.unit.hidden_tokens.commitment.builders import SECRET


def _tree(num_tokens: int, secret: bytes = SECRET) -> TokenTree:
    return TokenTree([index * index % 997 for index in range(num_tokens)], secret)


def _naive_root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(_naive_root(leaves[:middle]), _naive_root(leaves[middle:]))


def _check(tree: TokenTree, opening: RunOpening) -> None:
    verify_run(opening, num_tokens=tree.num_tokens, root=tree.root)


@given(st.integers(1, 70))
def test_the_root_is_the_recursive_definition_of_rfc_6962(num_tokens: int) -> None:
    tree = _tree(num_tokens)
    opened = [tree.open(index, index + 1).tokens[0] for index in range(num_tokens)]
    leaves = [token_leaf(index, token) for index, token in enumerate(opened)]
    assert tree.root == _naive_root(leaves)


def test_no_tokens_have_the_root_of_nothing() -> None:
    assert (_tree(0).root, _tree(0).num_tokens) == (EMPTY_ROOT, 0)


@pytest.mark.parametrize("num_tokens", [1, 2, 5, 64, 100])
def test_every_run_on_a_boundary_opens(num_tokens: int) -> None:
    tree = _tree(num_tokens)
    for size in (1, 2, 4, 8, 64):
        for start in range(0, num_tokens, size):
            end = min(start + size, num_tokens)
            opening = tree.open(start, end)
            assert opening.end == end
            assert opening.token_ids == tuple(index * index % 997 for index in range(start, end))
            _check(tree, opening)
    for end in range(1, num_tokens + 1):
        _check(tree, tree.open(0, end))


def test_a_run_off_the_boundaries_does_not_open() -> None:
    with pytest.raises(ProofError, match="is not a subtree"):
        _tree(9).open(1, 3)
    with pytest.raises(ProofError, match="is not part of a tree"):
        _tree(9).open(8, 10)


@pytest.mark.parametrize("at", range(4))
def test_another_token_salt_place_or_proof_leads_elsewhere(at: int) -> None:
    tree = _tree(21)
    honest = tree.open(8, 12)
    tokens = list(honest.tokens)
    forgeries = []
    for token in (
        replace(tokens[at], token_id=tokens[at].token_id + 1),
        replace(tokens[at], salt=bytes(16)),
    ):
        forgeries.append(replace(honest, tokens=(*tokens[:at], token, *tokens[at + 1 :])))
    forgeries.append(replace(honest, start=12))
    forgeries.append(replace(honest, tokens=tuple(reversed(tokens))))
    forgeries.append(replace(honest, proof=(*honest.proof[:-1], bytes(32))))
    for forgery in forgeries:
        with pytest.raises(ProofError, match="leads to another"):
            _check(tree, forgery)
    with pytest.raises(ProofError, match="the proof has"):
        _check(tree, replace(honest, proof=honest.proof[:-1]))


def test_the_last_token_opens_for_one_count_only() -> None:
    tree = _tree(21)
    last = tree.open(20, 21)
    for num_tokens in (22, 24, 32, 42):
        with pytest.raises(ProofError):
            verify_run(last, num_tokens=num_tokens, root=tree.root)
        beyond = RunOpening(start=num_tokens - 1, tokens=last.tokens, proof=last.proof)
        with pytest.raises(ProofError):
            verify_run(beyond, num_tokens=num_tokens, root=tree.root)


def test_equal_tokens_have_different_leaves_and_salts_follow_from_the_secret() -> None:
    tree, same = TokenTree([7] * 300, SECRET), TokenTree([7] * 300, SECRET)
    other = TokenTree([7] * 300, SECRET[::-1])
    salts = Counter(token.salt for token in tree.open(0, 300).tokens)
    assert max(salts.values()) == 1
    assert tree.root == same.root != other.root


@pytest.mark.parametrize("token_id", [-1, MAX_TOKEN_ID + 1])
def test_token_ids_out_of_range_are_refused(token_id: int) -> None:
    with pytest.raises(InvalidRequest, match="token_id: must lie between 0 and"):
        TokenTree([1, token_id], SECRET)


def test_short_secrets_and_salts_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="secret: must have at least 16 bytes"):
        TokenTree([1], b"short")
    with pytest.raises(InvalidRequest, match="salt: must have 16 bytes"):
        token_leaf(0, OpenedToken(token_id=1, salt=b""))

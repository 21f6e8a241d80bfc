"""Padding in a shown chain is found token by token, wherever it was put."""

import random

import pytest

from audit.billing_records import Refusal, Unchecked
from audit.hidden_tokens.recount import violation_of
from audit.hidden_tokens.recount_disclosed import Padding, recount_disclosed
from audit.hidden_tokens.recount_records import Recount, RecountMethod
from tests.support.example_model import example_reference
from tests.unit.hidden_tokens.recount_cases import FLOAT32, GREEDY, SAMPLED, drawn, hide, runner

NUM_HIDDEN = 80


def recounted(
    chain: tuple[int, ...], output: tuple[int, ...]
) -> tuple[Recount | Unchecked, tuple[Padding, ...]]:
    exchange = hide(output, NUM_HIDDEN, SAMPLED)
    return recount_disclosed(exchange, chain, runner(), example_reference(), FLOAT32)


def test_an_honest_chain_is_counted_as_it_is() -> None:
    output = drawn(SAMPLED, 110)
    found, paddings = recounted(output[:NUM_HIDDEN], output)
    assert isinstance(found, Recount) and found.method is RecountMethod.DISCLOSED
    assert (found.low_tokens, found.high_tokens) == (NUM_HIDDEN, NUM_HIDDEN)
    assert paddings == () and violation_of(NUM_HIDDEN, found) is None


@pytest.mark.parametrize("place", [1, 37, 79])
@pytest.mark.parametrize("kind", ["noise", "duplicate"])
def test_a_run_of_padding_is_taken_out(place: int, kind: str) -> None:
    output = drawn(SAMPLED, 110)
    rng = random.Random(place)  # noqa: S311  a draw, not a secret
    noise = tuple(rng.randrange(300, 4000) for _ in range(4))
    padding = noise if kind == "noise" else output[max(0, place - 4) : place]
    chain = output[:place] + padding + output[place:NUM_HIDDEN]
    found, paddings = recounted(chain, output)
    assert isinstance(found, Recount), found
    assert found.high_tokens == NUM_HIDDEN
    assert sum(p.num_tokens for p in paddings) == len(padding)
    violation = violation_of(len(chain), found)
    assert violation is not None and violation.excess_tokens == len(padding)
    assert "would have drawn 80" in violation.statement


def test_scattered_padding_is_taken_out_piece_by_piece() -> None:
    output = drawn(SAMPLED, 110)
    chain = list(output[:NUM_HIDDEN])
    for place in (60, 40, 20):
        chain.insert(place, 3000)
    found, paddings = recounted(tuple(chain), output)
    assert isinstance(found, Recount) and found.high_tokens == NUM_HIDDEN
    assert paddings == tuple(Padding(first=f, num_tokens=1) for f in (20, 41, 62))


def test_a_chain_of_another_model_is_refused_at_its_first_strange_token() -> None:
    output = drawn(SAMPLED, 110)
    other = output[:30] + drawn(GREEDY, 50)
    found, paddings = recounted(other, output)
    assert isinstance(found, Unchecked) and found.reason is Refusal.REFERENCE_DIVERGED
    assert "would not have drawn token" in found.detail and paddings == ()


def test_a_chain_outside_the_vocabulary_is_refused() -> None:
    found, _ = recounted((5, 99_999), drawn(SAMPLED, 110))
    assert isinstance(found, Unchecked) and found.reason is Refusal.UNREADABLE_EVIDENCE

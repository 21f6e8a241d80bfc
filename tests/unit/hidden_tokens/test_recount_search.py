"""Hidden parts of real engine answers are counted to the token, or refused with the reason."""

import math
from dataclasses import replace

import pytest

from audit.billing_records import Refusal, Unchecked
from audit.errors import ConfigurationError, InvalidRequest
from audit.hidden_tokens.recount import violation_of
from audit.hidden_tokens.recount_records import (
    HiddenExchange,
    Recount,
    RecountMethod,
    RecountRules,
)
from audit.hidden_tokens.recount_search import find_count
from tests.support.example_model import example_reference
from tests.unit.hidden_tokens.recount_cases import (
    FLOAT32,
    GREEDY,
    SAMPLED,
    cut,
    drawn,
    hide,
    recorded,
    runner,
    with_marks,
)


def count(exchange: HiddenExchange, rules: RecountRules = FLOAT32) -> Recount:
    found = find_count(exchange, runner(), example_reference(), rules)
    assert isinstance(found, Recount), found
    return found


def refusal(exchange: HiddenExchange, rules: RecountRules = FLOAT32) -> Unchecked:
    found = find_count(exchange, runner(), example_reference(), rules)
    assert isinstance(found, Unchecked), found
    return found


def test_every_recorded_float32_exchange_is_counted_exactly_and_its_padding_is_found() -> None:
    num_certain = 0
    for sequence in recorded("honest-vllm-fp32", 12):
        exchange, hidden = cut(sequence, 64)
        found = count(exchange)
        assert (found.low_tokens, found.high_tokens) == (len(hidden), len(hidden))
        assert found.first_divergence is None and violation_of(len(hidden), found) is None
        padded = math.ceil(1.05 * len(hidden))
        assert padded > found.high_tokens
        if found.is_exact:
            num_certain += 1
            violation = violation_of(padded, found)
            assert violation is not None and violation.excess_tokens == padded - len(hidden)
    # a draw within the tolerance of another one leaves a reading, but no violation
    assert num_certain >= 10


def test_padding_is_found_where_the_padded_bill_is_all_that_is_known() -> None:
    output = drawn(SAMPLED, 70)
    found = count(replace(hide(output, 40, SAMPLED), billed_tokens=60))
    assert (found.low_tokens, found.high_tokens) == (40, 40)


def test_a_bill_that_is_too_low_is_found_within_the_search_factor() -> None:
    output = drawn(SAMPLED, 70)
    found = count(replace(hide(output, 40, SAMPLED), billed_tokens=34))
    violation = violation_of(34, found)
    assert violation is not None and violation.excess_tokens == -6
    assert "34 hidden tokens were billed; the reference draws 40" in violation.statement


def test_near_ties_taken_another_way_are_followed_and_the_divergence_is_told() -> None:
    own = drawn(SAMPLED, 70)
    sequence = hide(own, 1, SAMPLED).with_output(own)
    ties = runner().near_ties(sequence, tolerance_logits=0.3)
    # rounding turns the nearest ties
    row, token_id, shortfall_logits = min(
        (tie for tie in ties if 3 <= tie.row < 40), key=lambda tie: tie.shortfall_logits
    )
    output = drawn(SAMPLED, 70, start=(*own[:row], token_id))
    assert output[45:] != own[45:], "otherwise the first chain would do"
    rules = RecountRules(tolerance_logits=shortfall_logits * 1.2)
    found = count(hide(output, 45, SAMPLED), rules)
    assert found.method is RecountMethod.BRANCHED
    assert (found.low_tokens, found.high_tokens) == (45, 45)
    assert (found.first_divergence, found.num_divergences) == (row, 1)
    assert not found.is_exact and violation_of(99, found) is None


def test_a_divergence_inside_the_visible_answer_does_not_move_its_beginning() -> None:
    own = drawn(SAMPLED, 70)
    ties = runner().near_ties(hide(own, 1, SAMPLED).with_output(own), tolerance_logits=0.6)
    tie = next(tie for tie in ties if 40 <= tie.row < 66)
    output = drawn(SAMPLED, 70, start=(*own[: tie.row], tie.token_id))
    rules = RecountRules(tolerance_logits=tie.shortfall_logits * 1.2, num_chains=1)
    found = count(hide(output, 20, SAMPLED), rules)
    assert (found.low_tokens, found.high_tokens) == (20, 20)
    assert found.first_divergence == tie.row


def test_an_answer_behind_an_unknown_hidden_part_is_placed_by_its_noise() -> None:
    unknown = tuple(range(500, 530))
    output = drawn(SAMPLED, 100, start=unknown)
    found = count(replace(hide(output, 30, SAMPLED), billed_tokens=45))
    assert found.method is RecountMethod.ALIGNED
    assert (found.low_tokens, found.high_tokens) == (30, 30)
    assert found.confidence == 1.0 - FLOAT32.alignment_alpha


@pytest.mark.parametrize("seed", [78, 79])
def test_an_answer_drawn_with_another_seed_is_refused(seed: int) -> None:
    output = drawn(replace(SAMPLED, seed=seed), 80)
    found = refusal(hide(output, 30, SAMPLED))
    assert found.reason is Refusal.REFERENCE_DIVERGED
    assert "not drawn with the seed's noise" in found.detail


def test_greedy_answers_behind_an_unknown_hidden_part_are_refused() -> None:
    output = drawn(GREEDY, 60, start=tuple(range(500, 530)))
    found = refusal(hide(output, 30, GREEDY))
    assert found.reason is Refusal.REFERENCE_DIVERGED
    assert "greedy sampling has no noise" in found.detail


def test_repeating_text_gives_an_interval_that_the_cut_off_settles() -> None:
    output = (*drawn(GREEDY, 140),)
    exchange = hide(output, 100, GREEDY)
    if output[60:100] == output[100:140]:
        assert count(exchange).low_tokens < count(exchange).high_tokens
    found = count(exchange)
    assert found.low_tokens <= 100 <= found.high_tokens
    settled = count(hide(output, 100, GREEDY, is_cut_off=True))
    assert (settled.low_tokens, settled.high_tokens) == (100, 100)


def test_marks_that_a_meter_may_leave_out_widen_the_count() -> None:
    exchange, hidden = cut(recorded("honest-vllm-fp32", 12)[1], 80)
    found = count(replace(exchange, unbilled_ids=exchange.end_mark_ids))
    assert (found.low_tokens, found.high_tokens) == (len(hidden) - 1, len(hidden))
    assert violation_of(len(hidden) - 1, found) is None
    assert violation_of(len(hidden) - 2, found) is not None


def test_a_short_answer_is_not_placed() -> None:
    output = drawn(SAMPLED, 30)
    found = refusal(hide(output, 25, SAMPLED))
    assert found.reason is Refusal.NO_EVIDENCE
    assert "holds 5 tokens; 8 are needed" in found.detail


def test_exchanges_that_do_not_fit_the_model_are_refused() -> None:
    exchange = hide(drawn(SAMPLED, 30), 10, SAMPLED)
    long = replace(exchange, prompt_token_ids=(5,) * 1010)
    assert "do not fit the model's 1024 tokens" in refusal(long).detail
    strange = replace(exchange, prompt_token_ids=(5, 99_999))
    assert refusal(strange).reason is Refusal.UNREADABLE_EVIDENCE
    assert "99999 is not in the model's vocabulary" in refusal(strange).detail


def test_a_chain_without_the_end_mark_holds_no_answer() -> None:
    exchange = with_marks(hide(drawn(GREEDY, 40), 20, GREEDY), (4095,))
    assert refusal(exchange).reason is Refusal.REFERENCE_DIVERGED


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"billed_tokens": -1}, "billed_tokens: must not be negative"),
        ({"prompt_token_ids": ()}, "prompt_token_ids: must hold the prompt"),
        ({"was_cut_off": True}, "max_output_tokens: must be stated where it cut"),
        ({"max_output_tokens": 3}, "max_output_tokens: is 3, but 10 tokens were shown"),
    ],
)
def test_impossible_exchanges_are_refused(parts: dict[str, object], problem: str) -> None:
    exchange = hide(tuple(range(20)), 10, SAMPLED)
    with pytest.raises(InvalidRequest, match=problem):
        replace(exchange, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "parts",
    [
        {"tolerance_logits": -0.1},
        {"tolerance_logits": math.nan},
        {"num_chains": 0},
        {"search_factor": 0.9},
        {"alignment_alpha": 0.0},
    ],
)
def test_impossible_rules_are_refused(parts: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        replace(FLOAT32, **parts)  # type: ignore[arg-type]

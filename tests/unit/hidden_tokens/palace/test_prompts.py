"""What the estimating model is asked, and how its reply is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.hidden_tokens.palace.prompts import (
    MAX_TOKENS,
    PalaceQuestion,
    PromptLimits,
    format_count,
    format_prompt,
    parse_count,
    shortened,
)

QUESTION = PalaceQuestion(
    prompt="What is 6 times 7?", answer="42", model="o1-mini", domain="math", effort="high"
)


def test_the_prompt_names_all_that_is_known() -> None:
    text = format_prompt(QUESTION, PromptLimits())
    for part in ("o1-mini", "high", "math", "What is 6 times 7?", "18 characters", "2 characters"):
        assert part in text


def test_a_cut_text_keeps_its_ends_and_its_length_is_told() -> None:
    question = PalaceQuestion(
        prompt="start " + "x" * 9_000 + " end", answer="yes", model="m", domain="d"
    )
    text = format_prompt(question, PromptLimits(prompt_chars=100, answer_chars=100))
    assert "start" in text and " end\n" in text and "9010 characters" in text
    assert len(text) < 400
    assert "not stated" in text


@given(text=st.text(max_size=300), limit=st.integers(8, 200))
def test_shortening_never_exceeds_the_limit(text: str, limit: int) -> None:
    short = shortened(text, limit)
    assert len(short) <= limit
    assert short == text if len(text) <= limit else short != text


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="max_chars must be above 7"):
        shortened("text", 7)


@pytest.mark.parametrize(
    ("count", "reply"),
    [
        (0, "000001"),
        (7, "000007"),
        (99, "000099"),
        (994, "000990"),
        (995, "001000"),
        (1_849, "001800"),
        (1_850, "001900"),
        (64_000, "064000"),
        (MAX_TOKENS, "10000000"),
    ],
)
def test_replies_have_six_digits_of_which_two_count(count: int, reply: str) -> None:
    assert format_count(count) == reply


@given(count=st.integers(1, MAX_TOKENS))
def test_a_reply_reads_back_within_five_percent(count: int) -> None:
    read = parse_count(format_count(count))
    assert read is not None and abs(read - count) <= 0.05 * count


def test_a_count_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no request has more than"):
        format_count(MAX_TOKENS + 1)


@pytest.mark.parametrize(
    ("reply", "count"),
    [
        ("001900", 1_900),
        ("about 1,900 tokens", 1_900),
        ("1,234,567", 1_234_567),
        ("Answer: 350.", 350),
        ("350 or 400", 350),
        ("none", None),
        ("", None),
        ("000000", None),
        ("99999999", None),
        ("9" * 5_000, None),
    ],
)
def test_the_first_number_of_a_reply_is_its_count(reply: str, count: int | None) -> None:
    assert parse_count(reply) == count

"""What a reply earns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.hidden_tokens.palace.reward import (
    BAND,
    EDGE_REWARD,
    OUTSIDE_REWARD,
    is_within,
    relative_error,
    reward,
)


def test_the_exact_count_earns_all_and_no_number_nothing() -> None:
    assert reward("001000", 1_000) == 1.0
    assert reward("many", 1_000) == 0.0


def test_the_edge_of_the_band() -> None:
    assert reward("1330", 1_000) == pytest.approx(EDGE_REWARD)
    assert reward("670", 1_000) == pytest.approx(EDGE_REWARD)
    assert reward("1331", 1_000) < OUTSIDE_REWARD
    assert is_within(1_330, 1_000) and not is_within(1_331, 1_000) and not is_within(None, 1_000)


def test_half_and_double_earn_the_same() -> None:
    assert reward("500", 1_000) == reward("2000", 1_000) == OUTSIDE_REWARD / 2


def test_a_bill_of_zero_stands_as_one_token() -> None:
    assert relative_error(1, 0) == 0.0
    assert reward("1", 0) == 1.0


@given(actual=st.integers(1, 100_000), near=st.integers(1, 400_000), far=st.integers(1, 400_000))
def test_nearer_on_the_same_side_never_earns_less(actual: int, near: int, far: int) -> None:
    if (near >= actual) == (far >= actual):
        near, far = sorted((near, far), key=lambda p: abs(p - actual))
        assert reward(str(near), actual) >= reward(str(far), actual)


@given(actual=st.integers(1, 100_000), predicted=st.integers(1, 400_000))
def test_every_reply_inside_the_band_beats_every_one_outside(actual: int, predicted: int) -> None:
    earned = reward(str(predicted), actual)
    assert 0.0 < earned <= 1.0
    assert (earned > OUTSIDE_REWARD) == (relative_error(predicted, actual) <= BAND)

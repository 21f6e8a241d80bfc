"""The change point's running sum."""

from audit.hidden_tokens.account.change import Cusum


def after(*growths: float) -> Cusum:
    """Return the state after requests in order."""
    state = Cusum()
    for number, growth in enumerate(growths, start=1):
        state = state.after(growth, number)
    return state


def test_begins_after_the_last_lowest_point() -> None:
    assert after(0.1, -0.5, 0.2, 0.3).since_request == 3


def test_sum_that_falls_to_nothing_begins_anew() -> None:
    assert after(0.3, -0.3) == Cusum()


def test_dips_that_leave_something_do_not_move_it() -> None:
    state = after(0.5, -0.2, 0.4)
    assert (state.since_request, round(state.rise, 9)) == (1, 0.7)

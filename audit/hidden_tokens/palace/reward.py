"""What a reply earns in the second stage of training.

The paper ties the reward to a band of relative error and grades it by the distance; its formula is
not published, so this one is ours: strictly better for every step nearer, with a jump at the band's
edge, so that being inside is what is learnt first.
"""

from audit.hidden_tokens.palace.prompts import parse_count

#: Relative error within which an estimate counts as right (the paper's 33 %).
BAND = 0.33

#: Earned at the band's edge from inside; the exact count earns 1.
EDGE_REWARD = 0.5

#: Earned by a reply just outside, at most; a reply without a number earns 0.
OUTSIDE_REWARD = 0.25


def relative_error(predicted: int, actual: int) -> float:
    """Return |predicted - actual| / actual; an actual count of zero stands as one token."""
    actual = max(actual, 1)
    return abs(predicted - actual) / actual


def is_within(predicted: int | None, actual: int, band: float = BAND) -> bool:
    """Return whether an estimate is right; no estimate is not."""
    return predicted is not None and relative_error(predicted, actual) <= band


def reward(reply: str, actual: int, band: float = BAND) -> float:
    """Return what `reply` earns, from 0 to 1, where `actual` tokens were billed.

    Inside the band it falls in proportion to the relative error. Outside it is a share of the
    smaller over the larger count, so that half and double earn the same.
    """
    predicted = parse_count(reply)
    if predicted is None:
        return 0.0
    error = relative_error(predicted, actual)
    if error <= band:
        return 1.0 - (1.0 - EDGE_REWARD) * error / band
    actual = max(actual, 1)
    return OUTSIDE_REWARD * min(predicted, actual) / max(predicted, actual)

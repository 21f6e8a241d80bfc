"""The share of exchanges that a sibling answered is bounded from both sides."""

import pytest

from audit.shares import SiblingShare, SiblingShares
from reference_runner.records import ReplaySequence
from tests.unit.test_diagnose import CHANCE, NUM_TOKENS, Strays, World, case_of, diagnoser

NUM_EXCHANGES = 60
ALPHA = 0.01


def answered_by(is_sibling: bool, every: int) -> Strays:
    """Return how far tokens stray where the sibling answers one exchange in `every`."""

    def strays(sequence: ReplaySequence) -> float:
        index = sequence.output_token_ids[0] // NUM_TOKENS + 1
        return 0.0 if (index % every == 0) is is_sibling else CHANCE

    return strays


def found(every: int, num_exchanges: int = NUM_EXCHANGES) -> SiblingShare:
    claimed = World(strays=answered_by(False, every))
    shares = SiblingShares(
        diagnoser(siblings={"small": World(strays=answered_by(True, every))}), alpha=ALPHA
    )
    for index in range(num_exchanges):
        shares.add(case_of(claimed, start=index * NUM_TOKENS))
    (share,) = shares.found()
    return share


@pytest.mark.parametrize(("every", "truth"), [(2, 1 / 2), (5, 1 / 5), (NUM_EXCHANGES * 2, 0.0)])
def test_the_true_share_lies_within_the_bounds(every: int, truth: float) -> None:
    share = found(every)
    assert share.low <= truth + 0.02 and truth <= share.high + 0.02
    assert share.high - share.low < 0.5
    assert (share.low > 0.0) == (truth > 0.0)
    assert share.num_exchanges == NUM_EXCHANGES
    assert "sibling small answered between" in share.statement


def test_more_exchanges_never_widen_the_bounds() -> None:
    few, many = found(3, 15), found(3, 60)
    assert few.low <= many.low and many.high <= few.high


def test_without_siblings_there_is_nothing_to_share() -> None:
    shares = SiblingShares(diagnoser(), alpha=ALPHA)
    shares.add(case_of(World(strays=lambda sequence: 0.0)))
    assert shares.found() == ()


def test_an_exchange_that_the_sibling_cannot_take_counts_for_nothing() -> None:
    deaf = World(strays=lambda sequence: 0.0, refuses=lambda sequence: True)
    shares = SiblingShares(diagnoser(siblings={"deaf": deaf}), alpha=ALPHA)
    shares.add(case_of(World(strays=lambda sequence: 0.0)))
    (share,) = shares.found()
    assert (share.low, share.high, share.num_exchanges) == (0.0, 1.0, 0)

"""The sentence on whether time and blob moved with the bill."""

import pytest

from audit.billing_records import Adversary, ChannelStanding, Controller, Tier
from audit.hidden_tokens.account.agreement import agreement_of


def standing(
    tier: Tier, log10_e: float, low: float | None, high: float | None, *, under: float = -1.0
) -> ChannelStanding:
    """Return how a channel stands."""
    return ChannelStanding(
        tier=tier,
        controller=Controller.CLIENT,
        stops=Adversary.INFLATING_RESELLER,
        num_requests=100,
        log10_e_over=log10_e,
        log10_e_under=under,
        ratio_low=low,
        ratio_high=high,
    )


MOVED = standing(Tier.TIMING, -1.0, 0.95, 1.05)
ALONE = standing(Tier.OPAQUE, 5.0, 1.4, 1.6)
SILENT = standing(Tier.TIMING, 0.3, None, None)
TEXT = standing(Tier.ESTIMATOR, 6.0, 1.4, 1.6)


@pytest.mark.parametrize(
    ("standings", "direction", "beginning"),
    [
        ([MOVED, TEXT], "over", "Time moved with the bill: the model thinks longer than"),
        ([ALONE, TEXT], "over", "The bill moved alone: blob did not move with it."),
        ([MOVED, ALONE], "over", "The traces differ: time moved with the bill, blob did not."),
        (
            [SILENT, TEXT],
            "over",
            "It cannot be told whether time and blob moved with the bill: t",
        ),
        ([TEXT], "over", "It cannot be told whether time and blob moved with the bill: n"),
        ([MOVED, TEXT], "under", "Time moved with the bill: the model thinks less than"),
        ([MOVED], None, "The meter was not found to have moved"),
    ],
)
def test_sentence(standings: list[ChannelStanding], direction: str | None, beginning: str) -> None:
    assert agreement_of(standings, direction, 2.4, 1.25).startswith(beginning)


def test_under_billing_alone_is_read_from_the_other_side() -> None:
    low = standing(Tier.TIMING, -2.0, 0.5, 0.7, under=4.0)
    assert agreement_of([low], "under", 2.4, 1.25) == (
        "The bill moved alone: time did not move with it."
    )

"""Did the traces of the very runs, time and sealed reasoning, move with the bill?

A bill above what prompts like these cost has two readings: the model thought longer, then time and
blob grew with the bill; or the bill moved alone. The traces tell them apart. This explains a
finding; it makes none, and has no error bound of its own beyond those of the figures it rests on.
"""

import math
from collections.abc import Sequence

from audit.billing_records import ChannelStanding, Tier

#: Traces of the run that is billed, and how people call them.
_TRACES = {Tier.TIMING: "time", Tier.OPAQUE: "blob", Tier.RECOUNT: "recount"}

_CANNOT_TELL = "It cannot be told whether time and blob moved with the bill"


def agreement_of(
    standings: Sequence[ChannelStanding], direction: str | None, log10_e: float, inflation: float
) -> str:
    """Return the sentence.

    A trace moved with the bill where its ratio's bounds exclude that the bill alone moved by
    `inflation` in the direction given; it did not where its own e-value reaches `log10_e`.
    """
    if direction is None:
        return "The meter was not found to have moved, so there is nothing to explain."
    traces = [standing for standing in standings if standing.tier in _TRACES]
    if not traces:
        return f"{_CANNOT_TELL}: no request was read by either."
    alone = [s for s in traces if _log10_e(s, direction) >= log10_e]
    along = [s for s in traces if s not in alone and _excludes(s, direction, inflation)]
    if alone and along:
        return (
            f"The traces differ: {_named(along)} moved with the bill, {_named(alone)} did not. "
            "What they rest on has to be looked at."
        )
    if alone:
        return f"The bill moved alone: {_named(alone)} did not move with it."
    if along:
        return (
            f"{_named(along).capitalize()} moved with the bill: the model thinks "
            f"{'longer' if direction == 'over' else 'less'} than the reference, or is another one; "
            "the meter itself is not contradicted by the run's own traces."
        )
    return f"{_CANNOT_TELL}: too few requests so far."


def _log10_e(standing: ChannelStanding, direction: str) -> float:
    return standing.log10_e_over if direction == "over" else standing.log10_e_under


def _excludes(standing: ChannelStanding, direction: str, inflation: float) -> bool:
    if direction == "over":
        return (standing.ratio_high or math.inf) < inflation
    return (standing.ratio_low or 0.0) > 1.0 / inflation


def _named(standings: Sequence[ChannelStanding]) -> str:
    return " and ".join(_TRACES[standing.tier] for standing in standings)

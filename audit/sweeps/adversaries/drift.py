"""How much of the traffic is diverted, and how that moves: by request count or by the clock.

A share is a function of the request; `position` says what it moves along.
"""

from collections.abc import Callable

from audit.sweeps.adversaries.exchange import Ask

#: Chance in [0, 1] that a request is diverted.
Share = Callable[[Ask], float]

Position = Callable[[Ask], float]


def by_count(ask: Ask) -> float:
    """Return how many requests came before."""
    return float(ask.index)


def by_clock(ask: Ask) -> float:
    """Return the server's clock, in seconds."""
    return ask.arrived_s


def constant(share: float) -> Share:
    """Return a share that stays."""
    return lambda _ask: share


def step(at: float, *, before: float = 0.0, after: float = 1.0, position: Position) -> Share:
    """Return a share that jumps, at `at` and for good."""
    return lambda ask: after if position(ask) >= at else before


def ramp(
    start: float, end: float, *, before: float = 0.0, after: float = 1.0, position: Position
) -> Share:
    """Return a share that grows evenly from `start` to `end`, and stays there."""

    def share(ask: Ask) -> float:
        way = (position(ask) - start) / (end - start)
        return before + (after - before) * min(1.0, max(0.0, way))

    return share


def blip(
    start: float, end: float, *, before: float = 0.0, during: float = 1.0, position: Position
) -> Share:
    """Return a share that is another one from `start` up to `end`, and then as before."""
    return lambda ask: during if start <= position(ask) < end else before


def alternating(
    period: float, *, first: float = 0.0, second: float = 1.0, position: Position
) -> Share:
    """Return a share that changes to and fro, each value lasting `period`."""
    return lambda ask: second if int(position(ask) // period) % 2 else first

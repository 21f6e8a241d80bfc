"""The outcomes of all runs as a strip, a line for each endpoint."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from audit.sweep_records import SweepOutcome, SweepResult
from audit.sweeps.pages import advice, wording
from audit.sweeps.pages.canvas import COLOURS, Drawing, calm, draw
from audit.sweeps.pages.rows import MAX_RUNS_DRAWN, Row
from audit.sweeps.pages.svg import INK, Frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_STRIPS = 40

_BLUE, _ORANGE, _GREEN, _PURPLE, _OCHRE, _VIOLET, *_ = COLOURS
_ROW_PX = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    colour: str
    height: float
    """The graver the outcome, the higher its bar: colour alone tells nothing."""
    is_open: bool = False


_BARS = {
    SweepOutcome.CONSISTENT: _Mark(colour=_GREEN, height=0.25),
    SweepOutcome.UNINFORMATIVE: _Mark(colour=INK, height=0.25, is_open=True),
    SweepOutcome.NOT_APPLICABLE: _Mark(colour=INK, height=0.12, is_open=True),
    SweepOutcome.CHANGED: _Mark(colour=_OCHRE, height=0.55),
    SweepOutcome.MISCONFIGURED: _Mark(colour=_VIOLET, height=0.55),
    SweepOutcome.POLICY_DIFFERENT: _Mark(colour=_PURPLE, height=0.8),
    SweepOutcome.INCONSISTENT: _Mark(colour=_ORANGE, height=0.9),
}
_SIGNS = {SweepOutcome.VOID: "x", SweepOutcome.NOT_PERFORMED: "_"}


def strip_of(rows: Sequence[Row], results: Sequence[SweepResult]) -> Drawing | None:
    """Return the outcomes of the latest runs, a line for each endpoint; None where there is none.

    Raises: ConfigurationError where matplotlib is missing.
    """
    shown, first = rows[:MAX_STRIPS], max(0, len(results) - MAX_RUNS_DRAWN)
    if not shown or not results:
        return None
    frame = Frame(
        name="strip",
        title="Outcome of each run by endpoint",
        description="; ".join(_told(row, first) for row in shown),
        height_px=95.0 + _ROW_PX * len(shown),
    )
    return draw(frame, lambda figure: _fill(figure, shown, results, first))


def run_axis(
    axes: "Axes", results: Sequence[SweepResult], first: int, *, most_ticks: int = 6
) -> None:
    """Give an axis of runs, counted from 1, a few dates."""
    last = len(results) - 1
    step = max(1, -(-(last - first + 1) // most_ticks))
    places = list(range(first, last + 1, step))
    labels = [f"{place + 1}\n{wording.plain(results[place].slot_at[:10])}" for place in places]
    axes.set_xticks([place + 0.5 for place in places], labels)
    axes.set_xlim(first, last + 1)


def _told(row: Row, first: int) -> str:
    outcomes = row.outcomes[first:]
    counts = ", ".join(
        f"{outcomes.count(outcome)} {advice.outcome(outcome)}"
        for outcome in SweepOutcome
        if outcome in outcomes
    )
    return f"{wording.name(row.endpoint)}: {counts or 'in none of these runs'}"


def _stretches(row: Row, outcome: SweepOutcome, first: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of each stretch of runs with an outcome."""
    place = 0
    for value, group in groupby(row.outcomes):
        length = sum(1 for _ in group)
        begin = max(place, first)
        if value is outcome and place + length > begin:
            yield begin, place + length - begin
        place += length


def _fill(
    figure: "Figure", rows: Sequence[Row], results: Sequence[SweepResult], first: int
) -> None:
    axes = figure.add_subplot()
    calm(axes)
    present = [o for o in SweepOutcome if any(o in row.outcomes[first:] for row in rows)]
    for outcome in present:
        label = advice.outcome(outcome)
        for number, row in enumerate(rows):
            base = len(rows) - 1 - number
            stretches = list(_stretches(row, outcome, first))
            if not stretches:
                continue
            if outcome in _BARS:
                _bar(axes, stretches, base, _BARS[outcome], label)
            else:
                places = [b + k + 0.5 for b, length in stretches for k in range(length)]
                axes.plot(
                    places,
                    [base + 0.2] * len(places),
                    linestyle="",
                    marker=_SIGNS[outcome],
                    markersize=5,
                    markeredgewidth=1.3,
                    color=INK,
                    label=label,
                )
            label = "_nolegend_"
    # names stand in the table and in the description: foreign letters need fonts of their own
    axes.set_yticks(
        [len(rows) - 1 - number + 0.4 for number in range(len(rows))],
        [_label(row, number) for number, row in enumerate(rows)],
    )
    axes.set_ylim(-0.1, len(rows))
    axes.set_xlabel("run, and the day of its slot")
    run_axis(axes, results, first)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)


def _bar(
    axes: "Axes", stretches: Sequence[tuple[int, int]], base: int, mark: _Mark, label: str
) -> None:
    axes.broken_barh(
        list(stretches),
        (base, mark.height),
        facecolor="none" if mark.is_open else mark.colour,
        edgecolor=mark.colour if mark.is_open else "none",
        linewidth=0.8 if mark.is_open else 0.0,
        label=label,
    )


def _label(row: Row, number: int) -> str:
    name = row.endpoint if row.endpoint.isascii() else f"endpoint {number + 1}"
    return wording.plain(name if len(name) <= 24 else f"{name[:22]}..")

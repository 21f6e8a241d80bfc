"""An endpoint's signs over the runs, drawn: beside the honest bound, and the change detector."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from audit.sweep_records import ChangeFinding, ChangeKind, SweepResult
from audit.sweeps.pages import advice, wording
from audit.sweeps.pages.canvas import COLOURS, Drawing, calm, draw
from audit.sweeps.pages.rows import MAX_RUNS_DRAWN, Row
from audit.sweeps.pages.signs import Signs
from audit.sweeps.pages.strip import run_axis
from audit.sweeps.pages.svg import INK, Frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN, *_ = COLOURS
_ROW_PX = 120.0
#: Runs beyond which single points would only be a smear.
_MAX_MARKED = 60


def drawing_of(
    row: Row, signs: Sequence[Signs], results: Sequence[SweepResult], name: str
) -> Drawing | None:
    """Return the signs as lines over the runs; None where there is nothing to draw.

    Raises: ConfigurationError where matplotlib is missing.
    """
    if not signs:
        return None
    first = max(0, len(results) - MAX_RUNS_DRAWN)
    frame = Frame(
        name=name,
        title=f"Signs over the runs of {wording.shown(row.endpoint, longest=60)}",
        description="; ".join(_told(one) for one in signs),
        height_px=50.0 + _ROW_PX * len(signs),
    )
    return draw(frame, lambda figure: _fill(figure, signs, results, first))


def _told(signs: Signs) -> str:
    kinds = [advice.CHANGES[c.kind] for c in signs.changes if c.kind is not ChangeKind.NONE]
    return (
        f"{wording.name(signs.detector)}: {signs.num_signs:,} signs in {signs.num_answers:,} "
        f"answers, {', '.join(kinds) or advice.CHANGES[ChangeKind.NONE]}"
    )


def _fill(
    figure: "Figure", signs: Sequence[Signs], results: Sequence[SweepResult], first: int
) -> None:
    place_of = {result.run_id: place for place, result in enumerate(results)}
    grid = figure.subplots(len(signs), 2, squeeze=False, sharex=True)
    for one, (left, right) in zip(signs, grid, strict=True):
        for axes in (left, right):
            calm(axes)
            for change in one.changes:
                _shade(axes, change, place_of)
        _line(left, one.rates_R, first, colour=_BLUE, label="share of signs")
        _line(left, one.bounds_R, first, colour=INK, label="honest at most", is_bound=True)
        _line(right, one.log10_e_R, first, colour=_ORANGE, label="change, log10 e")
        _line(right, one.thresholds_R, first, colour=INK, label="threshold", is_bound=True)
        left.set_ylim(0.0, _top(one, first))
        left.set_title(wording.plain(one.detector), fontsize=9, loc="left")
        right.set_title("change against its own past", fontsize=9, loc="left")
        right.set_visible(any(math.isfinite(value) for value in one.log10_e_R[first:]))
        for axes in (left, right):
            run_axis(axes, results, first, most_ticks=3)
    visible = [axes for axes in grid[:, 1] if axes.get_visible()]
    if visible:
        # dates stand below the last one drawn
        visible[-1].tick_params(labelbottom=True)
    handles = [handle for axes in grid[0] for handle in axes.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)


def _line(
    axes: "Axes",
    values_R: Sequence[float],
    first: int,
    *,
    colour: str,
    label: str,
    is_bound: bool = False,
) -> None:
    values = [value if math.isfinite(value) else math.nan for value in values_R[first:]]
    is_marked = not is_bound and len(values) <= _MAX_MARKED
    axes.plot(
        [first + k + 0.5 for k in range(len(values))],
        values,
        color=colour,
        linewidth=0.9 if is_bound else 1.3,
        linestyle=(0, (5, 2)) if is_bound else "solid",
        marker="o" if is_marked else "_" if is_bound else "",
        markersize=3,
        label=label,
    )


def _top(signs: Signs, first: int) -> float:
    values = [v for v in (*signs.rates_R[first:], *signs.bounds_R[first:]) if math.isfinite(v)]
    return min(1.0, max(values, default=0.1) * 1.25 + 0.02)


def _shade(axes: "Axes", change: ChangeFinding, place_of: dict[str, int]) -> None:
    """Mark where a change most likely began, and the runs between which it did."""
    if change.kind is ChangeKind.NONE or change.since_run not in place_of:
        return
    at = place_of[change.since_run]
    low, high = place_of.get(change.since_low or "", at), place_of.get(change.since_high or "", at)
    axes.axvspan(low, high + 1, color=_GREEN, alpha=0.18, linewidth=0)
    axes.axvline(at + 0.5, color=_GREEN, linewidth=1.2, linestyle=(0, (4, 1, 1, 1)))

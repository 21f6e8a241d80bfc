"""The evidence about one endpoint over its requests: curves, and their drawing.

Legend: N usable answers of one detector, T looks: one before any request and one after each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.errors import InvalidRequest
from audit.sweep_records import EndpointFinding
from audit.sweeps.decide.combine import combine, weight_shares
from audit.sweeps.pages import wording
from audit.sweeps.pages.canvas import COLOURS, DASHES, Drawing, calm, draw
from audit.sweeps.pages.curves import NATS_PER_LOG10, Curve, curve_of, in_turn, order_of, thin
from audit.sweeps.pages.svg import INK, Frame
from audit.sweeps.plan_file import StoredPlan
from audit.sweeps.policy import SweepPolicy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Powers of ten outside are drawn at the edge: the table has the figures, the drawing the story.
LOWEST_LOG10, HIGHEST_LOG10 = -10.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is drawn of an endpoint's evidence."""

    curves: tuple[Curve, ...]
    combined: Curve | None
    problem: str | None
    """Why the evidence is not put together, where it is not."""
    in_plan_order: bool
    """Whether requests stand in the order sent; otherwise detectors are taken in turn."""
    drawing: Drawing | None

    @property
    def is_cut(self) -> bool:
        """Whether a curve leaves what is drawn."""
        drawn = [*self.curves, *([self.combined] if self.combined else [])]
        return any(not LOWEST_LOG10 <= x <= HIGHEST_LOG10 for c in drawn for x in c.log10_e)


def evidence_of(
    finding: EndpointFinding, policy: SweepPolicy, plan: StoredPlan | None, name: str
) -> Evidence:
    """Return the curves of an endpoint and their drawing; `name` is the drawing's own.

    Raises: ConfigurationError where matplotlib is missing.
    """
    known = order_of(finding, policy, plan)
    order = known or in_turn(finding, policy)
    curves = tuple(curve_of(reading, order) for reading in finding.readings if reading.log_e_nats_N)
    combined, problem = None, None
    try:
        if weight_shares(finding.readings, policy):
            log_e_nats_T = combine(finding.readings, policy, order).log_e_nats_T
            combined = thin("all together", range(len(log_e_nats_T)), log_e_nats_T)
    except InvalidRequest as error:
        # results of another version may name detectors that this one has no rule for
        problem = f"The evidence is not put together here: {error}."
    drawing = None
    if curves or combined is not None:
        frame = Frame(
            name=name,
            title=f"Evidence against an honest {wording.shown(finding.endpoint, longest=60)}",
            description=_description(finding, curves),
            height_px=250.0 + 14.0 * math.ceil((len(curves) + 1) / 3),
        )
        drawing = draw(frame, lambda figure: _fill(figure, finding, curves, combined))
    return Evidence(
        curves=curves,
        combined=combined,
        problem=problem,
        in_plan_order=bool(known),
        drawing=drawing,
    )


def _description(finding: EndpointFinding, curves: Sequence[Curve]) -> str:
    after = (
        "the threshold was not reached"
        if finding.decided_after is None
        else f"the threshold was reached after {finding.decided_after:,} requests"
    )
    ends = "; ".join(
        f"{wording.name(curve.name)} ends at {wording.figure(curve.log10_e[-1])}"
        for curve in curves
    )
    return (
        "Lines of the evidence as a power of ten over requests. All detectors together count at "
        f"{wording.log10(finding.log_e_nats)}, the threshold is "
        f"{wording.log10(finding.threshold_nats)}, {after}. {ends}"
    )


def _fill(
    figure: "Figure", finding: EndpointFinding, curves: Sequence[Curve], combined: Curve | None
) -> None:
    axes = figure.add_subplot()
    calm(axes)
    for number, curve in enumerate(curves):
        axes.plot(
            curve.requests,
            _clipped(curve.log10_e),
            color=COLOURS[number % len(COLOURS)],
            linestyle=DASHES[number % len(DASHES)],
            linewidth=1.3,
            drawstyle="steps-post",
            label=wording.plain(curve.name),
        )
    if combined is not None:
        axes.plot(
            combined.requests,
            _clipped(combined.log10_e),
            color=INK,
            linewidth=2.2,
            drawstyle="steps-post",
            label=wording.plain(combined.name),
        )
    threshold = finding.threshold_nats / NATS_PER_LOG10
    if LOWEST_LOG10 < threshold < HIGHEST_LOG10:
        axes.axhline(threshold, color=INK, linewidth=0.9, linestyle=(0, (6, 3)), label="threshold")
    if finding.decided_after is not None:
        axes.axvline(finding.decided_after, color=INK, linewidth=0.7, linestyle=(0, (1, 2)))
    axes.set_xlabel("requests")
    axes.set_ylabel("log10 e-value")
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", integer=True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9, handlelength=3.2)


def _clipped(log10_e: Sequence[float]) -> list[float]:
    return [min(max(value, LOWEST_LOG10), HIGHEST_LOG10) for value in log10_e]

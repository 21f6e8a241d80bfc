"""The charts of a report, as inline SVG made from the report's own figures.

Each has a title and a description that say the same in words, and colour never carries a meaning
alone. Values that are not finite are left out and said so by the tables beside the charts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup

from audit.reports import svg
from audit.reports.records import AttackRange, CountLine, EvidencePoint, ProviderStanding
from audit.reports.wording import counted, figure, moment, name, share

_WIDTH = 880.0
_EVIDENCE_HEIGHT = 236.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 108.0, 18.0, 40.0
_LABEL_DISTANCE = 15.0
_NUM_DATE_TICKS = 4
_ROW_HEIGHT = 30.0
_NAME_WIDTH = 310.0
_LONGEST_ROW_NAME = 46


def evidence_chart(standing: ProviderStanding, chart_id: str) -> Markup:
    """Return the evidence against a provider over time, with the threshold at which it fails."""
    points = [p for p in standing.points if math.isfinite(p.log10_e_value)]
    who = f"{name(standing.provider_name)}, {name(standing.model)}"
    title = f"Evidence over time: {who}"
    threshold = standing.log10_threshold
    if not points:
        body = svg.text(_LEFT, _EVIDENCE_HEIGHT / 2, "No evidence was accumulated in this window.")
        return _evidence_drawing(chart_id, title, "No points.", body)
    values = [p.log10_e_value for p in points]
    low, high = min(0.0, *values), max(threshold, *values)
    pad = (high - low) * 0.06 or 1.0
    y = svg.Scale(low - pad, high + pad, _EVIDENCE_HEIGHT - _BOTTOM, _TOP)
    x, date_ticks = _time_axis(points)
    parts = [_horizontal_grid(y), date_ticks, _threshold(y, threshold)]
    places = [(x(_at(p, i)), y(p.log10_e_value)) for i, p in enumerate(points)]
    parts.append(_polyline(places))
    parts += [_failed_mark(px) for (px, _), p in zip(places, points, strict=True) if p.num_failed]
    parts.append(_last_point(places[-1], values[-1], y(threshold)))
    first, last = points[0], points[-1]
    description = (
        f"log10 of the e-value from {figure(first.log10_e_value)} at entry {first.last_index:,} "
        f"({moment(first.last_verified_at)}) to {figure(last.log10_e_value)} at entry "
        f"{last.last_index:,} ({moment(last.last_verified_at)}); the threshold is "
        f"{figure(threshold)}; the highest value is {figure(max(values))}."
    )
    return _evidence_drawing(chart_id, title, description, svg.joined(parts))


def _evidence_drawing(chart_id: str, title: str, description: str, body: Markup) -> Markup:
    return svg.drawing(
        chart_id,
        width=_WIDTH,
        height=_EVIDENCE_HEIGHT,
        title=title,
        description=description,
        body=body,
    )


def _horizontal_grid(y: svg.Scale) -> Markup:
    parts = []
    for value in svg.ticks(y.low, y.high):
        parts.append(svg.line(_LEFT, y(value), _WIDTH - _RIGHT, y(value), svg.GRID))
        parts.append(svg.text(_LEFT - 8, y(value) + 4, svg.tick_label(value), anchor="end"))
    parts.append(svg.text(_LEFT - 40, 11, "log10 e-value"))
    return svg.joined(parts)


def _threshold(y: svg.Scale, threshold: float) -> Markup:
    place = y(threshold)
    return svg.joined(
        [
            svg.line(
                _LEFT,
                place,
                _WIDTH - _RIGHT,
                place,
                svg.FAILED,
                stroke_width=1.5,
                stroke_dasharray="7 4",
            ),
            svg.text(
                _WIDTH - _RIGHT + 8, place + 4, f"threshold {figure(threshold)}", fill=svg.FAILED
            ),
        ]
    )


def _polyline(places: Sequence[tuple[float, float]]) -> Markup:
    path = " ".join(f"{svg.number(px)},{svg.number(py)}" for px, py in places)
    return svg.element(
        "polyline",
        points=path,
        fill="none",
        stroke=svg.ACCENT,
        stroke_width=2,
        stroke_linejoin="round",
    )


def _failed_mark(px: float) -> Markup:
    base = _EVIDENCE_HEIGHT - _BOTTOM
    tip = base - 8
    path = f"M{svg.number(px)} {svg.number(tip)}l4 8h-8z"
    return svg.element("path", d=path, fill=svg.FAILED)


def _last_point(place: tuple[float, float], value: float, threshold_y: float) -> Markup:
    px, py = place
    label_y = py + 4
    if abs(py - threshold_y) < _LABEL_DISTANCE:
        # moved to the side of the threshold's label on which the value lies
        label_y = threshold_y + 4 + math.copysign(_LABEL_DISTANCE, py - threshold_y)
    return svg.joined(
        [
            svg.element("circle", cx=px, cy=py, r=3.5, fill=svg.ACCENT),
            svg.text(
                _WIDTH - _RIGHT + 8,
                label_y,
                f"now {figure(value)}",
                fill=svg.ACCENT,
                font_weight="bold",
            ),
        ]
    )


def _seconds(text: str) -> float | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.timestamp() if at.tzinfo is not None else None


def _at(point: EvidencePoint, index: int) -> float:
    seconds = _seconds(point.last_verified_at)
    return float(index) if seconds is None else seconds


def _time_axis(points: Sequence[EvidencePoint]) -> tuple[svg.Scale, Markup]:
    """Return the scale over time and its labels."""
    places = [_at(point, index) for index, point in enumerate(points)]
    low, high = min(places), max(places)
    x = svg.Scale(low, high, _LEFT, _WIDTH - _RIGHT)
    base = _EVIDENCE_HEIGHT - _BOTTOM
    parts = [svg.line(_LEFT, base, _WIDTH - _RIGHT, base, svg.MUTED)]
    if _seconds(points[0].last_verified_at) is None:
        parts.append(svg.text(_LEFT, base + 18, "in the order of the log"))
        return x, svg.joined(parts)
    num_ticks = _NUM_DATE_TICKS if high > low else 0
    for step in range(num_ticks + 1):
        seconds = low + (high - low) * step / max(num_ticks, 1)
        parts.append(svg.line(x(seconds), base, x(seconds), base + 5, svg.MUTED))
        # the last label ends at the axis, so that it leaves room for the unit
        anchor = "end" if step == num_ticks > 0 else "middle"
        parts.append(svg.text(x(seconds), base + 19, _date(seconds, high - low), anchor=anchor))
    parts.append(svg.text(_WIDTH - _RIGHT + 8, base + 19, "UTC"))
    return x, svg.joined(parts)


def _date(seconds: float, span_s: float) -> str:
    at = datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(seconds=round(seconds))
    return at.strftime("%Y-%m-%d" if span_s > 5 * 86_400 else "%m-%d %H:%M")


def verdict_bar(
    num_passed: int, num_inconclusive: int, num_failed: int, chart_id: str = "verdict-bar"
) -> Markup:
    """Return one bar with the shares of the three verdicts."""
    total = num_passed + num_inconclusive + num_failed
    width, height = 900.0, 34.0
    shares = (
        ("PASSED", num_passed, svg.PASSED),
        ("INCONCLUSIVE", num_inconclusive, svg.INCONCLUSIVE),
        ("FAILED", num_failed, svg.FAILED),
    )
    parts, left = [], 0.0
    for label, number, colour in shares:
        extent = width * number / total if total else 0.0
        if not number:
            continue
        # a sliver stays visible, however small the share
        extent = max(extent, 3.0)
        parts.append(svg.element("rect", x=left, y=0, width=extent, height=height, fill=colour))
        parts.append(svg.line(left, 0, left, height, "#ffffff", stroke_width=1.5))
        told = f"{label} {share(number / total)}"
        if extent > 8.2 * len(told):
            parts.append(svg.text(left + 10, 22, told, fill="#ffffff", font_weight="bold"))
        left += extent
    if not total:
        parts.append(svg.element("rect", x=0, y=0, width=width, height=height, fill=svg.GRID))
        parts.append(svg.text(10, 22, "no verdicts"))
    description = (
        ", ".join(f"{label} {number:,}" for label, number, _ in shares) + f" of {total:,} verdicts."
    )
    return svg.drawing(
        chart_id,
        width=max(width, left),
        height=height,
        title="Shares of the verdicts",
        description=description,
        body=svg.joined(parts),
    )


def day_chart(days: Sequence[CountLine], chart_id: str = "day-chart") -> Markup:
    """Return stacked columns of verdicts per day."""
    width, height, base = 900.0, 170.0, 130.0
    most = max((day.num_verdicts for day in days), default=0)
    y = svg.Scale(0.0, float(most or 1), base, 14.0)
    parts = []
    for value in svg.ticks(0.0, float(most or 1), 3):
        parts.append(svg.line(_LEFT, y(value), width, y(value), svg.GRID))
        parts.append(svg.text(_LEFT - 8, y(value) + 4, f"{value:,.6g}", anchor="end"))
    slot = (width - _LEFT) / max(len(days), 1)
    bar = min(slot * 0.72, 60.0)
    label_every = max(1, math.ceil(len(days) * 86 / (width - _LEFT)))
    for index, day in enumerate(days):
        left = _LEFT + slot * index + (slot - bar) / 2
        parts.append(_column(day, left, bar, y))
        if index % label_every == 0:
            parts.append(svg.text(left + bar / 2, base + 18, name(day.label), anchor="middle"))
    description = f"{counted(len(days), 'day')}; at most {counted(most, 'verdict')} on one day."
    return svg.drawing(
        chart_id,
        width=width,
        height=height - 14,
        title="Verdicts per day",
        description=description,
        body=svg.joined(parts),
    )


def _column(day: CountLine, left: float, width: float, y: svg.Scale) -> Markup:
    parts, below = [], 0
    for number, colour in (
        (day.num_passed, svg.PASSED),
        (day.num_inconclusive, svg.INCONCLUSIVE),
        (day.num_failed, svg.FAILED),
    ):
        if number:
            top, bottom = y(below + number), y(below)
            parts.append(
                svg.element(
                    "rect", x=left, y=top, width=width, height=max(bottom - top, 1.0), fill=colour
                )
            )
        below += number
    told = (
        f"{name(day.label)}: {day.num_passed:,} PASSED, {day.num_inconclusive:,} INCONCLUSIVE, "
        f"{day.num_failed:,} FAILED"
    )
    return svg.element("g", Markup("{}{}").format(svg.element("title", told), svg.joined(parts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """An estimate with its interval; no upper limit where `high` is None."""

    label: str
    estimate: float
    low: float
    high: float | None


def whisker_chart(rows: Sequence[Whisker], *, unit: str, title: str, chart_id: str) -> Markup:
    """Return one line per estimate, with a dot at the estimate and the interval around it."""
    width, height = 900.0, _ROW_HEIGHT * len(rows) + 44
    top = max(
        (v for row in rows for v in (row.estimate, row.low, row.high or 0.0) if math.isfinite(v)),
        default=1.0,
    )
    x = svg.Scale(0.0, (top or 1.0) * 1.08, _NAME_WIDTH, width - 20)
    base = height - 34
    parts = []
    for value in svg.ticks(0.0, x.high):
        parts.append(svg.line(x(value), 6, x(value), base, svg.GRID))
        parts.append(svg.text(x(value), base + 16, svg.tick_label(value), anchor="middle"))
    parts.append(svg.text(width - 20, base + 31, unit, anchor="end"))
    for index, row in enumerate(rows):
        parts.append(_whisker(row, x, 6 + _ROW_HEIGHT * (index + 0.5), width - 12))
    told = "; ".join(
        f"{row.label}: {figure(row.estimate)} between {figure(row.low)} and "
        + ("no upper limit" if row.high is None else figure(row.high))
        for row in rows
    )
    return svg.drawing(
        chart_id,
        width=width,
        height=height,
        title=title,
        description=f"{told}. Unit: {unit}.",
        body=svg.joined(parts),
    )


def _whisker(row: Whisker, x: svg.Scale, middle: float, edge: float) -> Markup:
    label = row.label
    if len(label) > _LONGEST_ROW_NAME:
        label = label[: _LONGEST_ROW_NAME - 1] + "…"
    end = edge if row.high is None else x(row.high)
    parts = [
        svg.text(0, middle + 4, label, fill=svg.INK),
        svg.line(x(row.low), middle, end, middle, svg.ACCENT, stroke_width=2.5),
        svg.line(x(row.low), middle - 6, x(row.low), middle + 6, svg.ACCENT, stroke_width=2),
        svg.element("circle", cx=x(row.estimate), cy=middle, r=5, fill=svg.ACCENT),
    ]
    if row.high is None:
        arrow = f"M{svg.number(edge)} {svg.number(middle - 5)}l9 5l-9 5z"
        parts.append(svg.element("path", d=arrow, fill=svg.ACCENT))
    else:
        parts.append(svg.line(end, middle - 6, end, middle + 6, svg.ACCENT, stroke_width=2))
    return svg.joined(parts)


def power_chart(attacks: Sequence[AttackRange], chart_id: str = "power-chart") -> Markup:
    """Return how likely each named attack would have been failed by one audit."""
    width, height = 900.0, _ROW_HEIGHT * len(attacks) + 30
    x = svg.Scale(0.0, 1.0, _NAME_WIDTH, width - 110)
    base = height - 22
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(svg.line(x(value), 4, x(value), base, svg.GRID))
        parts.append(svg.text(x(value), base + 16, f"{value:.0%}", anchor="middle"))
    for index, attack in enumerate(attacks):
        parts.append(_power_row(attack, x, 4 + _ROW_HEIGHT * (index + 0.5)))
    told = "; ".join(
        f"{name(attack.label)}: {share(attack.mean_power)} on average" for attack in attacks
    )
    return svg.drawing(
        chart_id,
        width=width,
        height=height,
        title="Probability that one audit would have failed each named attack",
        description=told,
        body=svg.joined(parts),
    )


def _power_row(attack: AttackRange, x: svg.Scale, middle: float) -> Markup:
    label = name(attack.label)
    if len(label) > _LONGEST_ROW_NAME:
        label = label[: _LONGEST_ROW_NAME - 1] + "…"
    low, mean, high = (
        min(max(v, 0.0), 1.0) for v in (attack.low_power, attack.mean_power, attack.high_power)
    )
    return svg.joined(
        [
            svg.text(0, middle + 4, label, fill=svg.INK),
            svg.element(
                "rect", x=x(0), y=middle - 8, width=x(mean) - x(0), height=16, fill="#9db8d1"
            ),
            svg.line(x(low), middle, x(high), middle, svg.ACCENT, stroke_width=2),
            svg.line(x(mean), middle - 10, x(mean), middle + 10, svg.ACCENT, stroke_width=3),
            svg.text(x.end + 12, middle + 4, f"{share(mean)} mean", fill=svg.INK),
        ]
    )

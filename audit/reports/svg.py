"""The few SVG elements that charts are made of, and scales from figures to pixels.

Everything is written as presentation attributes: the page's content security policy allows no
inline styles, and WeasyPrint does not apply the page's style sheet inside a drawing. Coordinates
are user units, x to the right, y down.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"

#: Dark enough on white for text (contrast of 4.5 and more), and told apart by the colour-blind.
INK = "#1b2430"
MUTED = "#55606e"
GRID = "#dfe3e8"
ACCENT = "#1f4e79"
PASSED = "#1d6b52"
FAILED = "#a4161a"
INCONCLUSIVE = "#8a5a00"
MISSING = "#4a5260"


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from figures to user units."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of a figure; the middle where the scale has no extent."""
        if self.high == self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def drawing(
    chart_id: str, *, width: float, height: float, title: str, description: str, body: Markup
) -> Markup:
    """Return an SVG element with its title and description for those who cannot see it."""
    ids = f"{chart_id}-title {chart_id}-text"
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
        'role="img" aria-labelledby="{ids}" font-family="{font}" font-size="12">'
        '<title id="{id}-title">{title}</title><desc id="{id}-text">{description}</desc>'
        "{body}</svg>"
    ).format(
        w=number(width),
        h=number(height),
        ids=ids,
        id=chart_id,
        font=FONT,
        title=title,
        description=description,
        body=body,
    )


def element(tag: str, content: str = "", /, **attributes: str | float) -> Markup:
    """Return one element; `_` in attribute names stands for `-`, and all values are escaped."""
    parts = [
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"),
            number(value) if isinstance(value, int | float) else value,
        )
        for key, value in attributes.items()
    ]
    inner = escape(content)
    name = Markup(tag)  # noqa: S704  a literal of this package
    if not inner:
        return Markup("<{}{}/>").format(name, Markup("").join(parts))
    return Markup("<{}{}>{}</{}>").format(name, Markup("").join(parts), inner, name)


def text(
    x: float, y: float, content: str, /, *, fill: str = MUTED, anchor: str = "start", **more: str
) -> Markup:
    """Return a line of text whose baseline is at y."""
    return element("text", content, x=x, y=y, fill=fill, text_anchor=anchor, **more)


def line(x1: float, y1: float, x2: float, y2: float, stroke: str, **more: str | float) -> Markup:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, **more)


def joined(parts: Sequence[Markup]) -> Markup:
    """Return the parts as one."""
    return Markup("").join(parts)


def number(value: float) -> str:
    """Return a coordinate with at most two decimals, the same on every machine."""
    text_form = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text_form in ("-0", "") else text_form


def ticks(low: float, high: float, about: int = 5) -> tuple[float, ...]:
    """Return round figures from low to high, roughly `about` of them."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return (low,)
    raw = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(index * step for index in range(first, last + 1))


def tick_label(value: float) -> str:
    """Return a tick's figure without needless digits."""
    return f"{value:.6g}"

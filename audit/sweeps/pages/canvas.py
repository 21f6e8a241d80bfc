"""Drawings as SVG, by matplotlib's object interface: no window, no clock, no chance."""

import io
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.errors import ConfigurationError
from audit.sweeps.pages.svg import FONT_PX, INK, Frame, on_white, rewrite, text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Each reads on white and on the dark page (contrast of 3 and more on both); neighbours differ for
#: the colour-blind, and every line has a pattern of its own besides.
COLOURS = (
    *("#2b7cbf", "#cf5a28", "#1f8a66", "#b0609a", "#96700c", "#7a6bd0", "#30889c", "#8a7d6b"),
)
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = (
    *("solid", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1))),
)

_PX_PER_INCH = 72.0
#: Parameters of matplotlib are shared by the process; drawing takes a moment.
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A drawing, for the page and for a file of its own."""

    name: str
    """Lower-case letters, digits and hyphens; the file's name without ending."""
    inline: str
    """An SVG element in the colours of the text around it."""
    file: bytes
    """The same on white, as a whole document."""


def draw(frame: Frame, fill: Callable[["Figure"], None]) -> Drawing:
    """Return the drawing that `fill` puts onto an empty figure; the same call gives the same bytes.

    Raises: ConfigurationError where matplotlib is missing.
    """
    with _settings() as new_figure:
        figure = new_figure(frame)
        fill(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ET.fromstring(buffer.getvalue())  # noqa: S314  written here, two lines above
    rewrite(root, frame)
    return Drawing(name=frame.name, inline=text_of(root), file=on_white(root))


def calm(axes: "Axes") -> None:
    """Take away what a reader does not need, and paint the rest in the colour of the text."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
        axes.spines[side].set_linewidth(0.6)
    axes.tick_params(colors=INK, labelsize=FONT_PX - 1, width=0.6)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


@contextmanager
def _settings() -> Iterator[Callable[[Frame], "Figure"]]:
    try:
        import matplotlib
        from matplotlib import style
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigurationError(
            f"a sweep's page needs matplotlib: {error}; install it with: "
            "pip install 'inference-audit[sweeps]'"
        ) from error

    def new_figure(frame: Frame) -> Figure:
        size = (frame.width_px / _PX_PER_INCH, frame.height_px / _PX_PER_INCH)
        figure = Figure(figsize=size, dpi=_PX_PER_INCH, layout="constrained")
        FigureCanvasSVG(figure)
        return figure

    with _LOCK, matplotlib.rc_context():
        # a user's own settings must not change what a page looks like
        style.use("default")
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "inference-audit",
                "font.family": ["DejaVu Sans"],
                "font.size": FONT_PX,
                # a name between dollar signs is no formula
                "text.parse_math": False,
                "text.color": INK,
                "axes.unicode_minus": True,
            }
        )
        yield new_figure

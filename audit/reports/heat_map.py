"""Token heat map of one exchange: where in the answer provider and reference part.

Made from the evidence per token that the verdict names by digest: positions and distances in
logits, no prompt and no token. What does not parse is refused with the reason, since an artifact is
somebody's file like any other.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audit.errors import VerificationError
from audit.reports import svg
from audit.reports.wording import counted, figure

MAX_TOKENS_SHOWN = 4_096
_MAX_TOKENS_READ = 1_000_000
_FAR_LOGITS = 1e30
_PER_ROW = 64
_CELL, _PITCH = 11, 12
_ROW_LABEL_WIDTH = 52.0

SAME_COLOUR = "#e3e8ee"
NEAR_COLOUR = "#c3cedb"
#: Below this distance the reference's own two best tokens are a close call.
CLOSE_CALL_LOGITS = 0.25
#: Upper ends (logits) of the distance by which a differing token lies behind, and their colours.
BANDS: tuple[tuple[float, str, str], ...] = (
    (0.25, "#f6c88f", "under 0.25 logits behind"),
    (1.0, "#e5893f", "0.25 to 1"),
    (4.0, "#c2401f", "1 to 4"),
    (math.inf, "#6d0f1a", "more than 4, or outside the filters"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenColumns:
    """The evidence per token. Legend: R scored output tokens."""

    margin_logits_R: tuple[float | None, ...]
    """Claimed token minus the best other; below 0 where they differ, None where infinitely far."""
    gap_logits_R: tuple[float | None, ...]
    """Smallest change of logits that would change the reference's own draw."""
    is_mismatch_R: tuple[bool, ...]

    @property
    def num_tokens(self) -> int:
        """Scored output tokens."""
        return len(self.is_mismatch_R)

    @property
    def mismatches(self) -> tuple[int, ...]:
        """Positions that differ, counted from 0."""
        return tuple(i for i, differs in enumerate(self.is_mismatch_R) if differs)

    @property
    def num_close_calls(self) -> int:
        """Tokens at which the reference itself was nearly undecided."""
        return sum(gap is not None and gap < CLOSE_CALL_LOGITS for gap in self.gap_logits_R)

    def behind_logits(self, position: int) -> float:
        """Return how far behind the token of a position lies; infinite where it is excluded."""
        margin = self.margin_logits_R[position]
        return math.inf if margin is None else max(-margin, 0.0)


def parse_tokens(content: bytes) -> TokenColumns:
    """Return the columns of an artifact. Raises: VerificationError saying what is wrong with it."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"the evidence per token is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise VerificationError("the evidence per token is not a JSON object")
    columns = TokenColumns(
        margin_logits_R=_figures(data, "margin_logits"),
        gap_logits_R=_figures(data, "gap_logits"),
        is_mismatch_R=tuple(value == 1.0 for value in _figures(data, "is_mismatch")),
    )
    lengths = {len(columns.margin_logits_R), len(columns.gap_logits_R), columns.num_tokens}
    if len(lengths) != 1:
        raise VerificationError("the columns of the evidence per token differ in length")
    return columns


def _figures(data: Mapping[str, object], column: str) -> tuple[float | None, ...]:
    values = data.get(column)
    if not isinstance(values, list) or len(values) > _MAX_TOKENS_READ:
        raise VerificationError(f"the evidence per token has no usable column {column}")
    if not all(value is None or isinstance(value, int | float) for value in values):
        raise VerificationError(f"column {column} of the evidence per token is not numbers")
    # beyond any logit, and Infinity and NaN, which Python's JSON reads: infinitely far
    return tuple(
        float(value) if value is not None and abs(value) < _FAR_LOGITS else None for value in values
    )


def heat_map(columns: TokenColumns, chart_id: str) -> Markup:
    """Return the map: one square per token, in reading order, `_PER_ROW` a row."""
    num_shown = min(columns.num_tokens, MAX_TOKENS_SHOWN)
    num_rows = max(math.ceil(num_shown / _PER_ROW), 1)
    squares: dict[str, list[int]] = {}
    for position in range(num_shown):
        squares.setdefault(_colour(columns, position), []).append(position)
    parts = [
        svg.text(
            _ROW_LABEL_WIDTH - 8,
            row * _PITCH + 10,
            f"{row * _PER_ROW:,}",
            anchor="end",
            font_size="9",
        )
        for row in range(num_rows)
    ]
    parts += [
        svg.element("path", d=_squares(squares[colour]), fill=colour) for colour in sorted(squares)
    ]
    parts.append(_marks([p for p in columns.mismatches if p < num_shown]))
    description = (
        f"{len(columns.mismatches):,} of {counted(columns.num_tokens, 'token')} differ from what "
        f"the reference draws; {num_shown:,} shown."
    )
    return svg.drawing(
        chart_id,
        width=_ROW_LABEL_WIDTH + _PER_ROW * _PITCH,
        height=num_rows * _PITCH + 2,
        title="Tokens at which the answer parts from the reference",
        description=description,
        body=svg.joined(parts),
    )


def furthest(columns: TokenColumns, number: int) -> tuple[tuple[int, str, str], ...]:
    """Return the differing tokens furthest behind: position, distance and gap in words."""
    ordered = sorted(columns.mismatches, key=lambda p: (-columns.behind_logits(p), p))
    return tuple(
        (
            position,
            "outside the filters"
            if math.isinf(columns.behind_logits(position))
            else figure(columns.behind_logits(position)),
            figure(columns.gap_logits_R[position]),
        )
        for position in ordered[:number]
    )


def swatch(colour: str, chart_id: str, *, has_mark: bool) -> Markup:
    """Return one square of the legend."""
    parts = [svg.element("path", d=_squares([0]), fill=colour)]
    if has_mark:
        parts.append(_marks([0]))
    return svg.element(
        "svg",
        svg.joined(parts),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"{svg.number(_ROW_LABEL_WIDTH)} 0 {_CELL} {_CELL}",
        width=_CELL,
        height=_CELL,
        aria_hidden="true",
        id=chart_id,
    )


def _colour(columns: TokenColumns, position: int) -> str:
    if not columns.is_mismatch_R[position]:
        gap = columns.gap_logits_R[position]
        return NEAR_COLOUR if gap is not None and gap < CLOSE_CALL_LOGITS else SAME_COLOUR
    behind = columns.behind_logits(position)
    return next(colour for end, colour, _ in BANDS if behind < end or math.isinf(end))


def _corner(position: int) -> tuple[float, float]:
    row, column = divmod(position, _PER_ROW)
    return _ROW_LABEL_WIDTH + column * _PITCH, float(row * _PITCH)


def _squares(positions: Sequence[int]) -> str:
    corners = (_corner(position) for position in positions)
    return "".join(
        f"M{svg.number(x)} {svg.number(y)}h{_CELL}v{_CELL}h-{_CELL}z" for x, y in corners
    )


def _marks(positions: Sequence[int]) -> Markup:
    # a cross in every differing square: the map reads without colours too
    corners = (_corner(position) for position in positions)
    path = "".join(
        f"M{svg.number(x + 3)} {svg.number(y + 3)}l5 5M{svg.number(x + 8)} {svg.number(y + 3)}l-5 5"
        for x, y in corners
    )
    return (
        svg.element("path", d=path, stroke="#ffffff", stroke_width=1.4, fill="none")
        if path
        else Markup("")
    )

"""Text and figures of a sweep as people read them; text from outside is made harmless here.

Endpoints choose their names, what they answer and so parts of statements. Escaping for HTML is the
template's work; here each character that hides, reorders or breaks a line becomes visible.
"""

import math
import unicodedata

from audit.billing_records import Money

NOT_STATED = "not stated"

_LONGEST_TEXT = 2_000
_LONGEST_NAME = 96
_SHORT_DIGEST_CHARS = 16
#: Controls, formats (bidirectional marks among them), surrogates, private use, line breaks.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MAX_MARKS_IN_A_ROW = 2
_NARROW_SPACE = "\N{NO-BREAK SPACE}"


def shown(text: str, *, longest: int = _LONGEST_TEXT) -> str:
    """Return the text with hidden characters spelled out, cut to `longest` characters."""
    visible: list[str] = []
    num_marks = 0
    for character in text[:longest]:
        category = unicodedata.category(character)
        num_marks = num_marks + 1 if category.startswith("M") else 0
        # a pile of combining marks would paint over the lines above it
        if category in _HIDDEN_CATEGORIES or num_marks > _MAX_MARKS_IN_A_ROW:
            visible.append(f"⟨U+{ord(character):04X}⟩")
        else:
            visible.append(character)
    rest = f" … ({len(text):,} characters)" if len(text) > longest else ""
    return "".join(visible) + rest


def name(text: str | None) -> str:
    """Return a name of somebody else's choosing, short enough for a table."""
    return shown(text, longest=_LONGEST_NAME) if text else NOT_STATED


def plain(text: str) -> str:
    """Return a name for a drawing: letters that every font has, and nothing else."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:_LONGEST_NAME])


def count(value: int | None) -> str:
    """Return a whole number with thousands apart."""
    return NOT_STATED if value is None else f"{value:,}"


def figure(value: float | None) -> str:
    """Return a measured figure with three digits."""
    if value is None:
        return NOT_STATED
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "\N{MINUS SIGN}∞")
    text = f"{value:,.3g}" if abs(value) < 1_000 else f"{value:,.0f}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def share(value: float | None) -> str:
    """Return a share of one as a percentage."""
    if value is None:
        return NOT_STATED
    if 0 < value < 0.001:
        return f"< 0.1{_NARROW_SPACE}%"
    if 0.9995 <= value < 1:
        # rounded it would read as all of them
        return f"> 99.9{_NARROW_SPACE}%"
    return f"{value * 100:.1f}{_NARROW_SPACE}%"


def log10(nats: float) -> str:
    """Return natural evidence as a power of ten, such as `2.12`."""
    if not math.isfinite(nats):
        return figure(nats)
    text = f"{nats / math.log(10):.2f}"
    return text.replace("-", "\N{MINUS SIGN}", 1)


def money(value: Money | None) -> str:
    """Return an amount with its currency."""
    return NOT_STATED if value is None else f"{value.amount} {value.currency}"


def moment(text: str | None) -> str:
    """Return an RFC 3339 time to the second, in UTC, as it reads in a table."""
    if text is None:
        return NOT_STATED
    day, _, rest = text.partition("T")
    if not rest.endswith("Z"):
        return name(text)
    return name(f"{day} {rest[:-1].partition('.')[0]} UTC")


def short_digest(digest: str | None) -> str:
    """Return the head of a digest; the whole stands where it is asked for."""
    if not digest:
        return NOT_STATED
    head = digest.removeprefix("sha256:")
    rest = "…" if len(head) > _SHORT_DIGEST_CHARS else ""
    return shown(head[:_SHORT_DIGEST_CHARS]) + rest

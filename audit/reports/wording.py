"""Text and figures as people read them; text from outside is made harmless to the eye here.

Names of providers and models are whatever an exchange claimed. Escaping for HTML is the template's
work; here every character that hides, reorders or breaks a line becomes visible, so that a name
cannot pose as another, and long text is cut with its length told.
"""

import unicodedata

NOT_STATED = "not stated"

_LONGEST_TEXT = 2_000
_LONGEST_NAME = 96
#: Controls, formats (bidirectional marks among them), surrogates, private use, line breaks.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MAX_MARKS_IN_A_ROW = 2
_SHORT_DIGEST_LENGTH = 16


def shown(text: str, *, longest: int = _LONGEST_TEXT) -> str:
    """Return the text with hidden characters spelled out, cut to `longest` characters."""
    cut = text[:longest]
    visible: list[str] = []
    num_marks = 0
    for character in cut:
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


def lines_shown(text: str) -> str:
    """Return a text of several lines, each made harmless, such as a signed note."""
    return "\n".join(shown(line) for line in text.split("\n"))


def count(value: int | None) -> str:
    """Return a whole number with thousands apart."""
    return NOT_STATED if value is None else f"{value:,}"


def counted(value: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun, such as `1 verdict` or `2 verdicts`."""
    return f"{value:,} {singular if value == 1 else plural or singular + 's'}"


def figure(value: float | None, digits: int = 3) -> str:
    """Return a measured figure with so many significant digits."""
    if value is None:
        return NOT_STATED
    text = f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def share(value: float | None) -> str:
    """Return a share of one as a percentage."""
    if value is None:
        return NOT_STATED
    if 0 < value < 0.001:
        return "< 0.1\N{NO-BREAK SPACE}%"
    if 0.9995 <= value < 1:
        # rounded it would read as all of them
        return "> 99.9\N{NO-BREAK SPACE}%"
    return f"{value:.1%}".replace("%", "\N{NO-BREAK SPACE}%")


def moment(text: str | None) -> str:
    """Return an RFC 3339 time to the second, in UTC, as it reads in a table."""
    if text is None:
        return NOT_STATED
    day, _, rest = text.partition("T")
    if not rest.endswith("Z"):
        return shown(text, longest=_LONGEST_NAME)
    return shown(f"{day} {rest[:-1].partition('.')[0]} UTC", longest=_LONGEST_NAME)


def short_digest(digest: str | None) -> str:
    """Return the head of a digest; its whole stands in the list of entries."""
    if digest is None:
        return NOT_STATED
    head = digest.removeprefix("sha256:")
    return shown(head[:_SHORT_DIGEST_LENGTH]) + ("…" if len(head) > _SHORT_DIGEST_LENGTH else "")

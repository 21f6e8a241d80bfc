"""Reads a rendered page the strict way, and poisons reports to see what comes through."""

from dataclasses import dataclass, field, fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})
#: What a self-contained drawing closes at once.
EMPTY = frozenset({"path", "rect", "line", "circle", "polyline"})

#: Markup, an attribute's end, a template's own syntax, an overriding mark, a pile of accents.
POISON = "</td><script>alert(1)</script>\"'><img src=//x onerror=y>{{7*7}}\u202eevil\u0007" + (
    "z" + "\u0301" * 30
)
#: Fields whose form is checked where they are made, and which others are derived from.
KEPT = frozenset({"report_id", "control_mapping", "form", "state"})


@dataclass
class Page(HTMLParser):
    """The elements of a page; raises AssertionError where tags do not match."""

    tags: set[str] = field(default_factory=set)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    """Tag, attribute, value."""
    open: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    @classmethod
    def of(cls, page: str) -> "Page":
        """Return the page as read."""
        read = cls()
        read.feed(page)
        read.close()
        assert not read.open, f"left open: {read.open}"
        return read

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._take(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in EMPTY, f"<{tag}/> is no empty element"
        self._take(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles.append(data)
        else:
            self.texts.append(data)

    def values(self, attribute: str) -> list[str]:
        """Return all values of an attribute."""
        return [value for _, name, value in self.attributes if name == attribute]

    @property
    def text(self) -> str:
        """All text, white space folded."""
        return " ".join(" ".join(self.texts).split())

    def _take(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def poisoned(value: Any, name: str = "") -> Any:
    """Return a record with `POISON` in each of its texts, and in those of its parts."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: poisoned(getattr(value, f.name), f.name) for f in fields(value)}
        )
    if isinstance(value, tuple):
        return tuple(poisoned(item, name) for item in value)
    if isinstance(value, str) and name not in KEPT:
        return value + POISON
    return value

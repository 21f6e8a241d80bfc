"""Reads pages as programs that read them aloud do: every element to its end."""

from html.parser import HTMLParser

from audit.sweeps.pages.page import SweepPage

VOID_ELEMENTS = {"meta", "br", "link", "img", "hr"}


class Outline(HTMLParser):
    """Follows every element to its end, and gathers what pages must have."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.children: dict[int, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        members = dict(attrs)
        assert len(members) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, members))
        if "id" in members:
            self.ids.append(members["id"] or "")
        if "href" in members:
            self.links.append(members["href"] or "")
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID_ELEMENTS:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def outlined(page: SweepPage) -> Outline:
    outline = Outline()
    outline.feed(page.html)
    outline.close()
    assert outline.open == []
    return outline


def told(page: SweepPage) -> str:
    return " ".join(" ".join(outlined(page).text).split())

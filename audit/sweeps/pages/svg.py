"""Makes matplotlib's drawings fit for a page: presentation attributes only, and ids of their own.

matplotlib writes `style` attributes, a style sheet, and ids that are the same in every drawing. The
page's content security policy allows no such styles, and a page no such ids.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass

#: Stands for the colour of the surrounding text, which is light or dark as the page is.
INK = "#010203"
FONTS = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
FONT_PX = 10.0

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"(?:bold |700 )?([0-9.]+)px .*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What a drawing is called and told to those who cannot see it."""

    name: str
    title: str
    description: str
    width_px: float = 680.0
    height_px: float = 260.0


def rewrite(root: ET.Element, frame: Frame) -> None:
    """Rewrite a drawing in place."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    used = {name for element in root.iter() for name in _references(element)}
    ids = {name: f"{frame.name}-{number}" for number, name in enumerate(sorted(used))}
    for element in root.iter():
        _present(element)
        _rename(element, ids)
    for attribute, value in _root_attributes(frame).items():
        root.set(attribute, value)
    title, text = ET.Element(f"{{{_SVG}}}title"), ET.Element(f"{{{_SVG}}}desc")
    title.text, text.text = frame.title, frame.description
    title.set("id", f"{frame.name}-title")
    text.set("id", f"{frame.name}-text")
    root[:0] = [title, text]


def _root_attributes(frame: Frame) -> dict[str, str]:
    return {
        "width": f"{frame.width_px:g}",
        "height": f"{frame.height_px:g}",
        "role": "img",
        "aria-labelledby": f"{frame.name}-title {frame.name}-text",
        "font-family": FONTS,
        "font-size": f"{FONT_PX:g}",
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }


def _references(element: ET.Element) -> Iterator[str]:
    for attribute, value in element.attrib.items():
        if attribute == f"{{{_XLINK}}}href":
            yield value.removeprefix("#")
        else:
            yield from _REFERENCE.findall(value)


def _present(element: ET.Element) -> None:
    """Turn a style attribute into presentation attributes."""
    for declaration in element.attrib.pop("style", "").split(";"):
        prop, _, value = (part.strip() for part in declaration.partition(":"))
        if prop == "font" and (found := _FONT.fullmatch(value)):
            element.set("font-size", found.group(1))
        elif prop and prop != "font":
            element.set(prop, value)
    for attribute, value in element.attrib.items():
        if value == INK:
            element.set(attribute, "currentColor")


def _rename(element: ET.Element, ids: dict[str, str]) -> None:
    for attribute, value in list(element.attrib.items()):
        if attribute == "id":
            if value in ids:
                element.set("id", ids[value])
            else:
                del element.attrib["id"]
        elif attribute == f"{{{_XLINK}}}href":
            element.set("href", f"#{ids[value.removeprefix('#')]}")
            del element.attrib[attribute]
        else:
            element.set(attribute, _REFERENCE.sub(lambda m: f"url(#{ids[m.group(1)]})", value))


def text_of(root: ET.Element) -> str:
    """Return a drawing as an element of a page."""
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode")


def on_white(root: ET.Element) -> bytes:
    """Return a drawing as a document; the drawing itself gets its paper, too."""
    root.set("color", "#1b2430")
    paper = ET.Element(f"{{{_SVG}}}rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
    # after title and description, which have to come first
    root.insert(2, paper)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text_of(root)}\n'.encode()

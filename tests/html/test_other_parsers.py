"""Whatever a page is made of: once it is rewritten, two other parsers find nothing in it that is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import html5lib
import pytest
from hypothesis import HealthCheck, example, given, settings
from selectolax.lexbor import LexborHTMLParser

from consent.html import css
from consent.html.elements import JAVASCRIPT_TYPES
from consent.html.urls import PageURL, resolve
from tests.html import soup
from tests.html.reading import TRACKER, rewritten

_EXAMPLES = os.environ.get("CONSENT_EXAMPLES", "")
_bounded = settings(
    max_examples=int(_EXAMPLES or "300"),
    derandomize=not _EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

_PAGE = PageURL("https", "own.example", "/")
_LOADING = {
    **dict.fromkeys(("img", "iframe", "frame", "embed", "source", "track", "script", "audio"), ("src",)),
    "video": ("src", "poster"),
    "object": ("data",),
}
_LOADING_IN_DRAWINGS = {
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
    "feimage": ("href", "xlink:href"),
}


class Element(NamedTuple):
    """One of a parser's elements. ``sheet`` is the text of a style sheet that counts as one."""

    name: str
    attributes: Mapping[str, str]
    sheet: str
    foreign: bool
    """Whether it is one of SVG or MathML."""


def _tracks(url: str) -> bool:
    target = resolve(url, _PAGE)
    return target is not None and TRACKER in target.host


def _styles(sheet: str) -> bool:
    raw = sheet.encode("utf-8", "surrogateescape")
    return css.neutralised(raw, _tracks) != raw


def refused(element: Element) -> list[str]:
    """Return what of an element is refused, and would load or run in a browser."""
    name, attributes = element.name, element.attributes
    found = []
    loading = _LOADING_IN_DRAWINGS if element.foreign else _LOADING
    runs = name != "script" or attributes.get("type", "text/javascript").lower().encode() in JAVASCRIPT_TYPES
    if runs:
        found += [key for key in loading.get(name, ()) if _tracks(attributes.get(key, ""))]
    found += [key for key in ("background",) if _tracks(attributes.get(key, ""))]
    found += [key for key, value in attributes.items() if key.startswith("on") and "track(" in value]
    if _styles(attributes.get("style", "")):
        found.append("style")
    if _styles(element.sheet):
        found.append("the sheet")
    return found


def _by_html5lib(page: bytes, *, scripting: bool) -> Iterator[Element]:
    parser = html5lib.HTMLParser(html5lib.treebuilders.getTreeBuilder("etree"))
    root: Any = parser.parse(page, transport_encoding="utf-8", scripting=scripting)
    for element in root.iter():
        if isinstance(element.tag, str):
            space, _, name = element.tag.rpartition("}")
            sheet = "".join(element.itertext()) if name == "style" and "Math" not in space else ""
            attributes = {str(key): str(value) for key, value in element.attrib.items()}
            if "xhtml" in space and name == "image":
                continue  # the parser's own fault: this name is img in HTML
            yield Element(name.lower(), attributes, sheet, "xhtml" not in space)


def _is_within_drawing(node: Any) -> bool:
    while node is not None and node.tag not in ("svg", "math"):
        node = node.parent
    return node is not None


def _by_lexbor(page: bytes) -> Iterator[Element]:
    root = LexborHTMLParser(page).root
    for node in root.traverse() if root is not None else ():
        attributes = {key: value or "" for key, value in node.attributes.items()}
        # It does not say which namespace an element is in: what is within a drawing is taken for a part of it.
        yield Element((node.tag or "").lower(), attributes, "", _is_within_drawing(node))


@_bounded
@example(page=b"<svg></p><style><a id='</style><img src=//tracker.example/>'>")
@given(page=soup.page)
def test_another_parser_finds_nothing_refused(page: bytes) -> None:
    """html5lib, with scripting and without, and lexbor."""
    result = rewritten(page)
    readings = {"lexbor": list(_by_lexbor(result))}
    for scripting in (True, False):
        try:
            readings[f"html5lib, {scripting=}"] = list(_by_html5lib(result, scripting=scripting))
        except (AssertionError, AttributeError, KeyError, IndexError, ValueError):
            continue  # html5lib has faults of its own on such pages
    for reader, elements in readings.items():
        for element in elements:
            assert not refused(element), (reader, element)


@pytest.mark.parametrize(
    "page",
    [
        b"<img src='//tracker.example/'>",
        b"<p style='a:url(//tracker.example/)'>",
        b"<body onload='track()'>",
        b"<svg><style>a{b:url(//tracker.example/)}</style>",
        b"<noscript><img src=//tracker.example/></noscript>",
    ],
)
def test_what_is_not_rewritten_is_found(page: bytes) -> None:
    """The control: these readings see what they are there to see."""
    assert any(refused(element) for element in _by_html5lib(page, scripting=False))

"""Passing over what nobody has to be asked about: most of every page.

A screen passes elements with their content, scripts and style sheets too, where no URL in them leads to a host
that is refused, or about which somebody has to be asked, and no word in them is of a vendor's snippet. It is in C
where that was built. Without it the rewriter reads the page by itself, and does the same to it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from consent.catalog import Catalog
from consent.html.elements import (
    ANIMATIONS,
    ANYWHERE,
    FOREIGN_LOADS,
    FRAMES,
    JAVASCRIPT_TYPES,
    LOADING_LINK_TYPES,
    LOADS,
    NAMING,
    RAW_TEXT,
    REFERENCING_STYLES,
    RUNNING,
    URL_TABLE_TYPES,
)
from consent.html.tokenizer import CLOSING
from consent.speedups import compiled

# The numbers are those of consent/native/screen.h.
_ANY_VALUE, _URL, _SRCSET, _STYLE, _DRAWN_STYLE = 1, 2, 3, 4, 5
_READERS = {"url": _URL, "srcset": _SRCSET}
_STOPS, _ENDS_STOP, _RUNS_DATA, _RAW_TEXT, _SCRIPT, _STYLE_SHEET, _NOSCRIPT = 1, 2, 4, 8, 16, 32, 64
_DRAWING, _DRAWN, _DRAWN_TEXT, _PAGE, _RUNS, _NAMES = 128, 256, 512, 1024, 2048, 4096

_STRUCTURAL = b"base frameset math plaintext select template".split()
"""Elements that change how the rest of the page is read, or that the rewriter asks for by their names."""
_SHAPES = (
    b"circle clippath defs ellipse feblend fecolormatrix fecomponenttransfer fecomposite feflood fefunca fefuncb"
    b" fefuncg fefuncr fegaussianblur femerge femergenode feoffset filter g line lineargradient marker mask path"
    b" pattern polygon polyline radialgradient rect stop symbol text textpath tspan use"
).split()
"""Elements of SVG that hold nothing but such elements and text."""
_GATES: dict[bytes, tuple[bytes, tuple[bytes, ...]]] = {
    b"link": (b"rel", tuple(LOADING_LINK_TYPES)),
    b"input": (b"type", (b"image",)),
    b"meta": (b"http-equiv", (b"refresh",)),
    b"param": (b"name", (b"movie", b"src", b"url", b"data")),
}
"""Elements that load what they name only if one of their attributes has one of these values."""


def _flags() -> dict[bytes, int]:
    flags = dict.fromkeys(LOADS.keys() - FOREIGN_LOADS, 0)
    for names, flag in (
        (_STRUCTURAL, _STOPS),
        (CLOSING.encode().split(), _ENDS_STOP),
        ((*FRAMES, b"script", b"link"), _RUNS_DATA),
        (RAW_TEXT - {b"style"}, _RAW_TEXT),
        ((b"script",), _SCRIPT),
        ((b"style",), _STYLE_SHEET),
        ((b"noscript",), _NOSCRIPT),
        ((b"svg",), _DRAWING),
        (_SHAPES, _DRAWN),
        ((b"title", b"desc"), _DRAWN_TEXT),
        ((b"html", b"head", b"body"), _PAGE),
        ((*RUNNING, b"script"), _RUNS),
        (NAMING, _NAMES),
    ):
        for name in names:
            flags[name] = flags.get(name, 0) | flag
    return flags


def _rules() -> tuple[tuple[bytes, int, tuple[tuple[bytes, int], ...], bytes, tuple[bytes, ...]], ...]:
    rules = []
    for name, flags in _flags().items():
        _, readers = LOADS.get(name, (None, {}))
        read = {attribute: _READERS.get(reader, _ANY_VALUE) for attribute, reader in readers.items()}
        if name == b"script":
            read = {b"src": _URL}  # the others are those of SVG
        elif name in ANIMATIONS:
            read = dict.fromkeys(read, _ANY_VALUE)
        elif name == b"iframe":
            read[b"srcdoc"] = _ANY_VALUE
        rules.append((name, flags, tuple(read.items()), *_GATES.get(name, (b"", ()))))
    return tuple(rules)


@lru_cache(maxsize=16)  # a site has one catalog, or two while it is replaced
def page_screen(catalog: Catalog) -> Any:
    """Return the compiled screen for a catalog; ``None`` where there is none."""
    if compiled is None:
        return None
    anywhere = {name: _READERS.get(reader, _ANY_VALUE) for name, reader in ANYWHERE.items()}
    anywhere |= dict.fromkeys(REFERENCING_STYLES, _DRAWN_STYLE) | {b"style": _STYLE}
    return compiled.PageScreen(
        catalog.evidence,
        compiled.UrlRules(*catalog.url_rules()),
        _rules(),
        tuple(anywhere.items()),
        tuple(JAVASCRIPT_TYPES),
        tuple(URL_TABLE_TYPES),
    )

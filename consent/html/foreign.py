"""Where on a page the rules of SVG and MathML hold instead of those of HTML (HTML Standard, 13.2.6.5).

The tokenizer reads ``<style>``, ``<title>``, ``<script>`` and ``<![CDATA[`` differently in there. Well-formed
content is followed exactly. Where the end of it depends on more of the tree construction than this module
knows, the reading is ``UNCERTAIN`` from there on, and the rewriter decides so that every reading is safe.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from consent.html.elements import (
    FOREIGN_ROOTS,
    HTML_INTEGRATION_POINTS,
    LEAVES_FOREIGN_CONTENT,
    MATHML_TEXT_INTEGRATION_POINTS,
    VOID,
)
from consent.html.tokenizer import Attribute


class Reading(Enum):
    """By which rules the tokenizer reads the present place."""

    HTML = "html"
    FOREIGN = "foreign"
    UNCERTAIN = "uncertain"


class _Open(NamedTuple):
    name: bytes
    namespace: str
    integrates_html: bool


_MAX_DEPTH = 512


class ForeignContent:
    """Follows the open elements from an ``<svg>`` or ``<math>`` on."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._uncertain = False
        self._in_select = False

    @property
    def following(self) -> bool:
        """Whether every tag must be told to this object."""
        return bool(self._open)

    @property
    def reading(self) -> Reading:
        if self._uncertain or self._in_select:
            return Reading.UNCERTAIN
        if self._open and self._open[-1].namespace != "html" and not self._open[-1].integrates_html:
            return Reading.FOREIGN
        return Reading.HTML

    def lose_track(self) -> None:
        """From here on nothing is certain."""
        self._uncertain = True
        self._open.clear()

    def start_tag(self, name: bytes, attributes: list[Attribute], *, self_closing: bool) -> None:
        """Take note of a start tag; call it after the tag's own reading was asked for."""
        if name == b"select":
            # Parsers differ in what they ignore inside, and so in what begins raw text there.
            self._in_select = True
            return
        if name == b"frameset":
            self.lose_track()
            return
        if self._uncertain or self._in_select:
            return
        if self.reading is Reading.FOREIGN:
            if name in LEAVES_FOREIGN_CONTENT or (
                name == b"font" and any(a.name in (b"color", b"face", b"size") for a in attributes)
            ):
                while self._open and self._open[-1].namespace != "html" and not self._open[-1].integrates_html:
                    self._open.pop()
            else:
                if not self_closing:
                    self._push_foreign(name, attributes)
                return
        if name in FOREIGN_ROOTS:
            if not self_closing:
                self._push(_Open(name, name.decode(), integrates_html=False))
        elif self._open and name not in VOID:
            if name in (b"mglyph", b"malignmark"):
                self.lose_track()
            else:
                self._push(_Open(name, "html", integrates_html=True))

    def _push_foreign(self, name: bytes, attributes: list[Attribute]) -> None:
        parent = self._open[-1]
        namespace = parent.namespace
        if name == b"svg" and parent.name == b"annotation-xml":
            namespace = "svg"
        if namespace == "svg":
            integrates = name in HTML_INTEGRATION_POINTS
        else:
            integrates = name in MATHML_TEXT_INTEGRATION_POINTS or (
                name == b"annotation-xml"
                and any(
                    a.name == b"encoding" and a.value.lower() in (b"text/html", b"application/xhtml+xml")
                    for a in attributes
                )
            )
        self._push(_Open(name, namespace, integrates))

    def _push(self, element: _Open) -> None:
        if len(self._open) >= _MAX_DEPTH:
            self.lose_track()
        else:
            self._open.append(element)

    def end_tag(self, name: bytes) -> None:
        """Take note of an end tag."""
        if name == b"select":
            self._in_select = False
            return
        if not self._open:
            return
        if self._open[-1].name == name:
            self._open.pop()
            return
        # An end tag closes what is unclosed within foreign content; past HTML elements it may be ignored.
        for depth in range(len(self._open) - 1, -1, -1):
            if self._open[depth].namespace == "html" or name in (b"p", b"br"):
                break
            if self._open[depth].name == name:
                del self._open[depth:]
                return
        self.lose_track()

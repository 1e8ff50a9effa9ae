"""Where on a page the rules of SVG and MathML hold instead of those of HTML (HTML Standard, 13.2.6.5).

The tokenizer reads ``<style>``, ``<title>``, ``<script>`` and ``<![CDATA[`` differently in there. Well-formed
content is followed exactly. Where the end of it depends on more of the tree construction than this module
knows, the reading is ``UNCERTAIN``, and the rewriter decides so that every reading is safe.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from consent.html.attribute_values import keyword
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

    @property
    def is_foreign(self) -> bool:
        """Whether a start tag in this element is read by the foreign rules."""
        return self.namespace != "html" and not self.integrates_html


_MAX_DEPTH = 512


class ForeignContent:
    """Follows the open elements from an ``<svg>`` or ``<math>`` on."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        # An unmatched end tag may have ended all the open elements: that depends on what is around them.
        self._perhaps_ended = False
        self._lost = False
        self._in_select = False

    @property
    def following(self) -> bool:
        """Whether every tag must be told to this object."""
        return bool(self._open)

    @property
    def is_plain(self) -> bool:
        """Whether all that follows is read as HTML for certain, until the next start tag."""
        return not (self._open or self._lost or self._in_select)

    @property
    def is_lost(self) -> bool:
        """Whether nothing is certain for the rest of the page."""
        return self._lost

    @property
    def in_drawing(self) -> bool:
        """Whether the present element is one of SVG, for certain."""
        return bool(self._open) and self._open[-1].namespace == "svg" and self.reading is Reading.FOREIGN

    @property
    def reading(self) -> Reading:
        """How raw text elements other than ``script`` are read here."""
        return Reading.UNCERTAIN if self._in_select else self.script_reading

    @property
    def script_reading(self) -> Reading:
        """How ``script`` is read here. Unlike others it is an element of HTML in ``select``, too."""
        if self._lost:
            return Reading.UNCERTAIN
        if self._open and self._open[-1].is_foreign:
            return Reading.UNCERTAIN if self._perhaps_ended or self._in_select else Reading.FOREIGN
        return Reading.HTML

    @property
    def closing(self) -> bytes:
        """End tags that lead from here to where HTML is, as well as is known."""
        tags = [b"</%s>" % element.name for element in reversed(self._open)]
        return b"".join(tags) + (b"</select>" if self._in_select else b"")

    def lose_track(self) -> None:
        """From here on nothing is certain."""
        self._lost = True
        self._open.clear()

    def start_tag(self, name: bytes, attributes: list[Attribute], *, self_closing: bool) -> None:
        """Take note of a start tag; call it after the tag's own reading was asked for."""
        if self._lost:
            return
        if name == b"select" and not self.in_drawing:
            # Parsers differ in what they ignore inside, and so in what begins raw text there.
            self._in_select = True
        elif name == b"frameset":
            self.lose_track()
        elif self._open and self._open[-1].is_foreign and not self._leaves(name, attributes):
            if not self_closing:
                self._push_foreign(name, attributes)
        elif name in FOREIGN_ROOTS:
            if not self_closing:
                self._push(_Open(name, name.decode(), integrates_html=False))
        elif self._open and name not in VOID and name != b"image":
            if name in (b"mglyph", b"malignmark"):
                self.lose_track()
            else:
                self._push(_Open(name, "html", integrates_html=True))

    def _leaves(self, name: bytes, attributes: list[Attribute]) -> bool:
        """Leave foreign content where the start tag does so; tell whether it is one of HTML."""
        if name not in LEAVES_FOREIGN_CONTENT and not (
            name == b"font" and any(a.name in (b"color", b"face", b"size") for a in attributes)
        ):
            return False
        while self._open and self._open[-1].is_foreign:
            self._open.pop()
        self._settle()
        return True

    def _settle(self) -> None:
        if not self._open:
            # Whether or not it had ended before, it has now.
            self._perhaps_ended = False

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
                    a.name == b"encoding" and keyword(a.value) in (b"text/html", b"application/xhtml+xml")
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
        if name == b"select" and self._in_select:
            self._in_select = False
            return
        if not self._open:
            return
        if self._open[-1].name == name:
            self._open.pop()
            self._settle()
            return
        # An end tag closes what is unclosed within foreign content. One that matches nothing there goes
        # by the rules of HTML: it may close an element around all this, or be ignored.
        for depth in range(len(self._open) - 1, -1, -1):
            element = self._open[depth]
            if not element.is_foreign:
                self.lose_track()
                return
            if element.name == name:
                del self._open[depth:]
                self._settle()
                return
        self._perhaps_ended = True

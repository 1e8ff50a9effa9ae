"""Rewriters that say where in the page they are: for who wants to name the line of what is found."""

from __future__ import annotations

from collections.abc import Callable

from consent.html.rewriter import Rewriter
from consent.html.xml import XMLRewriter


class PlacedRewriter(Rewriter):
    """One page's rewriter, to which the whole page is written in one piece."""

    placed: Callable[[int, int], None]
    """Told where a piece of markup began and where it ended, after its judge was asked; counted from the page's end:
    all numbers are negative, or 0."""

    def _markup(self, data: bytes, start: int, final: bool) -> int:
        after = super()._markup(data, start, final)
        if after >= 0:
            # What is at hand is the page, or what of it is not decided yet: it ends where the page does.
            self.placed(start - len(data), after - len(data))
        return after


class PlacedXMLRewriter(PlacedRewriter, XMLRewriter):
    """The same for XHTML pages and SVG documents."""

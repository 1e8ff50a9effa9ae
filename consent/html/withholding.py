"""What takes the place of a refused element: nothing; the element itself, inert in a ``template``; a placeholder.

A template's content is parsed into a document of its own that loads and runs nothing (HTML Standard, 4.12.3).
An element is held only where every reader agrees that this is so, and that the template ends where it is meant
to: on a page, in plain HTML, complete. What is within it cannot end it, since it is either a single tag, or raw
text up to its own end tag, in which ``</template>`` is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from consent.html.attribute_values import keyword, text
from consent.html.elements import FOREIGN_ROOTS, LOADS, Cut
from consent.html.embeds import EMBEDS, is_seen
from consent.html.judge import Judge
from consent.html.tokenizer import Tag

_NOBODY: frozenset[str] = frozenset()
_HELD = frozenset(
    # A base, a refresh and a parameter would mean something else by the time they come back, and a frame
    # stands where no template may.
    name
    for name, (cut, _) in LOADS.items()
    if cut is Cut.ELEMENT and name not in (b"base", b"meta", b"param", b"frame")
)
_HINTS = frozenset(b"preload modulepreload prefetch prerender preconnect dns-prefetch".split())
Placeholder = Callable[[Tag, bytes, str], bytes]
"""Makes what offers a refused embed, from its start tag, all of it, and the ``category/vendor`` who refuses it.

Empty where there is nothing to offer. What it returns holds the embed in a template, and is well-formed wherever an
embed may stand: phrasing content, no form.
"""

_WRITES = re.compile(rb"\bwrite(?:ln)?\b")
_HIDES_ENDS = frozenset((*FOREIGN_ROOTS, b"select", b"frameset"))
"""What may hide from the rewriter that a template has ended."""


class Withholding:
    """Decides for one page what takes the place of its refused elements, and makes it.

    Args:
        judge: knows who refuses them.
        hold: hold them; otherwise they are taken out.
        placeholder: makes what takes the place of embeds that are seen; without it, they are as all others.
    """

    def __init__(self, judge: Judge, *, hold: bool = False, placeholder: Placeholder | None = None) -> None:
        self._judge = judge
        self._hold = hold
        self._placeholder = placeholder
        self._held_by = _NOBODY

    def begin(self, tag: Tag, *, in_template: bool) -> bool:
        """Begin with an element in plain HTML; return whether anything may take its place if it is refused."""
        if in_template:
            if tag.name in _HIDES_ENDS:
                self.lose_template()
            elif self._held_by:
                self._judge.begin_element()
            return False
        self._held_by = _waits_for(tag) if tag.name == b"template" else _NOBODY
        if not (self._hold or (self._placeholder and tag.name in EMBEDS)):
            return False
        if tag.name not in _HELD or _is_hint(tag):
            return False
        self._judge.begin_element()
        return True

    @property
    def in_held_template(self) -> bool:
        """Whether a template is open whose content waits for consent: every element in it counts."""
        return bool(self._held_by)

    def lose_template(self) -> None:
        """From here on, no template is certain to be open."""
        self._held_by = _NOBODY

    def waits_anyway(self) -> bool:
        """Tell whether the element begun with is refused by none but those whose consent it waits for anyway.

        So it is with what the app itself holds in a template with ``data-consent``.
        """
        refused_by = self._held_by and self._judge.refused_by()
        if not refused_by or not self._held_by.issuperset(refused_by):
            return False
        self._judge.note_instead("held")
        return True

    def instead(self, tag: Tag, element: bytes) -> bytes:
        """Return what takes the place of the element begun with, which is refused.

        Args:
            tag: its start tag.
            element: all of it, as it is in the page.
        """
        refused_by = self._judge.refused_by()
        if self._placeholder and tag.name in EMBEDS and len(refused_by) == 1 and is_seen(tag):
            (refuser,) = refused_by
            if placeholder := self._placeholder(tag, element, refuser):
                self._judge.note_instead("replaced")
                return placeholder
        if not self._hold or not refused_by:
            return b""
        # A script that writes into the page as it is parsed would, later, replace the page.
        if tag.name == b"script" and _WRITES.search(element, tag.end - tag.start):
            return b""
        self._judge.note_instead("held")
        names = " ".join(sorted(refused_by)).encode("ascii")
        return b'<template data-consent="%b">%b</template>' % (names, element)


def _waits_for(tag: Tag) -> frozenset[str]:
    """Return whose consent the content of a template waits for."""
    values = tag.values()
    if b"shadowrootmode" in values:
        return _NOBODY  # it is no template: its content is shown
    return frozenset(text(values.get(b"data-consent", b"")).split())


def _is_hint(tag: Tag) -> bool:
    return tag.name == b"link" and any(
        not _HINTS.isdisjoint(keyword(attribute.value).split())
        for attribute in tag.attributes
        if attribute.name == b"rel"
    )

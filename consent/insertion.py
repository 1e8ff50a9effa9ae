"""Putting something at the end of a page for visitors who refuse nothing: nothing else has to be read."""

from __future__ import annotations

import re
from collections.abc import Callable

from consent.html.scanning import find_tag

_MAX_TAIL_BYTES = 4096
# All that may follow the end of the body. Within a script or a comment more would follow.
_TAIL = re.compile(
    rb"</body[^<>]*+>(?:\s++|</html[^<>]*+>|<!--(?:(?!-->).)*+-->)*+", re.IGNORECASE | re.DOTALL
)
_BEGINS_BASE = len(b"<base")


class BodyEndInsertion:
    """Lets a page through, with the bytes that ``make`` makes before its final ``</body>``, else at its end.

    It is told whether something like a ``<base>`` has passed, so that relative URLs may lead anywhere.
    What may turn out to be the final ``</body>`` is kept back, with the little that may follow it.
    """

    def __init__(self, make: Callable[[bool], bytes]) -> None:
        self._make = make
        self._held = b""
        self._last = b""
        self._in_tag = False
        self._lesser_than = b""
        self._has_base = False

    def write(self, chunk: bytes) -> bytes:
        """Take the next bytes; return what is not kept back."""
        if not self._has_base:
            seam = self._last + chunk[:_BEGINS_BASE]
            self._has_base = find_tag(chunk, 0, b"base") >= 0 or find_tag(seam, 0, b"base") >= 0
            self._last = (self._last + chunk[-_BEGINS_BASE:])[-_BEGINS_BASE:]
        data = self._held + chunk if self._held else chunk
        seen = self._lesser_than + chunk
        last = max(seen.rfind(b">"), seen.rfind(b"<"))
        if last >= 0:
            self._in_tag = seen.startswith(b"<", last) and seen[last + 1 : last + 2].isalpha()
        self._lesser_than = b"<" if seen.endswith(b"<") else b""
        # What is not found in these two spellings is missed, and the end of the page serves as well.
        tail = max(0, len(data) - _MAX_TAIL_BYTES)
        begin = max(data.rfind(b"</body", tail), data.rfind(b"</BODY", tail))
        if begin < 0 or not _may_end(data, begin):
            begin = data.rfind(b"<", max(0, len(data) - 5))
            if not b"</body".startswith(data[begin:].lower()):
                begin = -1
        if begin < 0:
            self._held = b""
            return data
        self._held = data[begin:]
        return data[:begin]

    def end(self) -> bytes:
        """Return the rest."""
        if _TAIL.fullmatch(self._held):
            return self._make(self._has_base) + self._held
        # A tag that the page leaves open makes no element, and must not be finished.
        return self._held if self._in_tag else self._held + self._make(self._has_base)


def _may_end(data: bytes, begin: int) -> bool:
    """Tell whether the page may yet turn out to end with what is at ``begin``."""
    match = _TAIL.match(data, begin)
    if match is None:
        return data.find(b"<", begin + 1) < 0
    rest = data[match.end() :]
    return rest.startswith(b"<!--") or b"<!--".startswith(rest) or b"</html".startswith(rest[:6].lower())

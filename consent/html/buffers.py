"""What a rewriter keeps back until it can decide, and what it lets out."""

from __future__ import annotations

import re
from typing import NoReturn

_TAG_END = re.compile(rb">")
_RESCAN_ABOVE = 16 * 1024
_LONGEST_END = 11
"""How much of what ends a wait may be there already, at the end of the bytes so far."""


INCOMPLETE = -1
"""A place that is not there yet."""


class RewriterLimitExceeded(Exception):
    """A tag is longer than ``max_buffer_bytes``; the rewriter refuses reuse."""


class KeptBack:
    """Bytes that are not decided, and those that came since."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._undecided = b""
        self._since: list[bytes] = []
        self._since_bytes = 0
        self._tail = b""
        self._arrived = False
        self.awaited = _TAG_END
        """What the undecided bytes wait for."""

    def __bool__(self) -> bool:
        return bool(self._undecided)

    def wait_for(self, end: re.Pattern[bytes]) -> int:
        """Let all from the present place on be kept back until ``end`` arrives."""
        self.awaited = end
        return INCOMPLETE

    def check(self, length: int) -> None:
        """Raise :class:`RewriterLimitExceeded` where a tag is longer than may be kept back."""
        if length > self._max_bytes:
            self.refuse(length)

    def refuse(self, length: int) -> NoReturn:
        """Raise it."""
        raise RewriterLimitExceeded(f"a tag of the page is {length} bytes long, or more")

    def hold(self, undecided: bytes) -> None:
        """Keep ``undecided`` back until :attr:`awaited` arrives."""
        self._undecided = undecided
        self._tail = undecided[-_LONGEST_END:]
        self._arrived = False

    def add(self, chunk: bytes) -> bool:
        """Take more bytes; tell whether it is worth to read all of them again."""
        self._since.append(chunk)
        self._since_bytes += len(chunk)
        seen = self._tail + chunk
        self._tail = seen[-_LONGEST_END:]
        self._arrived = self._arrived or self.awaited.search(seen) is not None
        size = len(self._undecided)
        if size + self._since_bytes > self._max_bytes:
            return True
        # What waits long is read again only now and then: many small chunks cost no more than few large.
        return self._arrived and (size <= _RESCAN_ABOVE or self._since_bytes * 8 >= size)

    def take(self) -> bytes:
        """Return all that is kept back; nothing is afterwards."""
        data = b"".join((self._undecided, *self._since))
        self._undecided = b""
        self._since.clear()
        self._since_bytes = 0
        return data


class Output:
    """What goes out of the bytes at hand: most of them, in order."""

    def __init__(self) -> None:
        self._pieces: list[bytes | memoryview] = []
        self._position = 0
        self._last_byte = b""

    def keep(self, data: bytes, position: int) -> None:
        """Let everything up to ``position`` out."""
        if self._position < position:
            whole = not self._position and position == len(data)
            # A view: the bytes are copied once, when all are put together.
            self._pieces.append(data if whole else memoryview(data)[self._position : position])
            self._last_byte = data[position - 1 : position]
            self._position = position

    def replace(self, data: bytes, start: int, end: int, replacement: bytes = b"") -> None:
        """Let ``replacement`` out instead of ``data[start:end]``, a whole piece of the page."""
        self.keep(data, start)
        if not replacement and self._last_byte == b"<":
            # Text that ends with "<" must not become a tag with what follows the gap.
            replacement = b"<!---->"
        if replacement:
            self._pieces.append(replacement)
            self._last_byte = replacement[-1:]
        self._position = end

    def replace_within_tag(self, data: bytes, start: int, end: int, replacement: bytes) -> None:
        """Do the same inside a tag, where a ``<`` begins nothing."""
        self.keep(data, start)
        self._pieces.append(replacement)
        self._position = end

    def insert(self, data: bytes, position: int, insertion: bytes) -> None:
        """Put ``insertion`` before ``data[position]``."""
        self.keep(data, position)
        self._pieces.append(insertion)

    def take(self) -> bytes:
        """Return what is let out of these bytes; the next ones begin."""
        first = self._pieces[0] if len(self._pieces) == 1 else None
        result = first if isinstance(first, bytes) else b"".join(self._pieces)
        self._pieces.clear()
        self._position = 0
        return result

"""What a page is given besides, and where it goes: first into the head, before what runs scripts, at the body's end."""

from __future__ import annotations

from collections.abc import Callable

from consent.html.buffers import Output
from consent.html.judge import BEFORE_HEAD, BEFORE_RUNNING, IS_PAGE
from consent.html.scripts import could_run
from consent.html.tokenizer import Tag, could_load

_AROUND_HEAD = (b"html", b"head")
_TELL_PAGE = (b"html", b"head", b"body")


class Insertions:
    """What is put into one page, each piece once.

    Args:
        out: where the page goes.
        at_head_start, before_running, at_body_end: see :class:`~consent.html.rewriter.Rewriter`.
        is_document: it is a page for certain, and not a piece of one.
    """

    def __init__(
        self,
        out: Output,
        *,
        at_head_start: Callable[[], bytes] | None,
        before_running: Callable[[], bytes] | None,
        at_body_end: Callable[[], bytes] | None,
        is_document: bool,
    ) -> None:
        self._out = out
        self._at_head_start = at_head_start
        self._before_running = before_running
        self._at_body_end = at_body_end
        self.is_document = is_document
        self.awaits_head = at_head_start is not None
        """Whether the head's start is still to come."""
        self.awaits_running = False
        """Whether the head has begun, and something is to come before the first that runs scripts."""

    @property
    def reading(self) -> int:
        """What the screen has to know of it: see :data:`~consent.html.judge.Skip`."""
        reading = BEFORE_RUNNING if self.awaits_running else 0
        if self.is_document:
            # What goes first into the head goes before all that could load or run.
            reading += IS_PAGE + BEFORE_HEAD if self.awaits_head else IS_PAGE
        return reading

    def begin_head(self, data: bytes, tag: Tag) -> bool:
        """Insert what goes first into the head, if ``tag`` is its start tag or the first that matters behind it.

        Returns:
            Whether the head has begun.
        """
        runs = could_run(tag)
        if not runs and (tag.name == b"html" or not could_load(tag)):
            return False
        if tag.name in _TELL_PAGE:
            self.is_document = True
        if not self.is_document or self._at_head_start is None:
            return False
        make, self._at_head_start = self._at_head_start, None
        if runs and self._before_running is not None:
            make, self._before_running = self._before_running, None
        self._out.insert(data, tag.end if tag.name in _AROUND_HEAD else tag.start, make())
        self.awaits_head, self.awaits_running = False, self._before_running is not None
        return True

    def begin_running(self, data: bytes, start: int) -> None:
        """Insert what goes before the first element that may run scripts, which begins at ``start``."""
        if self._before_running is not None:
            self._out.insert(data, start, self._before_running())
            self._before_running, self.awaits_running = None, False

    def end_body(self, data: bytes, position: int, *, before: bytes = b"") -> None:
        """Insert what goes to the end, with ``before`` before it."""
        if self._at_body_end is not None:
            self._out.insert(data, position, before + self._at_body_end())
            self._at_body_end = None

"""Judges and rewriters for tests: what a page is read as, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pytest

from consent.html import rewriter as rewriter_module
from consent.html.charrefs import decode_attribute
from consent.html.open_text import Within
from consent.html.rewriter import Rewriter
from consent.html.tokenizer import Tag, start_tag
from consent.html.withholding import Placeholder, Withholding

TRACKER = "tracker.example"
SPEC = "functional/tracker"
"""Whose consent the tracker's elements wait for."""


class Judging:
    """Refuses every URL that names the tracker, and every script that calls ``track(``; remembers all."""

    skip = None

    def __init__(self, *, refuses: bool = True) -> None:
        self._refuses = refuses
        self.urls: list[tuple[str, str]] = []
        self.scripts: list[str] = []
        self.bases: list[str] = []
        self.undecided: list[str] = []
        self.refused = 0
        self._before = (0, 0)
        self.instead: list[str] = []

    def refuses_url(self, element: str, url: str) -> bool:
        self.urls.append((element, url))
        return self._answer(TRACKER in url)

    def refuses_script(self, code: str) -> bool:
        self.scripts.append(code)
        return self._answer("track(" in code)

    def _answer(self, tracks: bool) -> bool:
        self.refused += tracks
        return tracks and self._refuses

    def begin_element(self) -> None:
        self._before = (self.refused, len(self.undecided))

    def refused_by(self) -> frozenset[str]:
        refused, undecided = self._before
        return frozenset([SPEC] if self.refused > refused and len(self.undecided) == undecided else [])

    def note_instead(self, action: str) -> None:
        self.instead.append(action)

    def set_base(self, url: str) -> None:
        self.bases.append(url)

    def note_undecided(self, element: str) -> None:
        self.undecided.append(element)


def pieces(page: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Cut a page at ``sizes``; the last of them counts for the rest of it."""
    position = 0
    size = 1
    rest = iter(sizes)
    while position < len(page):
        size = next(rest, size)
        yield page[position : position + size]
        position += size


def rewritten(
    page: bytes,
    judge: Judging | None = None,
    *,
    sizes: Iterable[int] | None = None,
    insertion: bytes | None = None,
    fragment: bool = False,
    hold: bool = False,
    placeholder: Placeholder | None = None,
    max_buffer_bytes: int = 1 << 22,
) -> bytes:
    """Return a page as the rewriter leaves it."""
    judge = judge or Judging()
    rewriter = Rewriter(
        judge,
        withholding=Withholding(judge, hold=hold, placeholder=placeholder),
        at_body_end=None if insertion is None else lambda: insertion,
        fragment=fragment,
        max_buffer_bytes=max_buffer_bytes,
    )
    chunks = [page] if sizes is None else pieces(page, sizes)
    return b"".join(rewriter.write(chunk) for chunk in chunks) + rewriter.end()


class Token(NamedTuple):
    """What the rewriter takes a piece of a page for."""

    kind: str
    name: str
    attributes: dict[str, str]
    self_closing: bool
    start: int
    end: int


class RecordingRewriter(Rewriter):
    """Writes down every tag and comment of a page."""

    def __init__(self, judge: Judging | None = None) -> None:
        super().__init__(judge or Judging(refuses=False))
        self.tokens: list[Token] = []
        self.received = 0
        self._offset = 0

    def write(self, chunk: bytes) -> bytes:
        self.received += len(chunk)
        return super().write(chunk)

    def _run(self, data: bytes, *, final: bool) -> bytes:
        self._offset = self.received - len(data)
        return super()._run(data, final=final)

    def _record(self, kind: str, name: bytes, start: int, end: int, tag: Tag | None = None) -> None:
        attributes: dict[str, str] = {}
        for attribute in tag.attributes if tag else ():
            attributes.setdefault(_text(attribute.name), decode_attribute(_text(attribute.value)))
        closing = tag is not None and tag.self_closing
        self.tokens.append(
            Token(kind, _text(name), attributes, closing, self._offset + start, self._offset + end)
        )

    def _start_tag(self, data: bytes, start: int, final: bool) -> int:
        after = super()._start_tag(data, start, final)
        tag = start_tag(data, start)
        if after >= 0 and tag is not None:
            self._record("start", tag.name, start, tag.end, tag)
            if after != tag.end:
                close = data.rfind(b"</", start, after)
                self._record("end", tag.name, close, after)
        return after

    def _end_tag(self, data: bytes, start: int) -> int:
        after = super()._end_tag(data, start)
        if after >= 0:
            if data[start + 2 : start + 3].isalpha():
                name = data[start + 2 : after].split(b">")[0].split(b"/")[0].split()[0].lower()
                self._record("end", name, start, after)
            else:
                self._record("nothing" if data.startswith(b"</>", start) else "comment", b"", start, after)
        return after

    def _declaration(self, data: bytes, start: int, final: bool) -> int:
        self._in_cdata = False
        after = super()._declaration(data, start, final)
        if after >= 0 and not self._in_cdata:
            self._record("comment", b"", start, after)
        return after

    def _cdata(self, data: bytes, start: int, final: bool) -> int:
        self._in_cdata = True
        after = super()._cdata(data, start, final)
        if after >= 0:
            self._record("mark", b"", start, start + 9)
            if data.endswith(b"]]>", start + 9, after):
                self._record("mark", b"", after - 3, after)
        return after

    def _markup(self, data: bytes, start: int, final: bool) -> int:
        after = super()._markup(data, start, final)
        if data[start + 1 : start + 2] == b"?":
            self._record("comment", b"", start, after)
        return after

    def _resume(self, data: bytes, position: int, final: bool) -> int:
        within = self._text.within
        after = super()._resume(data, position, final)
        if after >= 0 and within in (Within.COMMENT, Within.BOGUS_COMMENT):
            # The rest of one that is written down already.
            self.tokens[-1] = self.tokens[-1]._replace(end=self._offset + after)
        elif after >= 0 and within is Within.RAW_TEXT and self._text.within is Within.MARKUP:
            close = data.rfind(b"</", position, after)
            self._record("end", self._text.raw_name, close, after)
        return after


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def reading_of(
    page: bytes, *, sizes: Iterable[int] | None = None, stop: Callable[[bytes, int, int], int] | None = None
) -> list[Token]:
    """Return the tags and comments of a page; ``stop`` is used instead of the fast ``next_stop``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewriter_module, "next_stop", stop or next_lesser_than)
        patch.setattr(rewriter_module, "next_stop_in_drawing", stop or next_lesser_than)
        recorder = RecordingRewriter()
        chunks = [page] if sizes is None else pieces(page, sizes)
        for chunk in chunks:
            recorder.write(chunk)
        recorder.end()
    return recorder.tokens


def next_lesser_than(data: bytes, position: int, end: int) -> int:
    """Stop at every ``<``: the careful reading."""
    found = data.find(b"<", position, end)
    return end if found < 0 else found

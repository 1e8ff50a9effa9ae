"""Reading a whole page, style sheet or script as the middleware does, with the line of everything found in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from consent.catalog import Vendor
from consent.catalog.evidence import Evidence
from consent.encodings import Sniffed
from consent.enforcement import Finding, PageEnforcement
from consent.governed_fields import governed
from consent.headers import REWRITTEN_TYPES, XML_TYPES, Headers, first, media_type, media_type_of
from consent.html.elements import JAVASCRIPT_TYPES
from consent.html.judge import Judge
from consent.html.placing import PlacedRewriter, PlacedXMLRewriter
from consent.own_files import OwnFile, file_kind

INLINE = "inline script"
_HOST = re.compile(rb"[a-z0-9_-]++(?:\.[a-z0-9_-]++)++")
_LABELS = 10


class Located(NamedTuple):
    """One finding, and where it is."""

    line: int
    """1-based. Where something can only be told to be somewhere in an element, the line in which that begins."""
    finding: Finding


class _Noted(Protocol):
    """What is known of something in a page, as in `consent.enforcement.Finding`."""

    @property
    def kind(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def vendor(self) -> Vendor | None: ...


Noted = TypeVar("Noted", bound=_Noted)
_Noted_co = TypeVar("_Noted_co", bound=_Noted, covariant=True)


class NotingJudge(Judge, Protocol[_Noted_co]):
    """A judge that keeps what it was asked about."""

    @property
    def findings(self) -> Sequence[_Noted_co]:
        """What was found so far, in document order."""


class Unscreened(PageEnforcement):
    """Is asked about everything on the page, in its order, so that each finding has its place."""

    skip = None


def located(data: bytes, content_type: bytes, page: Unscreened, evidence: Evidence) -> list[Located]:
    """Return what is found in a body, in the order in which it was judged.

    Args:
        data: the whole of it, in no content coding.
        content_type: as a server would send it: a page's, a style sheet's, a script's.
        page: judges, and has the findings afterwards too.
        evidence: the catalog's.

    Raises:
        Exception: it cannot be read: a tag without an end, a file that is too long.
    """
    if not file_kind(content_type):
        return [Located(line, finding) for line, finding in located_in_page(data, content_type, page)]
    data = _decoded(data, content_type)
    places = _Places[Finding](data, page)
    _judge_file(data, content_type, page, evidence)
    places.note(0, len(data))
    imported = {_id(finding) for _, finding in places.found if finding.kind != INLINE}
    # A script that imports something of a vendor is known by that already.
    return [
        Located(line, finding)
        for line, finding in places.found
        if finding.kind != INLINE or _id(finding) not in imported
    ]


def located_in_page(data: bytes, content_type: bytes, judge: NotingJudge[Noted]) -> list[tuple[int, Noted]]:
    """Have a judge asked about all that is on a page, in its order, and return what it notes, each with its line.

    Args:
        data, content_type: as for :func:`located`.
        judge: skips nothing.

    Raises:
        Exception: as of :func:`located`.
    """
    data = _decoded(data, content_type)
    places = _Places[Noted](data, judge)
    kind = PlacedXMLRewriter if media_type_of(content_type) in XML_TYPES else PlacedRewriter
    rewriter = kind(judge, max_buffer_bytes=len(data) + 1)
    rewriter.placed = lambda start, end: places.note(len(data) + start, len(data) + end)
    rewriter.write(data)
    rewriter.end()
    places.note(len(data), len(data))
    return places.found


def _decoded(data: bytes, content_type: bytes) -> bytes:
    """Return a body in an encoding that agrees with ASCII."""
    text = _Text()
    sniffed = Sniffed(lambda: text, content_type)
    sniffed.write(data)
    sniffed.end()
    return b"".join(text.pieces)


def _id(finding: Finding) -> str:
    return finding.vendor.id if finding.vendor else ""


def located_in_response(headers: Headers, body: bytes, page: Unscreened, evidence: Evidence) -> list[Located]:
    """Return what is found in a response's header fields, in line 0, and in its body where that is read at all.

    Args:
        headers: names in lower case.
        body: in no content coding.

    Raises:
        Exception: as of :func:`located`.
    """
    governed(headers, page, now=0)
    found = [Located(0, finding) for finding in page.findings]
    content_type = first(headers, b"content-type") or b""
    if media_type(headers) in REWRITTEN_TYPES or file_kind(content_type):
        found += located(body, content_type, page, evidence)
    return found


class _Text:
    """Collects what is read of a page, in bytes that agree with ASCII."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, chunk: bytes) -> bytes:
        self.pieces.append(chunk)
        return b""

    def end(self) -> bytes:
        return b""


def _judge_file(data: bytes, content_type: bytes, page: PageEnforcement, evidence: Evidence) -> None:
    def failed(error: Exception) -> bool:
        raise error

    file = OwnFile(b"%b; charset=utf-8" % file_kind(content_type), (), page, evidence)
    file.add(data)
    file.judged(failed)
    if file_kind(content_type) in JAVASCRIPT_TYPES:
        page.refuses_script(data.decode("utf-8", "surrogateescape"))


class _Places(Generic[Noted]):
    """Finds the lines of what is found.

    The rewriter says which piece of markup something is in. Within it, the host is searched for, or the code that
    is a vendor's snippet.
    """

    def __init__(self, data: bytes, judge: NotingJudge[Noted]) -> None:
        self._data = data
        self._judge = judge
        self._seen = len(judge.findings)
        self._line_at = (0, 1)
        self.found: list[tuple[int, Noted]] = []
        """Each with its 1-based line."""

    def note(self, start: int, end: int) -> None:
        """Take note that everything found since the last time is between the two places."""
        new = self._judge.findings[self._seen :]
        if not new:
            return
        self._seen += len(new)
        piece = self._data[start:end].lower()
        behind: dict[bytes, int] = {}
        for finding in new:
            if finding.kind == INLINE:
                at = _snippet(self._data[start:end], finding.vendor)
            else:
                host = finding.subject.partition("/")[0].encode("utf-8", "replace")
                at = piece.find(host, behind.get(host, 0))
                if at >= 0:
                    behind[host] = at + 1
                else:
                    at = piece.find(host)
            self.found.append((self._line(start + max(at, 0)), finding))

    def _line(self, place: int) -> int:
        at, line = self._line_at
        if place < at:
            at, line = 0, 1
        line += self._data.count(b"\n", at, place)
        self._line_at = place, line
        return line


def _snippet(piece: bytes, vendor: Vendor | None) -> int:
    """Return where the code is that a vendor's snippet was recognised by; -1 where nobody can tell."""
    if vendor is None:
        return -1
    for inline in vendor.inline:
        if match := re.search(inline.pattern.encode(), piece):
            return match.start()
    hosts = {host.encode() for host in (*vendor.hosts, *(url.partition("/")[0] for url in vendor.urls))}
    for match in _HOST.finditer(piece.lower()):
        labels = match[0].split(b".")[-_LABELS:]
        if any(b".".join(labels[first:]) in hosts for first in range(len(labels))):
            return match.start()
    return -1

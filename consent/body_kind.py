"""What a body is, by what is said of it, and where nothing is, by how it begins."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Sequence
from functools import lru_cache

from consent import headers as fields
from consent.codings import Coded
from consent.encodings import charset
from consent.own_files import file_kind
from consent.streams import Stream

PLAIN_TYPES: set[bytes] = set()
"""The values of ``Content-Type`` met so far of what is not looked at, up to a bound."""
PAGE_TYPES: set[bytes] = set()
"""... of pages of HTML in UTF-8."""
_MAX_TYPES = 256
_LONGEST_TYPE = 128

_REWRITTEN_TYPES = fields.REWRITTEN_TYPES | fields.DATA_TYPES
UNSURE_TYPES = fields.DATA_TYPES | {b""}
"""Types of what may be a page or not."""
_READ_AS = {b"style": b"text/css", b"script": b"text/javascript"}
"""What browsers read a file as, by what they load it for (Fetch Metadata), whatever type it says that it has."""
_NEVER_SCRIPTS = (b"audio/", b"image/", b"video/", b"text/csv")
_XML_PAGE_NAMES = (
    b"//www.w3.org/1999/xhtml",
    b"//www.w3.org/2000/svg",
    b"//www.w3.org/1999/xsl/transform",
    b"<?xml-stylesheet",
    # What declares entities or attributes may write a name in any way.
    b"<!entity",
    b"<!attlist",
)
_REFERENCE_IN_NAME = re.compile(rb"xmlns[^\"'<>]*[\"'][^\"'<>]*&")
_XML_BEGINNING = b"<?xml"
_LONGEST_BEGINNING = 16
_LONGEST_WHITE_SPACE = 1024
_MAX_XML_PROLOGUE = 64 * 1024
"""How much of XML is waited for that does not say whether it is a page."""
_MOST_RAW = 2 * _MAX_XML_PROLOGUE
"""How much is kept back, as it came: what is decoded may be nothing, and codings have pieces that hold nothing."""
# The beginnings that browsers take for HTML where nothing says what a body is (MIME Sniffing, section 7.1); some
# whatever comes behind them, so that an ``<article>`` is an ``<a``.
_HTML_BEGINNINGS = tuple(
    f"<{name}".encode()
    for name in (
        *("!doctype html", "html", "head", "script", "iframe", "h1", "div", "font", "table"),
        *("a", "style", "title", "b", "body", "br", "p", "!--"),
    )
)


@lru_cache(maxsize=256)
def _may_be_page(content_type: bytes) -> bool:
    """Tell whether what is so called is a page to be rewritten, or says nothing of what it is."""
    kind = fields.media_type_of(content_type)
    return not kind or kind in _REWRITTEN_TYPES


def is_unread(content_type: bytes) -> bool:
    """Tell whether the body of what is so called is nothing that is looked at."""
    if content_type in PLAIN_TYPES:
        return True
    if _may_be_page(content_type) or file_kind(content_type):
        return False
    _remember(PLAIN_TYPES, content_type)
    return True


def is_utf8(content_type: bytes) -> bool:
    """Tell whether what is so called says that it is in UTF-8."""
    if charset(content_type) not in (b"utf-8", b"utf8"):
        return False
    if fields.media_type_of(content_type) == b"text/html":
        _remember(PAGE_TYPES, content_type)
    return True


def _remember(met: set[bytes], content_type: bytes) -> None:
    if len(met) < _MAX_TYPES and len(content_type) <= _LONGEST_TYPE:
        met.add(content_type)


def is_page(named: dict[bytes, bytes]) -> bool:
    """Tell by its fields whether a response is, or may be, a page to be rewritten."""
    content_type = named.get(b"content-type", b"")
    if not _may_be_page(content_type):
        return False
    if _is_not_sniffed(named) and not fields.media_type_of(content_type):
        return False
    # What is saved to a file is the file, not a page of this site. Where the semicolon was forgotten, browsers show it.
    return named.get(b"content-disposition", b"").partition(b";")[0].strip().lower() != b"attachment"


def _is_not_sniffed(named: dict[bytes, bytes]) -> bool:
    """Tell whether a response is only what its type says (Fetch Standard, section 3.6)."""
    return named.get(b"x-content-type-options", b"").partition(b",")[0].strip().lower() == b"nosniff"


def file_type(named: dict[bytes, bytes], destination: bytes | None) -> bytes:
    """Return the type that a file is to be judged by; empty where it is none that is judged."""
    content_type = named.get(b"content-type", b"")
    kind = fields.media_type_of(content_type)
    own = content_type if file_kind(content_type) else b""
    read_as = _READ_AS.get(destination or b"")
    if read_as is None or _is_not_sniffed(named) or kind in _REWRITTEN_TYPES:
        return own
    if read_as == b"text/javascript" and kind.startswith(_NEVER_SCRIPTS):
        return b""
    if own and (kind == b"text/css") == (read_as == b"text/css"):
        return own
    _, semicolon, parameters = content_type.partition(b";")
    return read_as + semicolon + parameters


class Beginning:
    """The first bytes of what is of one of the :data:`UNSURE_TYPES`: they tell whether it is a page.

    Args:
        kind: its type, empty where nothing says one.
        applied: the content codings that it comes in, in the order they were applied. All are readable.
        is_shown: it may be shown, so that XML is waited for which does not say yet whether it is a page.
    """

    def __init__(self, kind: bytes, applied: Sequence[bytes], *, is_shown: bool) -> None:
        self._kind = kind
        self._most = _MAX_XML_PROLOGUE if is_shown else 1
        self._pieces: list[bytes] = []
        self._kept = 0
        self._read = _Collected()
        self._stream: Stream = self._read
        for coding in applied:
            self._stream = Coded(self._stream, coding, self._is_broken)

    @property
    def raw(self) -> bytes:
        """All that is there, as it came."""
        return b"".join(self._pieces)

    def add(self, piece: bytes, *, may_go_on: bool) -> bytes | None:
        """Take the next bytes; return the type of the page, empty for no page, ``None`` for too early to tell."""
        self._pieces.append(piece)
        self._kept += len(piece)
        may_go_on = may_go_on and self._kept < _MOST_RAW
        self._stream.write(piece)
        # In UTF-16, too.
        text = self._read.data.replace(b"\0", b"").lower()
        if self._kind not in fields.DATA_TYPES:
            stripped = text.removeprefix(BOM_UTF8).lstrip(b"\t\n\f\r ")
            if may_go_on and len(stripped) < _LONGEST_BEGINNING and len(text) < _LONGEST_WHITE_SPACE:
                return None
            if stripped.startswith(_HTML_BEGINNINGS):
                return b"text/html"
            if not stripped.startswith(_XML_BEGINNING):
                return b""
        if any(name in text for name in _XML_PAGE_NAMES) or _REFERENCE_IN_NAME.search(text):
            return self._kind or b"text/xml"
        return None if may_go_on and len(self._read.data) < self._most else b""

    def _is_broken(self, error: Exception) -> bool:
        return True


class _Collected:
    """What is decoded, up to a bound."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, chunk: bytes) -> bytes:
        self.data += chunk[: _MAX_XML_PROLOGUE - len(self.data)]
        return b""

    def end(self) -> bytes:
        return b""

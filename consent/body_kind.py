"""What a body is, by what is said of it, and where nothing is, by how it begins."""

from __future__ import annotations

from functools import lru_cache

from consent import headers as fields
from consent.codings import charset
from consent.own_files import file_kind

PLAIN_TYPES: set[bytes] = set()
"""The values of ``Content-Type`` met so far of what is not looked at, up to a bound."""
PAGE_TYPES: set[bytes] = set()
"""... of pages of HTML in UTF-8."""
_MAX_TYPES = 256
_LONGEST_TYPE = 128

_REWRITTEN_TYPES = fields.REWRITTEN_TYPES | fields.DATA_TYPES
UNSURE_TYPES = fields.DATA_TYPES | {b""}
"""Types of what may be a page or not."""
_UNTYPED = {b"style": b"text/css", b"script": b"text/javascript"}
"""What browsers read what says nothing of itself as, by what they load it for (Fetch Metadata)."""
_XML_PAGE_NAMES = (b"//www.w3.org/1999/xhtml", b"//www.w3.org/2000/svg", b"<?xml-stylesheet")
# The beginnings that browsers take for HTML where nothing says what a body is (MIME Sniffing, section 7.1).
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
    if b"x-content-type-options" in named and not fields.media_type_of(content_type):
        return False
    # What is saved to a file is the file, not a page of this site. Where the semicolon was forgotten, browsers show it.
    return named.get(b"content-disposition", b"").partition(b";")[0].strip().lower() != b"attachment"


def file_type(named: dict[bytes, bytes], destination: bytes | None) -> bytes:
    """Return the type of a file that is judged; where the app tells none, what the browser loads it as."""
    content_type = named.get(b"content-type", b"")
    if fields.media_type_of(content_type):
        return content_type if file_kind(content_type) else b""
    return _UNTYPED.get(destination or b"", b"")


def looks_like_page(kind: bytes, body: bytes) -> bool:
    """Tell by its beginning whether what is of one of the :data:`UNSURE_TYPES` is a page."""
    if kind in fields.DATA_TYPES:
        return any(name in body for name in _XML_PAGE_NAMES)
    begin = body[:1024].lstrip(b"\t\n\f\r ").lower()
    return any(
        begin.startswith(name) and begin[len(name) : len(name) + 1] in b" >" for name in _HTML_BEGINNINGS
    )

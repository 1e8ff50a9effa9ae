"""What the values of attributes say: URLs, keywords, and text that is rewritten and put back."""

from __future__ import annotations

import re
from html import unescape as unescape_text

from consent.html.charrefs import decode_attribute

_REFRESH = re.compile(
    r"[\t\n\f\r ]*+[0-9.]*+[\t\n\f\r ]*+[;,]?+[\t\n\f\r ]*+"
    r"(?:[uU][rR][lL][\t\n\f\r ]*+=[\t\n\f\r ]*+)?+([\"']?)(.*)",
    re.DOTALL,
)
# A candidate's URL ends with white space, or with the comma behind it; its descriptors end with a comma that
# is not in parentheses (HTML Standard, 4.8.4.2.2). It matches anywhere: a search that fails would begin again
# at every comma.
_SRCSET = re.compile(r"[\t\n\f\r ,]*+([^\t\n\f\r ]*+)(?:(?<!,)[^,(]*+(?:\([^)]*+\)?[^,(]*+)*+)?+")
_PAGE_CANNOT_WRITE = re.compile("[^\x00-\x7f\udc80-\udcff]")


def text(raw: bytes) -> str:
    """Return bytes of the page as text; bytes that are no UTF-8 survive as lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def decoded(raw: bytes) -> str:
    """Return what a browser takes an attribute's value for."""
    return decode_attribute(text(raw))


def keyword(raw: bytes) -> bytes:
    """Return an attribute's value for comparison with keywords: decoded, lower case."""
    if b"&" in raw:
        raw = decoded(raw).encode("utf-8", "surrogateescape")
    return raw.lower()


def urls(reader: str, raw: bytes) -> list[str]:
    """Return the URLs in an attribute's value; ``reader`` says how it is read."""
    value = decoded(raw)
    if reader == "srcset":
        return [url for match in _SRCSET.finditer(value) if (url := match[1].rstrip(","))]
    if reader == "refresh":
        match = _REFRESH.match(value)
        if match is None:
            return []
        quote, url = match.groups()
        return [url.partition(quote)[0] if quote else url]
    if reader == "list":
        return value.split()
    if reader == "values":
        return value.split(";")
    return [value]


def embedded(raw: bytes, *, escape: str) -> bytes:
    """Return the page or style sheet that is an attribute's value, in the page's own encoding.

    That encoding is not known here. So every byte past ASCII is kept as it is, and a character that only a
    reference can have named is written as ``escape`` says: ``&#%d;`` in HTML, ``\\%x`` in CSS.
    """
    if b"&" not in raw:
        return raw
    value = decode_attribute(raw.decode("ascii", "surrogateescape"))
    value = _PAGE_CANNOT_WRITE.sub(lambda match: escape % ord(match[0]), value)
    return value.encode("ascii", "surrogateescape")


def quoted(name: bytes, value: bytes) -> bytes:
    """Return an attribute with ``value``, which is decoded text."""
    return name + b'="' + value.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b'"', b"&quot;") + b'"'


def markup_text(raw: bytes) -> str:
    """Return the text of markup without tags: references decoded, CDATA sections taken out of their marks."""
    pieces = re.split(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", text(raw), flags=re.DOTALL)
    return "".join(
        piece if position % 2 else unescape_text(piece) if "&" in piece else piece
        for position, piece in enumerate(pieces)
    )

"""Files that are served whole or in part, so that a download that broke off goes on (RFC 9110, 13 and 14).

One part at a time: who asks for several gets the whole file, as who asks for none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from consent import headers as fields
from consent.answers import Headers

_PIECE: Final = 256 * 1024
_ONE_RANGE = re.compile(rb"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_MOST_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Served:
    """How a request for a file is answered."""

    status: int
    """200, 206, 304 (who asks has it), 412 (it is not the one that was asked for) or 416 (it has no such part)."""
    headers: Headers
    """Those that go with the status; of a file that is kept by nobody."""
    first: int = 0
    """The first byte that is sent."""
    length: int = 0
    """How many bytes are."""


def served(method: str, headers: Headers, *, size: int, digest: str) -> Served:
    """Decide how a request for a file is answered.

    Args:
        method: ``GET`` or ``HEAD``.
        headers: the request's.
        size: how many bytes the file has.
        digest: the SHA-256 of it, in hexadecimal digits: its ``ETag``.
    """
    tag = b'"%s"' % digest.encode()
    own = ((b"etag", tag), (b"accept-ranges", b"bytes"))
    wanted, known = (_tags(headers, name) for name in (b"if-match", b"if-none-match"))
    if wanted and tag not in wanted and b"*" not in wanted:
        return Served(412, own)
    if tag in {each.removeprefix(b"W/") for each in known} or b"*" in known:
        return Served(304, own)
    # A part is of a GET only (14.2), and of this very file (13.1.5: no weak tag, and no date, for it has none).
    asked = b",".join(fields.lines(headers, b"range"))
    only_if = fields.lines(headers, b"if-range")
    found = _ONE_RANGE.fullmatch(asked) if method == "GET" and only_if in ([], [tag]) else None
    if found is not None and (found[1] or found[2]):
        first, last = _number(found[1]), _number(found[2])
        if first is None:
            first, last = max(0, size - (last or 0)), size - 1
        elif last is not None and last < first:
            return Served(200, _sized(own, size), 0, size)  # no range at all (14.1.1)
        if first >= size:
            return Served(416, (*own, (b"content-range", b"bytes */%d" % size)))
        last = size - 1 if last is None else min(last, size - 1)
        part = (b"content-range", b"bytes %d-%d/%d" % (first, last, size))
        return Served(206, (*_sized(own, last - first + 1), part), first, last - first + 1)
    return Served(200, _sized(own, size), 0, size)


def pieces_of(file: BinaryIO, part: Served) -> Iterator[bytes]:
    """Yield what is sent of a file, and close it."""
    with file:
        file.seek(part.first)
        left = part.length
        while left and (piece := file.read(min(_PIECE, left))):
            left -= len(piece)
            yield piece


def _sized(own: Headers, length: int) -> Headers:
    return (*own, (b"content-length", b"%d" % length))


def _tags(headers: Headers, name: bytes) -> set[bytes]:
    return {tag.strip(b" \t") for line in fields.lines(headers, name) for tag in line.split(b",")}


def _number(digits: bytes) -> int | None:
    """Read a number, of which there may be as many digits as a header field takes; ``None``: there is none."""
    if not digits:
        return None
    digits = digits.lstrip(b"0") or b"0"
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS

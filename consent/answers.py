"""Answers to a request: one that is made for it, and one that is kept and given again and again."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field

from consent import headers as fields

Headers = Sequence[tuple[bytes, bytes]]

LOCKED_DOWN: Headers = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    # With no-referrer, browsers would send our own forms with "Origin: null".
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex"),
)
"""What every page of our own has: no script, nothing of anybody else, in nobody's frame."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent: without ``Content-Length``, which depends on the method."""

    status: int
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """The same content for many requests, with its compressed form, and 304 for those who have it."""

    content: bytes
    etag: str
    """Strong, in its quotes; the compressed form has one of its own."""
    headers: Headers
    """What 200 and 304 alike have, ``ETag`` and ``Vary`` excepted."""
    media_type: str
    _zipped: bytes = field(init=False)

    def __post_init__(self) -> None:
        # mtime=0: the same bytes from every worker, as the ETag promises.
        object.__setattr__(self, "_zipped", gzip.compress(self.content, mtime=0))

    def to(self, headers: Headers, *, vary: bytes = b"") -> Answer:
        """Return the answer to a request with ``headers``.

        Args:
            vary: What the choice of this content depends on, besides the coding. (RFC 9110, section 12.5.5.)
        """
        codings = b",".join(fields.lines(headers, b"accept-encoding")).lower().replace(b" ", b"").split(b",")
        use_gzip = b"gzip" in codings
        etag = self.etag[:-1] + '-gzip"' if use_gzip else self.etag
        sent = [
            *self.headers,
            (b"etag", etag.encode()),
            (b"vary", b"Accept-Encoding" + (b", " + vary if vary else b"")),
        ]
        known = {
            tag.strip(b" \t").removeprefix(b"W/")
            for line in fields.lines(headers, b"if-none-match")
            for tag in line.split(b",")
        }
        if etag.encode() in known or b"*" in known:
            return Answer(304, sent)
        sent.insert(0, (b"content-type", self.media_type.encode()))
        if use_gzip:
            sent.append((b"content-encoding", b"gzip"))
        return Answer(200, sent, self._zipped if use_gzip else self.content)

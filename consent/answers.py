"""Answers to a request: one that is made for it, and one that is kept and given again and again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field

from consent import headers as fields
from consent.banner import Banner

Headers = Sequence[tuple[bytes, bytes]]

LOCKED_DOWN: Headers = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    # With no-referrer, browsers would send our own forms with "Origin: null".
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex, nofollow"),
)
"""What every page of our own has: no script, nothing of anybody else, in nobody's frame."""
DECIDING = (b"vary", b", ".join(fields.DECIDING_FIELDS))
"""What an answer depends on that a decision goes into."""
PAGE_HEADERS: Headers = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    DECIDING,
    *LOCKED_DOWN,
)
"""What a page has that was made for one visitor."""
JSON_HEADERS: Headers = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


class Refused(Exception):
    """A request that is answered with an error: the code of the JSON shape, the key of the visitor's text."""

    def __init__(self, status: int, code: str, text: str, headers: Headers = ()) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.text = text
        self.headers = headers
        self.banner: Banner | None = None
        """Speaks the visitor's language, where the request told more of it than its header fields do."""


def allow(method: str, *methods: str) -> None:
    """Refuse another method than ``methods``.

    Raises:
        Refused: it is another one.
    """
    if method not in methods:
        allowed = (b"allow", ", ".join(methods).encode())
        raise Refused(405, "method-not-allowed", "error_method", (allowed,))


def wants_json(headers: Headers) -> bool:
    """Tell whether a request is to be answered with JSON: it is JSON itself, or asks for it and for no page."""
    media_type = fields.media_type_of(fields.only(headers, b"content-type") or b"")
    accept = b",".join(fields.lines(headers, b"accept")).lower()
    return media_type == b"application/json" or (b"application/json" in accept and b"text/html" not in accept)


def json_bytes(value: object) -> bytes:
    """Write JSON as short as it goes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent: without ``Content-Length``, which depends on the method."""

    status: int
    headers: Headers = ()
    body: bytes = b""


def _gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """The same content for many requests, with its compressed form, and 304 for those who have it."""

    content: bytes
    etag: str
    """Strong, in its quotes; the compressed form has one of its own."""
    headers: Headers
    """What 200 and 304 alike have, ``ETag`` and ``Vary`` excepted."""
    media_type: str
    zipping: InitVar[Callable[[bytes], bytes]] = _gzipped
    """What makes the compressed form: the same bytes in every worker, as the ETag promises."""
    _zipped: bytes = field(init=False)

    def __post_init__(self, zipping: Callable[[bytes], bytes]) -> None:
        object.__setattr__(self, "_zipped", zipping(self.content))

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

"""Content codings and character encodings around the rewriter, which reads bytes that agree with ASCII."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Callable
from typing import Protocol

_PIECE = 256 * 1024
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_PRESCAN_BYTES = 1024  # HTML Standard, section 13.2.3.2

# The encodings in which a "<" may be something else than the byte 0x3C.
_NOT_ASCII: dict[bytes, str] = {
    b"utf-16": "utf-16-le",
    b"utf-16le": "utf-16-le",
    b"utf-16be": "utf-16-be",
    b"ucs-2": "utf-16-le",
    b"unicode": "utf-16-le",
    b"csunicode": "utf-16-le",
    b"iso-10646-ucs-2": "utf-16-le",
    b"unicodefeff": "utf-16-le",
    b"unicodefffe": "utf-16-be",
    b"iso-2022-jp": "iso2022_jp",
    b"csiso2022jp": "iso2022_jp",
}


class Stream(Protocol):
    """Bytes in, bytes out, ended once."""

    def write(self, chunk: bytes) -> bytes:
        """Take the next bytes; return what is ready."""

    def end(self) -> bytes:
        """Return the rest."""


class Gzipped:
    """Decodes a gzip body for ``inner`` and encodes what comes out again.

    A body however large when decoded takes constant memory.

    Raises:
        zlib.error: from :meth:`write`, where the body is not gzip.
    """

    def __init__(self, inner: Stream, *, level: int = 6) -> None:
        self._inner = inner
        self._decoder = zlib.decompressobj(31)
        self._encoder = zlib.compressobj(level, zlib.DEFLATED, 31)

    def write(self, chunk: bytes) -> bytes:
        out = []
        while chunk:
            piece = self._decoder.decompress(chunk, _PIECE)
            out.append(self._encoder.compress(self._inner.write(piece)))
            chunk = self._decoder.unconsumed_tail
            if self._decoder.eof:
                # Another member may follow (RFC 1952, section 2.2).
                chunk = self._decoder.unused_data.lstrip(b"\0")
                self._decoder = zlib.decompressobj(31)
        # What is ready for the reader is not kept for a better ratio.
        out.append(self._encoder.flush(zlib.Z_SYNC_FLUSH))
        return b"".join(out)

    def end(self) -> bytes:
        rest = self._inner.write(self._decoder.flush()) + self._inner.end()
        return self._encoder.compress(rest) + self._encoder.flush(zlib.Z_FINISH)


class Transcoded:
    """Brings a page in an encoding unlike ASCII to ``inner`` as UTF-8, and back again."""

    def __init__(self, inner: Stream, encoding: str) -> None:
        self._inner = inner
        errors = "surrogatepass" if encoding.startswith("utf-16") else "xmlcharrefreplace"
        self._decoder = codecs.getincrementaldecoder(encoding)(
            "surrogatepass" if encoding.startswith("utf-16") else "replace"
        )
        self._encoder = codecs.getincrementalencoder(encoding)(errors)
        self._middle = codecs.getincrementaldecoder("utf-8")("surrogatepass")

    def _back(self, piece: bytes, *, final: bool) -> bytes:
        return self._encoder.encode(self._middle.decode(piece, final), final)

    def write(self, chunk: bytes) -> bytes:
        text = self._decoder.decode(chunk)
        return self._back(self._inner.write(text.encode("utf-8", "surrogatepass")), final=False)

    def end(self) -> bytes:
        try:
            text = self._decoder.decode(b"", True)
        except UnicodeDecodeError:  # half a code unit: a browser shows a replacement character
            text = "�"
        rest = self._inner.write(text.encode("utf-8", "surrogatepass")) + self._inner.end()
        return self._back(rest, final=True)


class Sniffed:
    """Waits for the first bytes to learn the encoding, unless ``content_type`` tells, then hands on.

    The order is a browser's: byte order mark, ``Content-Type``, ``<meta charset>`` (HTML Standard, 13.2.3).
    """

    def __init__(self, make: Callable[[], Stream], content_type: bytes) -> None:
        self._make = make
        match = _CHARSET.search(content_type)
        self._declared = match[1].lower() if match else None
        self._inner: Stream | None = None
        self._head = b""

    def _choose(self, head: bytes) -> Stream:
        inner = self._make()
        if head.startswith(codecs.BOM_UTF8):
            return inner
        if head.startswith(codecs.BOM_UTF16_LE):
            return Transcoded(inner, "utf-16-le")
        if head.startswith(codecs.BOM_UTF16_BE):
            return Transcoded(inner, "utf-16-be")
        charset = self._declared
        if charset is None:
            match = _CHARSET.search(head[:_PRESCAN_BYTES])
            # A page whose <meta> was readable is not in UTF-16, whatever it says.
            charset = match[1].lower() if match and not match[1].lower().startswith(b"u") else b""
        encoding = _NOT_ASCII.get(charset)
        return Transcoded(inner, encoding) if encoding else inner

    def write(self, chunk: bytes) -> bytes:
        if self._inner is None:
            self._head += chunk
            if len(self._head) < 3:
                return b""
            self._inner = self._choose(self._head)
            chunk, self._head = self._head, b""
        return self._inner.write(chunk)

    def end(self) -> bytes:
        if self._inner is None:
            self._inner = self._choose(self._head)
            return self._inner.write(self._head) + self._inner.end()
        return self._inner.end()

"""Character encodings around the rewriter (Encoding Standard), which reads bytes that agree with ASCII.

A :class:`Sniffed` is a stream around a stream: what is in another encoding is brought to one in which a ``<`` is a
``<``, goes through the inner one, and comes out as it was.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from functools import lru_cache

from consent.streams import Stream

_LABEL = rb"[\"']?\s*([A-Za-z0-9_.:-]{1,40})"
_WHOLE_LABEL = re.compile(_LABEL)
_PARAMETER = re.compile(rb";\s*+([^\s;=\"]++)\s*+=\s*+(?:\"((?:[^\"\\]|\\.)*+)\"?|([^;]*+))")
_PRESCAN = re.compile(
    rb"<!--(?:-?>|.*?-->|.*)"
    rb"|<meta[\s/][^>]*?charset\s*=\s*" + _LABEL + rb"(?=[\s\"'/>;])"
    rb"|\A<\?xml\s[^>]*?encoding\s*=\s*" + _LABEL + rb"(?=[\"'])",
    re.IGNORECASE | re.DOTALL,
)
_PLAIN_META = re.compile(
    rb"<meta\s+(?:charset|http-equiv\s*=\s*([\"']?)content-type\1\s+content\s*=\s*[\"']\s*text/html\s*;\s*charset"
    rb"|content\s*=\s*([\"'])\s*text/html\s*;\s*charset\s*=\s*[a-z0-9_.:-]+\2\s+http-equiv\s*=\s*[\"']?content-type"
    rb")\b",
    re.IGNORECASE,
)
_CLOSED_COMMENT = re.compile(rb"<!--(?:-?>|.*?-->)", re.DOTALL)
_HOLD_TEXT = tuple(b"title script style noscript textarea xmp iframe noembed noframes".split())
_PRESCAN_BYTES = 1024  # HTML Standard, section 13.2.3.2
_BOMS = {codecs.BOM_UTF8: "", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_UTF_16_DECLARED = {"<?x".encode(encoding): encoding for encoding in ("utf-16-le", "utf-16-be")}
"""How a page begins that is in UTF-16 by its XML declaration, where nothing else says what it is in."""


def _with_beginnings(marks: dict[bytes, str]) -> tuple[dict[bytes, str], frozenset[bytes]]:
    return marks, frozenset(mark[:length] for mark in marks for length in (0, 1))


_DECLARED_MARKS = _with_beginnings(_BOMS)
_UNDECLARED_MARKS = _with_beginnings(_BOMS | _UTF_16_DECLARED)
_ISO_2022_JP = "iso-2022-jp"

# The labels of the encodings in which a "<" may be something else than the byte 0x3C, or the byte 0x3C
# something else than a "<". In the other multi-byte encodings no second byte means anything to markup.
_UNLIKE_ASCII: dict[bytes, str] = {
    b"utf-16": "utf-16-le",
    b"utf-16le": "utf-16-le",
    b"utf-16be": "utf-16-be",
    b"ucs-2": "utf-16-le",
    b"unicode": "utf-16-le",
    b"csunicode": "utf-16-le",
    b"iso-10646-ucs-2": "utf-16-le",
    b"unicodefeff": "utf-16-le",
    b"unicodefffe": "utf-16-be",
    b"iso-2022-jp": _ISO_2022_JP,
    b"csiso2022jp": _ISO_2022_JP,
}


@lru_cache(maxsize=256)
def charset(content_type: bytes) -> bytes | None:
    """Return the label of the character encoding that a ``Content-Type`` names, lower case."""
    for name, quoted, plain in _PARAMETER.findall(content_type):
        if name.lower() == b"charset":
            match = _WHOLE_LABEL.match(quoted or plain)
            return match[1].lower() if match else None
    return None


class _Utf16:
    """Brings a page in UTF-16 to ``inner`` as UTF-8, and back again, each code unit as it was."""

    def __init__(self, inner: Stream, encoding: str) -> None:
        self._inner = inner
        # Half a surrogate pair is no character, but it has a right to stay what it is.
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._encoding = encoding
        self._middle = codecs.getincrementaldecoder("utf-8")("surrogatepass")

    def _through(self, text: str) -> bytes:
        return self._back(self._inner.write(text.encode("utf-8", "surrogatepass")))

    def _back(self, piece: bytes, *, final: bool = False) -> bytes:
        return self._middle.decode(piece, final).encode(self._encoding, "surrogatepass")

    def write(self, chunk: bytes) -> bytes:
        return self._through(self._decoder.decode(chunk))

    def end(self) -> bytes:
        pending = self._decoder.getstate()[0]
        half = pending[len(pending) & ~1 :]
        self._decoder.setstate((b"", 0))
        last = pending[: len(pending) & ~1].decode(self._encoding, "surrogatepass")
        return self._through(last) + self._back(self._inner.end(), final=True) + half


_ERROR = 0x9B  # an escape with the eighth bit, which nothing else becomes


class _Iso2022Jp:
    """Shows ``inner`` the bytes of Japanese characters with their eighth bit set, and takes it off again.

    Between escape sequences two bytes are a character, any of them may look like a ``<``, and none is. The
    encoding has no other use for the eighth bit, so every byte of the page comes back as it was. Only bytes
    with that bit, which are errors to every browser, become another such byte; and an escape sequence that
    says what already holds, which shows as nothing, is left out, lest it hide a name from who looks for it.
    """

    _ESCAPE = re.compile(rb"\x1b(\$[@B]|\([BIJ])")
    _HALF_ESCAPE = re.compile(rb"\x1b[$(]?\Z")
    _IN_ASCII = bytes(byte if byte < 0x80 else _ERROR for byte in range(256))
    _IN_JAPANESE = bytes(
        _ERROR if byte >= 0x80 else byte if byte == 0x1B else byte | 0x80 for byte in range(256)
    )
    _BACK = bytes(byte if byte < 0x80 or byte == _ERROR else byte & 0x7F for byte in range(256))

    def __init__(self, inner: Stream) -> None:
        self._inner = inner
        self._set = b"(B"
        self._pending = b""

    def _masked(self, data: bytes) -> bytes:
        parts = self._ESCAPE.split(data)
        out = []
        for position, part in enumerate(parts):
            if position % 2 == 0:
                ascii_like = self._set in (b"(B", b"(J")
                out.append(part.translate(self._IN_ASCII if ascii_like else self._IN_JAPANESE))
            elif part != self._set:
                self._set = part
                out.append(b"\x1b" + part)
        return b"".join(out)

    def write(self, chunk: bytes) -> bytes:
        data = self._pending + chunk
        cut = self._HALF_ESCAPE.search(data)
        end = cut.start() if cut else len(data)
        self._pending = data[end:]
        return self._inner.write(self._masked(data[:end])).translate(self._BACK)

    def end(self) -> bytes:
        rest = self._inner.write(self._masked(self._pending)) + self._inner.end()
        return rest.translate(self._BACK)


MASKED_ESCAPE = re.compile(rb"\x7f(?:\$[@B]|\([BIJ])")
"""What the escape sequences become of what must not be read as ISO-2022-JP."""


class _NotIso2022Jp:
    """Keeps a page from being read as ISO-2022-JP: its escape sequences begin with another control character."""

    def __init__(self, inner: Stream) -> None:
        self._inner = inner
        self._pending = b""

    def write(self, chunk: bytes) -> bytes:
        data = self._pending + chunk
        cut = _Iso2022Jp._HALF_ESCAPE.search(data)
        end = cut.start() if cut else len(data)
        self._pending = data[end:]
        return self._inner.write(_Iso2022Jp._ESCAPE.sub(b"\x7f\\1", data[:end]))

    def end(self) -> bytes:
        return self._inner.write(self._pending) + self._inner.end()


class _Undeclared:
    """Looks for a ``<meta charset>`` while handing on what reads the same with and without one.

    Of what a ``<meta>`` may name, only ISO-2022-JP matters: a page whose ``<meta>`` could be read is not in
    UTF-16, whatever it says. Browsers look for it in different ways and places, and a frame without one takes after
    the page around it. So a page that does not say plainly what it is in cannot be in ISO-2022-JP afterwards.
    """

    _TELLING = re.compile(rb"[\x1b\x80-\xff]")

    def __init__(self, inner: Stream) -> None:
        self._inner = inner
        self._head: bytes | None = b""
        self._sent = 0

    def write(self, chunk: bytes) -> bytes:
        if self._head is None:
            return self._inner.write(chunk)
        self._head += chunk
        return self._hand_on(final=False)

    def _hand_on(self, *, final: bool) -> bytes:
        head = self._head
        assert head is not None  # noqa: S101 - the callers' condition
        window = head[:_PRESCAN_BYTES]
        labels = [match for match in _PRESCAN.finditer(window) if match[1] or match[2]]
        told = labels and labels[0][1] and b">" in window[labels[0].end() :]
        if not told and len(head) < _PRESCAN_BYTES and not final:
            telling = self._TELLING.search(head, self._sent)
            end = telling.start() if telling else len(head)
        else:
            if not labels or not _is_plain(window, labels):
                self._inner = _NotIso2022Jp(self._inner)
            elif _UNLIKE_ASCII.get((labels[0][1] or labels[0][2]).lower()) == _ISO_2022_JP:
                self._inner = _Iso2022Jp(self._inner)
            self._head = None
            end = len(head)
        piece, self._sent = head[self._sent : end], end
        return self._inner.write(piece) if piece else b""

    def end(self) -> bytes:
        rest = b"" if self._head is None else self._hand_on(final=True)
        return rest + self._inner.end()


def _is_plain(window: bytes, labels: list[re.Match[bytes]]) -> bool:
    """Tell whether every browser takes the first of the labels for the page's."""
    label = labels[0]
    if label[2]:
        return all((other[1] or other[2]).lower() == label[2].lower() for other in labels)
    before = _CLOSED_COMMENT.sub(b"", window[: label.end()]).lower()
    return (
        _PLAIN_META.match(window, label.start()) is not None
        and before.count(b"charset") == 1
        and not any(before.rfind(b"<" + name) > before.rfind(b"</" + name) for name in _HOLD_TEXT)
    )


class Sniffed:
    """Learns the character encoding as browsers do, and hands the page on to what ``make`` makes.

    The order is: byte order mark, ``content_type``, an XML declaration in UTF-16, ``<meta charset>`` (HTML Standard,
    section 13.2.3).
    """

    def __init__(self, make: Callable[[], Stream], content_type: bytes) -> None:
        self._make = make
        self._declared = charset(content_type)
        self._marks, self._beginnings = _DECLARED_MARKS if self._declared else _UNDECLARED_MARKS
        self._inner: Stream | None = None
        self._head = b""

    def _choose(self, head: bytes) -> Stream:
        inner = self._make()
        marked = None
        if head[:1] in self._beginnings:
            marked = next((encoding for mark, encoding in self._marks.items() if head.startswith(mark)), None)
        if marked is None and self._declared is None:
            return _Undeclared(inner)
        encoding = _UNLIKE_ASCII.get(self._declared or b"") if marked is None else marked
        if not encoding:
            return inner
        return _Iso2022Jp(inner) if encoding == _ISO_2022_JP else _Utf16(inner, encoding)

    def write(self, chunk: bytes) -> bytes:
        if self._inner is None:
            self._head += chunk
            if self._head[:1] in self._beginnings and any(
                len(self._head) < len(mark) and mark.startswith(self._head) for mark in self._marks
            ):
                return b""
            self._inner = self._choose(self._head)
            chunk, self._head = self._head, b""
        return self._inner.write(chunk)

    def end(self) -> bytes:
        if self._inner is None:
            self._inner = self._choose(self._head)
            return self._inner.write(self._head) + self._inner.end()
        return self._inner.end()

"""The streaming rewriter: takes refused elements out of a page and leaves every other byte as it is.

``write(bytes) -> bytes`` and ``end() -> bytes``; nothing is awaited inside. Only what is not decided is kept
back: a tag until its ``>``, an inline script until its end tag. What comes out does not depend on how the page
was cut into chunks.

Where browsers can read the same bytes in two ways (``noscript`` with scripting on and off, raw text inside
malformed SVG), the rewriter makes the page safe under both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from consent.html.charrefs import decode_attribute
from consent.html.elements import (
    ESCAPABLE_RAW_TEXT,
    JAVASCRIPT_TYPES,
    LOADING_LINK_TYPES,
    LOADS,
    RAW_TEXT,
    Cut,
)
from consent.html.foreign import ForeignContent, Reading
from consent.html.tokenizer import (
    RAW_TEXT_END,
    REST_OF_TAG,
    SKIP,
    TAG_NAME,
    Attribute,
    attributes,
    comment_end,
    script_end,
)

DEFAULT_MAX_BUFFER_BYTES = 4 * 1024 * 1024
_MAX_NESTING = 8
_RESCAN_ABOVE = 64 * 1024

_COMMENT_END = re.compile(rb"--!?>")
_REFRESH_URL = re.compile(r"""[\s;,]*[0-9.]*[\s;,]*(?:url\s*=\s*)?(["']?)(.*)""", re.IGNORECASE | re.DOTALL)
_SRCSET_URL = re.compile(r"[\s,]*([^\s]+)[^,(]*(?:\([^)]*\)[^,(]*)*")


class RewriterLimitExceeded(Exception):
    """The page keeps one thing undecided for more than ``max_buffer_bytes``; the rewriter refuses reuse."""


class Judge(Protocol):
    """Decides about what the rewriter finds, and keeps account of it.

    Called from one page's rewriter only, in document order; must not raise.
    """

    def refuses_url(self, element: str, url: str) -> bool:
        """Tell whether ``element`` must not load ``url`` (an attribute's value, references decoded)."""

    def refuses_script(self, code: str) -> bool:
        """Tell whether the inline script ``code`` must not run."""

    def set_base(self, url: str) -> None:
        """From here on relative references are resolved against ``url``."""


class _Mode(Enum):
    DATA = auto()
    COMMENT = auto()
    BOGUS_COMMENT = auto()
    RAW_TEXT = auto()
    DROPPED_RAW_TEXT = auto()
    CDATA = auto()
    PLAINTEXT = auto()


_INCOMPLETE = -1


class Rewriter:
    """One page's rewriter.

    Args:
        judge: decides what is refused.
        at_body_end: makes the bytes to put before ``</body>``, once; where a page has none, at its end. It is
            called when all before that place has been judged.
        fragment: the page may be a piece of one: without a ``<body>`` or ``<html>`` nothing is inserted.
        scripting: read ``noscript`` as browsers with JavaScript do; ``False`` within one.
        max_buffer_bytes: how much may be kept back undecided before :class:`RewriterLimitExceeded`.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        at_body_end: Callable[[], bytes] | None = None,
        fragment: bool = False,
        scripting: bool = True,
        max_buffer_bytes: int = DEFAULT_MAX_BUFFER_BYTES,
        nesting: int = 0,
    ) -> None:
        self._judge = judge
        self._insertion = at_body_end
        self._is_document = not fragment
        self._scripting = scripting
        self._max_buffer_bytes = max_buffer_bytes
        self._nesting = nesting
        self._mode = _Mode.DATA
        self._raw_name = b""
        self._pending = b""
        self._scanned = 0
        self._waiting: list[bytes] = []
        self._out: list[bytes] = []
        self._flushed = 0
        self._last_byte = b""
        self._foreign = ForeignContent()
        self._base_seen = False
        self._closed = False

    @property
    def in_markup(self) -> bool:
        """Whether all that was written has been read to its end: no tag, comment or raw text is open."""
        return self._mode is _Mode.DATA and not self._pending and not self._waiting

    def write(self, chunk: bytes) -> bytes:
        """Take the next bytes of the page; return what is decided.

        Raises:
            RewriterLimitExceeded: see the constructor; or the rewriter has ended.
        """
        if self._closed:
            raise RewriterLimitExceeded("this rewriter has ended")
        if self._waiting or self._pending:
            # All that can be undecided is decided by a ">"; and a long wait is read again only now and then,
            # so that many small chunks cost no more than few large ones.
            self._waiting.append(chunk)
            added = sum(map(len, self._waiting))
            size = len(self._pending) + added
            if size > self._max_buffer_bytes:
                self._closed = True
                raise RewriterLimitExceeded(f"{size} bytes of the page could not be decided")
            if b">" not in chunk or (self._scanned > _RESCAN_ABOVE and added * 8 < self._scanned):
                return b""
            chunk = b"".join((self._pending, *self._waiting))
            self._waiting.clear()
            self._pending = b""
        return self._run(chunk, final=False)

    def end(self) -> bytes:
        """Return the rest of the page; the rewriter cannot be used again."""
        if self._closed:
            return b""
        data = b"".join((self._pending, *self._waiting))
        self._pending = b""
        self._waiting.clear()
        result = self._run(data, final=True)
        self._closed = True
        return result

    # --- the loop ---

    def _run(self, data: bytes, *, final: bool) -> bytes:
        self._flushed = 0
        position = 0
        size = len(data)
        while position < size:
            if self._mode is _Mode.DATA:
                if self._foreign.following:
                    position = data.find(b"<", position)
                    if position < 0:
                        position = size
                        break
                else:
                    matched = SKIP.match(data, position)
                    assert matched is not None  # noqa: S101 - the pattern matches the empty string
                    position = matched.end()
                    if position >= size:
                        break
                after = self._markup(data, position, final)
            else:
                after = self._resume(data, position, final)
            if after == _INCOMPLETE:
                break
            position = after
        if final:
            # An unfinished tag ends with the page and makes nothing; what is inserted must not finish it.
            if self._is_document and self._mode is _Mode.DATA:
                self._insert(data, position)
            position = size
        self._keep(data, position)
        if position < size:
            self._pending = data[position:]
            if len(self._pending) > self._max_buffer_bytes:
                self._closed = True
                raise RewriterLimitExceeded(f"{len(self._pending)} bytes of the page could not be decided")
        self._scanned = len(self._pending)
        result = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return result

    def _keep(self, data: bytes, position: int) -> None:
        """Let everything up to ``position`` out."""
        if self._flushed < position:
            piece = data[self._flushed : position] if self._flushed or position < len(data) else data
            self._out.append(piece)
            self._last_byte = piece[-1:]
        self._flushed = max(self._flushed, position)

    def _replace(self, data: bytes, start: int, end: int, replacement: bytes = b"") -> None:
        """Let ``replacement`` out instead of ``data[start:end]``."""
        self._keep(data, start)
        if not replacement and self._last_byte == b"<":
            # Text that ends with "<" must not become a tag with what follows the gap.
            replacement = b"<!---->"
        if replacement:
            self._out.append(replacement)
            self._last_byte = replacement[-1:]
        self._flushed = end

    def _insert(self, data: bytes, position: int) -> None:
        if self._insertion is not None:
            self._keep(data, position)
            self._out.append(self._insertion())
            self._insertion = None

    # --- within something whose end is awaited ---

    def _resume(self, data: bytes, position: int, final: bool) -> int:
        size = len(data)
        mode = self._mode
        if mode is _Mode.PLAINTEXT:
            return size
        if mode is _Mode.BOGUS_COMMENT:
            end = data.find(b">", position) + 1
            if not end:
                return size
        elif mode is _Mode.COMMENT:
            match = _COMMENT_END.search(data, position)
            if match is None:
                return size if final else self._all_but(position, size, 3)
            end = match.end()
        elif mode is _Mode.CDATA:
            end = data.find(b"]]>", position) + 3
            if end < 3:
                return size if final else self._all_but(position, size, 2)
        else:
            return self._raw_text(data, position, final)
        self._mode = _Mode.DATA
        return end

    @staticmethod
    def _all_but(position: int, size: int, tail: int) -> int:
        """Consume up to the last ``tail`` bytes, which may begin what is searched for."""
        return size - tail if size - tail > position else _INCOMPLETE

    def _raw_text(self, data: bytes, position: int, final: bool) -> int:
        dropped = self._mode is _Mode.DROPPED_RAW_TEXT
        size = len(data)
        if self._raw_name == b"script":
            begin = script_end(data, position)
        else:
            found = RAW_TEXT_END[self._raw_name].search(data, position)
            begin = found.start() if found else -1
        if begin < 0:
            # A script's escapes are understood from its beginning only, unless it contains none.
            whole = self._raw_name == b"script" and not final and data.find(b"<!", position) >= 0
            after = size if final else _INCOMPLETE if whole else self._all_but(position, size, 11)
        else:
            match = REST_OF_TAG.match(data, begin + 2 + len(self._raw_name))
            if match:
                after = match.end()
                self._mode = _Mode.DATA
                self._foreign.end_tag(self._raw_name)
            else:
                after = size if final else begin if begin > position else _INCOMPLETE
        if dropped and after != _INCOMPLETE:
            self._replace(data, position, after)
        return after

    # --- a "<" in markup ---

    def _markup(self, data: bytes, start: int, final: bool) -> int:
        size = len(data)
        lead = data[start + 1 : start + 2]
        if lead.isalpha():
            return self._start_tag(data, start, final)
        if lead == b"/":
            return self._end_tag(data, start, final)
        if lead == b"!":
            return self._declaration(data, start, final)
        if lead == b"?":
            return self._bogus_comment(data, start, final)
        if not lead:
            return size if final else _INCOMPLETE
        return start + 1

    def _bogus_comment(self, data: bytes, start: int, final: bool) -> int:
        end = data.find(b">", start) + 1
        if end:
            return end
        if not final:
            self._mode = _Mode.BOGUS_COMMENT
        return len(data)

    def _declaration(self, data: bytes, start: int, final: bool) -> int:
        size = len(data)
        if size - start < 9 and not final:
            return _INCOMPLETE if data.find(b">", start) < 0 or data[start + 2 : start + 3] == b"-" else (
                self._bogus_comment(data, start, final)
            )
        if data.startswith(b"<!--", start):
            end = comment_end(data, start)
            if end >= 0:
                return end
            if not final:
                self._mode = _Mode.COMMENT
                return max(start + 4, size - 3)
            return size
        reading = self._foreign.reading
        if reading is not Reading.HTML and data.startswith(b"<![CDATA[", start):
            if reading is Reading.UNCERTAIN:
                return self._uncertain_cdata(data, start, final)
            self._mode = _Mode.CDATA
            return start + 9
        return self._bogus_comment(data, start, final)

    def _uncertain_cdata(self, data: bytes, start: int, final: bool) -> int:
        """A CDATA section to one reader, a comment up to the first ``>`` and then markup to the other."""
        end = data.find(b"]]>", start) + 3
        if end < 3:
            if not final:
                return _INCOMPLETE
            end = len(data)
        first = data.find(b">", start)
        if data.find(b"<", first, end) >= 0:
            self._replace(data, start, end)
        return end

    def _end_tag(self, data: bytes, start: int, final: bool) -> int:
        lead = data[start + 2 : start + 3]
        if not lead:
            return len(data) if final else _INCOMPLETE
        if not lead.isalpha():
            return start + 3 if lead == b">" else self._bogus_comment(data, start, final)
        named = TAG_NAME.match(data, start + 2)
        rest = REST_OF_TAG.match(data, named.end()) if named else None
        if named is None or rest is None:
            return _INCOMPLETE
        name = named[0].lower()
        if name == b"body" and not self._foreign.following:
            self._insert(data, start)
        self._foreign.end_tag(name)
        return rest.end()

    def _start_tag(self, data: bytes, start: int, final: bool) -> int:
        named = TAG_NAME.match(data, start + 1)
        rest = REST_OF_TAG.match(data, named.end()) if named else None
        if named is None or rest is None:
            return _INCOMPLETE
        name = named[0].lower()
        end = rest.end()
        attrs = attributes(data, named.end(), end - 1)
        # A slash belongs to an unquoted value that it ends.
        self_closing = data[end - 2 : end - 1] == b"/" and not (attrs and attrs[-1].end == end - 1)
        reading = self._foreign.reading
        if name in (b"body", b"html"):
            self._is_document = True
        if name == b"script":
            after = self._script(data, start, end, attrs, reading, self_closing, final)
        elif name == b"noscript" and self._scripting and reading is not Reading.FOREIGN:
            after = self._noscript(data, end, final)
        else:
            cut = self._loads(data, name, start, end, attrs)
            if name in RAW_TEXT and reading is not Reading.FOREIGN:
                after = self._begin_raw_text(data, name, start, end, reading, final, cut=cut)
            else:
                if cut:
                    self._replace(data, start, end)
                after = end
                if name == b"plaintext" and reading is Reading.HTML:
                    self._mode = _Mode.PLAINTEXT
        if after != _INCOMPLETE:
            self._foreign.start_tag(name, attrs, self_closing=self_closing)
            if after != end and self._mode is _Mode.DATA:
                self._foreign.end_tag(name)
        return after

    # --- elements ---

    def _loads(self, data: bytes, name: bytes, start: int, end: int, attrs: list[Attribute]) -> bool:
        """Judge what an element loads. Cut refused attributes; return whether the element itself must go."""
        if name not in LOADS:
            return False
        cut, readers = LOADS[name]
        wanted = self._loading_attributes(name, attrs)
        refused = set()
        for attribute in wanted:
            reader = readers[attribute.name]
            if any(self._judge.refuses_url(_text(name), url) for url in _urls(reader, attribute.value)):
                refused.add(attribute.name)
        if name == b"iframe":
            self._srcdoc(data, attrs)
        if name == b"base" and not refused and not self._base_seen and wanted:
            self._base_seen = True
            self._judge.set_base(decode_attribute(_text(wanted[0].value)))
        if refused and cut is Cut.ATTRIBUTE:
            for attribute in attrs:
                if attribute.name in refused:
                    self._replace(data, attribute.start, attribute.end)
            return False
        return bool(refused)

    @staticmethod
    def _loading_attributes(name: bytes, attrs: list[Attribute]) -> list[Attribute]:
        readers = LOADS[name][1]
        values = {a.name: a.value for a in reversed(attrs)}
        if name == b"link" and not LOADING_LINK_TYPES.intersection(_decoded(values.get(b"rel", b"")).split()):
            return []
        if name == b"input" and _decoded(values.get(b"type", b"")).strip() != b"image":
            return []
        if name == b"meta" and _decoded(values.get(b"http-equiv", b"")).strip() != b"refresh":
            return []
        if name == b"param" and _decoded(values.get(b"name", b"")) not in (b"movie", b"src", b"url", b"data"):
            return []
        return [a for a in attrs if a.name in readers]

    def _srcdoc(self, data: bytes, attrs: list[Attribute]) -> None:
        """Rewrite the page inside an ``iframe``'s ``srcdoc``."""
        for attribute in attrs:
            if attribute.name == b"srcdoc":
                source = decode_attribute(_text(attribute.value))
                inner, clean = self._nested(source.encode("utf-8", "surrogateescape"), scripting=True)
                text = inner.decode("utf-8", "surrogateescape")
                if text != source or not clean:
                    escaped = text.replace("&", "&amp;").replace('"', "&quot;") if clean else ""
                    value = b'srcdoc="' + escaped.encode("utf-8", "surrogateescape") + b'"'
                    self._replace(data, attribute.start, attribute.end, value)

    def _nested(self, content: bytes, *, scripting: bool, lost: bool = False) -> tuple[bytes, bool]:
        """Rewrite a piece that is a page of its own to some reader.

        Return it, and whether that reader is back in plain markup at its end.
        """
        if self._nesting >= _MAX_NESTING:
            return b"", True
        inner = Rewriter(
            self._judge,
            fragment=True,
            scripting=scripting,
            max_buffer_bytes=max(self._max_buffer_bytes, len(content) + 1),
            nesting=self._nesting + 1,
        )
        if lost:
            inner._foreign.lose_track()
        written = inner.write(content)
        clean = inner.in_markup
        return written + inner.end(), clean

    def _noscript(self, data: bytes, end: int, final: bool) -> int:
        """With scripting on it is text up to ``</noscript``; without, markup: both must be safe."""
        close, after = self._content_end(data, b"noscript", end, final)
        if after == _INCOMPLETE:
            return _INCOMPLETE
        content = data[end:close]
        inner, clean = self._nested(content, scripting=False)
        if inner != content or not clean:
            self._replace(data, end, close, inner if clean else b"")
        return after

    @staticmethod
    def _content_end(data: bytes, name: bytes, start: int, final: bool) -> tuple[int, int]:
        """Return where an element's raw text ends, and where its end tag does."""
        found = RAW_TEXT_END[name].search(data, start)
        if found:
            rest = REST_OF_TAG.match(data, found.end())
            if rest:
                return found.start(), rest.end()
        return (len(data), len(data)) if final else (_INCOMPLETE, _INCOMPLETE)

    def _begin_raw_text(
        self, data: bytes, name: bytes, start: int, end: int, reading: Reading, final: bool, *, cut: bool
    ) -> int:
        if reading is Reading.UNCERTAIN:
            close, after = self._content_end(data, name, end, final)
            if after == _INCOMPLETE:
                return _INCOMPLETE
            if cut:
                self._replace(data, start, after)
            elif b"<" in data[end:close]:
                content = data[end:close]
                if name in ESCAPABLE_RAW_TEXT:
                    # It looks the same to who reads it as text, and is text to who would read it as markup.
                    self._replace(data, end, close, content.replace(b"<", b"&lt;"))
                else:
                    inner, clean = self._nested(content, scripting=self._scripting, lost=True)
                    if inner != content or not clean:
                        self._replace(data, end, close, inner if clean else b"")
            return after
        self._raw_name = name
        self._mode = _Mode.DROPPED_RAW_TEXT if cut else _Mode.RAW_TEXT
        if cut:
            self._replace(data, start, end)
        return end

    def _script(
        self,
        data: bytes,
        start: int,
        end: int,
        attrs: list[Attribute],
        reading: Reading,
        self_closing: bool,
        final: bool,
    ) -> int:
        values = {a.name: a.value for a in reversed(attrs)}
        runs = _runs(values)
        sources = [a for a in attrs if a.name in LOADS[b"script"][1] and (reading is not Reading.HTML or a.name == b"src")]
        if not runs:
            sources = []
        refused = any(
            self._judge.refuses_url("script", url) for a in sources for url in _urls("url", a.value)
        )
        if reading is Reading.FOREIGN:
            return self._foreign_script(data, start, end, refused, runs and not sources, self_closing, final)
        if refused:
            self._replace(data, start, end)
        elif runs and not sources:
            close = script_end(data, end)
            rest = REST_OF_TAG.match(data, close + len(b"</script")) if close >= 0 else None
            if rest is None:
                return len(data) if final else _INCOMPLETE
            if self._judge.refuses_script(_text(data[end:close])):
                self._replace(data, start, rest.end())
            elif reading is Reading.UNCERTAIN and b"<" in data[end:close]:
                inner, clean = self._nested(data[end:close], scripting=self._scripting, lost=True)
                if clean and inner != data[end:close]:
                    self._replace(data, end, close, inner)
            return rest.end()
        self._raw_name = b"script"
        self._mode = _Mode.DROPPED_RAW_TEXT if refused else _Mode.RAW_TEXT
        return end

    def _foreign_script(
        self,
        data: bytes,
        start: int,
        end: int,
        refused: bool,
        inline: bool,
        self_closing: bool,
        final: bool,
    ) -> int:
        """In SVG a script's content is markup: text with character references, perhaps CDATA."""
        if self_closing:
            if refused:
                self._replace(data, start, end)
            return end
        if refused or inline:
            close, after = self._content_end(data, b"script", end, final)
            if after == _INCOMPLETE:
                return _INCOMPLETE
            if refused or self._judge.refuses_script(decode_attribute(_text(data[end:close]))):
                self._replace(data, start, after)
                return after
        return end


def _runs(values: dict[bytes, bytes]) -> bool:
    """Tell whether a script with these attributes is JavaScript (HTML Standard, 4.12.1.1)."""
    if b"type" in values:
        kind = _decoded(values[b"type"])
        return not kind or kind.strip(b"\t\n\f\r ") in JAVASCRIPT_TYPES
    language = _decoded(values.get(b"language", b""))
    return not language or b"text/" + language in JAVASCRIPT_TYPES


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _decoded(raw: bytes) -> bytes:
    """Return an attribute's value for comparison with keywords: decoded, lower case."""
    if b"&" in raw:
        raw = decode_attribute(_text(raw)).encode("utf-8", "surrogateescape")
    return raw.lower()


def _urls(reader: str, raw: bytes) -> list[str]:
    """Return the URLs in an attribute's value."""
    value = decode_attribute(_text(raw))
    if reader == "srcset":
        return [match[1].rstrip(",") for match in _SRCSET_URL.finditer(value)]
    if reader == "refresh":
        match = _REFRESH_URL.match(value)
        if match is None:
            return []
        quote, url = match.groups()
        return [url.partition(quote)[0] if quote else url]
    return [value]

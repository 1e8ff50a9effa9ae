"""The streaming rewriter: takes refused elements out of a page and leaves every other byte as it is.

``write(bytes) -> bytes`` and ``end() -> bytes``; nothing is awaited inside. Only what is not decided is kept
back: a tag until its ``>``, an inline script or style sheet until its end tag. What comes out does not depend
on how the page was cut into chunks.

Where browsers can read the same bytes in two ways (``noscript`` with scripting on and off, raw text inside
malformed SVG), the rewriter makes the page safe under both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto

from consent.html.attribute_values import embedded, markup_text, text
from consent.html.elements import ESCAPABLE_RAW_TEXT, RAW_TEXT
from consent.html.foreign import ForeignContent, Reading
from consent.html.judge import Judge
from consent.html.refusals import Edit, Refusals, script_kind
from consent.html.tokenizer import (
    COMMENT_END,
    RAW_TEXT_END,
    REST_OF_TAG,
    TAG_NAME,
    ScriptText,
    Tag,
    comment_end,
    foreign_text_end,
    next_stop,
    next_stop_in_drawing,
    start_tag,
)

DEFAULT_MAX_BUFFER_BYTES = 4 * 1024 * 1024
_MAX_NESTING = 8
_RESCAN_ABOVE = 16 * 1024

_ANY_BYTE = re.compile(rb"(?s:.)")
_TAG_END = re.compile(rb">")
_CDATA_END = re.compile(rb"\]\]>")
_LONGEST_END = 11
"""How much of what ends a wait may be there already, at the end of the bytes so far."""


class RewriterLimitExceeded(Exception):
    """A tag is longer than ``max_buffer_bytes``; the rewriter refuses reuse."""


class _Mode(Enum):
    DATA = auto()
    COMMENT = auto()
    BOGUS_COMMENT = auto()
    RAW_TEXT = auto()
    CDATA = auto()
    PLAINTEXT = auto()


_CLOSING = {_Mode.COMMENT: b"-->", _Mode.BOGUS_COMMENT: b">", _Mode.CDATA: b"]]>"}
_MAX_CLOSED_TEMPLATES = 512

_INCOMPLETE = -1


class Rewriter:
    """One page's rewriter.

    Args:
        judge: decides what is refused.
        at_body_end: makes the bytes to put before ``</body>``, once; where a page has none, at its end. It is
            called when all before that place has been judged.
        fragment: the page may be a piece of one: without a ``<body>`` or ``<html>`` nothing is inserted.
        scripting: read ``noscript`` as browsers with JavaScript do; ``False`` within one.
        max_buffer_bytes: how much may be kept back undecided. A script, a style sheet or a ``noscript`` that is
            longer is taken out, and told to the judge; a tag that is longer raises
            :class:`RewriterLimitExceeded`.
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
        may_set_base: bool = True,
    ) -> None:
        self._judge = judge
        self._insertion = at_body_end
        self._is_document = not fragment
        self._scripting = scripting
        self._max_buffer_bytes = max_buffer_bytes
        self._nesting = nesting
        self._refusals = Refusals(judge, self._inner_page, may_set_base=may_set_base)
        self._mode = _Mode.DATA
        self._raw_name = b""
        self._dropping = False
        self._script_text = ScriptText()
        self._foreign = ForeignContent()
        self._templates = 0
        # What is kept back: bytes read without a decision, what would bring it, and bytes not yet read.
        self._pending = b""
        self._awaited = _TAG_END
        self._arrived = False
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._tail = b""
        # What goes out.
        self._out: list[bytes] = []
        self._flushed = 0
        self._last_byte = b""
        self._closed = False

    def write(self, chunk: bytes) -> bytes:
        """Take the next bytes of the page; return what is decided.

        Raises:
            RewriterLimitExceeded: see the constructor; or the rewriter has ended.
        """
        if self._closed:
            raise RewriterLimitExceeded("this rewriter has ended")
        if self._pending:
            self._waiting.append(chunk)
            self._waiting_bytes += len(chunk)
            seen = self._tail + chunk
            self._tail = seen[-_LONGEST_END:]
            self._arrived = self._arrived or self._awaited.search(seen) is not None
            pending = len(self._pending)
            # A long wait is read again only now and then: many small chunks shall cost no more than few large.
            patient = pending > _RESCAN_ABOVE and self._waiting_bytes * 8 < pending
            if (patient or not self._arrived) and pending + self._waiting_bytes <= self._max_buffer_bytes:
                return b""
            chunk = self._all_kept_back()
        return self._run(chunk, final=False)

    def end(self) -> bytes:
        """Return the rest of the page; the rewriter cannot be used again."""
        if self._closed:
            return b""
        result = self._run(self._all_kept_back(), final=True)
        self._closed = True
        return result

    def _all_kept_back(self) -> bytes:
        data = b"".join((self._pending, *self._waiting))
        self._pending = b""
        self._waiting.clear()
        self._waiting_bytes = 0
        return data

    # --- the loop ---

    def _run(self, data: bytes, *, final: bool) -> bytes:
        self._flushed = 0
        position = 0
        size = len(data)
        foreign = self._foreign
        while position < size:
            if self._mode is _Mode.DATA:
                if not foreign.following:
                    position = next_stop(data, position, size)
                elif foreign.in_drawing:
                    position = next_stop_in_drawing(data, position, size)
                else:
                    found = data.find(b"<", position)
                    position = size if found < 0 else found
                if position >= size:
                    break
                after = self._markup(data, position, final)
            else:
                after = self._resume(data, position, final)
            if after == _INCOMPLETE:
                break
            position = after
        if final:
            self._insert_at_end(data, position)
            position = size
        self._keep(data, position)
        if position < size:
            self._check_length(size - position)
            self._pending = data[position:]
            self._tail = data[-_LONGEST_END:]
            self._arrived = False
        result = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return result

    def _check_length(self, length: int) -> None:
        if length > self._max_buffer_bytes:
            self._closed = True
            raise RewriterLimitExceeded(f"a tag of the page is {length} bytes long, or more")

    def _await(self, end: re.Pattern[bytes]) -> int:
        """Keep all from here on back until ``end`` arrives."""
        self._awaited = end
        return _INCOMPLETE

    # --- what goes out ---

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

    def _edit(self, data: bytes, edits: list[Edit]) -> None:
        for start, end, replacement in edits:
            self._keep(data, start)
            self._out.append(replacement)
            self._flushed = end

    def _insert(self, data: bytes, position: int, *, before: bytes = b"") -> None:
        if self._insertion is not None:
            self._keep(data, position)
            self._out.extend((before, self._insertion()))
            self._insertion = None

    def _insert_at_end(self, data: bytes, position: int) -> None:
        """Insert where the page ends, outside of whatever it left open.

        An unfinished tag makes nothing when the page ends with it: what is inserted must not finish it, and
        goes before it. A script that is not finished does not run, and must not be finished either.
        """
        if not self._is_document or self._mode is _Mode.PLAINTEXT:
            return
        closing = b""
        if self._mode is _Mode.RAW_TEXT and not self._dropping:
            if self._raw_name == b"script":
                return
            closing = b"</%s>" % self._raw_name
        elif self._mode in _CLOSING:
            closing = _CLOSING[self._mode]
        closing += self._foreign.closing + b"</template>" * min(self._templates, _MAX_CLOSED_TEMPLATES)
        self._insert(data, position, before=closing)

    # --- within something whose end is awaited ---

    def _resume(self, data: bytes, position: int, final: bool) -> int:
        size = len(data)
        mode = self._mode
        if mode is _Mode.PLAINTEXT:
            return size
        if mode is _Mode.RAW_TEXT:
            return self._raw_text(data, position, final)
        if mode is _Mode.BOGUS_COMMENT:
            end = data.find(b">", position) + 1
            if not end:
                return size
        elif mode is _Mode.COMMENT:
            match = COMMENT_END.search(data, position)
            if match is None:
                return size if final else self._all_but(position, size, 3)
            end = match.end()
        else:
            end = data.find(b"]]>", position) + 3
            found = end > 2
            if not found:
                end = size if final else self._all_but(position, size, 2)
            if self._dropping and end != _INCOMPLETE:
                self._replace(data, position, end)
            if not found:
                return end
        self._mode = _Mode.DATA
        return end

    def _all_but(self, position: int, size: int, tail: int) -> int:
        """Consume up to the last ``tail`` bytes, which may begin what is searched for."""
        return size - tail if size - tail > position else self._await(_ANY_BYTE)

    def _raw_text(self, data: bytes, position: int, final: bool) -> int:
        if self._raw_name == b"script":
            begin, after = self._script_text.end(data, position)
            if begin < 0 and after <= position:
                after = self._await(_ANY_BYTE)
        else:
            found = RAW_TEXT_END[self._raw_name].search(data, position)
            begin = found.start() if found else -1
            after = begin if found else self._all_but(position, len(data), _LONGEST_END)
        if begin >= 0:
            match = REST_OF_TAG.match(data, begin + 2 + len(self._raw_name))
            if match:
                after = match.end()
                self._mode = _Mode.DATA
                self._foreign.end_tag(self._raw_name)
            elif begin == position:
                after = self._await(_TAG_END)
        elif final:
            after = len(data)
        if self._dropping and after != _INCOMPLETE:
            self._replace(data, position, after)
        return after

    # --- a "<" in markup ---

    def _markup(self, data: bytes, start: int, final: bool) -> int:
        lead = data[start + 1 : start + 2]
        if lead.isalpha():
            return self._start_tag(data, start, final)
        if lead == b"/":
            return self._end_tag(data, start)
        if lead == b"!":
            return self._declaration(data, start, final)
        if lead == b"?":
            return self._bogus_comment(data, start)
        return start + 1 if lead else self._await(_ANY_BYTE)

    def _bogus_comment(self, data: bytes, start: int) -> int:
        end = data.find(b">", start) + 1
        if end:
            return end
        self._mode = _Mode.BOGUS_COMMENT
        return len(data)

    def _declaration(self, data: bytes, start: int, final: bool) -> int:
        size = len(data)
        reading = self._foreign.reading
        if size - start < 9 and not final:
            beginning = data[start:]
            if b"<!--".startswith(beginning) or beginning in (b"<!---", b"<!--") or (
                reading is not Reading.HTML and b"<![CDATA[".startswith(beginning)
            ):
                return self._await(_ANY_BYTE)
        if data.startswith(b"<!--", start):
            end = comment_end(data, start)
            if end >= 0:
                return end
            self._mode = _Mode.COMMENT
            return size if final else max(start + 4, size - 3)
        if reading is not Reading.HTML and data.startswith(b"<![CDATA[", start):
            if reading is Reading.UNCERTAIN:
                return self._uncertain_cdata(data, start, final)
            self._mode = _Mode.CDATA
            self._dropping = False
            return start + 9
        return self._bogus_comment(data, start)

    def _uncertain_cdata(self, data: bytes, start: int, final: bool) -> int:
        """A CDATA section to one reader, a comment up to the first ``>`` and then markup to the other."""
        end = data.find(b"]]>", start) + 3
        size = len(data)
        if end < 3:
            if not final and size - start <= self._max_buffer_bytes:
                return self._await(_CDATA_END)
            end = size
        if end - start > self._max_buffer_bytes:
            self._judge.note_undecided("CDATA section")
            self._mode = _Mode.CDATA
            self._dropping = True
            self._replace(data, start, start + 9)
            return start + 9
        first = data.find(b">", start, end) + 1
        if first:
            self._make_safe_as_markup(data, first, end, "CDATA section", scripting=self._scripting, lost=True)
        return end

    def _end_tag(self, data: bytes, start: int) -> int:
        lead = data[start + 2 : start + 3]
        if not lead.isalpha():
            return self._bogus_comment(data, start) if lead else self._await(_ANY_BYTE)
        named = TAG_NAME.match(data, start + 2)
        rest = REST_OF_TAG.match(data, named.end()) if named else None
        if named is None or rest is None:
            return self._await(_TAG_END)
        self._check_length(rest.end() - start)
        name = named[0].lower()
        if name == b"body":
            if not self._templates and not self._foreign.following and self._foreign.reading is Reading.HTML:
                self._insert(data, start)
        elif name == b"template" and not self._foreign.following:
            self._templates = max(0, self._templates - 1)
        self._foreign.end_tag(name)
        return rest.end()

    def _start_tag(self, data: bytes, start: int, final: bool) -> int:
        tag = start_tag(data, start)
        if tag is None:
            return self._await(_TAG_END)
        self._check_length(tag.end - start)
        name = tag.name
        reading = self._foreign.reading
        # In foreign content a start tag may end it, and an end tag elsewhere may rely on it: it must stay.
        cut, edits = self._refusals.attributes(data, tag, keep=reading is not Reading.HTML)
        if name == b"script":
            after = self._script(data, tag, edits, final)
        elif cut and name not in RAW_TEXT:
            self._replace(data, start, tag.end)
            after = tag.end
        elif name == b"noscript" and self._scripting and reading is not Reading.FOREIGN:
            after = self._noscript(data, tag, edits, reading, final)
        elif name in RAW_TEXT:
            after = self._raw_text_element(data, tag, edits, reading, final, cut=cut)
        else:
            self._edit(data, edits)
            after = tag.end
            if name == b"plaintext" and reading is Reading.HTML:
                self._mode = _Mode.PLAINTEXT
            elif name == b"template" and reading is not Reading.FOREIGN:
                self._templates += 1
            elif name in (b"body", b"html"):
                self._is_document = True
        if after != _INCOMPLETE:
            self._foreign.start_tag(name, tag.attributes, self_closing=tag.self_closing)
            if after != tag.end and self._mode is _Mode.DATA:
                self._foreign.end_tag(name)
        return after

    # --- elements whose content is no markup, or not to every reader ---

    def _skip_raw_text(self, data: bytes, tag: Tag, edits: list[Edit], *, drop: bool = False) -> int:
        """Let the raw text behind ``tag`` pass up to its end tag, or drop all of the element."""
        self._mode = _Mode.RAW_TEXT
        self._raw_name = tag.name
        self._dropping = drop
        self._script_text = ScriptText()
        if drop:
            self._replace(data, tag.start, tag.end)
        else:
            self._edit(data, edits)
        return tag.end

    def _content_end(self, data: bytes, tag: Tag) -> tuple[int, int] | None:
        """Return where an element's raw text ends, and where its end tag does."""
        if tag.name == b"script":
            begin, _ = ScriptText().end(data, tag.end)
        else:
            found = RAW_TEXT_END[tag.name].search(data, tag.end)
            begin = found.start() if found else -1
        if begin < 0:
            self._awaited = RAW_TEXT_END[tag.name]
            return None
        rest = REST_OF_TAG.match(data, begin + 2 + len(tag.name))
        if rest is None:
            self._awaited = _TAG_END
            return None
        return begin, rest.end()

    def _is_overlong(self, data: bytes, tag: Tag, after: int | None) -> bool:
        """Tell whether an element that must be known as a whole is too long; take note of it."""
        if (len(data) if after is None else after) - tag.start <= self._max_buffer_bytes:
            return False
        self._judge.note_undecided(text(tag.name))
        return True

    def _script(self, data: bytes, tag: Tag, edits: list[Edit], final: bool) -> int:
        reading = self._foreign.script_reading
        kind = script_kind(tag)
        inline = kind == "urls"
        refused = False
        if kind == "code":
            inline, refused = self._refusals.script_sources(
                tag, html=reading is not Reading.FOREIGN, foreign=reading is not Reading.HTML
            )
        if reading is Reading.FOREIGN:
            return self._foreign_script(data, tag, edits, final, inline=inline, refused=refused)
        if reading is Reading.HTML and (refused or not inline):
            return self._skip_raw_text(data, tag, edits, drop=refused)
        found = self._content_end(data, tag)
        if self._is_overlong(data, tag, found and found[1]):
            return self._skip_raw_text(data, tag, edits, drop=True)
        if found is None:
            if not final or reading is Reading.HTML:
                return _INCOMPLETE
            found = len(data), len(data)
            refused = True
        close, after = found
        content = data[tag.end : close]
        if not refused and inline:
            code = text(content)
            refused = self._refusals.url_table(code) if kind == "urls" else self._refusals.script(code)
            if reading is Reading.UNCERTAIN and (b"&" in content or b"<" in content):
                refused |= self._refusals.script(markup_text(content))
        if refused:
            self._replace(data, tag.start, after)
            return after
        self._edit(data, edits)
        if reading is Reading.UNCERTAIN:
            self._make_safe_as_markup(data, tag.end, close, "script", scripting=self._scripting, lost=True)
        return after

    def _foreign_script(
        self, data: bytes, tag: Tag, edits: list[Edit], final: bool, *, inline: bool, refused: bool
    ) -> int:
        """In SVG a script's content is markup: text with character references, perhaps CDATA."""
        if tag.self_closing or not (refused or inline):
            if refused:
                self._replace(data, tag.start, tag.end)
            else:
                self._edit(data, edits)
            return tag.end
        begin = foreign_text_end(data, tag.end, b"script")
        rest = REST_OF_TAG.match(data, begin + 8) if begin >= 0 else None
        if self._is_overlong(data, tag, rest and rest.end()):
            return self._skip_raw_text(data, tag, edits, drop=True)
        if rest is None:
            return len(data) if final else self._await(_TAG_END)
        if refused or self._refusals.script(markup_text(data[tag.end : begin])):
            self._replace(data, tag.start, rest.end())
            return rest.end()
        self._edit(data, edits)
        return tag.end

    def _noscript(self, data: bytes, tag: Tag, edits: list[Edit], reading: Reading, final: bool) -> int:
        """With scripting on it is text up to ``</noscript``; without, markup: both must be safe."""
        found = self._content_end(data, tag)
        if self._is_overlong(data, tag, found and found[1]):
            return self._skip_raw_text(data, tag, edits, drop=True)
        if found is None:
            if not final:
                return _INCOMPLETE
            self._insert_at_end(data, tag.start)
            found = len(data), len(data)
        self._edit(data, edits)
        self._make_safe_as_markup(
            data, tag.end, found[0], "noscript", scripting=False, lost=reading is Reading.UNCERTAIN
        )
        return found[1]

    def _raw_text_element(
        self, data: bytes, tag: Tag, edits: list[Edit], reading: Reading, final: bool, *, cut: bool
    ) -> int:
        is_style = tag.name == b"style"
        if reading is Reading.FOREIGN:
            return self._foreign_style(data, tag, edits, final) if is_style else self._only_edited(data, tag, edits)
        if reading is Reading.HTML and not is_style:
            return self._skip_raw_text(data, tag, edits, drop=cut)
        found = self._content_end(data, tag)
        if self._is_overlong(data, tag, found and found[1]):
            return self._skip_raw_text(data, tag, edits, drop=True)
        if found is None:
            if not final:
                return _INCOMPLETE
            found = len(data), len(data)
            self._insert_at_end(data, tag.start)
        close, after = found
        self._edit(data, edits)
        content = data[tag.end : close]
        if is_style:
            clean = self._refusals.style(content)
            if clean != content:
                self._replace(data, tag.end, close, clean)
                # To who would read it as markup, too: nothing in a refused sheet is worth a second look.
                if reading is Reading.UNCERTAIN and b"<" in clean:
                    self._out.pop()
                return after
        if reading is Reading.UNCERTAIN:
            if tag.name in ESCAPABLE_RAW_TEXT:
                # It looks the same to who reads it as text, and is text to who would read it as markup.
                if b"<" in content:
                    self._replace(data, tag.end, close, content.replace(b"<", b"&lt;"))
            else:
                self._make_safe_as_markup(
                    data, tag.end, close, text(tag.name), scripting=self._scripting, lost=True
                )
        return after

    def _only_edited(self, data: bytes, tag: Tag, edits: list[Edit]) -> int:
        self._edit(data, edits)
        return tag.end

    def _foreign_style(self, data: bytes, tag: Tag, edits: list[Edit], final: bool) -> int:
        """In SVG a style sheet is text with character references, perhaps CDATA."""
        if tag.self_closing:
            return self._only_edited(data, tag, edits)
        close = foreign_text_end(data, tag.end, b"style")
        if self._is_overlong(data, tag, None if close < 0 else close):
            return self._skip_raw_text(data, tag, edits, drop=True)
        if close < 0 and not final:
            return self._await(RAW_TEXT_END[b"style"])
        if close < 0:
            close = len(data)
        self._edit(data, edits)
        content = data[tag.end : close]
        sheet = content if b"<" in content else embedded(content, escape="\\%x ")
        clean = self._refusals.style(sheet)
        if clean != sheet:
            self._replace(data, tag.end, close, clean if sheet is content else clean.replace(b"&", b"&amp;"))
        return close if clean != sheet else tag.end

    # --- pages and pieces within the page ---

    def _make_safe_as_markup(
        self, data: bytes, start: int, end: int, element: str, *, scripting: bool, lost: bool
    ) -> None:
        """Rewrite what some reader takes for markup, though to this one it is not."""
        content = data[start:end]
        if b"<" not in content:
            return
        if self._nesting >= _MAX_NESTING:
            rewritten, clean = b"", False
        else:
            inner = self._inner(self._judge, content, scripting=scripting, may_set_base=False)
            if lost:
                inner._foreign.lose_track()
            rewritten = inner.write(content)
            # That reader must be back in plain markup at the end, as this one is.
            clean = inner._is_at_rest
            rewritten += inner.end()
        if not clean:
            self._judge.note_undecided(element)
            rewritten = b""
        if rewritten != content:
            self._replace(data, start, end, rewritten)

    @property
    def _is_at_rest(self) -> bool:
        lost = self._foreign.is_lost
        return (
            self._mode is _Mode.DATA
            and not self._pending
            and not self._templates
            and (lost or (self._foreign.reading is Reading.HTML and not self._foreign.following))
        )

    def _inner_page(self, content: bytes, judge: Judge) -> bytes:
        """Rewrite a page that the page holds in an attribute."""
        if self._nesting >= _MAX_NESTING:
            self._judge.note_undecided("page within a page")
            return b""
        inner = self._inner(judge, content, scripting=True, may_set_base=True)
        return inner.write(content) + inner.end()

    def _inner(self, judge: Judge, content: bytes, *, scripting: bool, may_set_base: bool) -> Rewriter:
        return Rewriter(
            judge,
            fragment=True,
            scripting=scripting,
            max_buffer_bytes=max(self._max_buffer_bytes, len(content) + 1),
            nesting=self._nesting + 1,
            may_set_base=may_set_base,
        )

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
from functools import partial

from consent.html.attribute_values import text
from consent.html.buffers import INCOMPLETE, KeptBack, Output, RewriterLimitExceeded
from consent.html.contents import (
    TEXT_AHEAD,
    Content,
    clean_style,
    content_ahead,
    content_of,
    is_text_ahead_only,
    must_be_whole,
    refuses_script,
)
from consent.html.elements import ESCAPABLE_RAW_TEXT, RAW_TEXT
from consent.html.foreign import ForeignContent, Reading
from consent.html.insertions import Insertions
from consent.html.judge import AT_HOME, SCRIPTING, Judge
from consent.html.open_text import ANY_BYTE, OpenText, Within
from consent.html.refusals import Edit, Refusals
from consent.html.scanning import find_tag, start_tag
from consent.html.scripts import could_run
from consent.html.tokenizer import (
    CDATA_END,
    REST_OF_TAG,
    TAG_END,
    TAG_NAME,
    Tag,
    comment_end,
    foreign_text_end,
    next_stop,
    next_stop_in_drawing,
)
from consent.html.withholding import Withholding

DEFAULT_MAX_BUFFER_BYTES = 4 * 1024 * 1024
_MAX_NESTING = 8
_MAX_CLOSED_TEMPLATES = 512
_ANY_TAG = re.compile(rb"</?[a-zA-Z]")


class Rewriter:
    """One page's rewriter.

    Args:
        judge: decides what is refused.
        at_head_start: makes the bytes to put first into the head, once: behind ``<head>``; where a page has
            none, before the first element that could load or run anything.
        before_running: makes what is put before the first element behind that which may run a script as it is read,
            once; or that may lead to where no script can be put in. If the head begins with such an element, it
            takes the place of the bytes at the head's start.
        at_body_end: makes the bytes to put before ``</body>``, once; where a page has none, at its end. It is
            called when all before that place has been judged.
        withholding: decides what takes the place of a refused element; by default, nothing does.
        fragment: the page may be a piece of one; without ``<body>`` or ``<html>`` nothing is inserted or held.
        scripting: read ``noscript`` as browsers with JavaScript do; ``False`` within one.
        max_buffer_bytes: how much may be kept back undecided. A script, style sheet or ``noscript`` that is
            longer is taken out, and told to the judge; a longer tag raises :class:`RewriterLimitExceeded`.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        at_head_start: Callable[[], bytes] | None = None,
        before_running: Callable[[], bytes] | None = None,
        at_body_end: Callable[[], bytes] | None = None,
        withholding: Withholding | None = None,
        fragment: bool = False,
        scripting: bool = True,
        max_buffer_bytes: int = DEFAULT_MAX_BUFFER_BYTES,
        nesting: int = 0,
        may_set_base: bool = True,
    ) -> None:
        self._judge = judge
        self._skip = judge.skip
        self._withholding = withholding or Withholding(judge)
        self._scripting = scripting
        self._max_buffer_bytes = max_buffer_bytes
        self._nesting = nesting
        # Nothing here leads back to the rewriter, so that what a page leaves behind is free at once.
        nested = partial(_rewritten_within, nesting, max_buffer_bytes)
        self._refusals = Refusals(judge, nested, may_set_base=may_set_base)
        self._awaits_refused = False
        self._foreign = ForeignContent()
        self._templates = 0
        self._kept_back = KeptBack(max_buffer_bytes)
        self._out = Output()
        self._text = OpenText(self._out, self._kept_back)
        self._insertions = Insertions(
            self._out,
            at_head_start=at_head_start,
            before_running=before_running,
            at_body_end=at_body_end,
            is_document=not fragment,
        )
        self._closed = False
        # Relative URLs may lead anywhere behind a <base>, and inside of something else.
        self._refusals.at_home = not nesting

    def write(self, chunk: bytes) -> bytes:
        """Take the next bytes of the page; return what is decided.

        Raises:
            RewriterLimitExceeded: see the constructor; or the rewriter has ended.
        """
        if self._closed:
            raise RewriterLimitExceeded("this rewriter has ended")
        if self._kept_back:
            if not self._kept_back.add(chunk):
                return b""
            chunk = self._kept_back.take()
        try:
            return self._run(chunk, final=False)
        except RewriterLimitExceeded:
            self._closed = True
            raise

    def end(self) -> bytes:
        """Return the rest of the page; the rewriter cannot be used again."""
        if self._closed:
            return b""
        self._closed = True
        return self._run(self._kept_back.take(), final=True)

    # --- the loop ---

    def _run(self, data: bytes, *, final: bool) -> bytes:
        position = 0
        size = len(data)
        while position < size:
            if self._text.within is Within.MARKUP:
                position = self._next_place(data, position)
                if position >= size:
                    break
                after = self._markup(data, position, final)
            else:
                after = self._resume(data, position, final)
            if after == INCOMPLETE:
                break
            position = after
        if final:
            self._insert_at_end(data, position)
            position = size
        self._out.keep(data, position)
        if position < size:
            self._kept_back.check(size - position)
            self._kept_back.hold(data[position:])
        return self._out.take()

    def _next_place(self, data: bytes, position: int) -> int:
        """Return the next place in markup that is worth looking at."""
        if not self._foreign.following and not self._foreign.is_lost:
            insertions = self._insertions
            if self._skip is None and (insertions.awaits_running or insertions.awaits_head):
                found = data.find(b"<", position)
                return len(data) if found < 0 else found
            if self._skip is None or self._withholding.in_held_template or not self._foreign.is_plain:
                return next_stop(data, position, len(data))
            reading = insertions.reading + AT_HOME * self._refusals.at_home + SCRIPTING * self._scripting
            return self._skip(data, position, self._max_buffer_bytes, reading)
        if self._foreign.in_drawing:
            return next_stop_in_drawing(data, position, len(data))
        # Where nothing is certain, it may be a drawing, with what loads in no other place.
        found = data.find(b"<", position)
        return len(data) if found < 0 else found

    # --- what is put in ---

    def _insert_at_end(self, data: bytes, position: int) -> None:
        """Insert where the page ends, outside of whatever it left open.

        An unfinished tag makes nothing when the page ends with it: what is inserted must not finish it, and
        goes before it. A script that is not finished does not run, and must not be finished either.
        """
        closing = self._text.closing
        if closing is None or not self._insertions.is_document:
            return
        closing += self._foreign.closing + b"</template>" * min(self._templates, _MAX_CLOSED_TEMPLATES)
        self._insertions.end_body(data, position, before=closing)

    def _resume(self, data: bytes, position: int, final: bool) -> int:
        is_raw_text = self._text.within is Within.RAW_TEXT
        after = self._text.resume(data, position, final)
        if is_raw_text and self._text.within is Within.MARKUP:
            self._foreign.end_tag(self._text.raw_name)
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
        return start + 1 if lead else self._kept_back.wait_for(ANY_BYTE)

    def _bogus_comment(self, data: bytes, start: int) -> int:
        end = data.find(b">", start) + 1
        if end:
            return end
        self._text.begin(Within.BOGUS_COMMENT)
        return len(data)

    def _declaration(self, data: bytes, start: int, final: bool) -> int:
        size = len(data)
        reading = self._foreign.reading
        if size - start < 9 and not final:
            beginning = data[start:]
            if (
                b"<!--".startswith(beginning)
                or beginning in (b"<!---", b"<!--")
                or (reading is not Reading.HTML and b"<![CDATA[".startswith(beginning))
            ):
                return self._kept_back.wait_for(ANY_BYTE)
        if data.startswith(b"<!--", start):
            end = comment_end(data, start)
            if end >= 0:
                return end
            self._text.begin(Within.COMMENT)
            return size if final else max(start + 4, size - 3)
        if reading is not Reading.HTML and data.startswith(b"<![CDATA[", start):
            return self._cdata(data, start, final)
        return self._bogus_comment(data, start)

    def _cdata(self, data: bytes, start: int, final: bool) -> int:
        """A CDATA section to one reader, a comment up to the first ``>`` and then markup to the other.

        What looks ahead in a browser is always the other.
        """
        end = data.find(b"]]>", start) + 3
        size = len(data)
        if end < 3:
            if not final and size - start <= self._max_buffer_bytes:
                return self._kept_back.wait_for(CDATA_END)
            end = size
            self._text.begin(Within.CDATA)
        if end - start > self._max_buffer_bytes:
            self._judge.note_undecided("CDATA section")
            self._text.begin(Within.CDATA, drop=True)
            self._out.replace(data, start, start + 9)
            return start + 9
        first = data.find(b">", start, end) + 1
        if first:
            rewritten, clean = self._as_markup(data[first:end], scripting=self._scripting, lost=True)
            if not clean:
                self._judge.note_undecided("CDATA section")
                rewritten = b""
            if rewritten != data[first:end]:
                self._out.replace(data, first, end, rewritten)
        return end

    def _end_tag(self, data: bytes, start: int) -> int:
        lead = data[start + 2 : start + 3]
        if not lead.isalpha():
            return self._bogus_comment(data, start) if lead else self._kept_back.wait_for(ANY_BYTE)
        named = TAG_NAME.match(data, start + 2)
        rest = REST_OF_TAG.match(data, named.end()) if named else None
        if named is None or rest is None:
            return self._kept_back.wait_for(TAG_END)
        self._kept_back.check(rest.end() - start)
        name = named[0].lower()
        if name == b"body":
            if not self._templates and not self._foreign.following and self._foreign.reading is Reading.HTML:
                self._insertions.end_body(data, start)
        elif name == b"template":
            self._withholding.lose_template()
            if not self._foreign.following:
                self._templates = max(0, self._templates - 1)
        self._foreign.end_tag(name)
        return rest.end()

    def _start_tag(self, data: bytes, start: int, final: bool) -> int:
        tag = start_tag(data, start)
        if tag is None:
            return self._kept_back.wait_for(TAG_END)
        self._kept_back.check(tag.end - start)
        name = tag.name
        if (passed := self._pass_again(data, tag)) > start:
            return passed
        if name == b"base":
            self._refusals.at_home = False
        reading = self._foreign.script_reading if name == b"script" else self._foreign.reading
        ahead = None
        if reading is Reading.FOREIGN and name in TEXT_AHEAD and not tag.self_closing:
            # What looks ahead in a browser knows neither SVG nor MathML, and takes what follows for text.
            ahead = self._arrived(content_ahead(data, tag, final=final))
            if ahead is None and not final:
                return self._wait_for_content(data, tag)
            if is_text_ahead_only(name) or (
                ahead and 0 <= foreign_text_end(data, tag.end, name) < ahead.close
            ):
                reading = Reading.UNCERTAIN
        self._refusals.base_counts = not self._templates and reading is not Reading.FOREIGN
        content = None
        if must_be_whole(tag, reading, scripting=self._scripting):
            # The judge is asked when all is there, so that it is asked once.
            content = ahead if reading is Reading.UNCERTAIN else None
            content = content or self._arrived(content_of(data, tag, reading))
            if content is None and not final:
                return self._wait_for_content(data, tag)
            if (len(data) if content is None else content.after) - start > self._max_buffer_bytes:
                return self._give_up(data, tag)
            if content is None:
                if reading is not Reading.FOREIGN:
                    self._insert_at_end(data, start)
                content = Content(len(data), len(data), is_finished=False)
        refused_before, self._awaits_refused = self._awaits_refused, False
        replaceable = refused_before or self._begin_element(tag)
        cut, edits = True, list[Edit]()
        if not refused_before:
            # In foreign content a start tag may end it, and an end tag elsewhere may rely on it: it must stay.
            cut, edits = self._refusals.attributes(data, tag, keep=reading is not Reading.HTML)
            if name == b"script":
                cut = refuses_script(self._refusals, data, tag, content, reading)
            if (cut or edits) and self._withholding.waits_anyway():
                cut, edits = False, []
        if cut:
            return self._take_out(data, tag, content, reading, replaceable=replaceable, final=final)
        if self._insertions.awaits_running and could_run(tag):
            self._insertions.begin_running(data, start)
        for edit in edits:
            self._out.replace_within_tag(data, *edit)
        if reading is Reading.FOREIGN and name in TEXT_AHEAD and tag.self_closing:
            # ... nor that a tag may close itself, and would take for text what follows. This is the same to all.
            self._out.replace_within_tag(data, tag.end - 2, tag.end, b"></" + name + b">")
        after = tag.end
        if content is not None and ahead and reading is Reading.FOREIGN and ahead.close < content.close:
            after = self._content_beyond(data, tag, content, ahead.after)
        elif content is not None:
            after = self._held_content(data, tag, content, reading)
        elif reading is Reading.HTML and (name in RAW_TEXT or name == b"script"):
            after = self._begin_raw_text(data, tag, drop=False)
        elif name == b"plaintext" and reading is Reading.HTML:
            self._text.begin(Within.PLAINTEXT)
        elif name == b"template" and reading is not Reading.FOREIGN:
            self._templates += 1
        elif name in (b"body", b"html"):
            self._insertions.is_document = True
        return self._follow(tag, after)

    def _pass_again(self, data: bytes, tag: Tag) -> int:
        """Insert what goes before or behind ``tag``; pass it, if that was all that it was looked at for.

        Returns:
            Where to go on: where the tag begins, if somebody has to be asked about it.
        """
        insertions = self._insertions
        if insertions.awaits_head and insertions.begin_head(data, tag) and not self._awaits_refused:
            passed = self._next_place(data, tag.start)
            if passed > tag.start:
                return passed
        if not insertions.awaits_running or self._awaits_refused or not could_run(tag):
            return tag.start
        insertions.awaits_running = False
        passed = self._next_place(data, tag.start)
        insertions.awaits_running = True
        if passed > tag.start:
            # A refused one would go, and nothing have to come before it.
            insertions.begin_running(data, tag.start)
        return passed

    def _arrived(self, content: Content | re.Pattern[bytes]) -> Content | None:
        """Return the content; ``None`` if there is only what to wait for."""
        if isinstance(content, Content):
            return content
        self._kept_back.awaited = content
        return None

    def _wait_for_content(self, data: bytes, tag: Tag) -> int:
        """Keep an element back until it has ended, if it is not too long for that."""
        return self._give_up(data, tag) if len(data) - tag.start > self._max_buffer_bytes else INCOMPLETE

    def _give_up(self, data: bytes, tag: Tag) -> int:
        """Take out an element that is too long to be judged."""
        self._judge.note_undecided(text(tag.name))
        return self._follow(tag, self._begin_raw_text(data, tag, drop=True))

    def _begin_element(self, tag: Tag) -> bool:
        """Begin to judge an element; return whether anything may take its place."""
        if self._nesting or not self._insertions.is_document:
            return False
        if self._foreign.following or self._foreign.reading is not Reading.HTML:
            self._withholding.lose_template()
            return False
        return self._withholding.begin(tag, in_template=self._templates > 0)

    def _take_out(
        self,
        data: bytes,
        tag: Tag,
        content: Content | None,
        reading: Reading,
        *,
        replaceable: bool,
        final: bool,
    ) -> int:
        """Take a refused element out, or put something in its place; return where to go on."""
        if content is None and reading is Reading.HTML and (tag.name in RAW_TEXT or tag.name == b"script"):
            content = self._arrived(content_of(data, tag, reading))
            if content is not None:
                self._kept_back.check(content.after - content.close)
            if replaceable:
                if (len(data) if content is None else content.after) - tag.start > self._max_buffer_bytes:
                    content = None
                elif content is None and not final:
                    self._awaits_refused = True
                    return INCOMPLETE
            if content is None:
                return self._follow(tag, self._begin_raw_text(data, tag, drop=True))
        end = tag.end if content is None else content.after
        is_complete = content is None or content.is_finished
        instead = (
            self._withholding.instead(tag, data[tag.start : end]) if replaceable and is_complete else b""
        )
        self._out.replace(data, tag.start, end, instead)
        return self._follow(tag, end)

    def _follow(self, tag: Tag, after: int) -> int:
        """Tell who follows the open elements about ``tag``, and what was read with it."""
        self._foreign.start_tag(tag.name, tag.attributes, self_closing=tag.self_closing)
        if after != tag.end:
            self._foreign.end_tag(tag.name)
        return after

    # --- elements whose content is no markup, or not to every reader ---

    def _begin_raw_text(self, data: bytes, tag: Tag, *, drop: bool) -> int:
        """Let the raw text behind ``tag`` pass up to its end tag, or drop all of the element."""
        self._text.begin_raw_text(tag.name, drop=drop)
        if drop:
            self._out.replace(data, tag.start, tag.end)
        return tag.end

    def _held_content(self, data: bytes, tag: Tag, content: Content, reading: Reading) -> int:
        """Rewrite the content of an element that stays; return where to go on."""
        name = tag.name
        if reading is Reading.UNCERTAIN and _ANY_TAG.search(data, tag.end, content.close):
            # Where it is markup, its tags may end what they are in, or begin what goes on behind it.
            self._foreign.lose_track()
        if name == b"style":
            raw = data[tag.end : content.close]
            clean = clean_style(self._refusals, raw, reading)
            if clean != raw and not self._withholding.waits_anyway():
                self._out.replace(data, tag.end, content.close, clean)
                return content.after
        if name == b"noscript":
            lost = reading is Reading.UNCERTAIN
            return self._make_safe_as_markup(data, tag, content, scripting=False, lost=lost)
        if reading is Reading.FOREIGN:
            # It is markup, and read as such.
            return tag.end
        if reading is Reading.UNCERTAIN:
            return self._make_safe_as_markup(data, tag, content, scripting=self._scripting, lost=True)
        return content.after

    def _content_beyond(self, data: bytes, tag: Tag, content: Content, end_ahead: int) -> int:
        """Judge content that goes on behind what looks like its end tag: to what looks ahead it is markup there."""
        rest = data[end_ahead : content.close]
        rewritten, clean = self._as_markup(rest, scripting=self._scripting, lost=True)
        if clean and rewritten == rest:
            return self._held_content(data, tag, content, Reading.FOREIGN)
        self._judge.note_undecided(text(tag.name))
        self._out.replace(data, tag.end, content.close)
        return content.after

    # --- pages and pieces within the page ---

    def _make_safe_as_markup(
        self, data: bytes, tag: Tag, content: Content, *, scripting: bool, lost: bool
    ) -> int:
        """Rewrite what some reader takes for markup, though to this one it is text; return where to go on."""
        raw = data[tag.end : content.close]
        rewritten, clean = self._as_markup(raw, scripting=scripting, lost=lost)
        after = content.after
        if tag.name in ESCAPABLE_RAW_TEXT and (
            not clean or (rewritten != raw and find_tag(rewritten + b">", 0, b"/" + tag.name) >= 0)
        ):
            # It looks the same to who reads it as text, and is text to who would read it as markup.
            rewritten = raw.replace(b"<", b"&lt;")
        elif not clean:
            self._judge.note_undecided(text(tag.name))
            rewritten = b""
        if not clean and content.beyond > after:
            # The end tag was in a comment, which ends here: what else was in it must not come out of it.
            rewritten += data[content.close : after]
            after = content.beyond
            self._out.replace(data, tag.end, after, rewritten)
        elif rewritten != raw:
            self._out.replace(data, tag.end, content.close, rewritten)
        return after

    def _as_markup(self, raw: bytes, *, scripting: bool, lost: bool) -> tuple[bytes, bool]:
        """Rewrite a piece of the page; tell whether its reader is back in plain markup at the end."""
        if b"<" not in raw:
            return raw, True
        if self._nesting >= _MAX_NESTING:
            return b"", False
        inner = _within(
            self._nesting,
            self._max_buffer_bytes,
            raw,
            self._judge,
            scripting=scripting,
            may_set_base=False,
        )
        if lost:
            inner._foreign.lose_track()
        rewritten = inner.write(raw)
        clean = inner._is_at_rest
        return rewritten + inner.end(), clean

    @property
    def _is_at_rest(self) -> bool:
        lost = self._foreign.is_lost
        return (
            self._text.within is Within.MARKUP
            and not self._kept_back
            and not self._templates
            and (lost or (self._foreign.reading is Reading.HTML and not self._foreign.following))
        )


def _rewritten_within(
    nesting: int, max_buffer_bytes: int, content: bytes, judge: Judge, *, is_xml: bool = False
) -> bytes:
    """Rewrite a page that a page holds in an attribute, so many pages deep."""
    if nesting >= _MAX_NESTING:
        judge.note_undecided("page within a page")
        return b""
    if is_xml:
        from consent.html.xml import XMLRewriter  # which is made of this here

        longest = max(max_buffer_bytes, len(content) + 1)
        inner: Rewriter = XMLRewriter(judge, max_buffer_bytes=longest, nesting=nesting + 1)
    else:
        inner = _within(nesting, max_buffer_bytes, content, judge, scripting=True, may_set_base=True)
    try:
        return inner.write(content) + inner.end()
    except RewriterLimitExceeded:  # a document type may not be as long as a page
        judge.note_undecided("page within a page")
        return b""


def _within(
    nesting: int, max_buffer_bytes: int, content: bytes, judge: Judge, *, scripting: bool, may_set_base: bool
) -> Rewriter:
    return Rewriter(
        judge,
        fragment=True,
        scripting=scripting,
        max_buffer_bytes=max(max_buffer_bytes, len(content) + 1),
        nesting=nesting + 1,
        may_set_base=may_set_base,
    )

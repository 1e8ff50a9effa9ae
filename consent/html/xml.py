"""XHTML pages and SVG documents, which browsers read by the rules of XML.

XML ends at its first error, so there is one reading only: no raw text, no unclosed elements, CDATA sections
anywhere. Attributes are cut and elements stay, a script with its end tag apart, so that what was well-formed
stays so. Whatever is inserted must be well-formed, too, and goes before ``</body>`` or nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from consent.html.attribute_values import decoded, embedded, markup_text
from consent.html.judge import Judge
from consent.html.open_text import ANY_BYTE, Within
from consent.html.rewriter import DEFAULT_MAX_BUFFER_BYTES, Rewriter
from consent.html.scripts import ScriptKind, is_inline, script_kind
from consent.html.tokenizer import TAG_NAME, Attribute, Tag, start_tag

_TAG_END = re.compile(rb">")
_INSTRUCTION_END = re.compile(rb"\?>")
_DOCTYPE = re.compile(
    rb"<!DOCTYPE(?:\"[^\"]*+\"|'[^']*+'|[^\"'>\[])*+"
    rb"(?:\[(?:\"[^\"]*+\"|'[^']*+'|<!--(?s:.*?)-->|<\?(?s:.*?)\?>|[^\]\"'])*+\][\t\n\r ]*+)?+>"
)
_ENTITY = re.compile(rb"<!ENTITY[\t\n\r ]++([^\t\n\r %\"'>]++)[\t\n\r ]++(?:\"([^\"]*+)\"|'([^']*+)')[^>]*+>")
# What hides declarations from who reads them as they stand, and what gives elements attributes.
_HIDING = re.compile(rb"<!ENTITY[\t\n\r ]++%[\t\n\r ](?:\"[^\"]*+\"|'[^']*+'|[^>\"'])*+>")
_DEFAULTS = re.compile(rb"<!ATTLIST[\t\n\r ](?:\"[^\"]*+\"|'[^']*+'|[^>\"'])*+>")
_LITERAL = re.compile(rb"\"([^\"]*+)\"|'([^']*+)'")
_MARKUP_IN_ENTITY = re.compile(rb"<|&#")
_MAX_ENTITIES = 256
_MAX_DOCTYPE = 16 * 1024
_MAX_INSTRUCTION = 4 * 1024
_REFERENCE = re.compile(rb"&([^\t\n\r &;\"'<]++);")
_STYLE_HREF = re.compile(
    rb"<\?xml-stylesheet[\t\n\r ](?:(?s:.*?)[\t\n\r ])?href[\t\n\r ]*+=[\t\n\r ]*+([\"'])(?s:(.*?))\1"
)


@lru_cache(maxsize=64)
def _content_turns(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"<!\[CDATA\[|<!--|<\?|</" + re.escape(name) + rb"[\t\n\r ]*+>")


_ENDS = {b"<![CDATA[": b"]]>", b"<!--": b"-->", b"<?": b"?>"}


class XMLRewriter(Rewriter):
    """One XHTML page's or SVG document's rewriter. Its arguments are those of :class:`Rewriter`."""

    def __init__(
        self,
        judge: Judge,
        *,
        at_body_end: Callable[[], bytes] | None = None,
        max_buffer_bytes: int = DEFAULT_MAX_BUFFER_BYTES,
        nesting: int = 0,
    ) -> None:
        super().__init__(judge, at_body_end=at_body_end, max_buffer_bytes=max_buffer_bytes, nesting=nesting)
        self._entities: dict[bytes, bytes] = {}

    def _next_place(self, data: bytes, position: int) -> int:
        found = data.find(b"<", position)
        return len(data) if found < 0 else found

    def _insert_at_end(self, data: bytes, position: int) -> None:
        """Insert nothing: behind the root element it would be an error."""

    def _declaration(self, data: bytes, start: int, final: bool) -> int:
        beginning = data[start : start + 9]
        if len(beginning) < 9 and (
            b"<![CDATA[".startswith(beginning) or b"<!DOCTYPE".startswith(beginning)
        ):  # fmt: skip
            return self._kept_back.wait_for(ANY_BYTE)
        if beginning == b"<![CDATA[":
            self._text.begin(Within.CDATA)
            return start + 9
        if beginning == b"<!DOCTYPE":
            match = _DOCTYPE.match(data, start, start + _MAX_DOCTYPE)
            if match is None:
                if len(data) - start > _MAX_DOCTYPE:
                    self._kept_back.refuse(len(data) - start)
                return self._kept_back.wait_for(_TAG_END)
            for entity in _ENTITY.finditer(match[0]):
                self._entity(data, start, entity)
            for hiding in _HIDING.finditer(match[0]):
                self._judge.note_undecided("!ENTITY")
                self._out.replace(data, start + hiding.start(), start + hiding.end())
            for defaults in _DEFAULTS.finditer(match[0]):
                if self._refuses_defaults(defaults[0]):
                    self._out.replace(data, start + defaults.start(), start + defaults.end())
            return match.end()
        return super()._declaration(data, start, final)

    def _entity(self, data: bytes, start: int, entity: re.Match[bytes]) -> None:
        """Learn an entity; one that is markup could be anything by the time it is used, and goes."""
        name, double, single = entity.groups()
        value = double if double is not None else single
        if _MARKUP_IN_ENTITY.search(value) or len(self._entities) >= _MAX_ENTITIES:
            self._judge.note_undecided("!ENTITY")
            self._out.replace(data, start + entity.start(), start + entity.end())
        else:
            # Entities in entities: those known so far; one that is used before it is known stays a reference.
            self._entities.setdefault(name, self._expanded(value)[: 1 << 12])

    def _refuses_defaults(self, declaration: bytes) -> bool:
        """Judge the values that a document type gives to attributes, as whatever they may be."""
        refused = False
        for double, single in _LITERAL.findall(declaration):
            value = self._expanded(double or single)
            sheet = embedded(value, escape="\\%x ")
            refused |= self._refusals.url(b"iframe", decoded(value)) or self._refusals.style(sheet) != sheet
            refused |= self._refusals.script(decoded(value))
        return refused

    def _expanded(self, value: bytes) -> bytes:
        if not self._entities or b"&" not in value:
            return value
        return _REFERENCE.sub(lambda match: self._entities.get(match[1], match[0]), value)

    def _bogus_comment(self, data: bytes, start: int) -> int:
        if not data.startswith(b"<?", start):
            return super()._bogus_comment(data, start)
        end = data.find(b"?>", start) + 2
        if end < 2:
            return self._kept_back.wait_for(_INSTRUCTION_END)
        if end - start > _MAX_INSTRUCTION:
            self._judge.note_undecided("processing instruction")
            self._out.replace(data, start, end)
            return end
        match = _STYLE_HREF.match(data, start, end)
        if match and self._refusals.url(b"link", decoded(self._expanded(match[2]))):
            self._out.replace(data, start, end)
        return end

    def _end_tag(self, data: bytes, start: int) -> int:
        end = data.find(b">", start) + 1
        if not end:
            return self._kept_back.wait_for(_TAG_END)
        named = TAG_NAME.match(data, start + 2)
        if named and _local(named[0]) == b"body":
            self._insertions.end_body(data, start)
        return end

    def _start_tag(self, data: bytes, start: int, final: bool) -> int:
        written = start_tag(data, start)
        if written is None:
            return self._kept_back.wait_for(_TAG_END)
        self._kept_back.check(written.end - start)
        tag = written._replace(
            name=_local(written.name),
            attributes=[self._plain(attribute) for attribute in written.attributes],
        )
        after = tag.end
        if tag.name in (b"script", b"style") and not tag.self_closing:
            name = TAG_NAME.match(data, start + 1)
            close, after = _content_end(data, tag.end, name[0] if name else tag.name)
            if (len(data) if close < 0 else after) - start > self._max_buffer_bytes:
                # What is left of it is no longer well-formed: nothing behind it is read.
                self._kept_back.refuse(len(data) - start)
            if close < 0:
                return len(data) if final else self._kept_back.wait_for(_TAG_END)
        else:
            close = tag.end
        if tag.name == b"script" and self._refuses(tag, data[tag.end : close]):
            self._out.replace(data, start, after)
            return after
        _, edits = self._refusals.attributes(data, tag, keep=True)
        for edit in edits:
            self._out.replace_within_tag(data, *edit)
        if tag.name == b"style":
            self._style(data, tag.end, close)
        return after

    def _style(self, data: bytes, start: int, end: int) -> None:
        """Rewrite a style sheet: plain, or with references and CDATA sections, which make a text of it first."""
        raw = self._expanded(data[start:end])
        written = b"&" in raw or b"<" in raw
        sheet = markup_text(raw).encode("utf-8", "surrogateescape") if written else raw
        clean = self._refusals.style(sheet)
        if clean != sheet:
            if written:
                clean = clean.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
            self._out.replace(data, start, end, clean)

    def _refuses(self, tag: Tag, raw: bytes) -> bool:
        """Judge a script of XHTML (``src``) or SVG (``href``); which it is, is not followed."""
        kind = script_kind(tag)
        if kind is ScriptKind.DATA:
            return False
        code = markup_text(self._expanded(raw))
        if kind is ScriptKind.URLS:
            return self._refusals.url_table(code)
        refused = self._refusals.script_sources(tag, foreign=True)
        inline = is_inline(tag) or is_inline(tag, foreign=True)
        return refused or (inline and bool(code) and self._refusals.script(code))

    def _plain(self, attribute: Attribute) -> Attribute:
        """Return an attribute as it would be in HTML: with XLink's usual prefix, without own entities."""
        name = attribute.name
        if name.endswith(b":href"):
            name = b"xlink:href"
        value = self._expanded(attribute.value)
        if value != attribute.value:
            return attribute._replace(name=name, value=value, value_start=-1)
        return attribute._replace(name=name)


def _local(name: bytes) -> bytes:
    return name.rpartition(b":")[2].lower()


def _content_end(data: bytes, position: int, name: bytes) -> tuple[int, int]:
    """Return where the content of the element ends, and where its end tag does; -1: not there yet."""
    while match := _content_turns(name).search(data, position):
        end = _ENDS.get(match[0])
        if end is None:
            return match.start(), match.end()
        position = data.find(end, match.end()) + len(end)
        if position < len(end):
            break
    return -1, -1

"""Elements whose content is text: which they are, where they end, and what of the content is refused.

Readers of a page differ about them. In SVG and MathML all but scripts hold markup; what looks ahead in a browser
knows neither; and where the reading is uncertain, both count.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from consent.html.attribute_values import embedded, markup_text, text
from consent.html.elements import RAW_TEXT
from consent.html.foreign import Reading
from consent.html.refusals import Refusals
from consent.html.scanning import find_tag
from consent.html.script_text import ScriptText
from consent.html.scripts import ScriptKind, is_inline, script_kind
from consent.html.tokenizer import (
    CDATA_END,
    COMMENT_END,
    REST_OF_TAG,
    TAG_END,
    Tag,
    foreign_text_end,
    foreign_token_at,
    tag_named,
)

TEXT_AHEAD = RAW_TEXT | {b"script"}
"""What holds text to what looks ahead in a browser, wherever it stands."""


class Content(NamedTuple):
    """Where the content of an element ends, and where its end tag does."""

    close: int
    after: int
    is_finished: bool
    """Whether it ends with its end tag, not with the page."""
    beyond: int = -1
    """Where what holds the end tag ends, to who reads the content as SVG: a comment, or another tag."""


def must_be_whole(tag: Tag, reading: Reading, *, scripting: bool) -> bool:
    """Tell whether an element must be known up to its end to be judged."""
    if reading is Reading.FOREIGN:
        return tag.name in (b"script", b"style") and not tag.self_closing
    if tag.name == b"script":
        return reading is Reading.UNCERTAIN or is_inline(tag)
    if tag.name == b"noscript":
        return scripting
    return tag.name in RAW_TEXT and (reading is Reading.UNCERTAIN or tag.name == b"style")


def content_of(data: bytes, tag: Tag, reading: Reading) -> Content | re.Pattern[bytes]:
    """Return where the content of an element ends; what to wait for if that is not there yet."""
    if reading is Reading.FOREIGN:
        begin = foreign_text_end(data, tag.end, tag.name)
    elif tag.name == b"script":
        begin, _ = ScriptText().end(data, tag.end)
    else:
        begin = find_tag(data, tag.end, b"/" + tag.name)
    if begin < 0:
        # A CDATA section may have to end first.
        return TAG_END if reading is Reading.FOREIGN else tag_named(b"/" + tag.name)
    rest = REST_OF_TAG.match(data, begin + 2 + len(tag.name))
    return Content(begin, rest.end(), is_finished=True) if rest else TAG_END


def is_text_ahead_only(name: bytes) -> bool:
    """Tell whether an element of SVG or MathML holds text to nobody but what looks ahead."""
    return name in TEXT_AHEAD and name not in (b"script", b"style")


def content_ahead(data: bytes, tag: Tag, *, final: bool) -> Content | re.Pattern[bytes]:
    """Return where the content of an element of SVG or MathML ends to what looks ahead; or what to wait for."""
    content = content_of(data, tag, Reading.HTML)
    if not isinstance(content, Content) or not is_text_ahead_only(tag.name):
        return content
    start, end = foreign_token_at(data, tag.end, content.close)
    if end < 0 and not final:
        if data.startswith(b"<!--", start):
            return COMMENT_END
        return CDATA_END if data.startswith(b"<![CDATA[", start) else TAG_END
    return content._replace(beyond=len(data) if end < 0 else end)


def refuses_script(
    refusals: Refusals, data: bytes, tag: Tag, content: Content | None, reading: Reading
) -> bool:
    """Judge a script with all that it consists of, as every reader sees it."""
    kind = script_kind(tag)
    if content is None:
        foreign = reading is Reading.FOREIGN
        return kind is ScriptKind.CODE and refusals.script_sources(tag, foreign=foreign)
    raw = data[tag.end : content.close]
    if kind is ScriptKind.DATA:
        return False
    if kind is ScriptKind.URLS:
        return content.is_finished and refusals.url_table(text(raw))
    html, foreign = reading is not Reading.FOREIGN, reading is not Reading.HTML
    refused = refusals.script_sources(tag, foreign=foreign)
    if content.is_finished and not refused:
        # A script that the end of the page cuts off does not run.
        refused = html and is_inline(tag) and refusals.script(text(raw))
        if foreign and is_inline(tag, foreign=True) and (not html or b"&" in raw or b"<" in raw):
            refused |= refusals.script(markup_text(raw))
    return refused


def clean_style(refusals: Refusals, raw: bytes, reading: Reading) -> bytes:
    """Return the content of a ``style`` element without what is refused; ``raw`` itself where nothing is."""
    # In SVG it is text with character references.
    sheet = embedded(raw, escape="\\%x ") if reading is Reading.FOREIGN and b"<" not in raw else raw
    clean = refusals.style(sheet)
    if reading is not Reading.HTML and b"&" in raw:
        # To one reader they are references, to the other they are not.
        other = embedded(raw, escape="\\%x ") if sheet is raw else raw
        if refusals.style(other) != other:
            clean = b""
    if clean == sheet:
        return raw
    if sheet is not raw:
        return clean.replace(b"&", b"&amp;")
    # Nothing in a refused sheet is worth a second reading, as markup.
    return b"" if reading is Reading.UNCERTAIN and b"<" in clean else clean

"""The syntax of Jinja2 and Django within a page, put out of the way so that the page can be read as one.

Every byte keeps its place: what a template engine would take is blanked, and its lines stay lines.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_OPENING = re.compile(rb"\{[{%#]")
_MAX_TAG = 4096
_STRING = rb"\"(?:[^\"\\]|\\.){0,1000}+\"|'(?:[^'\\]|\\.){0,1000}+'"
_CODE = {
    opening: re.compile(rb"(?s:%b(?:%b|(?!%b)[^\"'])*+%b)" % (re.escape(opening), _STRING, closing, closing))
    for opening, closing in ((b"{{", b"}}"), (b"{%", b"%}"))
}
_CLOSING = {b"{{": b"}}", b"{%": b"%}", b"{#": b"#}"}
_KEYWORD = re.compile(rb"\{%[-+]?\s*+([a-z]++)")
_NOT_A_LINE = re.compile(rb"[^\r\n]")
_VALUE = b"\x1a"
"""Stands for what the template puts in: a part of a name or a path, and never a part of a host."""
_GONE = b"\t"
"""Stands for what puts nothing in. Within a URL, too, browsers take no notice of it (URL Standard, section 4.4)."""
_APART = b" "
"""Stands between two branches, of which only one comes out."""
_BRANCHING = frozenset(
    (b"if", b"for", b"ifchanged", b"ifequal", b"ifnotequal", b"blocktrans", b"blocktranslate")
)
_BRANCHES = frozenset((b"else", b"elif", b"empty", b"plural"))
_COMMENT = re.compile(rb"\{%[-+]?\s*+endcomment\b[^%]{0,200}%\}")


class _Tag(NamedTuple):
    start: int
    end: int
    keyword: bytes


def readings(template: bytes) -> list[bytes]:
    """Return the page as it may come out, each as long as ``template``: with the first branches, the last, all.

    Of ``src="{% if a %}https://a.example/{% else %}https://b.example/{% endif %}"`` only one at a time is a URL.
    Comments are gone. What ``{{ … }}`` puts in is not known.
    """
    page = bytearray(template)
    tags = _put_away(template, page)
    everything = bytes(page)
    branches = [_one_branch(everything, tags, last=last) for last in (False, True)]
    return list(dict.fromkeys([*branches, everything]))


def _put_away(template: bytes, page: bytearray) -> list[_Tag]:
    """Blank what is the engine's in ``page``; return its tags."""
    tags: list[_Tag] = []
    ends: dict[bytes, int] = {}
    position = 0
    while match := _OPENING.search(template, position):
        start, opening = match.start(), match[0]
        end = _end(template, start, opening, ends)
        if end < 0:  # a brace of a style sheet or a script
            position = start + 1
            continue
        filler = _GONE
        if opening == b"{%":
            named = _KEYWORD.match(template, start)
            keyword = named[1] if named else b""
            comment_end = _comment_end(template, end, ends) if keyword == b"comment" else -1
            if comment_end >= 0:
                end = comment_end
            else:
                tags.append(_Tag(start, end, keyword))
                filler = _APART if keyword in _BRANCHES else _GONE
        # As an unquoted value, blanks would make the next attribute's name of it.
        if opening == b"{{" or template[start - 1 : start] == b"=":
            filler = _VALUE
        page[start:end] = _NOT_A_LINE.sub(filler, template[start:end])
        position = end
    return tags


def _end(template: bytes, start: int, opening: bytes, ends: dict[bytes, int]) -> int:
    """Return where a piece of syntax ends that begins at ``start``; -1: it is none."""
    closing = _CLOSING[opening]
    near = ends.get(opening, 0)
    if 0 <= near < start + 2:
        near = ends[opening] = template.find(closing, start + 2)
    if near < 0:
        return -1
    if opening == b"{#":
        return near + 2
    if near - start > _MAX_TAG:
        return -1
    code = _CODE[opening].match(template, start, start + 2 * _MAX_TAG)
    return code.end() if code else near + 2


def _comment_end(template: bytes, start: int, ends: dict[bytes, int]) -> int:
    """Return where the block of a comment ends whose content begins at ``start``; -1: nowhere."""
    known = ends.get(b"comment", 0)
    if 0 <= known < start:
        closing = _COMMENT.search(template, start)
        known = ends[b"comment"] = closing.end() if closing else -1
    return known


def _one_branch(page: bytes, tags: list[_Tag], *, last: bool) -> bytes:
    """Return the page with one branch of each block only."""
    result = bytearray(page)
    others: list[tuple[int, int]] = []
    open_blocks: list[tuple[_Tag, list[_Tag]]] = []
    for tag in tags:
        if tag.keyword in _BRANCHING:
            open_blocks.append((tag, []))
        elif tag.keyword in _BRANCHES and open_blocks:
            open_blocks[-1][1].append(tag)
        elif open_blocks and tag.keyword == b"end" + open_blocks[-1][0].keyword:
            opening, turns = open_blocks.pop()
            if turns:
                others.append((opening.end, turns[-1].end) if last else (turns[0].start, tag.start))
    blanked = 0
    for start, end in sorted(others):
        begin = max(start, blanked)  # one block may be in another
        if begin < end:
            result[begin:end] = _NOT_A_LINE.sub(_GONE, page[begin:end])
            blanked = end
    return bytes(result)

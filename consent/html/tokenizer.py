"""Where the tags of an HTML page begin and end, as the HTML Standard's tokenizer sees it (section 13.2.5).

Everything here is a compiled pattern or a pure function over bytes: the state lives in the rewriter.
Bytes suffice because every encoding that reaches this module agrees with ASCII on ASCII bytes (the
middleware transcodes the few that do not). Carriage returns count as white space: a browser turns them
into line feeds before it tokenizes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# White space and its absence, as the tokenizer means them. (Python's \s would count the vertical tab too.)
_S = rb"[\t\n\f\r ]"
_ATTRIBUTE = (
    rb"[^\t\n\f\r />][^\t\n\f\r />=]*+"
    rb"(?:" + _S + rb"*+=" + _S + rb"*+(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r \"'>][^\t\n\f\r >]*+|(?=>))"
    rb"|(?!" + _S + rb"*+=))"
)
_CAREFUL_REST = rb"(?:[\t\n\f\r /]++|" + _ATTRIBUTE + rb")*+>"
# Nearly all tags are made of attributes with a quoted value right behind "=", and are passed at the speed of a
# search. A "=" behind white space or a slash would begin a name, and a stray quote is a name too: whatever is
# not so plain is read again with care, from its start.
_REST = (
    rb"(?:[^>\"'=]*+(?:(?<![\t\n\f\r /\"'])=(?:\"[^\"]*+\"|'[^']*+')[^>\"'=]*+)*+>|" + _CAREFUL_REST + rb")"
)
REST_OF_TAG = re.compile(_REST)
"""From the end of a tag's name to behind its ``>``; no match where the tag is not complete."""

TAG_NAME = re.compile(rb"[a-zA-Z][^\t\n\f\r />]*+(?=[\t\n\f\r />])")
"""A tag's name, once the byte that ends it is there."""

# Elements that load, hold raw text, change how the rest is read, or are asked for by the rewriter.
_WATCHED = (
    rb"[sS](?:[cC][rR][iI][pP][tT]|[tT][yY][lL][eE]|[oO][uU][rR][cC][eE]|[vV][gG]|[eE][lL][eE][cC][tT])"
    rb"|[tT](?:[eE][xX][tT][aA][rR][eE][aA]|[iI][tT][lL][eE]|[rR][aA][cC][kK])"
    rb"|[iI](?:[mM][gG]|[fF][rR][aA][mM][eE]|[nN][pP][uU][tT]|[mM][aA][gG][eE])"
    rb"|[nN][oO](?:[sS][cC][rR][iI][pP][tT]|[eE][mM][bB][eE][dD]|[fF][rR][aA][mM][eE][sS])"
    rb"|[lL][iI][nN][kK]|[mM][eE][tT][aA]|[mM][aA][tT][hH]|[xX][mM][pP]|[vV][iI][dD][eE][oO]"
    rb"|[aA][uU][dD][iI][oO]|[eE][mM][bB][eE][dD]|[oO][bB][jJ][eE][cC][tT]|[pP][aA][rR][aA][mM]"
    rb"|[pP][lL][aA][iI][nN][tT][eE][xX][tT]|[bB][aA][sS][eE]|[bB][oO][dD][yY]|[hH][tT][mM][lL]"
    rb"|[fF][rR][aA][mM][eE](?:[sS][eE][tT])?"
)
_ANY_NAME = rb"[a-zA-Z][^\t\n\f\r />]*+"
SKIP = re.compile(
    rb"(?:[^<]++"
    rb"|<(?!(?:" + _WATCHED + rb")[\t\n\f\r />])" + _ANY_NAME + _REST
    + rb"|</(?!(?:[bB][oO][dD][yY]|[sS][eE][lL][eE][cC][tT])[\t\n\f\r />])" + _ANY_NAME + _REST
    + rb"|<(?![a-zA-Z/!?])(?!\Z)"
    rb")*+"
)
"""Text and tags that need no look. It stops before a watched tag, a comment, and whatever is incomplete."""

ATTRIBUTE = re.compile(
    rb"[\t\n\f\r /]*+([^\t\n\f\r />][^\t\n\f\r />=]*+)"
    rb"(?:" + _S + rb"*+=" + _S + rb"*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\f\r \"'>][^\t\n\f\r >]*+)|(?=>)))?+"
)

RAW_TEXT_END = {
    name: re.compile(rb"</(?i:" + name + rb")(?=[\t\n\f\r />])")
    for name in (
        b"script", b"style", b"title", b"textarea", b"xmp", b"iframe", b"noembed", b"noframes", b"noscript",
    )
}  # fmt: skip
"""For each element whose content is no markup, where its end tag begins."""

_SCRIPT_TURN = re.compile(rb"<!--|-->|<(/?)(?i:script)(?=[\t\n\f\r />])")
_COMMENT_END = re.compile(rb"--!?>")


class Attribute(NamedTuple):
    """One attribute of a tag; ``start`` and ``end`` are offsets into the page's bytes."""

    name: bytes
    """Lower case."""
    value: bytes
    """As written: character references are not decoded."""
    start: int
    end: int


def attributes(data: bytes, start: int, end: int) -> list[Attribute]:
    """Return the attributes of a complete tag; ``start`` is behind its name, ``end`` at its ``>``.

    Repeated names are kept: a browser uses the first, but removing the first would promote the second.
    """
    found = []
    position = start
    while match := ATTRIBUTE.match(data, position, end + 1):
        name, double, single, bare = match.groups()
        if match.start(1) >= end:
            break
        value = double if double is not None else single if single is not None else bare
        found.append(Attribute(name.lower(), value or b"", match.start(1), match.end()))
        position = match.end()
    return found


def comment_end(data: bytes, start: int) -> int:
    """Return the offset behind the comment whose ``<!--`` is at ``start``, or -1 where it is not complete."""
    inside = start + 4
    if data.startswith(b">", inside):
        return inside + 1
    if data.startswith(b"->", inside):
        return inside + 2
    match = _COMMENT_END.search(data, inside)
    return match.end() if match else -1


def script_end(data: bytes, start: int) -> int:
    """Return where the end tag of the script begins whose content begins at ``start``; -1: not there yet.

    A script that contains ``<!--`` may contain ``<script>…</script>`` as text: the script data escaped and
    double escaped states (HTML Standard, 13.2.5.15 to 13.2.5.31).
    """
    first = RAW_TEXT_END[b"script"].search(data, start)
    if first is None:
        return -1
    if data.find(b"<!--", start, first.start()) < 0:
        return first.start()
    escaped = doubly = False
    position = start
    while match := _SCRIPT_TURN.search(data, position):
        token = match[0]
        position = match.end()
        if token == b"<!--":
            if not escaped:
                escaped = True
                position -= 2  # "<!-->" ends what it begins
        elif token == b"-->":
            escaped = doubly = False
        elif match[1]:
            if not doubly:
                return match.start()
            doubly = False
        elif escaped:
            doubly = True
    return -1

"""Where the tags of an HTML page begin and end, as the HTML Standard's tokenizer sees it (section 13.2.5).

Everything here is a compiled pattern or a pure function over bytes: the state lives in the rewriter.
Bytes suffice because every encoding that reaches this module agrees with ASCII on ASCII bytes (the
middleware transcodes the few that do not). Carriage returns count as white space: a browser turns them
into line feeds before it tokenizes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

# White space as the tokenizer means it. (Python's \s would count the vertical tab too.)
_S = rb"[\t\n\f\r ]"
_ATTRIBUTE = (
    rb"[^\t\n\f\r />][^\t\n\f\r />=]*+"
    rb"(?:" + _S + rb"*+=" + _S + rb"*+(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r \"'>][^\t\n\f\r >]*+|(?=>))"
    rb"|(?!" + _S + rb"*+=))"
)
_CAREFUL_REST = rb"(?:[\t\n\f\r /]++|" + _ATTRIBUTE + rb")*+>"
# Nearly all tags are made of attributes with a quoted value right behind "=", and are passed at the speed
# of a search. A "=" behind white space or a slash would begin a name, and a stray quote is a name too:
# whatever is not so plain is read again with care, from its start.
REST_OF_TAG = re.compile(
    rb"(?:[^>\"'=]*+(?:(?<![\t\n\f\r /\"'])=(?:\"[^\"]*+\"|'[^']*+')[^>\"'=]*+)*+>|" + _CAREFUL_REST + rb")"
)
"""From the end of a tag's name to behind its ``>``; no match where the tag is not complete."""

TAG_NAME = re.compile(rb"[a-zA-Z][^\t\n\f\r />]*+(?=[\t\n\f\r />])")
"""A tag's name, once the byte that ends it is there."""


def _either_case(words: str) -> bytes:
    """Return a pattern for one of ``words``; much faster than Python's own IGNORECASE."""
    by_initial: dict[str, list[str]] = {}
    for word in words.split():
        by_initial.setdefault(word[0], []).append(word[1:])

    def classes(text: str) -> str:
        return "".join(f"[{c}{c.upper()}]" if c.isalpha() else re.escape(c) for c in text)

    return "|".join(
        f"{classes(initial)}(?:{'|'.join(map(classes, rests))})" for initial, rests in by_initial.items()
    ).encode("ascii")


STRUCTURAL = (
    "script style svg select textarea title template iframe noscript noembed noframes math xmp plaintext base"
    " head body html frameset"
)
"""Elements that hold raw text, change how the rest is read, or are asked for by the rewriter."""
LOADING = "source track img input image link meta video audio embed object param frame set animate"
"""Elements that load what an attribute names, and are nothing else to the rewriter."""
CLOSING = "body select template"
"""Elements whose end tags count."""
_WATCHED = _either_case(f"{STRUCTURAL} {LOADING}")
_WATCHED_ENDS = _either_case(CLOSING)
# Attributes that load or run on any element; "style" by itself where it may hold a function, an escape or a custom
# property.
_WATCHED_ATTRIBUTES = _either_case("on ping background attributionsrc style")
_PLAIN_REST = (
    rb"(?:[\t\n\f\r /]*+(?:"
    + _either_case("style") + rb"=(?:\"(?:[^\"(\\&-]++|-(?!-))*+\"|'(?:[^'(\\&-]++|-(?!-))*+')"
    + rb"|(?!" + _WATCHED_ATTRIBUTES + rb")[^\t\n\f\r />=\"']++"
    + rb"(?:=(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r \"'>][^\t\n\f\r >]*+))?+))*+[\t\n\f\r /]*+>"
)  # fmt: skip
_ANY_NAME = rb"[a-zA-Z][^\t\n\f\r />]*+"
_SKIP = re.compile(
    rb"(?:[^<]++"
    rb"|<(?!(?:" + _WATCHED + rb")[\t\n\f\r />])" + _ANY_NAME + _PLAIN_REST
    + rb"|</(?!(?:" + _WATCHED_ENDS + rb")[\t\n\f\r />])" + _ANY_NAME + rb"[^>\"'=]*+>"
    + rb"|<(?![a-zA-Z/!?])(?!\Z)"
    rb")*+"
)  # fmt: skip
# The leaves of drawings. They leave the open elements as they are, so that nobody has to follow them.
_LEAVES = _either_case("path circle ellipse line polygon polyline rect stop use")
_REFERENCE_ATTRIBUTES = _either_case("style href xlink fill stroke filter mask clip marker cursor")
_LEAF_REST = (
    rb"(?:[\t\n\f\r ]++(?!" + _REFERENCE_ATTRIBUTES + rb"|[oO][nN])"
    rb"[^\t\n\f\r />=\"'<]++=(?:\"[^\"]*+\"|'[^']*+')"
    rb"|[\t\n\f\r ]++(?:" + _REFERENCE_ATTRIBUTES + rb")[a-z:-]*+=\"[^\"(\\&:/]*+\")*+[\t\n\f\r ]*+"
)
_SKIP_DRAWING = re.compile(rb"(?:[^<]++|<(" + _LEAVES + rb")" + _LEAF_REST + rb"(?:/>|></\1>))*+")


def next_stop(data: bytes, position: int, end: int) -> int:
    """Return the next place before ``end`` worth looking at; ``end`` where there is none.

    Passed are text, and tags that neither load nor run anything, nor change how the rest is read. It stops
    before a watched tag, a comment, what is incomplete, and what is too odd to be passed at a glance.
    """
    return _SKIP.match(data, position, end).end()  # type: ignore[union-attr]  # it matches the empty string


def next_stop_in_drawing(data: bytes, position: int, end: int) -> int:
    """Do the same inside SVG, where every tag counts that may change which elements are open."""
    return _SKIP_DRAWING.match(data, position, end).end()  # type: ignore[union-attr]  # likewise


_ATTRIBUTE_PARTS = re.compile(
    rb"[\t\n\f\r /]*+([^\t\n\f\r />][^\t\n\f\r />=]*+)"
    rb"(?:"
    + _S
    + rb"*+="
    + _S
    + rb"*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\f\r \"'>][^\t\n\f\r >]*+)|(?=>)))?+"
)


@lru_cache(maxsize=64)
def tag_named(name: bytes) -> re.Pattern[bytes]:
    """Return a pattern for where a tag of that name begins: lower case; an end tag's name begins with ``/``."""
    slash = b"/" * name.startswith(b"/")
    word = _either_case(name.removeprefix(b"/").decode("ascii"))
    return re.compile(b"<" + slash + b"(?:" + word + rb")(?=[\t\n\f\r />])")


TAG_END = re.compile(rb">")
COMMENT_END = re.compile(rb"--!?>")
CDATA_END = re.compile(rb"\]\]>")


class Attribute(NamedTuple):
    """One attribute of a tag; the offsets are into the page's bytes."""

    name: bytes
    """Lower case."""
    value: bytes
    """As written: character references are not decoded."""
    start: int
    end: int
    value_start: int
    """Where ``value`` begins, behind a quotation mark; -1 where it is not in the page like that."""


class Tag(NamedTuple):
    """A complete start tag."""

    name: bytes
    """Lower case."""
    start: int
    end: int
    """Behind its ``>``."""
    attributes: list[Attribute]
    """Repeated names are kept: a browser uses the first, but removing the first would promote the second."""
    self_closing: bool

    def values(self) -> dict[bytes, bytes]:
        """Return the value that counts for each attribute."""
        return {attribute.name: attribute.value for attribute in reversed(self.attributes)}


_COULD_LOAD = frozenset(f"{STRUCTURAL} {LOADING}".encode().split())
STYLE_REFERS = re.compile(rb"[(\\&]|--")
"""What a ``style`` attribute that refers to something has in it."""


def could_load(tag: Tag) -> bool:
    """Tell whether an element might load or run anything, or change how the page is read; whatever its URLs are."""
    return tag.name in _COULD_LOAD or any(
        name.startswith(b"on")
        or name in (b"ping", b"background", b"attributionsrc")
        or (name == b"style" and STYLE_REFERS.search(value) is not None)
        for name, value, *_ in tag.attributes
    )


def start_tag(data: bytes, start: int) -> Tag | None:
    """Return the start tag whose ``<`` is at ``start``; ``None`` where it is not complete."""
    named = TAG_NAME.match(data, start + 1)
    rest = REST_OF_TAG.match(data, named.end()) if named else None
    if named is None or rest is None:
        return None
    end = rest.end()
    found = []
    position = named.end()
    while match := _ATTRIBUTE_PARTS.match(data, position, end):
        position = match.end()
        group = match.lastindex or 1
        if group > 1:
            value, value_start = match[group], match.start(group)
        else:
            value, value_start = b"", -1
        found.append(Attribute(match[1].lower(), value, match.start(1), position, value_start))
    # A slash belongs to an unquoted value that it ends.
    return Tag(named[0].lower(), start, end, found, data[end - 2] == 0x2F and position != end - 1)


def comment_end(data: bytes, start: int) -> int:
    """Return the offset behind the comment whose ``<!--`` is at ``start``, or -1 where it is not complete."""
    inside = start + 4
    if data.startswith(b">", inside):
        return inside + 1
    if data.startswith(b"->", inside):
        return inside + 2
    match = COMMENT_END.search(data, inside)
    return match.end() if match else -1


def foreign_token_at(data: bytes, position: int, place: int) -> tuple[int, int]:
    """Return where the token of SVG or MathML that holds ``place`` begins and ends; an end of -1: not there yet.

    Where ``place`` is between two, both are ``place``. ``position`` is where a token begins.
    """
    end = position
    while 0 <= end < place and (position := data.find(b"<", end, place)) >= 0:
        end = _foreign_token_end(data, position)
    return (position, end) if position >= 0 and not 0 <= end <= place else (place, place)


def _foreign_token_end(data: bytes, start: int) -> int:
    if data.startswith(b"<!--", start):
        return comment_end(data, start)
    if data.startswith(b"<![CDATA[", start):
        end = data.find(b"]]>", start)
        return end if end < 0 else end + 3
    slash = data.startswith(b"/", start + 1)
    if data[start + 1 + slash : start + 2 + slash].isalpha():
        named = TAG_NAME.match(data, start + 1 + slash)
        rest = REST_OF_TAG.match(data, named.end()) if named else None
        return rest.end() if rest else -1
    if slash or data[start + 1 : start + 2] in (b"!", b"?"):
        return data.find(b">", start) + 1 or -1
    return start + 1


_FOREIGN_TURN = {
    name: re.compile(rb"<!\[CDATA\[|<!--|" + tag_named(b"/" + name).pattern) for name in (b"script", b"style")
}


def foreign_text_end(data: bytes, position: int, name: bytes) -> int:
    """Return where the end tag ``name`` begins in SVG, past CDATA and comments; -1: not there yet."""
    while match := _FOREIGN_TURN[name].search(data, position):
        if match[0].startswith(b"</"):
            return match.start()
        if match[0] == b"<!--":
            position = comment_end(data, match.start())
        else:
            position = data.find(b"]]>", match.end()) + 3
        if position < 3:
            break
    return -1

"""What style sheets load: ``url()``, ``src()``, ``image-set()`` and ``@import`` (CSS Syntax, CSS Values)."""

from __future__ import annotations

import re
from collections.abc import Callable

from consent.speedups import compiled

INERT = b"about:invalid"
"""What takes the place of a refused URL; it loads nothing (CSS Values, section 4.5.4)."""

_ESCAPE = rb"\\(?:[0-9a-fA-F]{1,6}+(?:\r\n|[\t\n\f\r ])?+|[^\n\f\r0-9a-fA-F])"
_NAME = re.compile(rb"(?:[-\w\x80-\xff]|" + _ESCAPE + rb")++")
_NAME_BEFORE = re.compile(rb"[-\w\x80-\xff]*+\Z")
_LONGEST_NAME = 24
_COMMENT = rb"/\*(?s:.*?)(?:\*/|\Z)"
_STRINGS = (
    rb"(?s:\"((?:[^\"\\\n\f\r]|\\(?:\r\n|.)|\\\Z)*+)(?:\"|\Z|(?=[\n\f\r])))",
    rb"(?s:'((?:[^'\\\n\f\r]|\\(?:\r\n|.)|\\\Z)*+)(?:'|\Z|(?=[\n\f\r])))",
)
# All that matters to find functions and strings: names are read from their "(".
_TURN = re.compile(rb"|".join((_COMMENT, *_STRINGS, rb"[@(){};\\]")))
# Outside of functions most of that cannot lead to a URL, and is passed at the speed of a search. What can:
# a "(" with the end of a name that counts before it, an escape that may be part of a name, and some rules.
_SKIP = re.compile(
    rb"(?:[^\"'/\\(@]++|" + _COMMENT + rb"|/|" + rb"|".join(_STRINGS)
    + rb"|(?<![uU][rR][lL])"
    + rb"(?<![sS][rR][cC])(?<![aA][gG][eE])(?<!-[sS][eE][tT])\(|@(?![iInN\\])|\\[^\na-zA-Z0-9_\x80-\xff-])*+"
)  # fmt: skip
_UNQUOTED = re.compile(rb"[\t\n\f\r ]*+((?:[^\"'()\\\t\n\f\r ]|" + _ESCAPE + rb")*+)[\t\n\f\r ]*+(?:\)|\Z)")
_BAD_URL_END = re.compile(rb"(?:[^)\\]|\\(?s:.)|\\\Z)*+\)?")
_BLANK = b"\t\n\f\r "
_CODE = re.compile(rb"\\(?:([0-9a-fA-F]{1,6})(?:\r\n|[\t\n\f\r ])?|\r\n|[\n\f\r]|(.))", re.DOTALL)
_EVIDENCE = (b"url(", b"src(", b"image(", b"-set(", b"@import", b"\\")
"""A sheet with none of these, in lower case, loads nothing. Looking for them is several times faster."""
# Browsers drop tabs from URLs.
_SCHEME = re.compile(rb"[hH]\t*+[tT]\t*+[tT]\t*+[pP]\t*+(?:[sS]\t*+)?:")
_LOADING_STRINGS = frozenset((b"url", b"src", b"image", b"image-set", b"-webkit-image-set"))
"""Functions in which a string is a URL."""


def _unescaped(raw: bytes) -> bytes:
    def replace(match: re.Match[bytes]) -> bytes:
        if match[1]:
            code = int(match[1], 16)
            if code == 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                code = 0xFFFD
            return chr(code).encode("utf-8")
        return match[2] or b""

    return _CODE.sub(replace, raw) if b"\\" in raw else raw


def neutralised(css: bytes, refuses: Callable[[str], bool], *, at_home: bool = False) -> bytes:
    """Return ``css`` with every URL that ``refuses`` replaced by an inert one, all else as it is.

    Comments, strings that are no URLs, and ``@namespace`` are left alone. Where relative URLs are ``at_home``,
    leading to the page's own host, a sheet that has no others, and none with a query, is not read.
    """
    places = None if compiled is None else compiled.style_urls(css)
    if (
        places is None
        and at_home
        and not (b"//" in css or b"?" in css or b"\\" in css or b"/\t" in css or _SCHEME.search(css))
    ):
        return css
    pieces: list[bytes] = []
    flushed = 0

    def judge(start: int, end: int) -> None:
        nonlocal flushed
        written = css[start:end]
        # What looks ahead in a browser knows no escapes, and takes a backslash for a slash as in any URL.
        urls = (written, _unescaped(written)) if b"\\" in written else (written,)
        if any(url and refuses(url.decode("utf-8", "surrogateescape")) for url in urls):
            pieces.extend((css[flushed:start], INERT))
            flushed = end

    if places is None:
        _read(css, judge)
    else:
        for place in places:
            judge(*place)
    if not pieces:
        return css
    pieces.append(css[flushed:])
    return b"".join(pieces)


def _read(css: bytes, judge: Callable[[int, int], None]) -> None:
    """Call ``judge`` with where each URL begins and ends."""
    lower = css.lower()
    if not any(evidence in lower for evidence in _EVIDENCE):
        return
    position = 0
    functions: list[bytes] = []
    import_at = -1  # where the URL of an @import would begin, but for white space
    while True:
        if not functions and import_at < 0:
            skipped = _SKIP.match(css, position)
            position = skipped.end() if skipped else position
        turn = _TURN.search(css, position)
        if turn is None:
            break
        start, position = turn.span()
        kind = css[start]
        imports = import_at >= 0 and not css[import_at:start].strip(_BLANK)
        if kind == 0x2F:  # a comment
            if imports:
                import_at = position
            continue
        if kind in b"\"'":
            group = 1 if kind == 0x22 else 2
            closed = position - start > 1 and css[position - 1] == kind
            # A string that the end of its line cuts off is none; the end of the sheet closes it.
            if (closed or position == len(css)) and (
                imports or (functions and functions[-1] in _LOADING_STRINGS)
            ):
                judge(*turn.span(group))
        elif kind == 0x28:  # (
            before = _NAME_BEFORE.search(css, max(0, start - _LONGEST_NAME), start)
            position = _open(css, before[0].lower() if before else b"", position, functions, judge)
        elif kind == 0x29:  # )
            if functions:
                functions.pop()
        elif kind == 0x40:  # @
            name = _NAME.match(css, position)
            if name is None:
                continue
            position = name.end()
            rule = _unescaped(name[0]).lower()
            if rule == b"import":
                import_at = position
                continue
            if rule == b"namespace":
                end = css.find(b";", position)
                position = len(css) if end < 0 else end
        elif kind == 0x5C:  # a name with an escape
            before = _NAME_BEFORE.search(css, max(0, start - _LONGEST_NAME), start)
            name = _NAME.match(css, before.start() if before else start)
            if name is not None and name.end() > start:
                position = name.end()
                if css[position : position + 1] == b"(":
                    position = _open(css, _unescaped(name[0]).lower(), position + 1, functions, judge)
        else:  # a block or a declaration ends or begins
            functions.clear()
        import_at = -1


def _open(
    css: bytes, name: bytes, position: int, functions: list[bytes], judge: Callable[[int, int], None]
) -> int:
    """Begin the function ``name``, whose ``(`` is before ``position``; return where to go on."""
    if name == b"url":
        unquoted = _UNQUOTED.match(css, position)
        if unquoted:
            judge(*unquoted.span(1))
            return unquoted.end()
        if css[position : position + 64].lstrip(_BLANK)[:1] not in (b'"', b"'", b""):
            bad = _BAD_URL_END.match(css, position)
            return bad.end() if bad else position
    if functions or name in _LOADING_STRINGS:
        functions.append(name)
    return position

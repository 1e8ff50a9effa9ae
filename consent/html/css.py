"""What style sheets load: ``url()``, ``src()``, ``image-set()`` and ``@import`` (CSS Syntax, CSS Values)."""

from __future__ import annotations

import re
from collections.abc import Callable

from consent.speedups import compiled

INERT = b"about:invalid"
"""What takes the place of a refused URL; it loads nothing (CSS Values, section 4.5.4)."""

_ESCAPE = rb"\\(?:[0-9a-fA-F]{1,6}+(?:\r\n|[\t\n\f\r ])?+|[^\n\f\r0-9a-fA-F])"
_NAME = re.compile(rb"(?:[-\w\x80-\xff]|" + _ESCAPE + rb")++")
_NAME_BYTES = bytes(c for c in range(256) if c >= 0x80 or chr(c).isalnum() or c in b"-_")
_COMMENT = rb"/\*(?s:.*?)(?:\*/|\Z)"
_STRINGS = (
    rb"(?s:\"((?:[^\"\\\n\f\r]|\\(?:\r\n|.)|\\\Z)*+)(?:\"|\Z|(?=[\n\f\r])))",
    rb"(?s:'((?:[^'\\\n\f\r]|\\(?:\r\n|.)|\\\Z)*+)(?:'|\Z|(?=[\n\f\r])))",
)
# All that matters to find functions and strings: names are read from their "(".
_TURN = re.compile(rb"|".join((_COMMENT, *_STRINGS, rb"[@()\[\]{};\\]")))
# Outside of functions most of that cannot lead to a URL, and is passed at the speed of a search. What can:
# a "(" with the end of a name that counts before it, an escape that may be part of a name, and some rules.
# Where there is a name of the author's own, or may be, nothing is passed so.
_SKIP = re.compile(
    rb"(?:[^\"'/\\(@]++|" + _COMMENT + rb"|/|" + rb"|".join(_STRINGS)
    + rb"|(?<![uU][rR][lL])"
    + rb"(?<![sS][rR][cC])(?<![aA][gG][eE])(?<!-[sS][eE][tT])\(|@(?![iInN\\])|\\[^\na-zA-Z0-9_\x80-\xff-])*+"
)  # fmt: skip
_UNQUOTED = re.compile(rb"[\t\n\f\r ]*+((?:[^\"'()\\\t\n\f\r ]|" + _ESCAPE + rb")*+)[\t\n\f\r ]*+(?:\)|\Z)")
_ESCAPED_HYPHEN = re.compile(rb"\\(?:-|0{0,4}2[dD])")
_BAD_URL_END = re.compile(rb"(?:[^)\\]|\\(?s:.)|\\\Z)*+\)?")
_BLANK = b"\t\n\f\r "
_BLANKS = rb"(?:[\t\n\f\r ]++|" + _COMMENT + rb")*+"
_DECLARED = re.compile(_BLANKS + rb"(" + _NAME.pattern + rb")" + _BLANKS + rb":")
_NAMESPACE = re.compile(
    _BLANKS + rb"(?:" + _NAME.pattern + _BLANKS + rb")??(?:" + rb"|".join(_STRINGS)
    + rb"|[uU][rR][lL]\((?:" + _UNQUOTED.pattern
    + rb"|[\t\n\f\r ]*+(?:" + rb"|".join(_STRINGS) + rb")[\t\n\f\r ]*+\)))" + _BLANKS + rb";"
)  # fmt: skip
"""What follows ``@namespace``: a URL that names something, and loads nothing (CSS Namespaces, section 3)."""
_CODE = re.compile(rb"\\(?:([0-9a-fA-F]{1,6})(?:\r\n|[\t\n\f\r ])?|\r\n|[\n\f\r]|(.))", re.DOTALL)
_EVIDENCE = (b"url(", b"src(", b"image(", b"-set(", b"@import", b"--", b"\\")
"""A sheet with none of these, in lower case, loads nothing. Looking for them is several times faster."""
# Browsers drop tabs from URLs. What a sheet in a "data:" URL leads to may be encoded.
_SCHEME = re.compile(
    rb"[hH]\t*+[tT]\t*+[tT]\t*+[pP]\t*+(?:[sS]\t*+)?:"
    rb"|[dD]\t*+[aA]\t*+[tT]\t*+[aA]\t*+:(?!image/|font/|application/)"
)
_LEADS = re.compile(rb"[/\\:?.]")
_LOADING_STRINGS = frozenset((b"url", b"src", b"image", b"image-set", b"-webkit-image-set"))
"""Functions in which a string is a URL, however deep in other functions it stands."""
_LOADING_DESCRIPTORS = frozenset((b"initial-value", b"result"))
"""What gives its value to custom properties and functions, and by them to functions that load."""
_CLOSING = {0x28: 0x29, 0x5B: 0x5D, 0x7B: 0x7D}


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
    closing: list[
        int
    ] = []  # what ends the function whose strings are URLs, and each bracket that is open in it
    import_at = -1  # where the URL of an @import would begin, but for white space
    declaration = 0  # where it begins
    is_loading: bool | None = None  # whether the strings in it are URLs; None: not known yet
    with_own_names = b"--" in css or _ESCAPED_HYPHEN.search(css) is not None
    while True:
        since = position
        if not (closing or with_own_names) and import_at < 0:
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
        if with_own_names and is_loading is None and kind in b"\"'(\\":
            is_loading = _is_loading(css, declaration)
        if kind in b"\"'":
            group = 1 if kind == 0x22 else 2
            closed = position - start > 1 and css[position - 1] == kind
            # A string that the end of its line cuts off is none; the end of the sheet closes it.
            # One behind a "=" is what an attribute is compared with.
            if (closed or position == len(css)) and (
                imports
                or (
                    (closing or is_loading)
                    and _LEADS.search(css, *turn.span(group))
                    and css[since:start].rstrip(_BLANK)[-1:] != b"="
                )
            ):
                judge(*turn.span(group))
        elif kind == 0x28:  # (
            name = css[since + len(css[since:start].rstrip(_NAME_BYTES)) : start]
            position = _open(css, name.lower(), position, closing, judge, anyway=bool(is_loading))
        elif kind == 0x40:  # @
            rule = _NAME.match(css, position)
            if rule is None:
                continue
            name = _unescaped(rule[0]).lower()
            if name == b"import":
                import_at = position = rule.end()
                continue
            if name == b"namespace" and (named := _NAMESPACE.match(css, rule.end())):
                position = named.end() - 1
        elif kind == 0x5C:  # a name with an escape
            written = _NAME.match(css, since + len(css[since:start].rstrip(_NAME_BYTES)))
            if written is not None and written.end() > start:
                position = written.end()
                if css[position : position + 1] == b"(":
                    name = _unescaped(written[0]).lower()
                    position = _open(css, name, position + 1, closing, judge, anyway=bool(is_loading))
        elif closing:  # a bracket that is none's counterpart means nothing
            if kind == closing[-1]:
                closing.pop()
            elif kind in _CLOSING:
                closing.append(_CLOSING[kind])
        elif kind in b"{};":  # a block or a declaration ends or begins
            declaration = position
            is_loading = None
        import_at = -1


def _is_loading(css: bytes, position: int) -> bool:
    """Tell whether the strings of a declaration may become URLs elsewhere."""
    declared = _DECLARED.match(css, position)
    name = _unescaped(declared[1]).lower() if declared else b""
    return name.startswith(b"--") or name in _LOADING_DESCRIPTORS


def _open(
    css: bytes,
    name: bytes,
    position: int,
    closing: list[int],
    judge: Callable[[int, int], None],
    *,
    anyway: bool,
) -> int:
    """Begin the function ``name``, whose ``(`` is before ``position``; return where to go on.

    Args:
        anyway: strings in it are URLs, whatever its name is.
    """
    if name == b"url":
        unquoted = _UNQUOTED.match(css, position)
        if unquoted:
            judge(*unquoted.span(1))
            return unquoted.end()
        if css[position : position + 64].lstrip(_BLANK)[:1] not in (b'"', b"'", b""):
            bad = _BAD_URL_END.match(css, position)
            return bad.end() if bad else position
    if closing or anyway or name in _LOADING_STRINGS or name.startswith(b"--"):
        closing.append(_CLOSING[0x28])
    return position

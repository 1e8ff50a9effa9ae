"""Which parts of a script are code, and which are strings and comments.

A vendor's snippet is code. The same words inside a string (a page's data as JSON, an article about analytics)
or inside a comment (a snippet that was switched off) contact nobody.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from consent.speedups import compiled

_STRING = r"""(?P<string>"(?:[^"\\\r\n]|\\(?:\r\n|[\s\S]))*+"|'(?:[^'\\\r\n]|\\(?:\r\n|[\s\S]))*+')"""
_COMMENT = r"(?P<comment>(?:<!--|//)[^\r\n\u2028\u2029]*+|/\*(?:[^*]|\*(?!/))*+\*/)"
_NEXT = re.compile(rf"""{_STRING}|{_COMMENT}|["'`/]""")
_NEXT_IN_SUBSTITUTION = re.compile(rf"""{_STRING}|{_COMMENT}|["'`/{{}}]""")
_REGULAR_EXPRESSION = re.compile(r"/(?:[^/\\\[\r\n]|\\[^\r\n]|\[(?:[^\]\\\r\n]|\\[^\r\n])*+\])++/[A-Za-z]*+")
_TEMPLATE_CHUNK = re.compile(r"(?:[^`\\$]|\\[\s\S]|\$(?!\{))*+")
_BEFORE_REGULAR_EXPRESSION = re.compile(
    r"(?:[(,=:\[!&|?{;+\-*%<>~^]|(?<![\w$.\x80-\U0010ffff])(?:return|typeof|case|in|of|delete|void|throw|new|else|do))\Z"
)
_BLANKS = " \t\n\v\f\r\u00a0\u2028\u2029\ufeff"  # white space and line terminators (ECMAScript, section 12)
_COMMENTS = (b"//", b"/*", b"<!--")
_MAY_BE_LITERAL = re.compile(rb"[\"'`]|/\*")
_VALUE = "0"  # what is remembered of a value: a slash after it divides


class ScriptText:
    """The strings and comments of one script, found in one pass, linear in its length.

    Where the text cannot be read as JavaScript (a string that is never closed), everything counts as code: a
    tracker must not hide behind a stray quote.

    Args:
        code: the script.
        raw: the same in UTF-8, lone surrogates too, where that is there already.
    """

    __slots__ = ("_code", "_ends", "_reached", "_starts")

    def __init__(self, code: str, raw: bytes | None = None) -> None:
        # In C the places are those in UTF-8, which are the same as far as all is ASCII.
        self._code = "" if compiled is None or code.isascii() else code
        self._reached = 0, 0
        self._starts: Sequence[int]
        self._ends: Sequence[int]
        if compiled is None:
            self._starts, self._ends = _Scan(code).literals()
        else:
            starts, ends = compiled.literals(code.encode("utf-8", "surrogatepass") if raw is None else raw)
            self._starts, self._ends = memoryview(starts).cast("I"), memoryview(ends).cast("I")

    def is_code(self, position: int) -> bool:
        """Whether the character at ``position`` is outside of every string, template text and comment."""
        if self._code:
            position = self._place(position)
        index = bisect_right(self._starts, position) - 1
        return index < 0 or position >= self._ends[index]

    def _place(self, position: int) -> int:
        """Return where a character is in UTF-8. Places are asked for in ascending order, mostly."""
        characters, size = self._reached if position >= self._reached[0] else (0, 0)
        size += len(self._code[characters:position].encode("utf-8", "surrogatepass"))
        self._reached = position, size
        return size


def without_literals(code: str) -> str | None:
    """Return a script without its comments, and with ``""`` for each of its other literals but numbers.

    In ASCII: every other character of its code is a ``?``. ``None`` where it cannot be read as JavaScript.
    """
    raw = code.encode("ascii", "replace")
    if compiled is None:
        places = zip(*_Scan(raw.decode("ascii")).literals(), strict=True)
    else:
        starts, ends = compiled.literals(raw)
        places = zip(memoryview(starts).cast("I"), memoryview(ends).cast("I"), strict=True)
    pieces: list[bytes] = []
    at = 0
    for start, end in places:
        pieces += raw[at:start], b" " if raw.startswith(_COMMENTS, start) else b'""'
        at = end
    if not at and _MAY_BE_LITERAL.search(raw):
        return None
    return b"".join((*pieces, raw[at:])).decode("ascii")


class _Scan:
    """The reading that the C one must agree with."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._starts: list[int] = []
        self._ends: list[int] = []

    def literals(self) -> tuple[list[int], list[int]]:
        """Return where strings and comments begin and end; nothing where the script cannot be read."""
        return (self._starts, self._ends) if self._scan(self._code) else ([], [])

    def _scan(self, code: str) -> bool:
        at = 0
        # The last characters of code, blanks and comments left out: they tell a division from a regular
        # expression.
        before = ""
        depths: list[int] = []  # open braces in each template substitution we are inside of
        while True:
            found = (_NEXT_IN_SUBSTITUTION if depths else _NEXT).search(code, at)
            if found is None:
                return not depths
            start, end = found.span()
            if found.lastgroup == "string":
                at, before = self._add(start, end), _VALUE
                continue
            before = code[at:start].rstrip(_BLANKS)[-10:] or before
            mark = found[0]
            if found.lastgroup == "comment":
                at = self._add(start, end)
            elif mark == "/":
                expression = None
                if code.startswith("/*", start):
                    return False
                if not before or _BEFORE_REGULAR_EXPRESSION.search(before):
                    expression = _REGULAR_EXPRESSION.match(code, start)
                at = self._add(start, expression.end()) if expression else end
                before = _VALUE if expression else mark
            elif mark == "{":
                depths[-1] += 1
                at, before = end, mark
            elif mark == "}" and depths[-1]:
                depths[-1] -= 1
                at, before = end, mark
            elif mark in "`}":
                if mark == "}":
                    depths.pop()
                at, before = self._template(code, start, depths), _VALUE
                if not at:
                    return False
                if code[at - 1] == "{":
                    before = "{"
            else:
                return False  # a quote that nothing closes

    def _add(self, start: int, end: int) -> int:
        self._starts.append(start)
        self._ends.append(end)
        return end

    def _template(self, code: str, start: int, depths: list[int]) -> int:
        """Take template text, opened at ``start``, to its end or next substitution; 0 if it has neither."""
        chunk = _TEMPLATE_CHUNK.match(code, start + 1)
        end = chunk.end() if chunk else len(code)
        if code.startswith("`", end):
            return self._add(start, end + 1)
        if not code.startswith("${", end):
            return 0
        depths.append(0)
        return self._add(start, end + 2)

"""Which parts of a script are code, and which are strings and comments.

A vendor's snippet is code. The same words inside a string (a page's data as JSON, an article about analytics)
or inside a comment (a snippet that was switched off) contact nobody.
"""

from __future__ import annotations

import re
from bisect import bisect_right

_STRING = r"""(?P<string>"(?:[^"\\\r\n]|\\(?:\r\n|[\s\S]))*+"|'(?:[^'\\\r\n]|\\(?:\r\n|[\s\S]))*+')"""
_COMMENT = r"(?P<comment>(?:<!--|//)[^\r\n\u2028\u2029]*+|/\*(?:[^*]|\*(?!/))*+\*/)"
_NEXT = re.compile(rf"""{_STRING}|{_COMMENT}|["'`/]""")
_NEXT_IN_SUBSTITUTION = re.compile(rf"""{_STRING}|{_COMMENT}|["'`/{{}}]""")
_REGULAR_EXPRESSION = re.compile(r"/(?:[^/\\\[\r\n]|\\[^\r\n]|\[(?:[^\]\\\r\n]|\\[^\r\n])*+\])++/[A-Za-z]*+")
_TEMPLATE_CHUNK = re.compile(r"(?:[^`\\$]|\\[\s\S]|\$(?!\{))*+")
_BEFORE_REGULAR_EXPRESSION = re.compile(
    r"(?:[(,=:\[!&|?{;+\-*%<>~^]|(?<![\w$.])(?:return|typeof|case|in|of|delete|void|throw|new|else|do))\Z"
)
_VALUE = "0"  # what is remembered of a value: a slash after it divides


class ScriptText:
    """The strings and comments of one script, found in one pass, linear in its length.

    Where the text cannot be read as JavaScript (a string that is never closed), everything counts as code: a
    tracker must not hide behind a stray quote.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, code: str) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        if not self._scan(code):
            self._starts.clear()
            self._ends.clear()

    def is_code(self, position: int) -> bool:
        """Whether the character at ``position`` is outside of every string, template text and comment."""
        index = bisect_right(self._starts, position) - 1
        return index < 0 or position >= self._ends[index]

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
            before = code[at:start].rstrip()[-10:] or before
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
        if end >= len(code):
            return 0
        if code[end] == "`":
            return self._add(start, end + 1)
        depths.append(0)
        return self._add(start, end + 2)

"""What tells an inline script from others, whatever data a page writes into it.

Scripts of one make differ from page to page, and from visitor to visitor, in strings and numbers alone. Their shape is
the rest: names and marks in their order. No string and no number gets into what is told of a script;
what a page writes as a name, as in ``users.jane``, does.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

from consent.catalog.script_text import without_literals

MAX_CODE = 128 * 1024
"""Characters of one script that are looked at."""
MAX_NAMES = 3
"""Names that are told of one."""
LONGEST_NAME = 40
_SHORTEST_NAME = 3
_DATA = "0"
"""What stands for all data: a string, a number, a list or an object of them."""
_MARK = re.compile(r'(?P<data>""|\.?[0-9][\w.]*+)|(?P<word>[A-Za-z_$][\w$]*+)|\S', re.ASCII)
_CRUDE_STRING = re.compile(r'"[^"]*+"?|\'[^\']*+\'?|`[^`]*+`?|//[^\n]*+|/\*.*?(?:\*/|\Z)', re.DOTALL)
_VALUES = frozenset(("true", "false", "null", "undefined", "NaN", "Infinity"))
_OPENING = {"]": "[", "}": "{"}
_DECLARING = frozenset(("var", "let", "const"))
_WORDS = (
    "await case catch class const delete do else export extends finally for function if import in instanceof let new of"
    " return super switch this throw try typeof var void while with yield"
)
_NO_NAMES = frozenset(_WORDS.split())
_THREE_DIGITS = re.compile("[0-9]{3}")


class ScriptShape(NamedTuple):
    """What is told of a script."""

    fingerprint: str
    """12 hexadecimal digits; the same for all scripts that differ in their data alone."""
    names: tuple[str, ...]
    """What it calls or sets first, as the code names it."""

    def __str__(self) -> str:
        return " ".join((self.fingerprint, ", ".join(self.names))).rstrip()


def shape_of(code: str) -> ScriptShape:
    """Return the shape of a script, in time linear in its length."""
    code = code[:MAX_CODE]
    bare = without_literals(code)
    # What is no JavaScript may have anything for a name.
    tokens = _tokens(_CRUDE_STRING.sub('""', code) if bare is None else bare)
    digest = sha256(" ".join(tokens).encode("utf-8", "replace")).hexdigest()[:12]
    return ScriptShape(digest, () if bare is None else _names(tokens))


def _tokens(code: str) -> list[str]:
    """Return names and marks in their order, each whole of data as one."""
    found: list[str] = []
    open_at: list[int] = []
    statement, before = 0, [""]
    for match in _MARK.finditer(code):
        mark = match[0]
        if match.lastgroup == "data" or mark in _VALUES:
            _add_data(found)
        elif mark in "[{(":
            open_at.append(len(found))
            found.append(mark)
        elif mark in "]})" and open_at:
            begin = open_at.pop()
            if found[-1] == ";":
                found.pop()
            if found[begin] == _OPENING.get(mark) and _is_data(found, begin + 1):
                del found[begin:]
                _add_data(found)
            else:
                found.append(mark)
        elif mark == ";" and not open_at:
            # As many in a row as there is data: a page calls the same for each of its products.
            if found[statement:] == before:
                del found[statement:]
            else:
                before = found[statement:]
                found.append(mark)
                statement = len(found)
        else:
            found.append(mark)
    if found and found[-1] == ";":
        found.pop()
    return found


def _add_data(found: list[str]) -> None:
    if found and found[-1] in "-+!" and (len(found) == 1 or found[-2] in "([{,:=?"):
        found.pop()
    found.append(_DATA)


def _is_data(found: list[str], begin: int) -> bool:
    for place in range(begin, len(found)):
        mark = found[place]
        if mark not in (_DATA, ",", ":") and found[place + 1 : place + 2] != [":"]:
            return False
    return True


def _names(tokens: list[str]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for place in range(1, len(tokens)):
        is_set = tokens[place] == "=" and tokens[place + 1 : place + 2] != ["="]
        if not (is_set or tokens[place] == "("):
            continue
        begin = place - 1
        while begin >= 2 and tokens[begin - 1] == "." and _is_word(tokens[begin - 2]):
            begin -= 2
        name = "".join(tokens[begin:place])
        before = tokens[begin - 1] if begin else ""
        if not _is_word(tokens[begin]) or tokens[begin] in _NO_NAMES or before == "function":
            continue
        if is_set and before in _DECLARING:
            continue  # a variable of its own: its name says little, and may be anybody's
        if _SHORTEST_NAME <= len(name) <= LONGEST_NAME and not _THREE_DIGITS.search(name):
            names[name] = None
            if len(names) == MAX_NAMES:
                break
    return tuple(names)


def _is_word(mark: str) -> bool:
    return mark[0].isalpha() or mark[0] in "_$"

"""Makes our own script and stylesheet smaller when they are loaded, without a build step.

Only for what is written in ``static/``: both keep to a style for which a few token rules are enough, and the
browser tests run what comes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, product
from string import ascii_uppercase

_SCRIPT_TOKEN = re.compile(
    r"""
    (?P<gap>(?:\s|//[^\n]*|/\*(?s:.*?)\*/)+)
    | (?P<word>[A-Za-z_$][\w$]*)
    | (?P<literal>\d[\w.]* | "(?:[^"\\\n]|\\.)*" | /(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*)
    | (?P<mark>\.\.\.|=>|\?\.|[^`'/])
    """,
    re.VERBOSE,
)
_STYLE_GAP = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?:\s|/\*(?s:.*?)\*/)+""")
_STYLE_MARK = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')| ?([{};,>~]) ?|(?<=:) """)
_STYLE_NAME = re.compile(r"(--c-[\w-]+): (.*);\n")
_KEYWORDS = frozenset(
    (
        "async", "await", "break", "case", "catch", "const", "continue", "delete", "do", "else", "false",
        "finally", "for", "if", "in", "instanceof", "let", "new", "null", "of", "return", "this", "throw",
        "true", "try", "typeof", "undefined", "void", "while", "yield",
    )
)  # fmt: skip
_SHORTER = {"const": "let", "true": "!0", "false": "!1"}
_WORD_CHARACTER = re.compile(r"[\w$]")
_LETTERS = "taieslrdmnhoucfpgwybvkxjqz" + ascii_uppercase
"""What short names are made of, the first ones first: with these, too, our script compresses best."""
SHARED: tuple[str, ...] = (
    "ts", "tt", "a", "R", "n", "d", "s", "L", "m", "b", "E", "th", "Z", "O", "o", "y",
    "N", "T", "G", "D", "S", "v", "h", "u", "tu", "l", "C", "f", "g", "K", "ie", "tb",
    "tf", "tl", "sp", "k", "i", "le", "M", "lt", "lo", "it", "iv", "r", "F", "sr", "e", "t",
    "H", "se", "p", "J", "ta", "j", "si", "tn", "to", "te", "ti", "A", "P", "z", "B", "I",
    "aa", "et", "w", "er",
)  # fmt: skip
"""The names that functions share, in the order in which they are declared: those with which our script compresses best.
``python benchmarks/names.py`` looks for better ones."""
_DEPTH = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


def minified_script(source: str) -> str:
    """Take out comments and white space, and give the names that ``source`` declares short ones.

    The source ends each statement with its semicolon or brace, and has no templates, divisions, single-quoted
    strings, shorthand properties or destructured objects, and no functions with parameters but arrow functions.

    Raises:
        ValueError: something in it cannot be read by these rules.
    """
    tokens = list(_script_tokens(source))
    texts = [text for _, text in tokens]
    words = [at for at, (kind, _) in enumerate(tokens) if kind == "word" and not _is_property(texts, at)]
    short = {at: _SHORTER[texts[at]] for at in words if texts[at] in _SHORTER} | _short_names(texts, words)
    joints = set(_joints(texts))
    pieces: list[str] = []
    for at, text in enumerate(texts):
        if _is_needless(texts, at) or at - 1 in joints:
            continue
        # One word for both is shorter than either, and one for several in a row.
        text = "," if at in joints else short.get(at, text)
        if pieces and _WORD_CHARACTER.match(text) and _WORD_CHARACTER.match(pieces[-1][-1]):
            pieces.append(" ")
        pieces.append(text)
    return "".join(pieces)


def minified_stylesheet(source: str, *, names: str | None = None) -> str:
    """Take comments, and the white space that separates nothing, out of a stylesheet.

    Properties whose name begins with ``--c-`` are for the reader: their value goes where they are used, which
    compresses better than a name for it.

    Args:
        source: The stylesheet.
        names: The one in which such properties are set, if it is another one.
    """
    values = dict(_STYLE_NAME.findall(names or source))
    source = _STYLE_NAME.sub("", source)
    for name, value in values.items():
        source = source.replace(f"var({name})", value)
    one_line = _STYLE_GAP.sub(lambda match: match[1] or " ", source)
    return _STYLE_MARK.sub(lambda match: match[1] or match[2] or "", one_line).replace(";}", "}").strip()


def _script_tokens(source: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(source):
        match = _SCRIPT_TOKEN.match(source, position)
        if match is None:
            raise ValueError(f"the script cannot be read from here on: {source[position : position + 40]!r}")
        if match.lastgroup != "gap":
            yield str(match.lastgroup), match[0]
        position = match.end()


def _is_needless(texts: Sequence[str], at: int) -> bool:
    """Tell whether a mark may be left out: a last separator, or parentheses without arguments or around a parameter."""
    mark, *after = texts[at : at + 4]
    opening = at - (mark == ")")
    if texts[max(opening - 2, 0)] == "new" and texts[opening : opening + 2] == ["(", ")"]:
        return texts[opening + 2] not in (".", "?.", "[", "(")
    if mark == "(":
        return after[1:] == [")", "=>"] and _is_name(after[0])
    if mark == ")":
        return after[:1] == ["=>"] and texts[at - 2] == "(" and _is_name(texts[at - 1])
    return (mark == "," and after[:1] in (["}"], ["]"], [")"])) or (mark == ";" and after[:1] == ["}"])


def _joints(texts: Sequence[str]) -> Iterator[int]:
    """Yield the semicolons between two declarations: the second goes on where the first ends."""
    declaring = [False]  # whether the statement at hand is a declaration: by depth
    for at, text in enumerate(texts):
        declares = text in ("const", "let")
        if declares and (at == 0 or texts[at - 1] in (";", "{", "}")):
            declaring[-1] = True
        elif text == ";":
            if declaring[-1] and texts[at + 1 : at + 2] in (["const"], ["let"]):
                yield at
            else:
                declaring[-1] = False
        elif text in _DEPTH:
            declaring = [*declaring, False] if _DEPTH[text] > 0 else declaring[:-1]


def _is_property(texts: Sequence[str], at: int) -> bool:
    before, after = texts[at - 1], texts[at + 1]
    return before in (".", "?.") or (before in ("{", ",") and after == ":")


def _is_name(text: str) -> bool:
    return text not in _KEYWORDS and text.replace("$", "_").isidentifier()


def _short_names(texts: Sequence[str], words: Sequence[int]) -> dict[int, str]:
    """Return a short name for each of ``words`` (places in ``texts``) that the script itself declares.

    A scope's names are taken from the start of the alphabet again, but for those that are used in it, in the order in
    which they appear: so alike functions look alike, which is what compresses, and what is put behind the script leaves
    it as it was.
    """
    # The outer ones first.
    scopes = [range(len(texts)), *sorted(_scopes(texts), key=lambda scope: (scope.start, -scope.stop))]
    parents, innermost = _nested(scopes, len(texts))
    declared: list[set[str]] = [set() for _ in scopes]
    for at in _declarations(texts):
        declared[innermost[at]].add(texts[at])
    own: list[list[int]] = [[] for _ in scopes]
    used: list[list[int]] = [[] for _ in scopes]
    foreign: set[str] = set()
    for at in words:
        number = innermost[at]
        passed = []
        while number >= 0 and texts[at] not in declared[number]:
            passed.append(number)
            number = parents[number]
        if number < 0:
            foreign.add(texts[at])
            continue
        own[number].append(at)
        for inner in passed:
            used[inner].append(at)
    short: dict[int, str] = {}
    for number, places in enumerate(own):
        taken = foreign | _KEYWORDS | {short[at] for at in used[number]}
        names = (name for name in _names(() if number else SHARED) if name not in taken)
        by_name = dict(zip(dict.fromkeys(texts[at] for at in places), names, strict=False))
        short |= {at: by_name[texts[at]] for at in places}
    return short


def _nested(scopes: Sequence[range], length: int) -> tuple[list[int], list[int]]:
    """Return for each of ``scopes`` the one around it, -1 for none, and for each place the innermost one."""
    parents = [-1] * len(scopes)
    innermost = [0] * length
    for number, scope in enumerate(scopes[1:], 1):
        parents[number] = innermost[scope.start]
        innermost[scope.start : scope.stop] = [number] * len(scope)
    return parents, innermost


def _scopes(texts: Sequence[str]) -> Iterator[range]:
    """Yield where names of their own may be declared: functions with their parameters, blocks, and loops."""
    yield from _functions(texts)
    for at, text in enumerate(texts):
        if text == "{" and texts[at - 1] != "=>":
            yield range(at, _closing(texts, at) + 1)
        elif text == "for":
            end = _closing(texts, at + 1)
            while texts[end] not in (";", "}") or texts[end + 1 : end + 2] in (
                ["catch"],
                ["else"],
                ["finally"],
            ):
                end += 1
                if texts[end] in ("(", "[", "{"):
                    end = _closing(texts, end)
            yield range(at, end + 1)


def _closing(texts: Sequence[str], at: int) -> int:
    """Return where the bracket that opens at ``at`` is closed."""
    depth = _DEPTH[texts[at]]
    while depth:
        at += 1
        depth += _DEPTH.get(texts[at], 0)
    return at


def _functions(texts: Sequence[str]) -> Iterator[range]:
    """Yield where each arrow function is, its parameters included."""
    for at, text in enumerate(texts):
        if text != "=>":
            continue
        begin = at - 1
        depth = int(texts[begin] == ")")
        while depth:
            begin -= 1
            depth -= _DEPTH.get(texts[begin], 0)
        end, depth = at + 1, 0
        while depth or (texts[end] not in (",", ";") and _DEPTH.get(texts[end]) != -1):
            depth += _DEPTH.get(texts[end], 0)
            end += 1
            if not depth and texts[at + 1] == "{":
                break
        yield range(begin, end)


def _declarations(texts: Sequence[str]) -> Iterator[int]:
    """Yield where names are declared: after ``const`` and ``let``, and as parameters."""
    for at, text in enumerate(texts):
        if text in ("const", "let"):
            end = texts.index("]", at) if texts[at + 1] == "[" else at + 1
            yield from (place for place in range(at + 1, end + 1) if _is_name(texts[place]))
    for function in _functions(texts):
        arrow = texts.index("=>", function.start)
        yield from (
            place
            for place in range(function.start, arrow)
            if _is_name(texts[place]) and texts[place - 1] != "="
        )


def _names(first: Sequence[str]) -> Iterator[str]:
    yield from first
    others = chain(_LETTERS, map("".join, product(_LETTERS, repeat=2)))
    yield from (name for name in others if name not in first)

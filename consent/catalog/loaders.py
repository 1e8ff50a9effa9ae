"""How scripts load URLs: the ways in which the installation pages of vendors write it.

A URL counts where the script itself loads it: by ``s.src = "…"``, a call, markup that is written into the page, or by
a name or in pieces where these lead to such a place for certain. One that merely stands in a script counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from consent.catalog.imports import GAP, URL

_URL = re.compile(URL, re.ASCII)
_QUOTED = rf"""\\?["'`]{URL}"""
_MARKUP = (
    # The string's own quotation mark, other markup, and a tag that is written so that no parser takes it for one:
    # <scr"+"ipt, \x3Cscript, %3Cscript.
    r"""\s*+(?:unescape\s*+\(\s*+)?["'`][^;]{0,200}?(?:<|\\x3[cC]|\\u003[cC]|%3[cC])"""
    r"""(?:script|scr["']\s*+\+\s*+["']ipt|img|iframe)\s[^>]{0,200}?\bsrc\s*+="""
)
LITERAL = {
    # By the word it begins with: how scripts load a URL straight away.
    word: re.compile(word + rest + GAP + _QUOTED, re.ASCII)
    for word, rest in {
        "src": r"\s*+=",
        "setAttribute": r"""\s*+\(\s*+["']src["']\s*+,""",
        "fetch": r"\s*+\(",
        "sendBeacon": r"\s*+\(",
        "importScripts": r"\s*+\(",
        "import": r"\s*+\(?",
        "from": r"",  # import … from "…"
        "EventSource": r"\s*+\(",
        "WebSocket": r"\s*+\(",
        "getScript": r"\s*+\(",
        "getJSON": r"\s*+\(",
        "axios": r"\s*+\.(?:get|post)\(",
        "open": r"""\s*+\(\s*+["'](?:GET|POST|get|post)["']\s*+,""",
        # The arguments of a loader: (window, document, "script", "https://…")
        "document": r"""\s*+,(?:\s*+["']script["']\s*+,)?""",
        "window": r"\s*+,",
        "write": rf"\s*+\({_MARKUP}",
        "writeln": rf"\s*+\({_MARKUP}",
        "append": rf"\s*+\({_MARKUP}",
        "prepend": rf"\s*+\({_MARKUP}",
        "html": rf"\s*+\({_MARKUP}",
        "insertAdjacentHTML": rf"""\s*+\(\s*+["'][A-Za-z]{{1,20}}["']\s*+,{_MARKUP}""",
        "innerHTML": rf"\s*+\+?={_MARKUP}",
        "outerHTML": rf"\s*+={_MARKUP}",
    }.items()
} | {
    # … or ("https://…", document), behind the function itself
    "}": re.compile(
        rf"\}}\s*+\)?\s*+\({GAP}{_QUOTED}(?=[\"'`]\s*+,[^()\"'`]{{0,80}}?\b(?:window|document)\b)", re.ASCII
    ),
}
"""Each has the groups ``host`` and ``target``, and begins in code where the URL is loaded."""

JOINED_WORDS = {b"protocol": b"?)+=!", b"assign": b"("}
"""What stands in every script that :func:`joined` finds anything in, and what comes behind it."""
_PROTOCOL = r"""["'](?:https?:)?(?://[\w.-]{0,40}+)?["']"""
_TERNARY = (
    # "https:" == location.protocol ? "https://a" : "http://b", in parentheses or not
    r"""(?:["']https?:["'][^;"'`{}?:]{0,80}+|[^;"'`{}?:]{0,80}+["']https?:["'][\s)]*+)\?"""
    rf"""\s*+(?=["'](?P<begin>[\w:/.-]*+)){_PROTOCOL}\s*+:\s*+{_PROTOCOL}[\s)]*+"""
)
_NAME = r"(?P<name>[A-Za-z_$][\w$]{0,63}+)"
_REST = r"""\+\s*+["'](?P<rest>[\w./-][^\s"'`<>]{1,500}+)"""
_JOINED = (
    # s.src = ("https:" == location.protocol ? "https://a" : "http://b") + ".host/…"
    re.compile(
        rf"src\s*+=[\s(]*+(?:{_TERNARY}|(?:\w{{1,20}}+\.){{0,3}}+protocol\s*+|{_NAME}\s*+){_REST}", re.ASCII
    ),
    # document.write("<script src='" + protocol + "host/…")
    re.compile(rf"""write\s*+\({_MARKUP}\\?["']?["']\s*+\+[\s(]*+{_NAME}[\s)]*+{_REST}""", re.ASCII),
)
_CHOSEN = (
    # s.src = "https:" == location.protocol ? "https://host/…" : "http://host/…"
    re.compile(
        r"""src\s*+=[\s(]*+(?:["']https?:["'][^;"'`{}?:]{0,80}+|[^;"'`{}?:]{0,80}+["']https?:["'][\s)]*+)\?"""
        rf"""\s*+{_QUOTED}""",
        re.ASCII,
    ),
    # Object.assign(document.createElement("script"), {src: "https://host/…"})
    re.compile(
        r"""assign\s*+\([^"'`{}]{1,60}?createElement\s*+\(\s*+["'](?:script|img|iframe)["']\s*+\)\s*+,"""
        rf"""\s*+\{{[^{{}}]{{0,200}}?\bsrc\s*+:\s*+{_QUOTED}""",
        re.ASCII,
    ),
)
_MOST_NAMES = 8


class Joined(NamedTuple):
    """A URL that a script puts together, and where the code begins that loads it."""

    start: int
    host: str
    target: str


def joined(code: str) -> Iterator[Joined]:
    """Yield what a script loads by the page's own protocol, or by an object of attributes.

    Whether it is code, nobody has looked.
    """
    for pattern in _CHOSEN:
        for match in pattern.finditer(code):
            yield Joined(match.start(), match["host"], match["target"])
    begins: dict[str, str | None] = {}
    for pattern in _JOINED:
        for match in pattern.finditer(code):
            begin = match.groupdict().get("begin") or ""
            if name := match["name"]:
                if name not in begins and len(begins) < _MOST_NAMES:
                    declared = re.search(
                        rf"(?<![\w$.]){re.escape(name)}\s*+=[\s(]*+{_TERNARY}", code, re.ASCII
                    )
                    begins[name] = declared and declared["begin"]
                begin = begins.get(name) or ""
                if not begin:
                    continue
            if url := _URL.fullmatch(begin + match["rest"]):
                yield Joined(match.start(), url["host"], url["target"])

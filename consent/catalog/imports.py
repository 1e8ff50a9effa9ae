"""What scripts import: by a URL, or by a name that they have given to one.

Only what can be told for certain: a literal that an ``import``, ``export … from`` or ``importScripts`` has, and
``import(url)`` where ``url`` is declared once, with a literal, and is nowhere the name of anything else. A URL that
merely stands in a script, in an application's own data, is none of this.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from consent.catalog.evidence import Evidence
from consent.catalog.script_text import ScriptText

GAP = r"\s*+(?:/\*[^*/]{0,200}\*/\s*+){0,2}"
"""Blanks, and the comments that tools leave before what is imported: at most two, and short."""
URL = r"""(?:(?:http|ws)s?:)?\\?/\\?/(?P<host>[A-Za-z0-9.-]{1,253})(?P<target>[^\s"'`<>]{0,500})"""
"""A URL with a host, as it stands between quotation marks."""
_MOST_PLACES = 32
# Behind a host come at most 253 and 500 characters; before it, a call with its blanks and comments.
_LONGEST_URL = 800
_LONGEST_CALL = 1100
_LONG_BLANKS = re.compile(r"\s{48,}+", re.ASCII)
_FOUR_BLANKS = re.compile(r"\s{4}", re.ASCII)
_MOST_BLANKS = 4096


def _whole(*words: str, behind: str = r"[\w$]", then: str = "") -> str:
    """Return what finds words that do not stand ``behind`` something.

    That is asked last: an expression all of whose branches begin with a letter is searched for several times faster.
    """
    return "|".join(rf"{word}(?<!{behind}{word}){then}" for word in words)


_NAME = r"(?P<name>[A-Za-z_$][\w$]{0,63}+)"
_IMPORT = _whole("import", behind=r"[\w$.]", then=r"\s*+\(")
_LOADING_CALLS = _whole(
    *("fetch", "sendBeacon", "importScripts", "EventSource", "WebSocket", "getScript", "getJSON"),
    then=r"\s*+\(",
)
_IMPORTED_NAME = re.compile(rf"{_IMPORT}{GAP}{_NAME}(?=\s*+[,)])", re.ASCII)
LOADED_NAME = re.compile(
    rf"(?:{_IMPORT}|src(?<=\.src)\s*+=|{_LOADING_CALLS})"
    rf"{GAP}{_NAME}(?=\s*+(?:[,;)}}+]|\Z)|[ \t]*+[\r\n])",
    re.ASCII,
)
"""How scripts load what they have given a name."""
_DECLARED = _whole("const", "let", "var", behind=r"[\w$.]", then=r"\s++")
_NAMED = re.compile(rf"""(?:{_DECLARED}|,\s*+){_NAME}\s*+={GAP}["'`]{URL}""", re.ASCII)
_MOST_NAMES = 8


def _literal(begins: str, longest: int) -> re.Pattern[str]:
    words = _whole("import", "from", behind=r"[\w$.]") + "|" + _whole("importScripts")
    return re.compile(
        rf"(?P<word>{words})"
        rf"(?:(?<!Scripts)(?P<static>{GAP})(?=[\"'])|(?<!from)\s*+\({GAP}(?=[\"'`]))"
        rf"(?P<quote>[\"'`])(?P<text>(?={begins})"
        rf"(?:(?!(?P=quote))[^\\\r\n$]|\\(?:\r\n|.)|\$(?!\{{)){{1,{longest}}}+)"
        r"(?=(?P<whole>(?P=quote)\s*+[,)])?)",
        re.ASCII | re.DOTALL,
    )


_LITERAL = _literal(URL, 800)
_USUAL = re.compile(r"(?:(?:http|ws)s?:)?\\?/\\?/[A-Za-z0-9.-]+(?:\\?[/?#]|:[0-9]|$)(?![^/?#]*@)", re.ASCII)
_ANY_LITERAL = _literal("", 800)
# Nothing but a URL with a host begins so, or what is written in escapes; most imports are relative or bare names.
_MAY_LEAD_AWAY = {
    word: re.compile(rf"{word}\s*+(?:\({GAP}|{GAP})[\"'`]\s*+(?:[hHwW\\]|/[/\\])", re.ASCII)
    for word in ("import", "from", "importScripts")
}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{0*([0-9a-fA-F]{1,6})\}|(\r\n|[\s\S]))")
_NAMED_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
# A string may go on in the next line.
_NAMED_ESCAPES |= dict.fromkeys(("\n", "\r", "\r\n", "\u2028", "\u2029"), "")
_ABSOLUTE = re.compile(
    r"(?:(?:https?|wss?):[/\\]*+|[/\\]{2})(?P<authority>[^/\\?#]*+)(?P<target>.*)", re.IGNORECASE
)
# Scripts often have pictures in such URLs, and seldom code.
_CODE_LITERAL = _literal(r"(?i:data:[^,]{0,100}?(?:java|ecma)script)", 65_535)
_BLANKS = "".join(map(chr, range(0x21)))
_IGNORED_IN_URLS = str.maketrans("", "", "\t\n\r")
_CODE_HINTS = ('"data:', "'data:", "`data:")
NOTHING = "about:invalid"
"""Imported in place of something else, it fails as a blocked request does."""
EMPTY = "data:text/javascript,"
"""A module, or a script, that does nothing: what imports it goes on."""


def data_url(rest: str) -> tuple[list[str], bytes]:
    """Return media type and parameters, in lower case, and what a ``data:`` URL holds (Fetch Standard, section 6).

    Args:
        rest: the URL behind ``data:``.
    """
    header, _, body = rest.partition(",")
    kind, *parameters = header.lower().split(";")
    content = unquote_to_bytes(body.partition("#")[0].encode("utf-8", "surrogateescape"))
    if parameters and parameters[-1].strip() == "base64":
        # Without blanks and, as they need not be there, without the marks at its end. (Infra Standard, section 7.)
        content = content.translate(None, b"\t\n\f\r ").rstrip(b"=")
        try:
            content = b64decode(content + b"=" * (-len(content) % 4))
        except (binascii.Error, ValueError):
            content = b""
    return [kind.strip(_BLANKS), *parameters], content


class Import(NamedTuple):
    """One thing that a script imports: ``code[start:end]``, which may give way to ``instead``."""

    start: int
    end: int
    instead: str
    host: str
    target: str


def address(host: str, rest: str) -> tuple[str, str]:
    """Return host and target of a URL as written in a script, where ``/`` may be escaped."""
    # A backslash at the end is that of the quotation mark behind it.
    rest = rest.replace("\\/", "/").split("#", 1)[0].rstrip("\\")
    if rest.startswith(":"):
        port_end = rest.find("/")
        rest = rest[port_end:] if port_end > 0 else ""
    if not rest.startswith("/"):
        rest = "/" + rest
    return host.lower().rstrip("."), rest


def unusual_address(literal: str) -> tuple[str, str] | None:
    """Return host and target of a URL, by the text of a JavaScript string; ``None`` for a URL without a host.

    As browsers read it (URL Standard, section 4.4): with any number of slashes of either kind, credentials, a port,
    blanks, and percent-encoding in the host.
    """

    def character(match: re.Match[str]) -> str:
        number = match[1] or match[2] or match[3]
        if number is None:
            return _NAMED_ESCAPES.get(match[4], match[4])
        return chr(min(int(number, 16), 0x10FFFF))

    url = _ESCAPE.sub(character, literal).strip(_BLANKS).translate(_IGNORED_IN_URLS)
    match = _ABSOLUTE.match(url)
    if match is None:
        return None
    host = match["authority"].rpartition("@")[2].partition(":")[0]
    target = match["target"].partition("#")[0].replace("\\", "/")
    host = unquote_to_bytes(host).decode("utf-8", "replace").lower().rstrip(".")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    return host, target if target.startswith("/") else "/" + target


def unusual_imports(code: str) -> Iterator[Import]:
    """Yield what a script imports from URLs with a host that are not written in the usual way."""
    if not any(word in code and pattern.search(code) for word, pattern in _MAY_LEAD_AWAY.items()):
        return
    text: ScriptText | None = None
    for match in _ANY_LITERAL.finditer(code):
        where = None if _USUAL.match(match["text"]) else unusual_address(match["text"])
        if where is None:
            continue
        text = text or ScriptText(code)
        if text.is_code(match.start()):
            yield Import(*match.span("text"), _stand_in(match), *where)


def parts_around(code: str, raw: bytes, places: list[int]) -> list[tuple[int, int]]:
    """Return the parts of a script that have all about the URLs at ``places`` of its UTF-8: few of them."""
    if len(places) > _MOST_PLACES:
        return [(0, len(code))]
    parts: list[tuple[int, int]] = []
    at = characters = 0
    is_ascii = raw.isascii()
    for place in places:
        characters += place - at if is_ascii else len(raw[at:place].decode("utf-8", "surrogatepass"))
        at = place
        begin, end = _call_begin(code, characters), characters + _LONGEST_URL
        if parts and begin < parts[-1][1]:
            parts[-1] = (parts[-1][0], end)
        else:
            parts.append((begin, end))
    return parts


def _call_begin(code: str, place: int) -> int:
    """Return a place that no call begins before which loads the URL whose host is at ``place``.

    Long runs of blanks within the call do not count for its length.
    """
    begin = max(0, place - _LONGEST_CALL)
    if not _FOUR_BLANKS.search(code[begin:place:12]):  # four in a row of every twelfth are in any long run
        return begin
    blanks, found = -1, 0
    while blanks != found and found < _MOST_BLANKS:
        blanks = found
        begin = max(0, place - _LONGEST_CALL - blanks)
        found = sum(len(run[0]) for run in _LONG_BLANKS.finditer(code, begin, place))
    return begin if blanks == found else 0


class LoadedByName:
    """What one script loads by a name: ``const url = "https://…"; import(url)``.

    Args:
        loads: how a ``name`` is loaded.
    """

    def __init__(self, code: str, loads: re.Pattern[str]) -> None:
        self._code = code
        self._loads = loads
        self._sites: dict[str, list[tuple[int, int]]] | None = None
        self._constant: dict[str, bool] = {}

    def declared(self, begin: int, end: int) -> Iterator[re.Match[str]]:
        """Yield each declaration between the two places, with the groups ``name``, ``host`` and ``target``.

        Whether it is code, nobody has looked.
        """
        return _NAMED.finditer(self._code, begin, end)

    def sites(self, name: str) -> list[tuple[int, int]]:
        """Return where the script loads by a name that it gives a value once; nowhere for others."""
        if self._sites is None:
            self._sites = {}
            for site in self._loads.finditer(self._code):
                self._sites.setdefault(site["name"], []).append(site.span("name"))
        sites = self._sites.get(name, [])
        return sites if sites and self._is_constant(name) else []

    def _is_constant(self, name: str) -> bool:
        """Tell whether a name gets a value once, and is not that of a parameter, too."""
        if name not in self._constant:
            if len(self._constant) == _MOST_NAMES:  # each is looked for in all of the script
                return False
            escaped = re.escape(name)
            gets = re.compile(
                rf"(?<![\w$.]){escaped}\s*+(?:[-+*/%&|^?]{{0,3}}=(?![=>])|\+\+|--)", re.ASCII
            ).findall(self._code)
            parameter = re.compile(
                rf"(?<![\w$.]){escaped}\s*+=>|[(,]\s*+{escaped}\s*+(?:,[^()]{{0,200}})?\)\s*+(?:=>|\{{)",
                re.ASCII,
            ).search(self._code)
            self._constant[name] = len(gets) == 1 and parameter is None
        return self._constant[name]


def _stand_in(match: re.Match[str]) -> str:
    """Return what takes the place of a refused literal."""
    stays = match["static"] is not None or (match["word"] == "importScripts" and match["whole"])
    return EMPTY if stays else NOTHING


class ImportedCode(NamedTuple):
    """Code that a script imports from a ``data:`` URL: ``code[start:end]``, which may give way to ``instead``."""

    start: int
    end: int
    instead: str
    code: str


CODE_WORDS = {b"javascript": b",;", b"ecmascript": b",;"}
"""What stands in every script that :func:`imported_code` finds anything in, and what comes behind it."""
IMPORT_WORDS = {b"import": b"\"'`(/", b"from": b"\"'/", b"importScripts": b"(/"}
"""The same of :func:`unusual_imports`."""


def imported_code(code: str) -> Iterator[ImportedCode]:
    """Yield what a script imports from ``data:`` URLs that it names in a literal."""
    if not any(hint in code for hint in _CODE_HINTS):
        return
    text: ScriptText | None = None
    for match in _CODE_LITERAL.finditer(code):
        text = text or ScriptText(code)
        if text.is_code(match.start()):
            _, content = data_url(match["text"].partition(":")[2])
            yield ImportedCode(*match.span("text"), _stand_in(match), content.decode("utf-8", "replace"))


def imports(script: bytes, evidence: Evidence) -> tuple[str, list[Import]]:
    """Return a script's text, and what it imports of the hosts that ``evidence`` knows, in order.

    The text is UTF-8; bytes that are none come back with ``surrogateescape``. It is empty where nothing is found.
    """
    if b"import" not in script and b"from" not in script:
        return "", []
    words, places = evidence.find(script)
    is_unusual = not words.isdisjoint(IMPORT_WORDS)
    if not places and not is_unusual:
        return "", []
    code = script.decode("utf-8", "surrogateescape")
    found = {what.start: what for what in unusual_imports(code)} if is_unusual else {}
    if not places:
        return code, [found[start] for start in sorted(found)]
    text = ScriptText(code)
    by_name = LoadedByName(code, _IMPORTED_NAME)
    for begin, end in parts_around(code, code.encode("utf-8", "replace"), places):
        for match in _LITERAL.finditer(code, begin, end):
            if text.is_code(match.start()):
                where = address(match["host"], match["target"])
                found[match.start("text")] = Import(*match.span("text"), _stand_in(match), *where)
        for match in by_name.declared(begin, end):
            sites = by_name.sites(match["name"])
            if sites and text.is_code(match.start()):
                where = address(match["host"], match["target"])
                found |= {
                    site[0]: Import(*site, f'"{NOTHING}"', *where) for site in sites if text.is_code(site[0])
                }
    return code, [found[start] for start in sorted(found)]

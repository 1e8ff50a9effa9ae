"""What tells of a vendor in a script, found fast: words of snippets, and known hosts in URLs that are loaded.

In C where that was built, else in Python. Neither decides anything: what is found is read with care.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol, cast

from consent.speedups import compiled

_RUN = re.compile(rb"[A-Za-z0-9_$]++")
_LONGEST_HOST = 253  # RFC 1035, section 2.3.4; nothing longer can be looked up in the DNS
_QUOTED_URL = re.compile(rb"[\"'`](?:(?:http|ws)s?:)?\\?/\\?/")
# A quoted URL where scripts name what they load at once, or give a name to what they load by it. Seen from the
# URL, so that it is wrong towards yes.
_LOADED = re.compile(
    rb"(?:src\s*+=|(?:fetch|sendBeacon|importScripts|import|EventSource|WebSocket|getScript|getJSON|axios\.get|axios\.post)\s*+\("
    rb"|(?:(?:src|script|GET|POST|get|post)[\"']|document|window)\s*+,|\}\s*+\)?\s*+\(|import|from"
    rb"|(?P<names>[A-Za-z0-9_$]\s*+=))"
    rb"\s*+(?:/\*[^*/]{0,200}\*/\s*+){0,2}"
    rb"\\?[\"'`](?:(?:http|ws)s?:)?\\?/\\?/(?=(?P<host>[A-Za-z0-9.-]{1,253}))"
)
_LOADS_NAMED = re.compile(
    rb"(?:src\s*+=|(?:fetch|sendBeacon|importScripts|import|EventSource|WebSocket|getScript|getJSON|axios\.get|axios\.post)\s*+\()"
    rb"\s*+(?:/\*[^*/]{0,200}\*/\s*+){0,2}[A-Za-z0-9_$]"
)


class Evidence(Protocol):
    """Knows hosts and words. Immutable and safe to share between threads."""

    def knows(self, host: bytes) -> bool:
        """Tell whether a rule is about ``host``, lower-case ASCII, or about a domain above it."""

    def find(self, script: bytes) -> tuple[set[bytes], list[int]]:
        """Return those of the words that stand in ``script`` with what may follow them, and where it loads URLs.

        A word stands by itself, with no letter, digit, ``_`` or ``$`` around it. The places are those where a
        known host begins, in a URL where scripts name what they load; where they load anything by a name, those
        where they give a URL a name, too.
        """


class PythonEvidence:
    """The reading that the C one must agree with."""

    def __init__(self, hosts: tuple[bytes, ...], words: tuple[tuple[bytes, bytes], ...]) -> None:
        self._hosts = frozenset(hosts)
        self._words = {word: _standing(word, followers) for word, followers in words}

    def knows(self, host: bytes) -> bool:
        if len(host) > _LONGEST_HOST:
            return False
        while dot := host.find(b".") + 1:  # no rule is about a top-level domain
            if host in self._hosts:
                return True
            host = host[dot:]
        return False

    def find(self, script: bytes) -> tuple[set[bytes], list[int]]:
        places = []
        if _QUOTED_URL.search(script):
            loaded = [m for m in _LOADED.finditer(script) if self.knows(m["host"].lower().rstrip(b"."))]
            if any(match["names"] for match in loaded) and not _LOADS_NAMED.search(script):
                loaded = [match for match in loaded if not match["names"]]
            places = [match.end() for match in loaded]
        there = self._words.keys() & set(_RUN.findall(script))
        return {word for word in there if self._words[word].search(script)}, places


def _standing(word: bytes, followers: bytes) -> re.Pattern[bytes]:
    behind = rb"\s*+[" + b"".join(b"\\x%02x" % byte for byte in followers) + b"]" if followers else b""
    return re.compile(rb"(?<![\w$])" + re.escape(word) + rb"(?![\w$])" + behind)


def evidence(hosts: Iterable[str], words: Mapping[bytes, bytes]) -> Evidence:
    """Return the fastest finder there is.

    Args:
        hosts: lower-case ASCII; each stands for the domains below it, too.
        words: 2 to 255 ASCII letters, digits, ``_`` and ``$`` each, to the bytes that may come behind them and
            blanks; empty: anything.
    """
    for word in words:
        if not 2 <= len(word) <= 255 or not _RUN.fullmatch(word):
            raise ValueError(f"{word!r} is no word of 2 to 255 ASCII letters, digits, _ and $")
    known = tuple(host.encode("ascii") for host in hosts if 0 < len(host) <= _LONGEST_HOST)
    if compiled is not None:
        return cast(Evidence, compiled.Evidence(known, tuple(words.items())))
    return PythonEvidence(known, tuple(words.items()))

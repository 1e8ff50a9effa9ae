"""Files of the site itself that name others: style sheets, scripts, rules for speculative loads.

What such a file names, browsers load by themselves. It is judged as a whole, so it is kept back until its end is
there. A file that names nothing whose fate depends on somebody's choice goes out as it came.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from consent.catalog.evidence import Evidence
from consent.catalog.imports import imported_code, imports
from consent.codings import Coded
from consent.encodings import MASKED_ESCAPE, Sniffed
from consent.enforcement import PageEnforcement
from consent.headers import media_type_of
from consent.html.elements import JAVASCRIPT_TYPES
from consent.html.refusals import Refusals
from consent.html.speculation import OWN_LINKS, stays_here
from consent.streams import Stream

MAX_FILE_BYTES = 4 * 1024 * 1024
"""How long a file may be, as it comes and decoded: longer ones pass."""

_STYLES = b"text/css"
_RULES = b"application/speculationrules+json"
_SCRIPTS = JAVASCRIPT_TYPES - {b"module"}
_FILE_TYPES = _SCRIPTS | {_STYLES, _RULES}
_WITH_URLS = "urls"


class FileTooLong(Exception):
    """A file is longer than what is kept back of one."""

    def __init__(self) -> None:
        super().__init__(f"it is longer than {MAX_FILE_BYTES} bytes")


@lru_cache(maxsize=256)
def file_kind(content_type: bytes) -> bytes:
    """Return the media type of what is judged here, lower case, without parameters; empty for all else."""
    kind = media_type_of(content_type)
    return kind if kind in _FILE_TYPES else b""


class OwnFile:
    """One such file on its way out.

    Args:
        content_type: as the app sent it; :func:`file_kind` knows it.
        codings: the content codings that it comes in, in the order they were applied. All are readable.
        page: judges. The file's own address is its page.
        evidence: tells what of a script need not be looked up.
    """

    def __init__(
        self, content_type: bytes, codings: Sequence[bytes], page: PageEnforcement, evidence: Evidence
    ) -> None:
        self._content_type = content_type
        self._codings = codings
        self._page = page
        self._evidence = evidence
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> bool:
        """Keep the next bytes back; return whether there is room for more."""
        self._pieces.append(piece)
        self._size += len(piece)
        return self._size <= MAX_FILE_BYTES

    @property
    def raw(self) -> bytes:
        """All that is kept back, as it came."""
        return b"".join(self._pieces)

    def judged(self, failed: Callable[[Exception], bool]) -> bytes | None:
        """Return what the visitor gets instead of :attr:`raw`; ``None`` where everybody gets just that.

        What depends on the visitor is returned though this one gets the same bytes.

        Args:
            failed: told of what cannot be judged; returns whether it passes as it came, or becomes empty.
        """
        raw = self.raw
        page = self._page
        decided, page.decided = page.decided, False
        passed: list[bool] = []

        def fails(error: Exception) -> bool:
            passed.append(failed(error))
            return passed[-1]

        whole = _Whole(self._read)
        try:
            if self._size > MAX_FILE_BYTES:
                raise FileTooLong
            stream: Stream = Sniffed(lambda: whole, self._content_type)
            for coding in self._codings:
                stream = Coded(stream, coding, fails)
            written = stream.write(raw) + stream.end()
        except Exception as error:
            fails(error)
        depends = page.decided
        page.decided |= decided
        if passed:
            return None if passed[0] else b""
        if whole.changed:
            return written
        return raw if depends else None

    def _read(self, data: bytes) -> bytes:
        read = self._without_refused(data)
        if read == data and (bare := MASKED_ESCAPE.sub(b"", data)) != data:
            # To a page in ISO-2022-JP, which the file takes after, they are nothing.
            clean = self._without_refused(bare)
            return data if clean == bare else clean
        return read

    def _without_refused(self, data: bytes) -> bytes:
        kind = file_kind(self._content_type)
        if kind == _STYLES:
            return Refusals(
                self._page, lambda content, judge, is_xml=False: content, may_set_base=False
            ).style(data)
        return self._without_rules(data) if kind == _RULES else self._without_imports(data)

    def _without_imports(self, data: bytes) -> bytes:
        code, found = imports(data, self._evidence)
        cuts = [
            (what.start, what.end, what.instead)
            for what in found
            if self._page.refuses_url("script", f"//{what.host}{what.target}")
        ]
        if not code and b"data:" in data:
            code = data.decode("utf-8", "surrogateescape")
        cuts += [
            (what.start, what.end, what.instead)
            for what in imported_code(code)
            if self._page.refuses_script(what.code)
        ]
        pieces = []
        flushed = 0
        for start, end, instead in sorted(cuts):
            pieces += [code[flushed:start], instead]
            flushed = end
        return "".join([*pieces, code[flushed:]]).encode("utf-8", "surrogateescape") if pieces else data

    def _without_rules(self, data: bytes) -> bytes:
        """Return a set of rules without the URLs that are refused, and without what else is about them."""
        try:
            text = data.decode("utf-8-sig")
            rules = json.loads(text)
        except (ValueError, RecursionError):
            return data  # browsers cannot read it either
        before = json.dumps(rules)
        for key, listed in rules.items() if isinstance(rules, dict) else ():
            if isinstance(listed, list):
                rules[key] = [self._at_home(rule) for rule in listed if not self._refuses_rule(rule)]
        return data if json.dumps(rules) == before else json.dumps(rules).encode("ascii")

    def _at_home(self, rule: Any) -> Any:
        """Return a rule that picks links of the page so that it picks those to the site itself."""
        if stays_here(rule) or not self._page.refuses_anything():
            return rule
        return {**rule, "where": {"and": [OWN_LINKS, rule["where"]]} if "where" in rule else OWN_LINKS}

    def _refuses_rule(self, rule: Any) -> bool:
        """Take the refused URLs from a rule's list; tell whether something else in it is refused."""
        if isinstance(rule, dict) and isinstance(rule.get(_WITH_URLS), list):
            rule[_WITH_URLS] = [url for url in rule[_WITH_URLS] if not self._refuses_rule(url)]
        refused = False
        waiting = [rule]
        while waiting:
            value = waiting.pop()
            if isinstance(value, str):
                # A backslash is a slash to browsers, and `https:host` leads from a page of another scheme to that host.
                is_url = any(mark in value for mark in "/\\:")
                refused |= is_url and self._page.refuses_url("speculation rules", value)
            elif isinstance(value, (dict, list)):
                waiting += value.values() if isinstance(value, dict) else value
        return refused


class _Whole:
    """Collects a decoded file, and reads it at its end."""

    def __init__(self, read: Callable[[bytes], bytes]) -> None:
        self._read = read
        self._pieces: list[bytes] = []
        self._size = 0
        self.changed = False
        """Whether another file came of it."""

    def write(self, chunk: bytes) -> bytes:
        self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size > MAX_FILE_BYTES:
            raise FileTooLong
        return b""

    def end(self) -> bytes:
        data = b"".join(self._pieces)
        read = self._read(data)
        self.changed = read != data
        # Nobody needs to encode again what is as it came.
        return read if self.changed else b""

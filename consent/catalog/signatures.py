"""Recognising vendors' snippets inside inline scripts, in time linear in the script.

A signature is a regular expression in a narrow dialect, so that no script, however long or hostile, can make
it slow, and so that one pass over the script's words tells which signatures can match at all:

* it begins with a whole identifier (``fbq``, ``_paq``), and its match must begin in code, not in a string or
  comment;
* ``*`` and ``+`` only as ``\\s*+`` and ``\\s++`` (possessive); everything else has an upper bound: ``?``,
  ``{1,40}``, and all bounds of a signature multiplied stay at or below 4,096;
* no look-behind, back-references, flags, capturing groups, or repeated groups (``(?:…)?`` is allowed);
* ``=`` at its end is an assignment, neither ``==`` nor ``=>``.

Besides the signatures, `SnippetFinder` sees code that loads a known URL straight away, ``s.src = "https://…"``, by a
name, or joined to a protocol (`consent.catalog.loaders`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from consent.catalog import loaders
from consent.catalog.evidence import evidence
from consent.catalog.imports import (
    CODE_WORDS,
    IMPORT_WORDS,
    LOADED_NAME,
    LoadedByName,
    address,
    imported_code,
    parts_around,
    unusual_imports,
)
from consent.catalog.model import Match
from consent.catalog.script_text import ScriptText

_WORD_CHARACTER = re.compile(r"[\w$]", re.ASCII)
_FIRST_WORD = re.compile(r"(?:[A-Za-z_]|\\\$)(?:\w|\\\$)+", re.ASCII)
_PIECE = re.compile(
    r"(?P<space>\\s)|(?P<boundary>\\b)|(?P<type>\\[dDwWS])|(?P<escape>\\[^A-Za-z0-9])"
    r"|(?P<set>\[\^?(?:\\.|[^\]\\])(?:\\.|[^\]\\])*+\])|(?P<open>\((?:\?:|\?=|\?!)?)|(?P<close>\))"
    r"|(?P<bar>\|)|(?P<dot>\.)|(?P<literal>[^\\\[\](){}*+?^$.|])",
    re.DOTALL,
)
_BLANKS = re.compile(r"\\s(?:\*\+|\+\+)")
_QUANTIFIER = re.compile(r"(?P<possessive>[*+]\+)|(?P<optional>\?\??)|\{(?:\d*,)?(?P<most>\d+)\}[?+]?")
_COMMON = (
    "Array Date Error Function Image JSON Math Object Promise String URL addEventListener apply arguments async await"
    " body call catch class config const create createElement data delete document else event export extends false"
    " fetch for from function get getElementsByTagName google head host if image import in init innerHTML insertBefore"
    " instanceof let load location navigator new null object of onload open options page parentNode prototype push"
    " queue require return script self send set src start static super switch this throw top track true try type"
    " typeof undefined url user value var version void while window with write"
)
COMMON_WORDS = frozenset(_COMMON.split())
"""Words of any script. A signature with no others makes every script that has them be read with care."""
_MOST_REPEATS = 4096
_LONGEST_PATTERN = 300


class PatternError(ValueError):
    """A signature is outside of the dialect. The message says how to write it instead."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A checked signature and the words that every script it matches has in it, the most telling first."""

    pattern: str
    words: tuple[str, ...]
    followers: bytes
    """What may come behind the first of those words and blanks, as bytes; empty: anything."""

    def found_in(self, code: str, read: Callable[[str], ScriptText]) -> bool:
        """Whether a match begins in code. ``read`` is called at the first match, if there is one."""
        regex = _regex(self.pattern)
        at = 0
        while match := regex.search(code, at):
            if _begins_in_code(code, match.start(), read):
                return True
            at = match.start() + 1
        return False


def _begins_in_code(code: str, start: int, read: Callable[[str], ScriptText]) -> bool:
    """Whether a word, or what is none, begins at ``start``, and is code.

    The character before is looked at here rather than by a look-behind: a pattern that begins with literal
    text is searched for several times faster.
    """
    within = start and _WORD_CHARACTER.match(code, start - 1) and _WORD_CHARACTER.match(code, start)
    return not within and read(code).is_code(start)


@lru_cache(maxsize=1024)  # read from a file, then compiled into a catalog: once is enough
def compile_signature(pattern: str) -> Signature:
    """Check ``pattern`` against the dialect and compile it.

    Raises:
        PatternError: it is outside of the dialect, or no regular expression at all.
    """
    if len(pattern) > _LONGEST_PATTERN:
        raise PatternError(f"is longer than {_LONGEST_PATTERN} characters: match a distinctive part only")
    if not _FIRST_WORD.match(pattern):
        raise PatternError("must begin with a whole identifier of two or more characters, such as 'fbq'")
    words = _required_words(pattern)
    try:
        _regex(pattern)
    except re.error as error:
        raise PatternError(f"is not a regular expression: {error}") from None
    return Signature(pattern, words, _followers(pattern, words[0]))


@cache  # few scripts come near a signature: what no script comes near is never compiled
def _regex(pattern: str) -> re.Pattern[str]:
    # A value is given: not compared, and no function's parameter.
    return re.compile(f"{pattern}(?![=>])" if pattern.endswith("=") else pattern, re.ASCII)


def _followers(pattern: str, word: str) -> bytes:
    """Return the bytes that may follow ``word`` and blanks, where the pattern begins with it and tells."""
    begin = _FIRST_WORD.match(pattern)
    if begin is None or begin[0].replace("\\$", "$") != word:
        return b""
    at = begin.end()
    if blanks := _BLANKS.match(pattern, at):
        at = blanks.end()
    piece = _PIECE.match(pattern, at)
    if piece is None or piece.lastgroup not in ("escape", "literal", "set"):
        return b""
    if _QUANTIFIER.match(pattern, piece.end()):
        return b""
    # Of characters past ASCII, any: a script's bytes are looked at.
    characters = re.compile(piece[0])
    found = bytes(code for code in range(0x80) if characters.fullmatch(chr(code)))
    return found + bytes(range(0x80, 0x100)) if characters.fullmatch("\xe9") else found


def _required_words(pattern: str) -> tuple[str, ...]:
    """Walk the pattern piece by piece, refuse what the dialect has not, and find the words outside of groups.

    A word counts if the characters around it in the pattern can only be non-word characters, so that it is a
    whole word of the script too.
    """
    at = 0
    depth = 0
    repeats = 1
    words: list[str] = []
    run = ""
    clean = True  # nothing that may be a word character touches the start of the run
    gap = False  # blanks may or may not have come since
    while at < len(pattern):
        piece = _PIECE.match(pattern, at)
        if piece is None:
            raise PatternError(f"has {pattern[at : at + 6]!r}, which signatures must not use")
        kind, taken = piece.lastgroup, piece[0]
        at = piece.end()
        if taken == "(":
            raise PatternError("has a capturing group: write '(?:' instead of '('")
        depth += (kind == "open") - (kind == "close")
        if kind == "bar" and depth == 0:
            raise PatternError("has alternatives outside of a group: write one signature for each")
        quantifier = _QUANTIFIER.match(pattern, at)
        if quantifier is not None:
            at = quantifier.end()
            if quantifier["possessive"]:
                if kind != "space":
                    raise PatternError(f"repeats {taken!r} without an upper bound: write '{{1,40}}'")
            elif quantifier["most"]:
                if kind == "close":
                    raise PatternError("repeats a group: only '?' may follow a group")
                repeats *= max(1, int(quantifier["most"]))
            else:
                repeats *= 2
        elif at < len(pattern) and pattern[at] in "*+":
            raise PatternError(r"has a '*' or '+' that can be slow: write '\s*+', or an upper bound '{0,40}'")
        if kind == "space" and quantifier is not None and quantifier[0] == "*+":
            gap = True  # perhaps nothing at all: what comes after it decides
            continue
        character = taken[-1] if kind in ("escape", "literal") else ""
        if _WORD_CHARACTER.fullmatch(character) and quantifier is None and depth == 0:
            if gap and run:
                run, clean = "", False
            run += character
            gap = False
            continue
        # Something else follows: the run is a whole word unless this piece may stand for a word character.
        always_there = quantifier is None or quantifier[0] == "++"
        separates = always_there and _is_no_word_character(kind, taken)
        if run and clean and separates:
            words.append(run)
        run, clean, gap = "", separates, False
    # A run at the very end may go on in the script: "key_" is no whole word of "key_live".
    if repeats > _MOST_REPEATS:
        raise PatternError(f"may try more than {_MOST_REPEATS} ways to match: lower the bounds in it")
    words = [word for word in words if len(word) > 1 and not word[0].isdigit()]
    if not words:
        raise PatternError("must begin with a whole identifier, followed by a character that ends it")
    telling = [word for word in words if word not in COMMON_WORDS] or words
    # The identifier it begins with tells most; among others, the longest.
    first = telling[0] if telling[0] == words[0] else max(telling, key=len)
    return first, *sorted({*words} - {first})


def _is_no_word_character(kind: str | None, piece: str) -> bool:
    """Whether what ``piece`` of a pattern stands for can never be part of a word."""
    if kind == "set":
        return not piece.startswith("[^") and not re.search(r"[\w$-]", piece.replace(r"\s", ""))
    return kind in ("space", "boundary") or (
        kind in ("escape", "literal") and not _WORD_CHARACTER.fullmatch(piece[-1])
    )


_MAX_DEPTH = 8


class SnippetFinder:
    """All signatures of a catalog, indexed by a word that each of them needs.

    Args:
        signatures: with what each of them finds.
        hosts: all that ``match_url`` has rules about.
        match_url: finds the vendor of a URL's host and target.
    """

    __slots__ = ("_by_word", "_match_url", "evidence")

    def __init__(
        self,
        signatures: Sequence[tuple[Signature, Match]],
        hosts: Iterable[str],
        match_url: Callable[[str, str], Match | None],
    ) -> None:
        self._match_url = match_url
        self._by_word: dict[bytes, list[tuple[Signature, Match]]] = {}
        for signature, match in signatures:
            self._by_word.setdefault(signature.words[0].encode(), []).append((signature, match))
        telling = {word: _joined(found) for word, found in self._by_word.items()}
        self.evidence = evidence(hosts, CODE_WORDS | IMPORT_WORDS | loaders.JOINED_WORDS | telling)

    def find(self, code: str, *, depth: int = 0) -> Iterator[Match]:
        """Yield a match per vendor and kind of evidence, in no particular order.

        Args:
            depth: in how many other scripts the script is.
        """
        raw = code.encode("utf-8", "surrogatepass")
        words, places = self.evidence.find(raw)
        if not words and not places:
            return
        text: ScriptText | None = None

        def read(code: str) -> ScriptText:
            nonlocal text
            if text is None:  # at most once for this script, and most scripts never need it
                text = ScriptText(code, raw)
            return text

        for word in words:
            for signature, match in self._by_word.get(word, ()):
                if all(other in code for other in signature.words[1:]) and signature.found_in(code, read):
                    yield match
        if not words.isdisjoint(CODE_WORDS) and depth < _MAX_DEPTH:
            for imported in imported_code(code):
                yield from self.find(imported.code, depth=depth + 1)
        if not words.isdisjoint(IMPORT_WORDS):
            for what in unusual_imports(code):
                found = self._match_url(what.host, what.target)
                if found is not None:
                    yield found
        if not words.isdisjoint(loaders.JOINED_WORDS):
            for joined in loaders.joined(code):
                found = self._match_url(*address(joined.host, joined.target))
                if found is not None and _begins_in_code(code, joined.start, read):
                    yield found
        by_name = LoadedByName(code, LOADED_NAME)
        for begin, end in parts_around(code, raw, places):
            piece = code[begin:end]
            for loader, pattern in loaders.LITERAL.items():
                if loader not in piece:
                    continue
                for loading in pattern.finditer(code, begin, end):
                    # Most are nobody's we know, and need not be told from the same words in a string.
                    found = self._match_url(*address(loading["host"], loading["target"]))
                    if found is not None and _begins_in_code(code, loading.start(), read):
                        yield found
            for named in by_name.declared(begin, end):
                found = self._match_url(*address(named["host"], named["target"]))
                if (
                    found is not None
                    and (sites := by_name.sites(named["name"]))
                    and read(code).is_code(named.start())
                    and any(read(code).is_code(at) for at, _ in sites)
                ):
                    yield found


def _joined(signatures: list[tuple[Signature, Match]]) -> bytes:
    """Return what may follow the word that these signatures share; empty: anything."""
    followers = [signature.followers for signature, _ in signatures]
    return bytes({*b"".join(followers)}) if all(followers) else b""

"""Rules about hosts: EasyPrivacy and others in its syntax, hosts files, plain lists of domains.

The syntax is that of filter lists for browsers, which says more than our rules can: only those rules are taken that
mean the same here, and the rest is counted. `docs/catalog.md` says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from consent.catalog.lists import wrong_listed_pattern
from consent.catalog.loading import wrong_host
from consent.catalog.matching import Glob, UrlPattern, with_parents
from consent.categories import Category
from consent.public_lists.reading import (
    MAX_PATTERN,
    Draft,
    Entry,
    ListedVendor,
    Place,
    Progress,
    SourceFile,
    one_line,
)

NOT_STATED = "not stated in the file: see where it comes from"

_META = re.compile(r"[!#]\s*(title|licen[cs]e|version)\s*:\s*(\S.*)", re.IGNORECASE)
_HEADER_LINES = 200
_HIDING = re.compile(r"#@?[?$%]?#")
_REGULAR_EXPRESSION = re.compile(r"/.*/(?:\$.*)?")
_ADDRESS = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}|[0-9a-fA-F]{0,4}:[0-9a-fA-F:.%a-z]{1,45}")
_NOWHERE = frozenset(("0.0.0.0", "127.0.0.1", "::", "::1", "0:0:0:0:0:0:0:0"))  # noqa: S104 - not listened on
_OF_MACHINES = frozenset(
    (
        "localhost", "localhost.localdomain", "local", "broadcasthost", "ip6-localhost", "ip6-loopback",
        "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts",
        "0.0.0.0",  # noqa: S104 - not listened on
    )
)  # fmt: skip
_DOMAIN = re.compile(r"(?:\*?\.)?(?P<host>[a-zA-Z0-9_-]+(?:\.[a-zA-Z0-9_-]+)+)")
_OPTIONS = re.compile(r"\$(?P<options>~?[a-z0-9_-]+(?:=[^,$]*)?(?:,~?[a-z0-9_-]+(?:=[^,$]*)?)*)\Z")
_HOST_START = re.compile(r"\|\|(?:\*\.)?(?P<host>[a-zA-Z0-9_.-]+)")

# Options that change nothing here: whatever is judged is a third party's, and our patterns mind the case.
_SAME = frozenset(("third-party", "3p", "~first-party", "~1p", "match-case", "important", "all"))
_IMAGES = (".gif", ".png", ".jpg", ".jpeg", ".webp", ".svg", ".ico", ".bmp")
_KINDS: dict[str, tuple[str, ...]] = {
    "script": (".js", ".mjs"),
    "image": _IMAGES,
    "stylesheet": (".css",),
    "css": (".css",),
    **dict.fromkeys(
        (
            "subdocument", "frame", "object", "object-subrequest", "xmlhttprequest", "xhr", "ping", "beacon",
            "websocket", "webrtc", "media", "font", "other", "popup", "popunder", "document", "doc",
        ),
        (),
    ),
}  # fmt: skip
"""Options that name a kind of request, each with how paths end that are of this kind alone."""
_OF_PAGES = frozenset(
    (
        "document", "doc", "popup", "popunder", "elemhide", "ehide", "generichide", "ghide", "genericblock",
        "specifichide", "shide",
    )
)  # fmt: skip
"""Options of exceptions that are about pages as a whole."""
ONLY_SITES = "only on certain sites ($domain=)"
ONLY_OWN = "only for what is the site's own ($~third-party)"
ONLY_KINDS = "only for some kinds of requests ($script and the like)"
OTHER_OPTION = "does something else than to block ($csp, $removeparam and the like)"
CONDITIONAL = "only under a condition (!#if)"
HIDING = "hides a part of a page (##)"
EVERY_HOST = "is about every host"
A_REGULAR_EXPRESSION = "a regular expression"
NOT_A_HOST = "not a host's whole name"
SHARED = "belongs to everybody who has a name under it"
A_PORT = "names a port"
SEPARATOR = "a ^ or * where our URL patterns can have none"
LEADS_ELSEWHERE = "leads a name to an address"
TOO_LONG = f"longer than {MAX_PATTERN} characters"
NO_PATTERN = "no URL pattern of ours: characters that need to be encoded, or nothing but a host"
NAMELESS = "parameters without whole names"


class _CannotSay(Exception):
    """A rule says what ours cannot say; its text is the reason."""


@dataclass(slots=True)
class _Exceptions:
    """What the list takes back: hosts with all below them, and URL patterns by their host."""

    hosts: set[str] = field(default_factory=set)
    patterns: dict[str, list[tuple[Glob, UrlPattern, str]]] = field(default_factory=dict)

    def add(self, rule: str) -> None:
        if "/" not in rule:
            self.hosts.add(rule)
            return
        pattern = UrlPattern(rule)
        known = self.patterns.setdefault(pattern.host, [])
        known.append((Glob(pattern.path), pattern, rule))
        if len(known) > _MAX_PATTERNS:
            self.hosts.add(pattern.host)

    def covers(self, rule: str) -> bool:
        host = rule.partition("/")[0]
        if any(parent in self.hosts for parent in with_parents(host)):
            return True
        if "/" not in rule:
            return False
        asked = UrlPattern(rule)
        path, _, query = asked.example()[1].partition("?")
        return any(
            written == rule
            or (glob.matches(path) and (not pattern.parameters or pattern.has_parameters(query)))
            or _comes_before(asked, pattern)
            for parent in with_parents(host)
            for glob, pattern, written in self.patterns.get(parent, ())
        )


def _comes_before(rule: UrlPattern, exception: UrlPattern) -> bool:
    """Tell whether a rule may be about something that is excepted, and would be tried first: it must not be taken."""
    return (rule.host != exception.host or rule.rank <= exception.rank) and rule.overlaps(exception)


_MAX_PATTERNS = 100
"""Exceptions for single paths of one host, each of which is compared with each rule about it: with more, all of the
host is excepted."""


def read_host_rules(
    files: Iterable[SourceFile], progress: Progress, *, category: Category = Category.TARGETING
) -> Draft:
    """Read rules about hosts.

    Args:
        category: that of everything on the list, which does not tell its rules apart.

    Raises:
        ConfigurationError: there are too many rules.
    """
    draft = Draft("", NOT_STATED)
    meta: dict[str, str] = {}
    blocking: list[tuple[Place, tuple[str, ...]]] = []
    excepting: list[tuple[Place, tuple[str, ...]]] = []
    for file in files:
        condition = 0
        for number, line in file.lines():
            progress(1)
            if not line:
                continue
            if line.startswith("!#if"):
                condition += 1
            elif line.startswith("!#endif"):
                condition = max(0, condition - 1)
            if number <= _HEADER_LINES and (found := _META.match(line[:1000])):
                meta.setdefault(found[1].lower().replace("license", "licence"), one_line(found[2], 300))
            if _is_comment(line):
                continue
            place = Place(file.name, number, line)
            for written in _written_in(line):
                draft.read += 1
                if draft.skip_long(place):
                    continue
                if condition:
                    draft.skip(CONDITIONAL, place)
                    continue
                try:
                    if written.startswith("@@"):
                        excepting.append((place, _excepted(written[2:])))
                    else:
                        blocking.append((place, _blocked(written)))
                except _CannotSay as reason:
                    draft.skip(str(reason), place)
    draft.name = meta.get("title", "")
    draft.licence = meta.get("licence", NOT_STATED)
    draft.version = meta.get("version", "")
    _take(draft, blocking, excepting, category)
    return draft


def _is_comment(line: str) -> bool:
    if line.startswith("!") or (line.startswith("[") and line.endswith("]")):
        return True
    return line.startswith("#") and not _HIDING.match(line)


def _written_in(line: str) -> Iterator[str]:
    """Yield the rules in a line: one, but in a hosts file as many as it has names."""
    bare = line.partition(" #")[0].partition("\t#")[0].strip()
    words = bare.split()
    if len(words) > 1 and _ADDRESS.fullmatch(words[0]):
        for word in words[1:]:
            if word.lower() not in _OF_MACHINES:
                yield word if words[0] in _NOWHERE else f"{words[0]} {word}"
    else:
        yield bare


def _take(
    draft: Draft,
    blocking: list[tuple[Place, tuple[str, ...]]],
    excepting: list[tuple[Place, tuple[str, ...]]],
    category: Category,
) -> None:
    exceptions = _Exceptions()
    for _, rules in excepting:
        for rule in rules:
            exceptions.add(rule)
    named = ListedVendor("", category)
    taken: set[str] = set()
    for place, rules in blocking:
        left = tuple(rule for rule in rules if not exceptions.covers(rule))
        if left:
            taken.update(left)
            draft.add(Entry(named, place, left))
        else:
            draft.excepted += 1
    # What is taken back of a host that is refused as a whole has to be said, too.
    paths: dict[str, list[str]] = {}
    for rule in taken:
        host, slash, path = rule.partition("/")
        if slash:
            paths.setdefault(host, []).append(slash + path)
    let_through = ListedVendor("", Category.STRICTLY_NECESSARY)
    above = {parent for rule in taken for parent in with_parents(rule.partition("/")[0])}
    for place, rules in excepting:
        needed = tuple(each for rule in rules for each in _needed(rule, taken, paths, above))
        if needed:
            draft.add(Entry(let_through, place, needed, is_exception=True))
        else:
            draft.without_effect += 1


def _needed(rule: str, taken: set[str], paths: Mapping[str, Iterable[str]], above: set[str]) -> Iterator[str]:
    """Yield what an exception is in our terms, as far as it is about something that is refused otherwise."""
    host, slash, _ = rule.partition("/")
    parents = with_parents(host)
    if slash:
        if host in above or any(parent in taken or parent in paths for parent in parents):
            yield rule
        return
    if any(parent in taken for parent in parents[1:]):
        yield rule
    # A pattern of a domain above comes before a bare host.
    for parent in parents[1:]:
        for path in sorted(paths.get(parent, ())):
            yield host + path


def _excepted(written: str) -> tuple[str, ...]:
    written, options = _split(written)
    kinds = {option for option in options if option.lstrip("~") in _KINDS}
    if options & _OF_PAGES:
        raise _CannotSay(OTHER_OPTION)
    # Of some kinds only: all of them are let through then, since ours cannot tell them apart.
    _check_options(options - kinds)
    return _rules(written)


def _blocked(written: str) -> tuple[str, ...]:
    if _HIDING.search(written):
        raise _CannotSay(HIDING)
    if _REGULAR_EXPRESSION.fullmatch(written) and len(written) > 2:
        raise _CannotSay(A_REGULAR_EXPRESSION)
    written, options = _split(written)
    kinds = {option for option in options if option.lstrip("~") in _KINDS}
    _check_options(options - kinds)
    if kinds:
        path = written.partition("?")[0].rstrip("^|*").lower()
        endings = [ending for kind in kinds for ending in _KINDS.get(kind, ())]
        if (
            "/" not in path
            or not path.endswith(tuple(endings))
            or any(kind.startswith("~") for kind in kinds)
        ):
            raise _CannotSay(ONLY_KINDS)
    return _rules(written)


def _split(written: str) -> tuple[str, frozenset[str]]:
    found = _OPTIONS.search(written)
    if found is None:
        return written, frozenset()
    return written[: found.start()], frozenset(found["options"].split(","))


def _check_options(options: frozenset[str]) -> None:
    for option in options - _SAME:
        name, _, value = option.partition("=")
        if name in ("domain", "from"):
            if not all(site.startswith("~") for site in value.split("|")):
                raise _CannotSay(ONLY_SITES)
        elif name in ("~third-party", "~3p", "first-party", "1p"):
            raise _CannotSay(ONLY_OWN)
        else:
            raise _CannotSay(OTHER_OPTION)


def _rules(written: str) -> tuple[str, ...]:
    """Return what a rule without its options means in our terms: hosts and URL patterns."""
    if domain := _DOMAIN.fullmatch(written):
        return (_host(domain["host"]),)
    if " " in written and _ADDRESS.fullmatch(written.partition(" ")[0]):
        raise _CannotSay(LEADS_ELSEWHERE)
    start = _HOST_START.match(written)
    if start is None:
        raise _CannotSay(NOT_A_HOST if written.startswith("||") else EVERY_HOST)
    rest = written[start.end() :]
    if rest.startswith(":"):
        raise _CannotSay(A_PORT)
    host = _host(start["host"])
    if rest.rstrip("*") in ("", "^", "/"):
        return (host,)
    patterns = tuple(f"{host}{path}" for path in _paths(rest))
    for pattern in patterns:
        if len(pattern) > MAX_PATTERN:
            raise _CannotSay(TOO_LONG)
        if wrong_listed_pattern(pattern):
            raise _CannotSay(NO_PATTERN)
    return patterns


def _host(written: str) -> str:
    host = written.lower()
    if wrong := wrong_host(host, with_path=False):
        raise _CannotSay(SHARED if wrong.startswith("belongs") else NOT_A_HOST)
    return host


def _paths(rest: str) -> Iterator[str]:
    """Yield what follows a host in a rule as paths and queries of our URL patterns."""
    beginnings = [""]
    if rest.startswith("^"):
        rest = f"/{rest[1:]}"
    elif rest.startswith("*"):
        rest = rest.lstrip("*")
        # Whatever the "*" is about, it may also be nothing.
        beginnings = ["/*"] if not rest.startswith("/") else ["", "/*"]
    elif rest.startswith("?"):
        rest = f"/{rest}"
    if not (rest.startswith("/") or beginnings == ["/*"]):
        raise _CannotSay(NOT_A_HOST)
    path, question, query = rest.partition("?")
    ends = [""]
    if not question:
        path, ends = _end_of(path)
    if "^" in path or "|" in path:
        raise _CannotSay(SEPARATOR)
    written_query = _query(query) if query else ""
    for beginning in beginnings:
        for end in ends:
            yield re.sub(r"\*\*+", "*", beginning + path + end) + written_query


def _end_of(path: str) -> tuple[str, list[str]]:
    """Return a path without the mark of its end, and what it may end with."""
    if path.endswith("|"):
        return path[:-1].removesuffix("^"), [""]
    if path.endswith("^"):
        return path[:-1], ["", "/*"]
    return path.rstrip("*"), ["*"]


def _query(query: str) -> str:
    exact = query.endswith(("^", "|"))
    query = query.rstrip("^|")
    if "^" in query or "|" in query:
        raise _CannotSay(SEPARATOR)
    parts = [part for part in query.split("&") if part.strip("*")]
    named = []
    for position, part in enumerate(parts):
        name, equals, value = part.partition("=")
        if not equals or not name or "*" in name:
            raise _CannotSay(NAMELESS)
        is_open = position == len(parts) - 1 and not exact and not value.endswith("*")
        named.append(f"{name}={value}{'*' * is_open}")
    return "?" + "&".join(named) if named else ""

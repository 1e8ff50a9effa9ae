"""Looking things up: which vendor a URL, a cookie, a storage key or an inline script belongs to.

Everything is compiled when a `Catalog` is made; a lookup is a few dictionary reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from consent.catalog.evidence import Evidence
from consent.catalog.model import Match, Vendor
from consent.catalog.signatures import PatternError, Signature, SnippetFinder, compile_signature
from consent.errors import ConfigurationError

_REMEMBERED_HOSTS = 4096  # pages name the same hosts over and over; about 1 MB at most
_LONGEST_HOST = 253  # RFC 1035, section 2.3.4; nothing longer can be looked up in the DNS
_ANYTHING = "x"  # where an example stands for all that a wildcard is about
STEM = 3
"""How many literal characters a name with a wildcard begins with. Names and paths are bucketed by them."""


def with_parents(host: str) -> list[str]:
    """Return a host and all domains above it, nearest first."""
    labels = host.split(".")
    return [".".join(labels[first:]) for first in range(len(labels))]


class Glob:
    """Text with ``*`` for any number of characters, matched without backtracking: in linear time."""

    __slots__ = ("_first", "_last", "_middle", "literals", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._first, *middle = pattern.split("*")
        self._last = middle.pop() if middle else None
        self._middle = [part for part in middle if part]
        self.literals = len(pattern) - pattern.count("*")

    def matches(self, text: str) -> bool:
        """Whether the whole of ``text`` matches."""
        if not text.startswith(self._first):
            return False
        if self._last is None:
            return len(text) == len(self._first)
        if not self._last and not self._middle:
            return True
        at = len(self._first)
        for part in self._middle:
            at = text.find(part, at)
            if at < 0:
                return False
            at += len(part)
        return len(text) - at >= len(self._last) and text.endswith(self._last)


class UrlPattern:
    """``host/path`` with ``*`` wildcards in the path, and ``?name=value&…`` conditions on the query.

    The host stands for its subdomains too. The path is matched as a whole, so that ``facebook.com/tr`` is not
    ``/trending``; the query is free unless the pattern names parameters, which may then stand anywhere in it.

    Without a host it is about every host, also the page's own: ``/path``; or ``*/path`` for every folder.
    """

    __slots__ = ("host", "literals", "parameters", "path")

    def __init__(self, written: str) -> None:
        self.host, _, rest = written.partition("/")
        path, _, query = rest.partition("?")
        self.path = "/" + path
        if self.host == "*":
            self.host, self.path = "", "*/" + path
        pairs = (part.partition("=") for part in query.split("&") if part)
        self.parameters = tuple((name, Glob(value)) for name, _, value in pairs)
        self.literals = len(written) - written.count("*")

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts the patterns of one host as they are tried: with parameters, whole paths, the longest, the loosest."""
        if self.parameters:
            return 0, -self.literals
        if "*" not in self.path:
            return 1, 0
        if "*" not in self.path[:STEM]:
            return 2, -len(self.path)
        return 3, -len(self.path)

    def overlaps(self, other: UrlPattern) -> bool:
        """Whether there may be a path that both match, whatever their hosts and parameters; for certain if not."""
        if "*" not in self.path:
            return Glob(other.path).matches(self.path)
        if "*" not in other.path:
            return Glob(self.path).matches(other.path)
        one, another = self.path.partition("*")[0], other.path.partition("*")[0]
        return one.startswith(another) or another.startswith(one)

    def example(self) -> tuple[str, str]:
        """Return host, path and query of a URL that it is about, as for `Catalog.match_url`."""
        query = "&".join(f"{name}={value.pattern}" for name, value in self.parameters)
        target = f"{self.path}?{query}" if query else self.path
        return self.host, target.replace("*", _ANYTHING)

    def has_parameters(self, query: str) -> bool:
        """Whether ``query`` has every parameter that this pattern names."""
        given = [part.partition("=") for part in query.split("&")]
        return all(
            any(name == given_name and value.matches(given_value) for given_name, _, given_value in given)
            for name, value in self.parameters
        )


class _Patterns:
    """Names or paths with wildcards, in buckets by their first characters; the longest comes first."""

    __slots__ = ("_buckets", "_short")

    def __init__(self, rules: Iterable[tuple[str, Match]]) -> None:
        self._buckets: dict[str, list[tuple[str, Glob | None, Match]]] = {}
        self._short: list[tuple[str, Glob | None, Match]] = []
        for pattern, match in sorted(rules, key=lambda rule: -len(rule[0])):
            prefix, _, rest = pattern.partition("*")
            # By far most patterns end with their only wildcard: for them the prefix decides.
            rule = (prefix, Glob(pattern) if rest else None, match)
            if len(prefix) < STEM:
                self._short.append(rule)
            else:
                self._buckets.setdefault(prefix[:STEM], []).append(rule)

    def __iter__(self) -> Iterator[tuple[str, Match]]:
        """Return all with what they find, in the order in which the first that matches counts."""
        for rules in (*self._buckets.values(), self._short):
            for prefix, glob, match in rules:
                yield f"{prefix}*" if glob is None else glob.pattern, match

    def match(self, text: str) -> Match | None:
        for rules in (self._buckets.get(text[:STEM], ()), self._short):
            for prefix, glob, match in rules:
                if text.startswith(prefix) and (glob is None or glob.matches(text)):
                    return match
        return None


class _Names:
    """Cookie names or storage keys: exact ones first, then the longest wildcard."""

    __slots__ = ("_exact", "_wild")

    def __init__(self, rules: Mapping[str, Match]) -> None:
        self._exact = {name: match for name, match in rules.items() if "*" not in name}
        self._wild = _Patterns((name, match) for name, match in rules.items() if "*" in name)

    def match(self, name: str) -> Match | None:
        found = self._exact.get(name)
        return found if found is not None else self._wild.match(name)


class _Host:
    """The URL patterns of one host: first those with parameters, then whole paths, then the longest."""

    __slots__ = ("_conditional", "_paths", "_wild")

    def __init__(self, patterns: Sequence[tuple[UrlPattern, Match]]) -> None:
        patterns = sorted(patterns, key=lambda entry: -entry[0].literals)
        self._conditional = [
            (Glob(pattern.path), pattern, match) for pattern, match in patterns if pattern.parameters
        ]
        plain = [(pattern.path, match) for pattern, match in patterns if not pattern.parameters]
        self._paths = {path: match for path, match in plain if "*" not in path}
        self._wild = _Patterns((path, match) for path, match in plain if "*" in path)

    def __iter__(self) -> Iterator[tuple[str, bool, Match]]:
        """Return the paths, whether parameters count too, and what they find, in the order in which they count."""
        for glob, _, match in self._conditional:
            yield glob.pattern, True, match
        for path, match in (*self._paths.items(), *self._wild):
            yield path, False, match

    def match(self, path: str, query: str) -> Match | None:
        for glob, pattern, match in self._conditional:
            if glob.matches(path) and pattern.has_parameters(query):
                return match
        found = self._paths.get(path)
        return found if found is not None else self._wild.match(path)


class _EveryHost:
    """The URL patterns that are about every host. Whether one may be about a path is told at once: hardly any is."""

    __slots__ = ("_beginnings", "_rules", "_segments")

    def __init__(self, patterns: Sequence[tuple[UrlPattern, Match]]) -> None:
        self._rules = _Host(patterns)
        last = {pattern.path: pattern.path.rpartition("/")[2] for pattern, _ in patterns}
        self._segments = frozenset(segment for segment in last.values() if segment and "*" not in segment)
        self._beginnings = tuple(
            path.partition("*")[0] for path, segment in last.items() if segment not in self._segments
        )

    def match(self, target: str) -> Match | None:
        path, _, query = target.partition("?")
        if path.rpartition("/")[2] in self._segments or path.startswith(self._beginnings):
            return self._rules.match(path, query)
        return None

    def hints(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Return what the last segment of such a path is, or how it begins."""
        segments = tuple(segment.encode() for segment in sorted(self._segments))
        return segments, tuple(beginning.encode() for beginning in self._beginnings)


class Catalog:
    """A set of vendors, indexed. It never changes; safe to share between threads and event loops.

    Args:
        vendors: in catalog order.
        signatures: those of their patterns that were checked before.

    Raises:
        ConfigurationError: two vendors claim the same id, host, URL pattern, first-party cookie or storage
            key, or a signature is outside of the dialect.
    """

    __slots__ = (
        "_cookies",
        "_every_host",
        "_order",
        "_owners",
        "_signatures",
        "_snippets",
        "_storage",
        "_urls",
        "_walked",
        "evidence",
        "vendors",
    )

    evidence: Evidence
    """Tells what of a page need not be looked up here."""
    vendors: Mapping[str, Vendor]
    """By id, in catalog order."""

    def __init__(
        self, vendors: Iterable[Vendor], *, signatures: Mapping[str, Signature] = MappingProxyType({})
    ) -> None:
        by_id: dict[str, Vendor] = {}
        for vendor in vendors:
            if vendor.id in by_id:
                raise ConfigurationError(
                    f"two vendors have this id ({by_id[vendor.id].name}, {vendor.name}): rename one",
                    key=f"vendor.{vendor.id}",
                )
            by_id[vendor.id] = vendor
        self.vendors = MappingProxyType(by_id)
        self._order = {vendor_id: position for position, vendor_id in enumerate(by_id)}
        everyone = by_id.values()
        owned_hosts = _owned("hosts", ((host, vendor) for vendor in everyone for host in vendor.hosts))
        owned_urls = _owned("urls", ((url, vendor) for vendor in everyone for url in vendor.urls))
        urls: dict[str, list[tuple[UrlPattern, Match]]] = {}
        for url, match in owned_urls.items():
            pattern = UrlPattern(url)
            urls.setdefault(pattern.host, []).append((pattern, match))
        self._every_host = _EveryHost(urls.pop("", ()))
        self._owners = owned_hosts
        self._urls = {host: _Host(patterns) for host, patterns in urls.items()}
        self._walked: dict[str, tuple[tuple[_Host, ...], Match | None]] = {}
        # Only first-party names: a server never sees the others, and many of them ("id", "uid") are names
        # that a site may well use for something of its own.
        cookies = ((c.name, vendor) for vendor in everyone for c in vendor.cookies if c.party == "first")
        self._cookies = _Names(_owned("cookie", cookies))
        storage = ((item.key, vendor) for vendor in everyone for item in vendor.storage)
        self._storage = _Names(_owned("storage", storage))
        self._signatures = signatures
        snippets = []
        for vendor in everyone:
            for inline in vendor.inline:
                try:
                    signature = signatures.get(inline.pattern) or compile_signature(inline.pattern)
                except PatternError as error:
                    raise ConfigurationError(
                        f"the pattern {inline.pattern!r} {error}", key=f"vendor.{vendor.id}.inline"
                    ) from None
                snippets.append((signature, Match(vendor, inline.pattern)))
        self._snippets = SnippetFinder(snippets, {**self._owners, **self._urls}, self.match_url)
        self.evidence = self._snippets.evidence

    def match_url(self, host: str, target: str) -> Match | None:
        """Find the vendor of a URL.

        Args:
            host: lower-case ASCII, without port or trailing dot.
            target: path and query, from the ``/`` on.

        A URL pattern comes before a bare host, and the longer host before the shorter; those without one come
        last. Among the patterns of one host, those with query parameters come first, then whole paths, then the
        longest.
        """
        rules, owner = self._walked.get(host) or self._walk(host)
        if rules:
            path, _, query = target.partition("?")
            for rule in rules:
                match = rule.match(path, query)
                if match is not None:
                    return match
        return self._every_host.match(target) or owner

    def match_path(self, target: str) -> Match | None:
        """Find the vendor of a URL by the patterns that are about every host, as on the page's own.

        Args:
            target: as for `match_url`.
        """
        return self._every_host.match(target)

    def is_of_one(self, host: str) -> bool:
        """Tell whether all URLs of a host have one answer, but for what `match_path` finds: no pattern names it."""
        rules, _ = self._walked.get(host) or self._walk(host)
        return not rules

    def number(self, vendor_id: str) -> int:
        """Return the place of a vendor in catalog order."""
        return self._order[vendor_id]

    def url_rules(self) -> tuple[tuple[Any, ...], tuple[bytes, ...], tuple[bytes, ...]]:
        """Return the rules about URLs as the compiled reading wants them.

        First for each host its name, its owner's number, and paths. An owner that is nobody is -1. The first path
        that matches counts; where it is ``True``, only for URLs with certain parameters. Then of the patterns that
        are about every host the last segments, and the beginnings of those whose last segment is not fixed.
        """
        hosts = tuple(
            (
                host.encode(),
                self._order[self._owners[host].vendor.id] if host in self._owners else -1,
                tuple(
                    (path.encode("utf-8", "surrogatepass"), conditional, self._order[match.vendor.id])
                    for path, conditional, match in self._urls.get(host, ())
                ),
            )
            for host in {**self._owners, **self._urls}
            if 0 < len(host) <= _LONGEST_HOST
        )
        return hosts, *self._every_host.hints()

    def _walk(self, host: str) -> tuple[tuple[_Host, ...], Match | None]:
        """Collect the rules for a host and the domains above it, nearest first, and remember them."""
        if len(host) > _LONGEST_HOST:
            return (), None
        rules: list[_Host] = []
        owner: Match | None = None
        suffix = host
        while dot := suffix.find(".") + 1:  # no rule is about a top-level domain
            if suffix in self._urls:
                rules.append(self._urls[suffix])
            owner = owner or self._owners.get(suffix)
            suffix = suffix[dot:]
        if len(self._walked) >= _REMEMBERED_HOSTS:
            self._walked.clear()
        found = self._walked[host] = (tuple(rules), owner)
        return found

    def match_cookie(self, name: str) -> Match | None:
        """Find the vendor whose first-party cookie has this name: exact first, then the longest wildcard."""
        return self._cookies.match(name)

    def match_storage(self, key: str) -> Match | None:
        """Find the vendor that keeps this key in the site's local or session storage or as a database."""
        return self._storage.match(key)

    def match_inline(self, code: str) -> tuple[Match, ...]:
        """Find every vendor whose snippet is in the inline script ``code``, one match each, in catalog order.

        Linear in the length of the script.
        """
        found: dict[str, Match] = {}
        for match in self._snippets.find(code):
            found.setdefault(match.vendor.id, match)
        if len(found) < 2:
            return tuple(found.values())
        order = self._order
        return tuple(sorted(found.values(), key=lambda match: order[match.vendor.id]))

    def with_vendors(self, vendors: Iterable[Vendor]) -> Catalog:
        """Return a catalog with ``vendors`` added; one with a known id takes the place of the known one.

        Raises:
            ConfigurationError: one claims a host, cookie or other rule of a vendor that it does not replace.
        """
        merged = dict(self.vendors)
        merged.update((vendor.id, vendor) for vendor in vendors)
        return Catalog(merged.values(), signatures=self._signatures)

    def with_lists(self, vendors: Iterable[Vendor]) -> Catalog:
        """Return a catalog with what public lists name besides: whatever has an answer here keeps it.

        Of two of ``vendors`` that name the same the first has it.

        Raises:
            ConfigurationError: two have the same id, or one has a known id.
        """
        taken: set[str] = set()
        added = []
        for vendor in map(self.unknown_of, vendors):
            hosts, urls = (
                tuple(rule for rule in each if rule not in taken) for each in (vendor.hosts, vendor.urls)
            )
            cookies = tuple(cookie for cookie in vendor.cookies if f"={cookie.name}" not in taken)
            taken.update(hosts, urls, (f"={cookie.name}" for cookie in cookies))
            if hosts or urls or cookies:
                added.append(replace(vendor, hosts=hosts, urls=urls, cookies=cookies))
        if not added:
            return self
        return Catalog((*self.vendors.values(), *added), signatures=self._signatures)

    def unknown_of(self, vendor: Vendor) -> Vendor:
        """Return ``vendor`` with only those of its hosts, URL patterns and cookies that have no answer here.

        A host of which single paths have one is known, too: who wrote them had looked at the others. And a URL
        pattern is, where it would be tried before another one that may be about the same.
        """
        return replace(
            vendor,
            hosts=tuple(
                host for host in vendor.hosts if host not in self._urls and self.match_url(host, "/") is None
            ),
            urls=tuple(
                url
                for url in vendor.urls
                if self.match_url(*UrlPattern(url).example()) is None
                and not self._would_hide(UrlPattern(url))
            ),
            cookies=tuple(
                cookie
                for cookie in vendor.cookies
                if self.match_cookie(cookie.name.replace("*", _ANYTHING)) is None
            ),
        )

    def _would_hide(self, pattern: UrlPattern) -> bool:
        """Tell whether ``pattern`` would be tried before one that is here and may be about the same URLs."""
        others = (UrlPattern(match.rule) for rules in self._walk(pattern.host)[0] for _, _, match in rules)
        return any(
            (pattern.host != other.host or pattern.rank < other.rank) and pattern.overlaps(other)
            for other in others
        )


def _owned(kind: str, rules: Iterable[tuple[str, Vendor]]) -> dict[str, Match]:
    """Index rules by what they say, refusing the same rule from two vendors."""
    owners: dict[str, Match] = {}
    for rule, vendor in rules:
        match = owners.setdefault(rule, Match(vendor, rule))
        if match.vendor is not vendor:
            raise ConfigurationError(
                f"{rule!r} already belongs to the vendor {match.vendor.id!r}: remove it from one of the two, "
                f"or give the vendor the id {match.vendor.id!r} to replace that one",
                key=f"vendor.{vendor.id}.{kind}",
            )
    return owners

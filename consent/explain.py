"""Saying why: which rule of the catalog is about an address, a name or something on a page, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from consent.catalog import Catalog, Match, Vendor
from consent.enforcement import site_of
from consent.html.judge import Skip
from consent.html.urls import PageURL, resolve, resolve_base
from consent.located import located_in_page

Kind = Literal["URL", "cookie", "storage key"]
NOWHERE = PageURL("https", "page.invalid", "/")
"""Where a page is thought to be whose address is not known: no third party shares its name."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the catalog says of one thing."""

    kind: str
    """A `Kind`, or what it is on a page: ``script``, ``img``, ``inline script`` and so on."""
    subject: str
    match: Match | None
    """``None``: nothing in the catalog explains it."""
    line: int | None = field(default=None, compare=False)
    """Where it is in a page, 1-based; ``None``: it is in none."""

    @property
    def vendor(self) -> Vendor | None:
        """Whose it is."""
        return None if self.match is None else self.match.vendor

    @property
    def because(self) -> str:
        """Say in words how the rule was met; empty where there is none."""
        return "" if self.match is None else _because(self.match)


def explain(catalog: Catalog, what: str) -> list[Explanation]:
    """Look ``what`` up as everything that it may be: a URL, a cookie's name, a storage key.

    Returns:
        what the catalog knows it as; if it knows nothing, the one reading that is most likely meant.
    """
    readings: list[Explanation] = []
    target = resolve(what if "//" in what else f"//{what}", NOWHERE) if _may_be_url(what) else None
    if target is not None and target.host:
        match = catalog.match_url(target.host, target.path)
        readings.append(Explanation("URL", target.host + target.path, match))
    if "/" not in what:
        readings.append(Explanation("cookie", what, catalog.match_cookie(what)))
        readings.append(Explanation("storage key", what, catalog.match_storage(what)))
    known = [reading for reading in readings if reading.match is not None]
    return known or readings[:1] or [Explanation("cookie", what, None)]


def _may_be_url(what: str) -> bool:
    return "//" in what or "." in what.partition("/")[0].strip(".")


def explain_page(catalog: Catalog, page: bytes, url: PageURL = NOWHERE) -> list[Explanation]:
    """Read a page as the middleware does, and explain everything on it that is somebody else's, in its order.

    The same thing is explained once, where it is first.
    """
    lines: dict[Explanation, int] = {}
    for line, explanation in located_in_page(page, b"text/html", _Reader(catalog, url)):
        lines.setdefault(explanation, line)
    return [replace(explanation, line=line) for explanation, line in lines.items()]


class _Reader:
    """A rewriter's ``Judge`` that refuses nothing and remembers what it was asked about."""

    skip: Skip | None = None

    def __init__(self, catalog: Catalog, url: PageURL) -> None:
        self._catalog = catalog
        self._page = url
        self._base = url
        self.findings: list[Explanation] = []

    def refuses_url(self, element: str, url: str) -> bool:
        target = resolve(url, self._base)
        if target is not None and target.host == self._page.host:
            match = self._catalog.match_path(target.path)
            if match is not None and target.path != self._page.path:
                self.findings.append(Explanation(element, target.host + target.path, match))
        elif target is not None:
            match = self._catalog.match_url(target.host, target.path)
            if match is not None or site_of(target.host) != site_of(self._page.host):
                self.findings.append(Explanation(element, target.host + target.path, match))
        return False

    def refuses_script(self, code: str) -> bool:
        for match in self._catalog.match_inline(code):
            self.findings.append(Explanation("inline script", f"the snippet of {match.vendor.name}", match))
        return False

    def set_base(self, url: str) -> None:
        self._base = resolve_base(url, self._page)

    @property
    def leads_away(self) -> bool:
        return self._base.host != self._page.host

    def begin_element(self) -> None:
        """Nothing is refused, so nothing is held."""

    def refused_by(self) -> frozenset[str]:
        return frozenset()

    def note_instead(self, action: str) -> None:
        """Nothing is refused, so nothing takes its place."""

    def note_undecided(self, element: str) -> None:
        self.findings.append(Explanation(element, "could not be read to its end", None))


def _because(match: Match) -> str:
    vendor, rule = match.vendor, match.rule
    if rule in vendor.hosts:
        return f"the host is {rule}, or below it"
    if rule in vendor.urls:
        place, _, query = rule.partition("?")
        host, _, path = place.partition("/")
        if host in ("", "*"):
            where = "in whatever folder, " if host else ""
            whole = f"whatever the host is, {where}the path is /{path}"
        else:
            whole = f"the host is {host}, or below it, and the path is /{path}"
        return f"{whole}, and the query has {' and '.join(query.split('&'))}" if query else whole
    if any(rule == inline.pattern for inline in vendor.inline):
        return "its code sets the vendor's snippet up"
    stem, star, rest = rule.partition("*")
    if not star:
        return f"that is its name: {rule}"
    return f"its name begins with {stem}" + (f" and ends with {rest}" if rest else "")


def search(catalog: Catalog, words: str) -> Iterator[Vendor]:
    """Yield the vendors in whose id, names, hosts, URL patterns, cookies or storage keys all the words are."""
    wanted = words.lower().split()
    for vendor in catalog.vendors.values():
        told = [vendor.id, vendor.name, vendor.company, vendor.listed_by, *vendor.hosts, *vendor.urls]
        told += [cookie.name for cookie in vendor.cookies]
        told += [item.key for item in vendor.storage]
        text = "\n".join(told).lower()
        if all(word in text for word in wanted):
            yield vendor

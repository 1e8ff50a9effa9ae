"""A Content-Security-Policy of our own beside the page's: the backstop for what no server and no script sees.

It describes a closed world: the page's own origin, the places that the page's own policy and the site name, and
the places of vendors that this visitor allows. Several policies intersect (CSP Level 3, section 8.1), so ours
can only take away from what the page's own allows. It is about places alone: inline code is judged in the markup,
and what else a page may do is for its own policy to say.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple

from consent.catalog import Catalog, Vendor
from consent.catalog.matching import UrlPattern, with_parents
from consent.categories import Category
from consent.decision import Decision
from consent.policy import CspMode, Policy, Unclassified

logger = logging.getLogger("consent")

Headers = list[tuple[bytes, bytes]]

MAX_ENFORCED_BYTES = 8_192
"""A policy that is enforced never gets longer: the places that do not fit are left out."""
MAX_REPORTED_BYTES = 3_000
"""... and one that only reports stays within what common proxies take for the fields of a whole answer."""
REPORT_GROUP = "consent-csp"
"""The name in ``Reporting-Endpoints`` of where violations are reported."""

_MAX_MEMO = 256
_MAX_PAGE_POLICY = 16 * 1024
_POLICY_FIELDS = (b"content-security-policy", b"content-security-policy-report-only")
_ENDPOINTS = b"reporting-endpoints"
FIELDS = frozenset((*_POLICY_FIELDS, _ENDPOINTS))
"""The fields of a response that matter here, and are added."""
_MODE_FIELDS = {
    CspMode.ENFORCE: b"content-security-policy",
    CspMode.REPORT: b"content-security-policy-report-only",
}
# One list for all that is loaded, since every directive that is not there falls back to it. What follows is not
# restricted, because it does not load anything: where forms and links lead is the visitor's own affair, and what a
# <base> leads to is judged where it is loaded.
_DIRECTIVE = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob: about:"
_FETCH_DIRECTIVES = frozenset(
    (
        *("default-src", "script-src", "script-src-elem", "script-src-attr"),
        *("style-src", "style-src-elem", "style-src-attr", "img-src", "font-src", "connect-src"),
        *("media-src", "frame-src", "child-src", "worker-src", "object-src", "manifest-src", "prefetch-src"),
    )
)
# What differs from answer to answer says nothing about places, and is not remembered.
_UNIQUE = re.compile(rb"'(?:nonce|sha(?:256|384|512))-[^';,]*'", re.IGNORECASE)
_SOURCE = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?(?P<wild>\*\.)?(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::(?:[0-9]{1,5}|\*))?"
    r"(?P<path>/[^\s?#]*)?",
    re.IGNORECASE,
)


def parse(field: str) -> list[dict[str, list[str]]]:
    """Return the policies of one field's value: the sources of each directive by its name, in lower case.

    A comma separates policies, and of two directives of one name the first counts (CSP Level 3, section 2.2).
    """
    policies = []
    for written in field.split(","):
        policy: dict[str, list[str]] = {}
        for directive in written.split(";"):
            name, *sources = directive.split()[:1000] or [""]
            if name:
                policy.setdefault(name.lower(), sources)
        if policy:
            policies.append(policy)
    return policies


class Source(NamedTuple):
    """A place that a policy names: a host, or all hosts under it, and where its paths begin."""

    text: str
    host: str
    wild: bool
    path: str
    """Ends with ``/`` for all that begins so; else it is the whole path."""


def source(text: str) -> Source | None:
    """Read a source that names somebody; ``None`` for a keyword, a scheme, ``*`` or ``*.com``."""
    match = _SOURCE.fullmatch(text)
    if match is None or (match["wild"] and "." not in match["host"]):
        return None
    return Source(text, match["host"].lower(), bool(match["wild"]), match["path"] or "/")


def covers(places: Iterable[Source], host: str, path: str) -> bool:
    """Tell whether one of ``places`` is about a URL (CSP Level 3, section 6.7.2.7), whatever its scheme and port."""
    return any(
        (host.endswith("." + place.host) if place.wild else host == place.host)
        and (path.startswith(place.path) if place.path.endswith("/") else path == place.path)
        for place in places
    )


@lru_cache(maxsize=256)
def named_in(values: tuple[bytes, ...]) -> tuple[Source, ...]:
    """Return the places that a page's own policies name for anything that is loaded, in order, each once.

    The union of all its policies, for each of them restricts the page whatever ours says.
    """
    found: dict[str, Source] = {}
    for value in values:
        for policy in parse(value[:_MAX_PAGE_POLICY].decode("latin-1")):
            for name in _FETCH_DIRECTIVES & policy.keys():
                for text in policy[name]:
                    if place := source(text):
                        found.setdefault(text, place)
    return tuple(found[text] for text in sorted(found))


class _Place(NamedTuple):
    """Where a vendor is: a host with all hosts under it, and the literal text its paths begin with."""

    vendor: Vendor
    host: str
    path: str
    exact: bool
    """Whether a source that names this path says what the catalog says."""


class ClosedWorld:
    """Writes the policy for each response. Safe to share between threads.

    Args:
        catalog: What is known about vendors, with the site's own.
        policy: Says whether it is enforced or only reported, which vendors are declared, and which places the site
            allows besides. Its mode is not `CspMode.OFF`.
        prefix: Where the visitor endpoints are mounted.
        for_all: Every visitor gets the same policy, with what any of them may allow.
    """

    def __init__(
        self,
        catalog: Catalog,
        policy: Policy,
        *,
        prefix: str = "/_consent",
        for_all: bool = False,
    ) -> None:
        self._catalog = catalog
        self._for_all = for_all
        self._declared = [*(vendor.id for vendor in policy.vendors), *sorted(policy.let_through)]
        self._own = tuple(filter(None, map(source, policy.csp_allow)))
        self._field = _MODE_FIELDS[policy.csp]
        self._may_be_open = policy.unclassified is not Unclassified.STRIP
        enforced = policy.csp is CspMode.ENFORCE
        self._report_uri = f"; report-uri {prefix}/report"
        self.mode = policy.csp
        self.is_final = enforced and not for_all
        """Whether a page keeps visitors from what they come to allow later."""
        self._max_sources = (MAX_ENFORCED_BYTES if enforced else MAX_REPORTED_BYTES) - 100 - len(prefix)
        self._endpoint = f'{REPORT_GROUP}="{prefix}/report"'.encode()
        # What a list names is as little of the site's closed world as what nobody has explained.
        self._places = {
            vendor.id: tuple(_places_of(vendor))
            for vendor in catalog.vendors.values()
            if not vendor.listed_by
        }
        self._by_host: dict[str, list[_Place]] = {}
        for places in self._places.values():
            for place in places:
                self._by_host.setdefault(place.host, []).append(place)
        self._seen: Sequence[str] = ()
        self._memo: dict[tuple[str, bool, tuple[bytes, ...]], bytes] = {}
        self._told = False

    def added(
        self,
        headers: Headers,
        decision: Decision,
        *,
        variant: str,
        seen: Sequence[str],
        secure: bool,
        plain: bool = False,
    ) -> Headers:
        """Return a response's fields with our policy added, and with where violations are reported.

        Args:
            headers: The fields as they are to be sent; what is theirs stays as it is.
            decision: What this visitor allows.
            variant: Names all decisions that allow the same.
            seen: The ids of vendors that were seen on the site, the surest first. The same object as long as
                nothing was added to it.
            secure: Whether ``Reporting-Endpoints`` is known where this response goes: in pages over HTTPS. Where a
                policy has ``report-to``, browsers do not look at ``report-uri``, even if they report to nobody then.
            plain: Whether the fields are known to have none of :data:`FIELDS`.
        """
        own: tuple[bytes, ...] = ()
        if not plain:
            own = tuple(_UNIQUE.sub(b"", value) for key, value in headers if key.lower() in _POLICY_FIELDS)
        if seen is not self._seen:
            self._memo.clear()
            self._seen = seen
        policy = self._memo.get((variant, secure, own))
        if policy is None:
            if len(self._memo) >= _MAX_MEMO:
                self._memo.clear()
            policy = self._policy(decision, named_in(own), seen)
            if secure:
                policy += f"; report-to {REPORT_GROUP}".encode()
            self._memo[variant, secure, own] = policy
        headers = [*headers, (self._field, policy)]
        if secure:
            # One line for all: of a dictionary in several, proxies have been seen to keep one only.
            lines = [] if plain else [value for key, value in headers if key.lower() == _ENDPOINTS]
            if lines:
                headers = [pair for pair in headers if pair[0].lower() != _ENDPOINTS]
            headers.append((_ENDPOINTS, b", ".join((*lines, self._endpoint))))
        return headers

    def _policy(self, decision: Decision, named: Sequence[Source], seen: Iterable[str]) -> bytes:
        vendors = self._catalog.vendors
        allowed = {
            vendor.id
            for vendor in vendors.values()
            if self._for_all or decision.allows(vendor.category, vendor.id)
        }
        texts: list[str] = []
        listed = dict.fromkeys(self._declared)
        for place in (*self._own, *named):
            inside = self._inside(place)
            refused = [other for other in inside if other.vendor.id not in allowed]
            owner = self._catalog.match_url(place.host, place.path)
            if refused or (owner is not None and owner.vendor.id not in allowed):
                # The part of it that is not refused: whoever names a host with several vendors on it means one.
                listed.update(dict.fromkeys(other.vendor.id for other in inside))
            else:
                texts.append(place.text)
        listed.update(dict.fromkeys(seen))
        places = [self._places.get(vendor, ()) for vendor in listed if vendor in allowed]
        covered = {place.host for some in places for place in some if place.exact and place.path == "/"}
        written = [list(self._written(some, allowed, covered)) for some in places]
        # In turn, so that a vendor with a list of countries leaves the others their first places.
        for group in zip_longest(*written, fillvalue=()):
            for sources in group:
                texts.extend(sources)
        line, left_out = self._joined(dict.fromkeys(texts))
        if left_out and self.mode is CspMode.ENFORCE:
            if allowed.issuperset(vendors) and not self._for_all and self._may_be_open:
                # What this visitor allowed must work, and there is nobody known to keep out.
                line = f"{_DIRECTIVE} *"
            else:
                self._tell(left_out)
        return (line + self._report_uri).encode("ascii", "ignore")

    def _written(
        self, places: Sequence[_Place], allowed: set[str], covered: set[str]
    ) -> Iterator[tuple[str, ...]]:
        for place in places:
            # A host stands for all hosts under it.
            parents = with_parents(place.host)
            if not covered.isdisjoint(parents if place.path != "/" else parents[1:]):
                continue
            paths = [place.path]
            if not place.exact:
                # A source ends with a whole path or at a slash. At the slash it says more than the catalog, which
                # is too much where a refused vendor is in it: then it says less.
                folder = place.path[: place.path.rindex("/") + 1]
                if all(o.vendor.id in allowed for o in self._inside(Source("", place.host, True, folder))):
                    paths = [folder]
                elif folder == place.path:
                    paths = []
                else:
                    paths = [place.path, place.path + "/"]
            for path in paths:
                written = "" if path == "/" else path.replace(";", "%3B").replace(",", "%2C")
                found: tuple[str, ...] = (f"{place.host}{written}", f"*.{place.host}{written}")
                if place.path == "/" and place.vendor.category is not Category.TARGETING:
                    # A source without a scheme stands for no WebSocket. Chats and recorders need them.
                    found += (f"wss://{place.host}", f"wss://*.{place.host}")
                yield found

    def _inside(self, place: Source) -> list[_Place]:
        """Return the places of vendors that lie within ``place``."""
        hosts = with_parents(place.host)
        if place.wild:
            hosts += [host for host in self._by_host if host.endswith("." + place.host)]
        return [
            other
            for host in hosts
            for other in self._by_host.get(host, ())
            if (other.path.startswith(place.path) if place.path.endswith("/") else other.path == place.path)
        ]

    def _joined(self, texts: Iterable[str]) -> tuple[str, str]:
        """Return the directive with all sources that fit, and the first that does not; empty if all do."""
        line, left_out = _DIRECTIVE, ""
        for text in texts:
            if len(line) + 1 + len(text) <= self._max_sources:
                line += " " + text
            else:
                left_out = left_out or text
        return line, left_out

    def _tell(self, left_out: str) -> None:
        if not self._told:
            self._told = True
            logger.warning(
                "the Content-Security-Policy is full: places that a visitor allowed are not in it, %.100s for one; "
                'declare fewer vendors, or set csp = "report"',
                left_out,
            )


def _places_of(vendor: Vendor) -> Iterator[_Place]:
    for host in vendor.hosts:
        yield _Place(vendor, host, "/", True)
    for url in vendor.urls:
        pattern = UrlPattern(url)
        if not pattern.host:
            continue  # its places are the page's own, which a policy cannot tell apart, or anybody's
        stem, star, rest = pattern.path.partition("*")
        # No source can say "the front page": "/" is all of a host.
        exact = stem != "/" and (stem.endswith("/") and not rest if star else not stem.endswith("/"))
        yield _Place(vendor, pattern.host, stem, exact)

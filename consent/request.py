"""One request, as far as what is done about its answer depends on it."""

from __future__ import annotations

from functools import cached_property
from urllib.parse import quote, unquote_to_bytes

from starlette.types import Scope

from consent import headers as fields
from consent.html.urls import PageURL
from consent.request_fields import is_secure
from consent.site import Edition, Fields, Ruling, Site, Wanted

REPORT_HEADER = b"consent-report"
"""A request that carries it with the value ``1`` gets the account of what was found in the page, as JSON."""

FRAMED = frozenset((b"iframe", b"frame", b"embed", b"object", b"fencedframe"))
"""Destinations (Fetch Metadata) of pages within a page."""
WORKERS = frozenset((b"worker", b"sharedworker", b"serviceworker"))
"""Destinations of what runs beside pages."""
_FRAGMENT_FIELDS = frozenset(name.lower() for name in fields.FRAGMENT_FIELDS)
_WITH_WORDS = (None, b"document", b"empty")
"""Destinations of pages in which visitors are told and asked something, by the browser's account."""
_OBEYING = FRAMED | WORKERS | {b"document", None}


class Request:
    """One request, with the ruling for it.

    Args:
        headers: its fields, as the server read them.
    """

    def __init__(self, site: Site, scope: Scope, headers: fields.Headers, ruling: Ruling) -> None:
        self.site = site
        self.scope = scope
        self.ruling = ruling
        self.by_name = fields.combined(headers)
        """Its fields by name."""
        self.destination = self.by_name.get(b"sec-fetch-dest")
        """What the answer is for (Fetch Metadata); ``None`` where the browser does not say."""
        self.reports = self.by_name.get(REPORT_HEADER) == b"1"
        """Whether the account of what is found goes into the page."""

    @cached_property
    def now(self) -> int:
        """When it was looked at, in seconds since 1970."""
        return int(self.site.clock())

    @property
    def is_framed(self) -> bool:
        """Whether the page is within another, which asks."""
        return self.destination in FRAMED

    @property
    def is_loaded(self) -> bool:
        """Whether a page loads the answer; where visitors go themselves is their own affair."""
        return self.destination not in (None, b"document")

    @property
    def may_be_for_fragment(self) -> bool:
        """Whether the page may be a piece of one: scripts fetch such, and the page around it has asked.

        What a frame shows is a whole one, whatever it looks like.
        """
        return not self.is_framed and (self.is_loaded or not _FRAGMENT_FIELDS.isdisjoint(self.by_name))

    @property
    def obeys(self) -> bool:
        """Whether the browser makes something of the answer that obeys a Content-Security-Policy."""
        return self.destination in _OBEYING

    @property
    def is_prefetch(self) -> bool:
        """Whether nobody may ever see the answer."""
        return b"prefetch" in self.by_name.get(b"sec-purpose", b"")

    @property
    def is_secure(self) -> bool:
        """Whether it came over HTTPS."""
        return is_secure(self.scope)

    @cached_property
    def is_negotiated(self) -> bool:
        """Whether the page speaks the language that the browser asks for: its address does not settle that."""
        settled = self.site.banner.languages.settled(self.scope["path"])
        return settled is None and self.destination in _WITH_WORDS

    @cached_property
    def language(self) -> str:
        """The language of what is inserted."""
        return self.site.banner.languages.choose(self.scope["path"], self._asked_language)

    @property
    def variant(self) -> str:
        """Names what decides the bytes of a page."""
        name = self.ruling.variant + "r" if self.reports else self.ruling.variant
        return f"{name}.{self.language}" if self.is_negotiated else name

    @cached_property
    def address(self) -> str:
        """Its path as it was asked for, percent-encoded."""
        scope = self.scope
        path: str = scope["path"]
        raw: bytes = scope.get("raw_path") or b""
        raw = raw.partition(b"?")[0]
        # Routers in front may have changed the one and not the other.
        if raw.isascii() and unquote_to_bytes(raw) == path.encode("utf-8", "surrogateescape"):
            return raw.decode("ascii")
        return quote(path.encode("utf-8", "surrogateescape"), safe="/:@!$&'()*+,;=~")

    @property
    def target(self) -> str:
        """Path and query, where the visitor comes back to after choosing."""
        query: bytes = self.scope.get("query_string", b"")
        return f"{self.address}?{query.decode('latin-1')}" if query else self.address

    @property
    def host(self) -> bytes:
        """Name and perhaps port of the site, as the browser knows it; empty where it does not say."""
        return self.by_name.get(b"host", b"")

    @property
    def url(self) -> PageURL:
        """Where the answer is."""
        return PageURL(self._scheme, fields.host_name(self.host), self.address)

    @property
    def edition_fields(self) -> Fields:
        """The header fields of its :attr:`edition`."""
        met = self._met
        if met is not None:
            return met.fields
        return self.ruling.editions.fields(self.site, self.ruling, self._wanted)

    @property
    def edition(self) -> Edition:
        """What the page has in common with others, where it asks for no more."""
        met = self._met
        if met is None:
            editions = self.ruling.editions
            met = editions.edition(self.site, self.ruling, self._wanted)
            if self._is_meetable:
                editions.meet(self._scheme, self._asked_language, met)
        return met

    @property
    def _met(self) -> Edition | None:
        if not self._is_meetable:
            return None
        found = self.ruling.editions.met.get(self._scheme, {}).get(self._asked_language)
        return found if found is not None and found.seen is self.site.inventory.seen else None

    @property
    def _is_meetable(self) -> bool:
        """Whether nothing but ``Accept-Language`` and scheme tell which edition it is."""
        return self.destination in _WITH_WORDS and not self.site.banner.languages.depend_on_path

    @property
    def _wanted(self) -> Wanted:
        return Wanted(self.language, self.is_negotiated, self.is_secure)

    @property
    def _scheme(self) -> str:
        scheme: str = self.scope.get("scheme", "http")
        return scheme

    @property
    def _asked_language(self) -> bytes:
        return self.by_name.get(b"accept-language", b"")

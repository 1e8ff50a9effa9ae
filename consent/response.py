"""One response on its way out: what is kept out of it, and what is put in.

The start of a page is withheld until its header fields are decided; the body streams.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from starlette.types import Message, Scope, Send

from consent import codings
from consent import headers as fields
from consent.banner import Banner
from consent.catalog import Catalog
from consent.categories import OPTIONAL, Category
from consent.codings import Coded, Sniffed, Stream
from consent.csp import FIELDS as CSP_FIELDS
from consent.csp import ClosedWorld
from consent.decision import Decision
from consent.enforcement import Action, PageEnforcement
from consent.enforcement_log import EnforcementLog
from consent.failures import Failures
from consent.guard import Guard
from consent.html import Rewriter, Withholding, XMLRewriter
from consent.html.urls import PageURL
from consent.insertion import BodyEndInsertion
from consent.inventory import Inventory, Source, seen_in
from consent.own_files import MAX_FILE_BYTES, FileTooLong, OwnFile, file_kind
from consent.placeholder import PagePlaceholders, Placeholders
from consent.policy import Refused
from consent.streams import PASSED, Guarded, Swallowed

REPORT_HEADER = b"consent-report"
"""A request that carries it with the value ``1`` gets the account of what was found in the page, as JSON."""

FRAMED = frozenset((b"iframe", b"frame", b"embed", b"object", b"fencedframe"))
"""Destinations (Fetch Metadata) of pages within a page."""
_FRAGMENT_FIELDS = tuple(name.lower() for name in fields.FRAGMENT_FIELDS)
_WITH_WORDS = (None, b"document", b"empty")
"""Destinations of pages in which visitors are told and asked something, by the browser's account."""
WORKERS = frozenset((b"worker", b"sharedworker", b"serviceworker"))
"""Destinations of what runs beside pages."""
_OBEYING = FRAMED | WORKERS | {b"document", None}
_AUTHORITY = re.compile(rb"[A-Za-z0-9.:\[\]-]{1,255}")
_LOCAL_URL = re.compile(rb'(?<=\s)(href|action|formaction|src)="/(?![/\\])')
_HANDSHAKE_ANSWERS = ("websocket.accept", "websocket.http.response.start")
_XML_TYPES = fields.XML_TYPES | fields.DATA_TYPES
_PAGE_TYPES = fields.REWRITTEN_TYPES | fields.DATA_TYPES
_UNSURE_TYPES = fields.DATA_TYPES | {b""}
_XML_PAGE_NAMES = (b"//www.w3.org/1999/xhtml", b"//www.w3.org/2000/svg", b"<?xml-stylesheet")
_UNTYPED = {b"style": b"text/css", b"script": b"text/javascript"}
"""What browsers read what says nothing of itself as, by what they load it for (Fetch Metadata)."""
_BODILESS = frozenset((204, 205, 304))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all responses of one site share."""

    catalog: Catalog
    banner: Banner
    guard: Guard | None
    failures: Failures
    refused: Refused
    placeholders: Placeholders | None
    """Make what offers refused embeds; ``None``: they are as all else that is refused."""
    csp: ClosedWorld | None
    """Writes the policy that pages and workers get besides their own."""
    inventory: Inventory
    enforcement: EnforcementLog
    clock: Callable[[], float]
    """Returns seconds since 1970."""
    explain: bool
    """Whether the developer's explanation goes to the end of every page."""


class Ruling:
    """A decision, and what follows from it for every response."""

    __slots__ = ("allows_everything", "decision", "targeting", "variant")

    def __init__(self, decision: Decision, variant: str) -> None:
        self.decision = decision
        self.variant = variant
        """Names the variant of every page that visitors with this decision get."""
        self.targeting = decision.allows(Category.TARGETING)
        self.allows_everything = all(decision.allows(c) for c in OPTIONAL) and all(decision.vendors.values())


class GovernedResponse:
    """One response on its way out."""

    _noted: frozenset[tuple[str, str, str]] = frozenset()
    """What is in the inventory already."""
    _counted = 0
    """How many findings are in the enforcement log already."""
    _judges_files = True
    """Whether the site's own style sheets, scripts and rules may differ by visitor."""
    _plain = False
    """Whether the page has no policy of its own."""

    # Most responses are not pages and need no more than the constructor sets.
    _page: PageEnforcement | None = None
    _start: Message | None = None
    """The start of a page, withheld until the first of its body is there."""
    _unsure: bytes | None = None
    """... or the media type of something that by it may be a page or not."""
    _stream: Stream | None = None
    _file: OwnFile | None = None
    """... or what is kept back of a file that is judged as a whole."""
    _is_personal_already = False
    """Whether the fields are those of what is for one visitor, whatever the body turns out to be."""
    _nonce: str | None = None
    _placeholders: PagePlaceholders | None = None
    _insertion_is_ascii = False

    def __init__(
        self,
        site: Site,
        scope: Scope,
        headers: fields.Headers,
        ruling: Ruling,
        send: Send,
    ) -> None:
        self._site = site
        self._scope = scope
        self._request_headers = headers
        self._ruling = ruling
        self._send = send

    @cached_property
    def by_name(self) -> dict[bytes, bytes]:
        """The request's fields by name: see :func:`consent.headers.combined`."""
        return fields.combined(self._request_headers)

    @cached_property
    def _now(self) -> int:
        return int(self._site.clock())

    @property
    def _reports(self) -> bool:
        """Whether the account of what is found goes into the page."""
        return self.by_name.get(REPORT_HEADER) == b"1"

    @cached_property
    def _is_negotiated(self) -> bool:
        """Whether the page speaks the language that the browser asks for: its address does not settle that."""
        languages = self._site.banner.languages
        return (
            languages.settled(self._scope["path"]) is None
            and self.by_name.get(b"sec-fetch-dest") in _WITH_WORDS
        )

    @cached_property
    def _language(self) -> str:
        """The language of what is inserted."""
        asked = self.by_name.get(b"accept-language", b"")
        return self._site.banner.languages.choose(self._scope["path"], asked)

    @property
    def variant(self) -> str:
        """Names what decides the bytes of a page."""
        name = self._ruling.variant + "r" if self._reports else self._ruling.variant
        return f"{name}.{self._language}" if self._is_negotiated else name

    def send(self, message: Message) -> Awaitable[None]:
        """Send what the app answers, as it may reach the visitor."""
        # No coroutine of its own: most messages go on as they are, and each coroutine would cost them as much as
        # all the rest.
        kind = message["type"]
        if kind == "http.response.body":
            if self._start is None and self._stream is None:
                return self._send(message)
            return self._body(message)
        if kind == "http.response.start":
            start = self._begin(message)
            return _nothing() if start is None else self._send(start)
        if kind == "http.response.early_hint":
            hints = [(b"link", link) for link in message.get("links", ())]
            links = [value for key, value in self._governed(hints) if key == b"link"]
            return self._send({**message, "links": links}) if links else _nothing()
        if kind == "http.response.trailers" and self._stream is not None:
            # A digest in them would be of other bytes; they are no longer announced.
            return _nothing()
        return self._send(message)

    async def send_handshake(self, message: Message) -> None:
        """Send what answers the handshake of a websocket: it is a response, and may set cookies."""
        if message["type"] in _HANDSHAKE_ANSWERS and message.get("headers"):
            message = {**message, "headers": self._governed(list(message["headers"]))}
        await self._send(message)

    async def send_worker(self, message: Message) -> None:
        """Send what a worker is made of: it obeys the policy that it comes with, not the page's."""
        if message["type"] == "http.response.start" and message["status"] != 304 and self._site.csp:
            headers = list(message.get("headers") or ())
            named = fields.RESPONSE.find(headers)
            if not _is_page(named):
                kept = [pair for pair in headers if pair[0].lower() == b"content-length"]
                self._is_personal_already = True
                message = {
                    **message,
                    "headers": [*self._secured(self._rewritten(headers), in_page=False), *kept],
                }
        await self.send(message)

    # --- the head ---

    def _begin(self, message: Message) -> Message | None:
        """Return the start to send at once; ``None`` where it depends on the body."""
        original = message.get("headers") or ()
        headers = original if isinstance(original, list) else list(original)
        named = fields.RESPONSE.find(headers)
        if message["status"] == 200 and len(named) == 1 and _is_unread(named.get(b"content-type", b"")):
            return message
        if not fields.GOVERNED.isdisjoint(named):
            headers = self._governed(headers)
        status = message["status"]
        if status == 304:
            headers = self._not_modified(headers)
        elif status in _REDIRECTS:
            location = fields.first(headers, b"location") or b""
            headers, refused = self._redirect(headers, location.decode("latin-1"))
            if refused:
                self._stream = Swallowed()
                return {**message, "status": 403, "headers": fields.without_redirect(headers)}
        if headers is not original:
            message = {**message, "headers": headers}
        if status >= 200 and status not in _BODILESS:
            if self._judges_files and (content_type := self._file_type(named)):
                return self._begin_file(message, headers, content_type)
            if _is_page(named):
                return self._begin_page(message, headers, named)
        return self._passing(message)

    def _passing(self, message: Message) -> Message:
        """Return the start of what is no page."""
        return message

    def _begin_page(
        self, message: Message, headers: fields.Headers, named: dict[bytes, bytes]
    ) -> Message | None:
        """Begin to rewrite what may be a page."""
        content_type = named.get(b"content-type", b"")
        kind = fields.media_type_of(content_type)
        applied = self._codings(headers, named)
        if applied is None:
            if (secured := self._secured(headers)) is headers:
                return message
            secured = fields.personal(secured, names=fields.PAGE_DECIDING_FIELDS)
            return self._passing({**message, "headers": secured})
        unsure = kind if kind in _UNSURE_TYPES else None
        if message["status"] == 206:
            if unsure is not None:
                return self._passing(message)
            # Bytes of a page that nobody rewrote, at offsets that would not fit: ask for the whole.
            self._stream = Swallowed()
            return self._passing(_unsatisfied(message, headers))
        self._start = {**message, "headers": headers}
        self._unsure = unsure
        self._plain = CSP_FIELDS.isdisjoint(named)
        if self._scope["method"] == "HEAD":
            # What GET would carry, but for the length, which is not known.
            self._start = None
            if fields.first(headers, b"content-length") == b"0":
                return self._passing(message)
            self._stream = Swallowed()
            if unsure is not None:
                return self._passing({**message, "headers": fields.unsized(headers)})
            return {**message, "headers": self._secured(self._rewritten(headers))}
        if b"content-security-policy" in named:
            self._nonce = fields.csp_nonce(headers)
        self._insertion_is_ascii = codings.charset(content_type) not in (b"utf-8", b"utf8")
        innermost = self._innermost(kind)
        if innermost is PASSED:
            self._stream = innermost
            return None
        guarded = Guarded(innermost, self._meets)
        stream: Stream = Sniffed(lambda: guarded, content_type)
        for coding in applied:
            stream = Coded(stream, coding, self._meets)
        self._stream = Guarded(stream, self._meets)
        return None

    def _codings(self, headers: fields.Headers, named: dict[bytes, bytes]) -> list[bytes] | None:
        """Return the codings that a body comes in; ``None`` where they cannot be undone, which is told."""
        if b"content-encoding" not in named:
            return []
        coded = b",".join(value for key, value in headers if key.lower() == b"content-encoding")
        applied = codings.listed(coded)
        if codings.readable(applied):
            return applied
        self._site.failures.unknown_coding(coded[:80].decode("latin-1"), self._scope["path"])
        return None

    def _file_type(self, named: dict[bytes, bytes]) -> bytes:
        """Return the type of a file that is judged; where the app tells none, what the browser loads it as."""
        content_type = named.get(b"content-type", b"")
        if fields.media_type_of(content_type):
            return content_type if file_kind(content_type) else b""
        return _UNTYPED.get(self.by_name.get(b"sec-fetch-dest", b""), b"")

    def _begin_file(self, message: Message, headers: fields.Headers, content_type: bytes) -> Message | None:
        """Begin to keep back what is judged as a whole."""
        applied = self._codings(headers, fields.RESPONSE.find(headers))
        if applied is None or (applied and message["status"] == 206):
            return self._passing(message)
        length = fields.first(headers, b"content-length") or b"0"
        if length.isdigit() and int(length) > MAX_FILE_BYTES:
            self._meets(FileTooLong())
            return self._passing(message)
        if self._scope["method"] == "HEAD":
            # Whether a GET would carry these is known from the body only.
            return self._passing({**message, "headers": fields.unsized(headers)})
        self._start = {**message, "headers": headers}
        evidence = self._site.catalog.evidence
        self._file = OwnFile(content_type, applied, self._enforcement(), evidence)
        return None

    def _redirect(self, headers: fields.Headers, location: str) -> tuple[fields.Headers, bool]:
        """Return the fields of a redirect, and whether it is refused."""
        if not self._loads:
            return headers, False
        page = self._enforcement()
        refused = page.refuses_url("redirect", location)
        if page.decided:
            headers = fields.varying(headers, fields.REDIRECT_DECIDING_FIELDS)
        return headers, refused

    @property
    def _loads(self) -> bool:
        """Whether a page loads the answer; where visitors go themselves is their own affair."""
        return self.by_name.get(b"sec-fetch-dest") not in (None, b"document")

    def _not_modified(self, headers: fields.Headers) -> fields.Headers:
        """Return the fields of a 304: those of the page that it confirms (RFC 9110, section 15.4.5)."""
        asked = self.by_name.get(b"if-none-match", b"")
        # The app confirmed the tag it knows; the browser knows the variant's.
        return self._rewritten(headers) if b"~" + self.variant.encode("ascii") in asked else headers

    def _rewritten(self, headers: fields.Headers) -> fields.Headers:
        return fields.rewritten(
            headers,
            variant=self.variant,
            targeting=self._ruling.targeting,
            caching=fields.BY_NOBODY if self._reports else self._caching(headers),
        )

    def _caching(self, headers: fields.Headers) -> fields.Caching:
        """Say who may keep a page with these fields."""
        return fields.BY_SPEAKER if self._is_negotiated else fields.BY_VISITOR

    def _secured(self, headers: fields.Headers, *, in_page: bool = True) -> fields.Headers:
        """Return the fields with our Content-Security-Policy, where the browser makes something that obeys one."""
        site = self._site
        destination = self.by_name.get(b"sec-fetch-dest")
        if site.csp is None or not self._obeys(destination):
            return headers
        ruling = self._ruling
        return site.csp.added(
            headers,
            ruling.decision,
            variant=ruling.variant,
            seen=site.inventory.seen,
            secure=in_page and self._scope.get("scheme") == "https",
            plain=self._plain,
        )

    def _obeys(self, destination: bytes | None) -> bool:
        """Tell whether the browser makes something of the answer that obeys a policy."""
        return destination in _OBEYING

    def _note(self) -> None:
        """Tell inventory and enforcement log what was found since; of what is only prefetched, nothing."""
        if b"prefetch" in self.by_name.get(b"sec-purpose", b""):
            return
        if self._page is None:
            return
        findings = self._page.findings
        if len(findings) > self._counted:
            self._site.enforcement.note(findings[self._counted :], self._now)
            self._counted = len(findings)
        if found := seen_in(findings) - self._noted:
            self._site.inventory.note(Source.RESPONSE, found, _address(self._scope), self._now)
            self._noted |= found

    def _governed(self, headers: fields.Headers) -> fields.Headers:
        return fields.governed(headers, self._enforcement(), now=self._now)

    # --- the body ---

    async def _body(self, message: Message) -> None:
        body = message.get("body", b"")
        more = message.get("more_body", False)
        start = self._start
        if start is not None and self._file is not None:
            await self._send_file(start, self._file, message)
            return
        if start is not None:
            if self._unsure is not None:
                if not body and more:
                    return
                kind, self._unsure = self._unsure, None
                if not _looks_like_page(kind, body):
                    self._stream = self._start = None
                    await self._send(self._passing(start))
                    await self._send(message)
                    return
            self._start = None
            if not body and not more:
                # Nothing to rewrite, as in a redirect: the answer stays empty.
                self._stream = None
                await self._send(self._passing(start))
                await self._send(message)
                return
            start["headers"] = self._rewritten(start["headers"])
            start.pop("trailers", None)
        stream = self._stream
        assert stream is not None  # noqa: S101 - made with the start
        written = stream.write(body) if body else b""
        if not more:
            written += stream.end()
        if start is not None or not more:
            self._note()
        if start is not None:
            # Now that its beginning was read: what the page itself brings is known.
            start["headers"] = self._secured(start["headers"])
            if not more:
                start["headers"].append((b"content-length", b"%d" % len(written)))
            await self._send(start)
        if written or not more:
            await self._send({**message, "body": written})

    async def _send_file(self, start: Message, file: OwnFile, message: Message) -> None:
        """Send a file, once all of it is there or it is too long to be waited for."""
        if file.add(message.get("body", b"")) and message.get("more_body", False):
            return
        self._file = self._start = None
        written = file.judged(self._meets)
        self._note()
        if written is None:
            await self._send(self._passing(start))
            await self._send({**message, "body": file.raw})
            return
        self._stream = Swallowed()  # of what may follow, trailers
        if start["status"] == 206:
            # A part of what is another file to others. Of one whose other parts are asked for, this is not seen.
            start, written = _unsatisfied(start, start["headers"]), b""
        headers = start["headers"] if self._is_personal_already else self._rewritten(start["headers"])
        headers = [pair for pair in headers if pair[0].lower() != b"content-length"]
        start["headers"] = [*headers, (b"content-length", b"%d" % len(written))]
        start.pop("trailers", None)
        await self._send(start)
        await self._send({**message, "body": written})

    def _innermost(self, kind: bytes) -> Stream:
        """Return what does to the decoded page what this visitor's decision asks for."""
        framed = kind in _XML_TYPES or self._is_framed()
        fragment = kind in fields.FRAGMENT_TYPES or self._may_be_fragment()
        if self._ruling.allows_everything and not self._site.explain and not self._reports:
            if framed:
                return PASSED
            if not fragment:
                unread = BodyEndInsertion(
                    lambda: self._anchored(self._guard_tag() + self._insertion(), unread.has_base)
                )
                return unread
        if kind in _XML_TYPES:
            return XMLRewriter(self._enforcement())
        page = self._enforcement()
        page.begin_body()
        if self._site.placeholders is not None and not framed:
            self._placeholders = PagePlaceholders(
                self._site.placeholders,
                self._ruling.decision,
                nonce=self._nonce,
                anchored=lambda markup: self._anchored(markup, page.leads_away),
                language=lambda: self._language,
            )
        return Rewriter(
            page,
            withholding=Withholding(
                page, hold=self._site.refused is Refused.HOLD, placeholder=self._placeholders
            ),
            at_head_start=self._guard_tag,
            at_body_end=None if framed else lambda: self._anchored(self._insertion(), page.leads_away),
            fragment=fragment,
        )

    def _is_framed(self) -> bool:
        """Tell whether the page is within another, which asks."""
        return self.by_name.get(b"sec-fetch-dest") in FRAMED

    def _may_be_fragment(self) -> bool:
        """Tell whether the page may be a piece of one: scripts fetch such, and the page around it has asked."""
        return self._loads or any(name in self.by_name for name in _FRAGMENT_FIELDS)

    def _guard_tag(self) -> bytes:
        guard = self._site.guard
        return b"" if guard is None else guard.markup(self._ruling.decision, nonce=self._nonce)

    def _anchored(self, markup: bytes, leads_away: bool) -> bytes:
        """Return what is inserted so that a ``<base>`` does not send the visitor's choice to another host."""
        host = self.by_name.get(b"host", b"")
        if not leads_away or not _AUTHORITY.fullmatch(host):
            return markup
        return _LOCAL_URL.sub(rb'\1="//%b/' % host, markup)

    def _missing(self) -> frozenset[str]:
        """Return what needs a new page when it is allowed, though this one holds something."""
        page = self._enforcement()
        csp = self._site.csp
        if csp is None or not csp.is_final:
            return page.missing
        there = (Action.ALLOWED, Action.STRIPPED)
        held = {
            f"{f.vendor.category}/{f.vendor.id}" for f in page.findings if f.vendor and f.action not in there
        }
        # A policy stays that of its page: what is held here, and what it loads, would be stopped.
        refused = [c for c in OPTIONAL if held and not self._ruling.decision.allows(c)]
        return page.missing.union(held, refused)

    def _insertion(self) -> bytes:
        site = self._site
        decision = self._ruling.decision
        target = _address(self._scope)
        if query := self._scope.get("query_string", b""):
            target += "?" + query.decode("latin-1")
        banner = site.banner.in_language(self._language)
        pieces = [banner.markup(decision, return_to=target, nonce=self._nonce)]
        if self._placeholders is not None:
            pieces.append(self._placeholders.form(target))
        if missing := self._missing():
            # With what is held in the page, the client does without a new page. This here needs one.
            names = " ".join(sorted(missing))
            pieces.append(f'<template class="consent-missing" data-consent="{names}"></template>'.encode())
        if site.explain:
            pieces.append(banner.explanation(decision, self._enforcement().findings))
        if self._reports:
            pieces.append(_report(self._enforcement()))
        markup = b"".join(pieces)
        if self._insertion_is_ascii and not markup.isascii():
            # A page that does not say it is in UTF-8 may be in anything.
            return markup.decode().encode("ascii", "xmlcharrefreplace")
        return markup

    def _meets(self, error: Exception) -> bool:
        return self._site.failures.meets(error, self._scope["path"])

    def _enforcement(self) -> PageEnforcement:
        if self._page is None:
            self._page = self._judge(self._ruling.decision)
        return self._page

    def _judge(self, decision: Decision) -> PageEnforcement:
        scope = self._scope
        url = PageURL(
            scope.get("scheme", "http"), fields.host_name(self.by_name.get(b"host", b"")), _address(scope)
        )
        return PageEnforcement(self._site.catalog, decision, url)


@lru_cache(maxsize=256)
def _may_be_page(content_type: bytes) -> bool:
    """Tell whether what is so called is a page to be rewritten, or says nothing of what it is."""
    kind = fields.media_type_of(content_type)
    return not kind or kind in _PAGE_TYPES


PLAIN_TYPES: set[bytes] = set()
"""The values of ``Content-Type`` met so far of what is not looked at, up to a bound."""
_MAX_PLAIN_TYPES = 256
_LONGEST_PLAIN_TYPE = 128


def _is_unread(content_type: bytes) -> bool:
    """Tell whether the body of what is so called is nothing that is looked at."""
    if content_type in PLAIN_TYPES:
        return True
    if _may_be_page(content_type) or file_kind(content_type):
        return False
    if len(PLAIN_TYPES) < _MAX_PLAIN_TYPES and len(content_type) <= _LONGEST_PLAIN_TYPE:
        PLAIN_TYPES.add(content_type)
    return True


def _unsatisfied(message: Message, headers: fields.Headers) -> Message:
    """Return the start that refuses a part, for what is another whole to this visitor."""
    kept = [(k, v) for k, v in headers if k.lower() not in (b"content-range", b"content-length")]
    return {**message, "status": 416, "headers": [*kept, (b"content-length", b"0")]}


def _is_page(named: dict[bytes, bytes]) -> bool:
    """Tell by its fields whether a response is, or may be, a page to be rewritten."""
    content_type = named.get(b"content-type", b"")
    if not _may_be_page(content_type):
        return False
    if b"x-content-type-options" in named and not fields.media_type_of(content_type):
        return False
    # What is saved to a file is the file, not a page of this site. Where the semicolon was forgotten, browsers show it.
    return named.get(b"content-disposition", b"").partition(b";")[0].strip().lower() != b"attachment"


async def _nothing() -> None:
    """Send nothing."""


def _address(scope: Scope) -> str:
    """Return the request's path as it was asked for, percent-encoded."""
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or b""
    raw = raw.partition(b"?")[0]
    # Routers in front may have changed the one and not the other.
    if raw.isascii() and unquote_to_bytes(raw) == path.encode("utf-8", "surrogateescape"):
        return raw.decode("ascii")
    return quote(path.encode("utf-8", "surrogateescape"), safe="/:@!$&'()*+,;=~")


# The beginnings that browsers take for HTML where nothing says what a body is (MIME Sniffing, section 7.1).
_HTML_BEGINNINGS = tuple(
    f"<{name}".encode()
    for name in (
        *("!doctype html", "html", "head", "script", "iframe", "h1", "div", "font", "table"),
        *("a", "style", "title", "b", "body", "br", "p", "!--"),
    )
)


def _looks_like_page(kind: bytes, body: bytes) -> bool:
    if kind in fields.DATA_TYPES:
        return any(name in body for name in _XML_PAGE_NAMES)
    begin = body[:1024].lstrip(b"\t\n\f\r ").lower()
    return any(
        begin.startswith(name) and begin[len(name) : len(name) + 1] in b" >" for name in _HTML_BEGINNINGS
    )


def _report(page: PageEnforcement) -> bytes:
    findings: list[dict[str, Any]] = [
        {
            "action": finding.action.value,
            "kind": finding.kind,
            "subject": finding.subject,
            "vendor": finding.vendor.id if finding.vendor else None,
            "name": finding.vendor.name if finding.vendor else None,
            "category": finding.vendor.category.value if finding.vendor else None,
            "reason": finding.reason.value if finding.reason else None,
        }
        for finding in page.findings
    ]
    withheld = sum(finding.action is not Action.ALLOWED for finding in page.findings)
    text = json.dumps({"withheld": withheld, "uncounted": page.uncounted, "findings": findings})
    # "<" inside a script element could end it.
    safe = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="consent-report">{safe}</script>'.encode()

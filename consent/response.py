"""One response on its way out: what is kept out of it, and what is put in.

The start of a page is withheld until its header fields are decided; the body streams.
"""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import Message, Scope, Send

from consent import codings
from consent import headers as fields
from consent.body_kind import UNSURE_TYPES, Beginning, file_type, is_page, is_unread, is_utf8
from consent.codings import Coded
from consent.cookie_expiry import (
    MAX_EXPIRY_BYTES,
    MIN_PAGE_EXPIRY_BYTES,
    expire_on_page,
    refused_cookies,
)
from consent.csp import FIELDS as CSP_FIELDS
from consent.decision import Decision
from consent.encodings import Sniffed
from consent.enforcement import PageEnforcement
from consent.governed_fields import governed
from consent.inventory import Source, seen_in
from consent.own_files import MAX_FILE_BYTES, FileTooLong, OwnFile
from consent.page_body import PageBody
from consent.request import Request
from consent.site import Ruling, Site
from consent.streams import PASSED, Guarded, Stream, Swallowed

_HANDSHAKE_ANSWERS = ("websocket.accept", "websocket.http.response.start")
_BODILESS = frozenset((204, 205, 304))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class GovernedResponse:
    """One response on its way out."""

    _noted: frozenset[tuple[str, str, str]] = frozenset()
    """What is in the inventory already."""
    _counted = 0
    """How many findings are in the enforcement log already."""
    _judges_files = True
    """Whether the site's own style sheets, scripts and rules may differ by visitor."""
    is_for_code = False
    """Whether the browser asks for a script or a style sheet, and takes it for one whatever its type is."""
    _tells_missing = True
    """Whether another page would have what this one lacks, once it is allowed."""
    _has_editions = True
    """Whether pages that need no more are given what all of their edition have."""
    _expires_cookies = True
    """Whether pages delete cookies that are refused and came with the request: what others may be given does not."""
    _plain = False
    """Whether the page has no policy of its own."""
    _ended = False
    """Whether a page has been sent to its end."""
    _needs_no_more = False
    """... nor any other field that matters."""

    # Most responses are not pages and need no more than the constructor sets.
    _page: PageEnforcement | None = None
    _start: Message | None = None
    """The start of a page, withheld until the first of its body is there."""
    _beginning: Beginning | None = None
    """... or that of something that by its media type may be a page or not."""
    _stream: Stream | None = None
    _file: OwnFile | None = None
    """... or what is kept back of a file that is judged as a whole."""
    _is_personal_already = False
    """Whether the fields are those of what is for one visitor, whatever the body turns out to be."""

    def __init__(self, site: Site, scope: Scope, headers: fields.Headers, ruling: Ruling, send: Send) -> None:
        self.request = Request(site, scope, headers, ruling)
        self._site = site
        self._send = send

    def send(self, message: Message) -> Awaitable[None]:
        """Send what the app answers, as it may reach the visitor."""
        # No coroutine of its own: most messages go on as they are, and each coroutine would cost them as much as
        # all the rest.
        kind = message["type"]
        if self._ended and kind != "http.response.trailers":
            return self._send(message)
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
            # Nobody else gets it, in whatever mode.
            judge = self._judge(self.request.ruling.own)
            headers = governed(list(message["headers"]), judge, now=self.request.now)
            message = {**message, "headers": headers}
        await self._send(message)

    async def send_worker(self, message: Message) -> None:
        """Send what a worker is made of: it obeys the policy that it comes with, not the page's."""
        if message["type"] == "http.response.start" and message["status"] != 304 and self._site.csp:
            headers = list(message.get("headers") or ())
            named = fields.RESPONSE.find(headers)
            if not is_page(named):
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
        if (
            message["status"] == 200
            and len(named) == 1
            and not self.is_for_code
            and is_unread(named.get(b"content-type", b""))
        ):
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
            if self._judges_files and (content_type := file_type(named, self.request.destination)):
                return self._begin_file(message, headers, content_type)
            if is_page(named):
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
        is_unsure = kind in UNSURE_TYPES
        if message["status"] == 206:
            if is_unsure:
                return self._passing(message)
            # Bytes of a page that nobody rewrote, at offsets that would not fit: ask for the whole.
            self._stream = Swallowed()
            return self._passing(_unsatisfied(message, headers))
        self._start = {**message, "headers": headers}
        self._plain = CSP_FIELDS.isdisjoint(named)
        if self.request.scope["method"] == "HEAD":
            # What GET would carry, but for the length, which is not known.
            self._start = None
            if fields.first(headers, b"content-length") == b"0":
                return self._passing(message)
            self._stream = Swallowed()
            if is_unsure:
                return self._passing({**message, "headers": fields.unsized(headers)})
            return {**message, "headers": self._secured(self._rewritten(headers))}
        self._needs_no_more = (
            self._has_editions
            and not self.request.is_loaded
            and not self.request.reports
            and fields.is_plain_page(headers)
        )
        if is_unsure:
            is_shown = self.request.destination != b"empty"
            self._beginning = Beginning(kind, applied, is_shown=is_shown)
        else:
            self._stream = self._page_stream(kind, headers, applied)
        return None

    def _page_stream(self, kind: bytes, headers: fields.Headers, applied: list[bytes]) -> Stream:
        """Return what makes of a page's body what the visitor gets."""
        content_type = fields.first(headers, b"content-type") or b""
        body = PageBody(
            request=self.request,
            judge=self._enforcement,
            kind=kind,
            nonce=None if self._plain else fields.csp_nonce(headers),
            is_utf8=is_utf8(content_type),
            is_framed=self._is_framed(),
            is_fragment=self._may_be_fragment(),
            tells_missing=self._tells_missing,
        )
        innermost = body.stream()
        if innermost is PASSED:
            return innermost
        scripts = self._site.scripts
        if scripts is not None and scripts.picks(now := self.request.now) and not self.request.is_prefetch:
            innermost = scripts.holding(innermost, self.request.address, now)
        guarded = Guarded(innermost, self._meets)
        stream: Stream = Sniffed(lambda: guarded, content_type)
        for coding in applied:
            stream = Coded(stream, coding, self._meets)
        return Guarded(stream, self._meets)

    def _codings(self, headers: fields.Headers, named: dict[bytes, bytes]) -> list[bytes] | None:
        """Return the codings that a body comes in; ``None`` where they cannot be undone, which is told."""
        if b"content-encoding" not in named:
            return []
        coded = b",".join(value for key, value in headers if key.lower() == b"content-encoding")
        applied = codings.listed(coded)
        if codings.readable(applied):
            return applied
        self._site.failures.unknown_coding(coded[:80].decode("latin-1"), self.request.scope["path"])
        return None

    def _begin_file(self, message: Message, headers: fields.Headers, content_type: bytes) -> Message | None:
        """Begin to keep back what is judged as a whole."""
        applied = self._codings(headers, fields.RESPONSE.find(headers))
        if applied is None or (applied and message["status"] == 206):
            return self._passing(message)
        length = fields.first(headers, b"content-length") or b"0"
        if length.isdigit() and int(length) > MAX_FILE_BYTES:
            self._meets(FileTooLong())
            return self._passing(message)
        if self.request.scope["method"] == "HEAD":
            # Whether a GET would carry these is known from the body only.
            return self._passing({**message, "headers": fields.unsized(headers)})
        self._start = {**message, "headers": headers}
        evidence = self._site.catalog.evidence
        self._file = OwnFile(content_type, applied, self._enforcement(), evidence)
        return None

    def _redirect(self, headers: fields.Headers, location: str) -> tuple[fields.Headers, bool]:
        """Return the fields of a redirect, and whether it is refused."""
        if not self.request.is_loaded:
            return headers, False
        page = self._enforcement()
        refused = page.refuses_url("redirect", location)
        if page.decided:
            headers = fields.varying(headers, fields.REDIRECT_DECIDING_FIELDS)
        return headers, refused

    def _not_modified(self, headers: fields.Headers) -> fields.Headers:
        """Return the fields of a 304: those of the page that it confirms (RFC 9110, section 15.4.5)."""
        asked = self.request.by_name.get(b"if-none-match", b"")
        # The app confirmed the tag it knows; the browser knows the variant's.
        return self._rewritten(headers) if b"~" + self.request.variant.encode("ascii") in asked else headers

    def _rewritten(self, headers: fields.Headers) -> fields.Headers:
        return fields.rewritten(
            headers,
            variant=self.request.variant,
            targeting=self.request.ruling.targeting,
            caching=fields.BY_NOBODY if self.request.reports else self._caching(headers),
        )

    def _caching(self, headers: fields.Headers) -> fields.Caching:
        """Say who may keep a page with these fields."""
        return fields.BY_SPEAKER if self.request.is_negotiated else fields.BY_VISITOR

    def _secured(self, headers: fields.Headers, *, in_page: bool = True) -> fields.Headers:
        """Return the fields with our Content-Security-Policy, where the browser makes something that obeys one."""
        site = self._site
        if site.csp is None or not self._obeys():
            return headers
        ruling = self.request.ruling
        return site.csp.added(
            headers,
            ruling.decision,
            variant=ruling.variant,
            seen=site.inventory.seen,
            secure=in_page and self.request.is_secure,
            plain=self._plain,
        )

    def _finished(self, headers: fields.Headers) -> fields.Headers:
        """Return the fields of a page, but for its length."""
        if not self._needs_no_more:
            return self._secured(headers)
        kept = [pair for pair in headers if pair[0] != b"content-length"]
        kept += self.request.edition_fields
        return kept

    def _expiries(self, headers: fields.Headers) -> list[tuple[bytes, bytes]]:
        """Return the fields that delete the refused cookies that came with the request, beside ``headers``."""
        request, site = self.request, self._site
        decision = request.ruling.decision
        if decision.allows_everything:
            return []
        taken = sum(len(name) + len(value) + 4 for name, value in headers)
        lines = expire_on_page(
            request.scope["headers"],
            request.ruling.editions.judged(
                refused_cookies(site.catalog, decision, ours=site.cookie.name), site.cookie.is_mark
            ),
            address=request.address,
            secure=request.is_secure,
            room=max(MAX_EXPIRY_BYTES - taken, MIN_PAGE_EXPIRY_BYTES),
            turn=int(site.clock() * 10),
        )
        return [(b"set-cookie", line) for line in lines]

    def _obeys(self) -> bool:
        """Tell whether the browser makes something of the answer that obeys a policy."""
        return self.request.obeys

    def _is_framed(self) -> bool:
        """Tell whether the page is within another, which asks."""
        return self.request.is_framed

    def _may_be_fragment(self) -> bool:
        """Tell whether the page may be a piece of one."""
        return self.request.may_be_for_fragment

    def _note(self) -> None:
        """Tell inventory and enforcement log what was found since; of what is only prefetched, nothing."""
        if self._page is None or self.request.is_prefetch:
            return
        findings = self._page.findings
        if len(findings) > self._counted:
            self._site.enforcement.note(findings[self._counted :], self.request.now)
            self._counted = len(findings)
        if found := seen_in(findings) - self._noted:
            self._site.inventory.note(Source.RESPONSE, found, self.request.address, self.request.now)
            self._noted |= found

    def _governed(self, headers: fields.Headers) -> fields.Headers:
        return governed(headers, self._enforcement(), now=self.request.now)

    # --- the body ---

    async def _body(self, message: Message) -> None:
        body = message.get("body", b"")
        more = message.get("more_body", False)
        start = self._start
        if start is not None and self._file is not None:
            await self._send_file(start, self._file, message)
            return
        if start is not None:
            if (beginning := self._beginning) is not None:
                kind = beginning.add(body, may_go_on=more)
                if kind is None:
                    return
                self._beginning = None
                body = beginning.raw
                message = {**message, "body": body}
                if not kind:
                    self._start = None
                    await self._send(self._passing(start))
                    await self._send(message)
                    return
                headers = start["headers"]
                applied = self._codings(headers, fields.RESPONSE.find(headers)) or []
                self._stream = self._page_stream(kind, headers, applied)
            self._start = None
            if not body and not more:
                # Nothing to rewrite, as in a redirect: the answer stays empty.
                self._stream = None
                await self._send(self._passing(start))
                await self._send(message)
                return
            if not self._needs_no_more:
                start["headers"] = self._rewritten(start["headers"])
            start.pop("trailers", None)
        stream = self._stream
        assert stream is not None  # noqa: S101 - made with the start
        written = stream.write(body) if body else b""
        if not more:
            written += stream.end()
            self._ended = True
            self._stream = PASSED  # nothing leads in a circle: what the page leaves behind is free at once
        if start is not None or not more:
            self._note()
        if start is not None:
            # Now that its beginning was read: what the page itself brings is known.
            start["headers"] = self._finished(start["headers"])
            if self._expires_cookies and b"cookie" in self.request.by_name:
                start["headers"] += self._expiries(start["headers"])
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

    def _meets(self, error: Exception) -> bool:
        return self._site.failures.meets(error, self.request.scope["path"])

    def _enforcement(self) -> PageEnforcement:
        if self._page is None:
            self._page = self._judge(self.request.ruling.decision)
        return self._page

    def _judge(self, decision: Decision) -> PageEnforcement:
        return PageEnforcement(
            self._site.catalog, decision, self.request.url, unclassified=self._site.unclassified
        )


def _unsatisfied(message: Message, headers: fields.Headers) -> Message:
    """Return the start that refuses a part, for what is another whole to this visitor."""
    kept = [(k, v) for k, v in headers if k.lower() not in (b"content-range", b"content-length")]
    return {**message, "status": 416, "headers": [*kept, (b"content-length", b"0")]}


async def _nothing() -> None:
    """Send nothing."""

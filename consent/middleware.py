"""The ASGI middleware proper: decides for each request, and enforces the decision on each response.

It does no I/O of its own and knows no store: the visitor's endpoints are an ASGI app handed to it. Work that
does not depend on the request is done in the constructor.
"""

from __future__ import annotations

import json
import logging
import mimetypes
import zlib
from collections.abc import Callable
from hashlib import sha256
from functools import lru_cache
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent import headers as fields
from consent.banner import Banner
from consent.catalog import Catalog
from consent.choice import BrowserSignal
from consent.choice_cookie import ChoiceCookie
from consent.codings import Gzipped, Sniffed, Stream
from consent.decision import Decision, decide
from consent.enforcement import Action, PageEnforcement
from consent.html import Rewriter
from consent.html.urls import PageURL
from consent.policy import Policy
from consent.signals import Signals, read_dnt, read_gpc

logger = logging.getLogger("consent")

OnError = Literal["withhold", "pass"]
REPORT_HEADER = b"consent-report"
"""A request that carries it with the value ``1`` gets the account of what was found inside the page, as JSON."""

_MAX_VARIANTS = 1024
_FRAMED = frozenset((b"iframe", b"frame", b"embed", b"object", b"fencedframe"))
# What a server sends bodies with that bypasses us.
_BYPASSES = ("http.response.pathsend", "http.response.zerocopysend", "http.response.push")


@lru_cache(maxsize=1024)
def _may_be_html(extension: str) -> bool:
    kind, _ = mimetypes.guess_type(f"x.{extension}")
    return kind is None or kind in ("text/html", "application/xhtml+xml", "text/x-php")


def _path_may_be_html(path: str) -> bool:
    name, dot, extension = path.rpartition("/")[2].rpartition(".")
    return not dot or not name or _may_be_html(extension[:16].lower())


class EnforcingMiddleware:
    """Keeps what the visitor did not allow out of what ``app`` answers.

    Other scopes than ``http`` pass untouched. Paths under ``prefix`` and the two well-known resources go to
    ``endpoints``.

    Args:
        app: the site.
        endpoints: answers the visitor's choices, and the resources that belong to them.
        policy, catalog: the site's rules, and what is known about vendors.
        cookie: reads the stored choice.
        banner: renders what visitors see.
        clock: returns seconds since 1970.
        prefix: where ``endpoints`` live.
        explain: put the developer's explanation at the end of every page.
        on_error: what becomes of the rest of a page that cannot be rewritten.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        endpoints: ASGIApp,
        policy: Policy,
        catalog: Catalog,
        cookie: ChoiceCookie,
        banner: Banner,
        clock: Callable[[], float],
        prefix: str = "/_consent",
        explain: bool = False,
        on_error: OnError = "withhold",
    ) -> None:
        self.app = app
        self._endpoints = endpoints
        self._policy = policy
        self._catalog = catalog
        self._cookie = cookie
        self._banner = banner
        self._clock = clock
        self._prefix = prefix + "/"
        self._explain = explain
        self._on_error: OnError = on_error
        self._variants: dict[tuple[str, bool, tuple[BrowserSignal, ...], bool, bool | None], str] = {}

    def variant(self, decision: Decision) -> str:
        """Return the name of the variant of every page that visitors with this decision get."""
        signals = decision.signals
        key = (decision.key, decision.asks, tuple(sorted(decision.conflicts)), signals.gpc, signals.dnt)
        name = self._variants.get(key)
        if name is None:
            if len(self._variants) >= _MAX_VARIANTS:
                self._variants.clear()
            # All that shows in what is inserted, or decides what is removed.
            shown = self._banner.shown_text(decision).hash
            seen = (*key, self._policy.version, shown, self._banner.stylesheet_url, self._explain)
            name = self._variants[key] = "c-" + sha256(repr(seen).encode()).hexdigest()[:12]
        return name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        now = int(self._clock())
        raw = scope["headers"]
        choice, state = self._cookie.read(raw, now=now, policy_version=self._policy.version)
        signals = Signals(choice=choice, choice_state=state, gpc=read_gpc(raw), dnt=read_dnt(raw))
        decision = decide(self._policy, signals)
        path = scope["path"]
        inner = dict(scope)
        inner["state"] = {**scope.get("state", {}), "consent": decision}
        if path.startswith(self._prefix) or path == "/.well-known/gpc.json" or path.startswith("/.well-known/dnt/"):
            await self._endpoints(inner, receive, send)
            return
        response = _Response(self, scope, decision, send, now=now)
        inner["headers"] = fields.request_headers(
            raw, variant=response.variant, may_be_html=_path_may_be_html(path)
        )
        if extensions := scope.get("extensions"):
            inner["extensions"] = {name: value for name, value in extensions.items() if name not in _BYPASSES}
        await self.app(inner, receive, response.send)


class _Response:
    """One response on its way out."""

    def __init__(
        self, middleware: EnforcingMiddleware, scope: Scope, decision: Decision, send: Send, *, now: int
    ) -> None:
        self._middleware = middleware
        self._scope = scope
        self._decision = decision
        self._send = send
        self._now = now
        self._reports = fields.first(scope["headers"], REPORT_HEADER) == b"1"
        host = (fields.first(scope["headers"], b"host") or b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
        self._page = PageEnforcement(
            middleware._catalog, decision, PageURL(scope.get("scheme", "http"), name.rstrip("."), scope["path"])
        )
        self.variant = middleware.variant(decision) + ("r" if self._reports else "")
        self._start: Message | None = None
        self._stream: Stream | None = None
        self._withheld = False
        self._nonce: str | None = None

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            await self._begin(message)
        elif kind == "http.response.body" and self._stream is not None:
            await self._body(message)
        elif kind == "http.response.early_hint":
            links = fields.governed([(b"link", link) for link in message.get("links", ())], self._page, now=self._now)
            if links:
                await self._send({**message, "links": [value for key, value in links if key == b"link"]})
        elif kind == "http.response.trailers" and self._stream is not None:
            # A digest in them would be of other bytes; without the announcement they are not expected.
            return
        else:
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        headers = fields.governed(list(message.get("headers", ())), self._page, now=self._now)
        status = message["status"]
        rewritable = fields.media_type(headers) in fields.REWRITTEN_TYPES and status not in (204, 304) and status >= 200
        if status == 304:
            headers = self._not_modified(headers)
        coding = (fields.first(headers, b"content-encoding") or b"").strip().lower()
        if rewritable and coding not in (b"", b"identity", b"gzip", b"x-gzip"):
            logger.warning(
                "%s is sent in the content coding %r, which cannot be read: it passes as it is",
                self._scope["path"], coding.decode("latin-1"),
            )  # fmt: skip
            rewritable = False
        if not rewritable:
            await self._send({**message, "headers": headers})
            return
        if status == 206:
            # Bytes of a page that nobody rewrote, at offsets that would not fit: ask for the whole.
            headers = [(k, v) for k, v in headers if k.lower() not in (b"content-range", b"content-length")]
            await self._send({**message, "status": 416, "headers": [*headers, (b"content-length", b"0")]})
            self._stream = _Swallowed()
            return
        self._nonce = fields.csp_nonce(headers)
        content_type = fields.first(headers, b"content-type") or b""
        rewriter = Sniffed(self._rewriter, content_type)
        self._stream = Gzipped(rewriter) if coding in (b"gzip", b"x-gzip") else rewriter
        message = {key: value for key, value in message.items() if key != "trailers"}
        headers = fields.rewritten(headers, variant=self.variant, store=not self._reports)
        self._start = {**message, "headers": headers}
        if self._scope["method"] == "HEAD":
            await self._flush_start()

    def _not_modified(self, headers: fields.Headers) -> fields.Headers:
        tag = fields.first(self._scope["headers"], b"if-none-match") or b""
        if b"~" + self.variant.encode("ascii") not in tag:
            return headers
        # The app confirmed the tag it knows; the browser knows the variant's.
        renamed = [
            (key, fields.variant_etag(value, self.variant) if key.lower() == b"etag" else value)
            for key, value in headers
        ]
        return fields.varying(renamed)

    def _rewriter(self) -> Stream:
        destination = fields.first(self._scope["headers"], b"sec-fetch-dest")
        return Rewriter(
            self._page,
            at_body_end=None if destination in _FRAMED else self._insertion,
            # What scripts fetch is often a piece of a page, and the page around it has asked already.
            fragment=destination is not None and destination != b"document",
        )

    def _insertion(self) -> bytes:
        middleware = self._middleware
        target = self._scope["path"]
        if query := self._scope.get("query_string", b""):
            target += "?" + query.decode("latin-1")
        pieces = [middleware._banner.markup(self._decision, return_to=target, nonce=self._nonce)]
        if middleware._explain:
            pieces.append(middleware._banner.explanation(self._decision, self._page.findings))
        if self._reports:
            pieces.append(_report(self._page))
        return b"".join(pieces)

    async def _flush_start(self) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)

    async def _body(self, message: Message) -> None:
        assert self._stream is not None  # noqa: S101 - the caller's condition
        body = message.get("body", b"")
        more = message.get("more_body", False)
        first = self._start is not None
        if first and not more and not body:
            # Nothing to rewrite, as in a redirect: the answer stays empty.
            await self._flush_start()
            await self._send(message)
            return
        written = self._rewrite(body, more=more)
        if first:
            assert self._start is not None  # noqa: S101 - the condition above
            if not more and not isinstance(self._stream, _Swallowed):
                self._start["headers"].append((b"content-length", b"%d" % len(written)))
            await self._flush_start()
        if written or not more:
            await self._send({"type": "http.response.body", "body": written, "more_body": more})

    def _rewrite(self, body: bytes, *, more: bool) -> bytes:
        assert self._stream is not None  # noqa: S101 - the caller's condition
        if self._withheld:
            return b""
        try:
            written = self._stream.write(body) if body else b""
            return written if more else written + self._stream.end()
        except Exception as error:
            return self._give_up(body, error)

    def _give_up(self, body: bytes, error: Exception) -> bytes:
        """The one place that says what becomes of a page that cannot be rewritten."""
        logger.error(
            "%s cannot be rewritten (%s: %s); the rest of the page is %s",
            self._scope["path"],
            type(error).__name__,
            error,
            "withheld" if self._middleware._on_error == "withhold" else "passed unread",
            exc_info=not isinstance(error, (zlib.error, UnicodeError)),
        )
        if self._middleware._on_error == "withhold":
            self._withheld = True
            return b""
        self._stream = _Passed()
        return body


class _Swallowed:
    """A body that is not sent."""

    def write(self, chunk: bytes) -> bytes:
        return b""

    def end(self) -> bytes:
        return b""


class _Passed:
    """A body that is sent as it is."""

    def write(self, chunk: bytes) -> bytes:
        return chunk

    def end(self) -> bytes:
        return b""


def _report(page: PageEnforcement) -> bytes:
    findings = [
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
    withheld = sum(finding.action is Action.STRIPPED for finding in page.findings)
    text = json.dumps({"withheld": withheld, "uncounted": page.uncounted, "findings": findings})
    # "<" inside a script element could end it.
    safe = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="consent-report">{safe}</script>'.encode()

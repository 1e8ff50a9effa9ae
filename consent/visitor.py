"""What browsers ask of us directly: storing a choice, the page of choices, static and well-known resources.

One ASGI app, which hands what it does not answer itself to those who do.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import date
from functools import lru_cache, partial
from time import time

from starlette.types import Receive, Scope, Send

from consent import headers as fields
from consent.accounts import AccountOf
from consent.answers import (
    DECIDING,
    JSON_HEADERS,
    PAGE_HEADERS,
    Answer,
    Headers,
    KeptAnswer,
    Refused,
    allow,
    json_bytes,
    wants_json,
)
from consent.banner import Banner
from consent.catalog import Catalog
from consent.choice_cookie import ChoiceCookie
from consent.choice_form import UnwritableChoiceError
from consent.choice_storing import ChoiceStoring
from consent.choosing import Choosing
from consent.declaration_pages import DeclarationPages
from consent.erasure import Erasure
from consent.forgetting import Forgetting
from consent.group_handover import HandOver
from consent.group_token import GroupTokens
from consent.history import History
from consent.ledger_endpoints import LedgerEndpoints
from consent.log_reading import Log, LogReading
from consent.placeholder import Placeholders
from consent.policy import Policy
from consent.reports import MAX_REPORT_BYTES, Reports, read_reports
from consent.requesting import Requesting
from consent.signals import ChoiceState
from consent.static_files import StaticFile, zipped
from consent.store import Erasing, Store
from consent.subject_request import RequestRegister
from consent.submission import local_address
from consent.tracking_status import tracking_status
from consent.variant_cookie import VariantCookie
from consent.visitor_requests import VisitorRequests, query_of, read_body

GPC_SUPPORT_SINCE = date(2026, 11, 26)
"""``lastUpdate`` of ``/.well-known/gpc.json``: when what this package makes of the signal last changed."""


class VisitorEndpoints:
    """The ASGI app for everything under the banner's prefix, and for the two well-known resources.

    Args:
        policy, catalog: The site's rules, and what is known about vendors, the site's own cookies included.
        banner: Renders pages and knows which texts were shown; its prefix is where this app is mounted.
        cookie: Signs the choice.
        store: Where receipts are recorded.
        static: Files to serve beside the banner's.
        placeholders: Make what offers refused embeds, and know which of their texts were shown.
        companion: What tells caches and the guard of the choice; set together with it.
        reports: Takes what browsers report of our Content-Security-Policy; ``None``: nobody does.
        ledger: Opens the log for its public part, and for visitors' own receipts; ``None``: they are not shown.
        seen: Returns the ids of vendors to be told of besides those declared, another object when there is a new one.
        locate: Returns where the visitor is who made a request; left out, that is the policy's jurisdiction.
        account: Returns the keyed hash of the account that a request is signed in with; left out, receipts have none.
        group: Opens and seals what the sites of the policy's group hand over; ``None``: nothing is handed over.
        register: Takes what visitors ask about their data; ``None``: there is no form for it.
        erased: As for :class:`consent.forgetting.Forgetting`.
        keys: The site's for cookies, the signing one first; they sign that form. Needed with ``register``.
        honours_gpc: Whether the site makes something of Global Privacy Control; left out, the policy says.
        clock: Returns seconds since 1970-01-01T00:00:00Z.
        random_bytes: The source of receipt ids and pseudonyms.
    """

    def __init__(
        self,
        policy: Policy,
        catalog: Catalog,
        banner: Banner,
        cookie: ChoiceCookie,
        store: Store,
        *,
        static: Iterable[StaticFile] = (),
        placeholders: Placeholders | None = None,
        companion: VariantCookie | None = None,
        reports: Reports | None = None,
        ledger: Callable[[], Log] | None = None,
        seen: Callable[[], Sequence[str]] = tuple,
        locate: Callable[[Scope], str] | None = None,
        account: AccountOf | None = None,
        group: GroupTokens | None = None,
        honours_gpc: bool | None = None,
        register: RequestRegister | None = None,
        erased: Callable[[str, Sequence[Erasure]], None] = lambda subject, erasures: None,
        keys: Sequence[bytes] = (),
        clock: Callable[[], float] = time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._policy = policy
        self._banner = banner
        self._reports = reports
        self._declarations = DeclarationPages(catalog, seen)
        self._clock = clock
        self._prefix = banner.prefix
        # What scripts and command lines ask for, unless a browser says that it wants a page.
        self._files = tuple(f"{banner.prefix}/{name}" for name in ("report", "receipt", "receipts"))
        self._requests = VisitorRequests(policy, banner, cookie, clock)
        self._storing = storing = ChoiceStoring(catalog, cookie, companion, clock)
        log = LogReading(ledger) if ledger else None
        can_forget = isinstance(store, Erasing)
        self._history = History(policy, catalog, banner, cookie, self._requests, log, can_forget=can_forget)
        self._choosing = Choosing(
            policy,
            catalog,
            storing,
            store,
            self._requests,
            prefix=banner.prefix,
            withdrawn=self._history.withdrawn,
            placeholders=placeholders,
            locate=locate,
            account=account,
            clock=clock,
            random_bytes=random_bytes,
        )
        self._ledger = LedgerEndpoints(self._prefix, log) if log else None
        self._forgetting = None
        if isinstance(store, Erasing):
            self._forgetting = Forgetting(
                policy, banner, storing, store, self._requests, erased=erased, clock=clock
            )
        self._hand_over = None
        if group is not None:
            self._hand_over = HandOver(
                policy,
                group,
                self._requests,
                self._choosing,
                storing,
                prefix=banner.prefix,
                clock=clock,
                random_bytes=random_bytes,
            )
        self._requesting = None
        if register is not None:
            self._requesting = Requesting(
                policy,
                banner,
                self._requests,
                register,
                keys,
                locate=locate or (lambda scope: policy.jurisdiction),
                clock=clock,
                random_bytes=random_bytes,
            )
        self._static = {file.name: file for file in (*banner.static.values(), *static)}
        self._kept: dict[str, KeptAnswer] = {}
        # To compress a file takes its time, once; a thread of its own waits for nothing else that needs one.
        self._compressing = ThreadPoolExecutor(1, "consent-compressing")
        honours = bool(policy.gpc_refuses) if honours_gpc is None else honours_gpc
        support = {"gpc": honours, "lastUpdate": GPC_SUPPORT_SINCE.isoformat()}
        self._gpc = Answer(
            200,
            ((b"content-type", b"application/json"), (b"cache-control", b"public, max-age=3600")),
            json.dumps(support).encode(),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the visitor endpoints answer http only, not {scope['type']!r}")
        if self._ledger is not None and self._ledger.answers(scope["path"]):
            await self._ledger(scope, receive, send)
            return
        headers: Headers = scope["headers"]
        try:
            answer = await self._answer(scope, headers, receive)
        except Refused as refused:
            is_file = scope["path"] in self._files and b"text/html" not in b",".join(
                fields.lines(headers, b"accept")
            )
            banner = refused.banner or self._requests.speaking(headers, scope["path"])
            answer = self._refusal(refused, banner, as_json=is_file or wants_json(headers))
        if answer is None:
            return  # the browser has gone
        body = answer.body
        sent = list(answer.headers)
        if answer.status not in (204, 304):
            sent.append((b"content-length", b"%d" % len(body)))
        if scope["method"] == "HEAD":
            body = b""
        await send({"type": "http.response.start", "status": answer.status, "headers": sent})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive) -> Answer | None:
        path, method = scope["path"], scope["method"]
        if path == f"{self._prefix}/choice":
            allow(method, "POST")
            return await self._choosing.answer(scope, headers, receive)
        if path == f"{self._prefix}/report" and self._reports is not None:
            allow(method, "POST")
            return await self._take_report(self._reports, headers, receive)
        if path == f"{self._prefix}/forget" and self._forgetting is not None:
            allow(method, "POST")
            return await self._forgetting.answer(scope, headers, receive)
        if path == f"{self._prefix}/requests" and self._requesting is not None:
            return await self._requesting.answer(scope, headers, receive)
        if self._hand_over is not None and path.startswith(f"{self._prefix}/group/"):
            allow(method, "GET")
            return await self._hand_over.answer(scope, headers)
        resource = self._resource(path)
        if resource is None:
            raise Refused(404, "not-found", "error_not_found")
        allow(method, "GET", "HEAD")
        return await resource(scope, headers)

    def _resource(self, path: str) -> Callable[[Scope, Headers], Awaitable[Answer]] | None:
        """Return what answers a GET of ``path``."""
        if path == f"{self._prefix}/choices":
            return self._choices
        if path == f"{self._prefix}/receipt":
            return self._history.receipt
        if path == f"{self._prefix}/receipts":
            return self._history.receipts
        if path == f"{self._prefix}/text":
            return self._history.text
        if path == f"{self._prefix}/cookies":
            return self._declare
        if path == "/.well-known/gpc.json":
            return self._tell_gpc
        if path == "/.well-known/dnt/":
            return self._tracking_status
        folder, _, name = path.rpartition("/")
        file = self._static.get(name) if folder == f"{self._prefix}/static" else None
        return None if file is None else partial(self._send, file)

    async def _send(self, file: StaticFile, scope: Scope, headers: Headers) -> Answer:
        kept = self._kept.get(file.name)
        if kept is None:
            kept = await asyncio.get_running_loop().run_in_executor(self._compressing, _kept_forever, file)
            self._kept[file.name] = kept
        return kept.to(headers)

    def _refusal(self, refused: Refused, banner: Banner, *, as_json: bool) -> Answer:
        if as_json:
            error = {"error": {"code": refused.code, "message": banner.texts[refused.text]}}
            return Answer(refused.status, (*JSON_HEADERS, *refused.headers), json_bytes(error))
        page = banner.error_page(refused.text)
        return Answer(refused.status, (*PAGE_HEADERS, *refused.headers), page)

    async def _take_report(self, reports: Reports, headers: Headers, receive: Receive) -> Answer | None:
        if fields.lines(headers, b"sec-fetch-site") not in ([], [b"same-origin"]):
            raise Refused(403, "cross-origin", "error_cross_origin")
        now = self._clock()
        if reports.admits(now):
            body = await read_body(headers, receive, max_bytes=MAX_REPORT_BYTES)
            if body is None:
                return None
            media_type = fields.media_type_of(fields.only(headers, b"content-type") or b"")
            try:
                violations = read_reports(body, media_type)
            except (ValueError, RecursionError) as error:
                raise Refused(400, "bad-request", "error_bad_request") from error
            host = fields.host_name(fields.only(headers, b"host") or b"")
            reports.take(violations, host=host, now=int(now))
        return Answer(204)

    # ---- the page of choices, and the well-known resources

    async def _choices(self, scope: Scope, headers: Headers) -> Answer:
        asked = query_of(scope)
        return_to = local_address(asked.get("return_to", "/"), prefix=self._prefix)
        banner = self._requests.speaking(headers, return_to, asked.get("language", ""))
        signals = self._requests.signals(scope)
        message = None
        if asked.get("saved") == "1":
            # Who blocks cookies is not told that the answer holds.
            message = "saved" if signals.choice_state is ChoiceState.VALID else "not_kept"
        stored: Sequence[bytes] = ()
        refusal = None
        with suppress(Refused):  # the page says below that the log cannot be read
            refusal = await self._history.withdrawn(signals, int(self._clock()))
        if refusal is not None:
            # Should a yes in another tab be answered at this moment, the browser may keep either: never more than that.
            after = self._requests.decide_after(refusal, signals)
            with suppress(UnwritableChoiceError):
                stored = self._storing.lines(refusal, after, scope, return_to=return_to)
            signals = replace(signals, choice=refusal, choice_state=ChoiceState.VALID)
        page = banner.choices_page(
            self._requests.decide(signals),
            return_to=return_to,
            message=message,
            past=await self._history.past(scope, signals, banner),
        )
        return Answer(200, (*PAGE_HEADERS, *((b"set-cookie", line) for line in stored)), page)

    async def _declare(self, scope: Scope, headers: Headers) -> Answer:
        """Answer with the cookie declaration, which is the same for everybody who reads the same language."""
        language, path = query_of(scope).get("language", ""), scope["path"]
        languages = self._banner.languages
        settled = language in languages.offered or languages.settled(path) is not None
        banner = self._requests.speaking(headers, path, language)
        return self._declarations.of(banner).to(headers, vary=b"" if settled else b"Accept-Language")

    async def _tell_gpc(self, scope: Scope, headers: Headers) -> Answer:
        return self._gpc

    async def _tracking_status(self, scope: Scope, headers: Headers) -> Answer:
        """Answer for this very visitor. (W3C Tracking Preference Expression, sections 6.2 and 6.5.)"""
        decision = self._requests.decide(self._requests.signals(scope))
        status = {"tracking": tracking_status(self._policy, decision), "config": f"{self._prefix}/choices"}
        if self._policy.privacy_url:
            status["policy"] = self._policy.privacy_url
        return Answer(
            200,
            (
                (b"content-type", b"application/tracking-status+json"),
                (b"cache-control", b"no-store"),
                DECIDING,
            ),
            json_bytes(status),
        )


@lru_cache(maxsize=64)
def _kept_forever(file: StaticFile) -> KeptAnswer:
    headers = (
        (b"cache-control", b"public, max-age=31536000, immutable"),
        (b"x-content-type-options", b"nosniff"),
    )
    return KeptAnswer(
        content=file.content, etag=file.etag, headers=headers, media_type=file.media_type, zipping=zipped
    )

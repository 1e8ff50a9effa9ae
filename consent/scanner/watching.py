"""Takes note of what a browser does while pages are open, within bounds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from importlib.resources import files
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeVar

from consent.scanner import recording as kept
from consent.scanner.addresses import host_of, place_of
from consent.scanner.recording import Call, PhaseRecord, Request, StoredCookie, StoredKey

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, CDPSession, Page, WebSocket, Worker
    from playwright.async_api import Request as BrowserRequest

KINDS = {"document": "iframe", "stylesheet": "style sheet", "ping": "beacon", "cspviolationreport": "report"}
"""What is called otherwise than by the browser's driver."""
ANSWER_SECONDS = 5.0
"""How long a page may take to answer a question, with all its frames."""
_ENDLESS = ("websocket", "eventsource")
_MAX_INITIATORS = 20_000
_MAX_FRAMES = 100
_MAX_ANSWER = 4 << 20
_NONSENSE = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)
"""What comes of reading what is not in the form that was asked for."""

_T = TypeVar("_T")


class Watcher:
    """Fills the record of one phase: with nothing, until a page is said to be open."""

    def __init__(self, record: PhaseRecord, context: BrowserContext) -> None:
        self.page = ""
        """The address that things are noted for."""
        self.bytes_received = 0
        self.led_away: set[str] = set()
        """Where pages tried to lead the window, off the site or by a form: that was not done."""
        self._record = record
        self._context = context
        self._key = f"scan{token_hex(8)}"
        self._requests: dict[tuple[str, str], Request] = {}
        self._initiators: dict[str, str] = {}
        self._cookies: dict[tuple[str, ...], StoredCookie] = {}
        self._stored: dict[tuple[str, str, str], StoredKey] = {}
        self._calls: dict[tuple[str, str], Call] = {}
        self._writers: dict[tuple[str, str], str] = {}
        self._opened: list[tuple[float, str]] = []
        self._under_way: set[int] = set()
        self._last_activity = time.monotonic()

    async def begin(self) -> None:
        """Watch everything that the browser does from now on."""
        await self._context.add_init_script(_script("probe.js", self._key))
        self._context.on("request", self._asked)
        self._context.on("requestfinished", lambda request: self._ended(request))
        self._context.on("requestfailed", lambda request: self._ended(request))
        self._context.on("serviceworker", lambda worker: self._note(worker.url, "service worker", ""))

    def watch(self, page: Page, session: CDPSession) -> None:
        """Watch one window; the network domain of ``session`` is enabled by the caller."""
        page.on("websocket", self._socket)
        page.on("worker", self._worker)
        session.on("Network.requestWillBeSent", self._will_be_sent)
        session.on("Network.webSocketCreated", self._will_be_sent)
        session.on("Network.dataReceived", self._received)

    def open(self, url: str) -> None:
        """From now on, what happens belongs to this page."""
        self.page = url
        self._opened.append((time.time(), url))
        self._last_activity = time.monotonic()

    async def settle(self, quiet: float, at_most: float) -> None:
        """Wait until nothing was asked for ``quiet`` seconds, but not longer than ``at_most``."""
        until = time.monotonic() + at_most
        while time.monotonic() < until:
            still = time.monotonic() - self._last_activity
            if not self._under_way and still >= quiet:
                return
            await asyncio.sleep(max(0.02, min(quiet - still, 0.1)))
        self.give_up()

    def give_up(self) -> None:
        """Wait no longer for what is under way: of a window that was closed nothing is heard any more."""
        self._under_way.clear()

    async def look(self, page: Page, session: CDPSession) -> None:
        """Take note of cookies, storage and calls, as they are now."""
        until = time.monotonic() + ANSWER_SECONDS
        for frame in page.frames[:_MAX_FRAMES]:
            if (left := until - time.monotonic()) <= 0:
                self._record.dropped += 1
                break
            self._note_answer(
                await answered(frame.evaluate(_script("stored.js", self._key)), None, within=left)
            )
        self._note_cookies(await answered(session.send("Storage.getCookies"), {}))

    def finish(self, sent: Iterable[tuple[str, bool, float]]) -> None:
        """Complete the record with what the browser logged: address, whether that is a mere connection, moment."""
        known = {_bare(request.url) for request in self._requests.values()}
        hosts = {host_of(request.url) for request in self._requests.values()}
        for url, preconnect, moment in sent:
            if (host_of(url) in hosts) if preconnect else (_bare(url) in known or url in self.led_away):
                continue
            self.page = next((page for since, page in reversed(self._opened) if since <= moment), "")
            kind = "preconnect" if preconnect else "websocket" if url.startswith("ws") else "request"
            self._note(url, kind, "")
        record = self._record
        record.requests = [r for r in self._requests.values() if r.url not in self.led_away]
        for request in record.requests:
            request.initiator = request.initiator or self._initiators.get(request.url, "")
        # The browser calls its maker for itself: a cookie counts only where somebody was asked who can set it.
        asked = {host_of(request.url) for request in record.requests} | {
            host_of(page) for _, page in self._opened
        }
        record.cookies = [
            cookie
            for cookie in self._cookies.values()
            if any(f".{host}".endswith("." + cookie.domain.lstrip(".")) for host in asked)
        ]
        record.stored = list(self._stored.values())
        record.calls = list(self._calls.values())

    # What the browser tells

    def _asked(self, request: BrowserRequest) -> None:
        self._last_activity = time.monotonic()
        kind = KINDS.get(request.resource_type, request.resource_type)
        if kind not in _ENDLESS:
            self._under_way.add(id(request))
        before = request.redirected_from
        if before is not None:
            self._under_way.discard(id(before))
        if kind == "iframe" and request.url.partition("#")[0] == self.page.partition("#")[0]:
            kind = "page"
        self._note(request.url, kind, f"a redirect from {_place(before.url)}" if before else "")

    def _ended(self, request: BrowserRequest) -> None:
        self._last_activity = time.monotonic()
        self._under_way.discard(id(request))

    def _socket(self, socket: WebSocket) -> None:
        self._note(socket.url, "websocket", "")

    def _worker(self, worker: Worker) -> None:
        self._note(worker.url, "worker", "")

    def _will_be_sent(self, event: Mapping[str, Any]) -> None:
        url = str(event["url"] if "url" in event else event["request"]["url"])[: kept.MAX_URL]
        if self.page and url not in self._initiators and len(self._initiators) < _MAX_INITIATORS:
            self._initiators[url] = _initiator(event.get("initiator") or {}, self.page)

    def _received(self, event: Mapping[str, Any]) -> None:
        self.bytes_received += max(int(event.get("dataLength", 0)), int(event.get("encodedDataLength", 0)))

    # What is kept of it

    def _note(self, url: str, kind: str, initiator: str) -> None:
        if not self.page or not url.startswith(("http://", "https://", "ws://", "wss://")):
            return
        url = url[: kept.MAX_URL]
        request = self._requests.get((kind, url))
        if request is None:
            if len(self._requests) >= kept.MAX_REQUESTS:
                self._record.dropped += 1
                return
            request = self._requests[kind, url] = Request(url, kind, initiator)
        request.count += 1
        if self.page not in request.pages and len(request.pages) < kept.MAX_PAGES_OF_ONE:
            request.pages.append(self.page)

    def _note_answer(self, answer: Any) -> None:
        """Take note of what a frame said; a page may have put anything there."""
        if not isinstance(answer, dict) or not isinstance(answer.get("found"), list):
            return
        origin = str(answer.get("origin"))[: kept.MAX_NAME]
        told = answer.get("probe")
        try:
            probe = json.loads(told) if isinstance(told, str) and len(told) <= _MAX_ANSWER else {}
            for what, script, count, different in probe.get("calls", ()):
                self._note_call(str(what), str(script), int(count), int(different))
            for area, name, script in probe.get("writes", ()):
                if area == "image" and len(self._initiators) < _MAX_INITIATORS:
                    # The browser takes pictures that a script made for markup.
                    self._initiators[str(name)[: kept.MAX_URL]] = _said(
                        "a script", str(script), None, self.page
                    )
                elif len(self._writers) < _MAX_INITIATORS:
                    writer = str(area)[: kept.MAX_NAME], str(name)[: kept.MAX_NAME]
                    self._writers.setdefault(writer, _place(str(script)))
        except _NONSENSE:
            self._record.dropped += 1
        try:
            for area, key in answer["found"]:
                self._note_stored(str(area)[: kept.MAX_NAME], str(key)[: kept.MAX_NAME], origin)
        except _NONSENSE:
            self._record.dropped += 1

    def _note_stored(self, area: str, key: str, origin: str) -> None:
        where = (area, key, origin)
        if where in self._stored:
            return
        if len(self._stored) >= kept.MAX_KEPT:
            self._record.dropped += 1
            return
        self._stored[where] = StoredKey(
            area=area, key=key, origin=origin, page=self.page, initiator=self._writers.get((area, key), "")
        )

    def _note_call(self, what: str, script: str, count: int, different: int) -> None:
        key = (what[:20], script[: kept.MAX_URL])
        call = self._calls.get(key)
        if call is None:
            if len(self._calls) >= kept.MAX_KEPT:
                self._record.dropped += 1
                return
            call = self._calls[key] = Call(*key, self.page)
        # Each page begins to count anew: the one that asks most is what matters.
        call.count, call.different = max(call.count, count), max(call.different, different)

    def _note_cookies(self, answer: Mapping[str, Any]) -> None:
        for cookie in answer.get("cookies", ()):
            partition = cookie.get("partitionKey") or {}
            site = partition.get("topLevelSite", "") if isinstance(partition, dict) else str(partition)
            key = (cookie["name"], cookie["domain"], cookie["path"], site)
            if key in self._cookies:
                continue
            if len(self._cookies) >= kept.MAX_KEPT:
                self._record.dropped += 1
                continue
            lasts = None if cookie.get("session") else max(0, round(cookie["expires"] - time.time()))
            name = cookie["name"][: kept.MAX_NAME]
            self._cookies[key] = StoredCookie(
                name=name,
                domain=cookie["domain"],
                path=cookie["path"][: kept.MAX_NAME],
                lifetime_seconds=lasts,
                http_only=bool(cookie["httpOnly"]),
                secure=bool(cookie["secure"]),
                same_site=str(cookie.get("sameSite", "")),
                partition=site,
                page=self.page,
                initiator="" if cookie["httpOnly"] else self._writers.get(("cookie", name), ""),
            )


async def answered(question: Any, otherwise: _T, *, within: float | None = None) -> _T:
    """Return what a page answers; ``otherwise`` where it is gone, fails, or takes too long."""
    from playwright.async_api import Error

    try:
        found: _T = await asyncio.wait_for(question, ANSWER_SECONDS if within is None else within)
    except (Error, TimeoutError):
        return otherwise
    return found


def _script(name: str, key: str) -> str:
    return (files("consent.scanner") / name).read_text(encoding="utf-8").replace("KEY", key)


def _place(url: str) -> str:
    return place_of(url)[: kept.MAX_NAME]


def _bare(url: str) -> str:
    """Return an address as it is compared: the log has no fragments, and no limit."""
    return url.partition("#")[0][: kept.MAX_URL]


def _initiator(told: Mapping[str, Any], page: str) -> str:
    """Say in words what made the browser ask."""
    stack = told.get("stack")
    while isinstance(stack, dict):
        for frame in stack.get("callFrames", ()):
            if url := frame.get("url"):
                return _said("a script", url, frame.get("lineNumber"), page)
        stack = stack.get("parent")
    if told.get("type") == "parser" and told.get("url"):
        return _said("the markup", told["url"], told.get("lineNumber"), page)
    return "a preload" if told.get("type") == "preload" else ""


def _said(what: str, url: str, line: object, page: str) -> str:
    at = f", line {line + 1}" if isinstance(line, int) else ""
    if url.partition("#")[0] == page.partition("#")[0]:
        return f"{what} in the page{at}"
    if what == "the markup":
        return f"{_place(url)}{at}"
    return f"{_place(url) or 'a script of its own'}{at}"

"""Opens a site's pages in Chromium, as somebody who has not chosen, has refused, and has accepted.

One page at a time, with pauses; only what links lead to, on the site itself, by GET; nothing that robots.txt asks to
leave alone. What pages ask for themselves is not stopped: it is what a visitor's browser does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from consent.scanner.addresses import host_of, is_same_site, origin_of, path_of
from consent.scanner.chromium import Profile, find_chromium, fresh_profile, started, user_agent
from consent.scanner.frontier import Frontier, Link
from consent.scanner.netlog import read_netlog
from consent.scanner.recording import Bounds, Phase, PhaseRecord, Recording, ScanError, Visit
from consent.scanner.robots import MAX_ROBOTS_BYTES, PRODUCT, Robots
from consent.scanner.watching import Watcher, answered

if TYPE_CHECKING:
    from playwright.async_api import CDPSession, Page, Playwright, Response

PAGE_SECONDS = 20.0
"""How long one page may take to load."""
SETTLE_SECONDS = 8.0
"""How long a page that goes on asking for things is waited for."""
STUCK_SECONDS = 60.0
"""How long a page may keep the browser busy beyond all that: then the phase ends."""
_LEAVE_SECONDS = 0.1
_CHOICE_FORM = 'form[action$="/choice"] button[name="action"][value="{}"]'
_LINKS = """() => [...document.querySelectorAll("a[href]:not([download]), area[href]:not([download])")]
    .slice(0, 2000).map(a => [String(a.href).slice(0, 2100), String(a.textContent).trim().slice(0, 100)])"""
_PRESS = """selector => {
    const button = document.querySelector(selector);
    if (button.form) button.form.requestSubmit(button); else button.click();
}"""

Progress = Callable[[Phase, int, int, str], None]
"""Called before each page: the phase, how many pages it has seen, how many there will be as far as is known, and
the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to scan, and with what."""

    url: str
    bounds: Bounds = field(default_factory=Bounds)
    chromium: Path | None = None
    """The browser's program; ``None``: the system's, or Playwright's own."""
    arguments: Sequence[str] = ()
    """Passed to the browser as they are."""
    accept: str = ""
    """CSS selector of the button that accepts everything, for banners of others."""
    refuse: str = ""
    """... that refuses everything."""


async def crawl(plan: Plan, progress: Progress = lambda *_: None) -> Recording:
    """Scan a site: each phase in a fresh profile of its own.

    Raises:
        ScanError: there is no browser, or the first page cannot be looked at.
    """
    url = plan.url if "://" in plan.url else f"http://{plan.url}"
    if not origin_of(url) or not url.isprintable() or " " in url:
        raise ScanError(f"{plan.url} is no address of a page: write it as https://www.example.com/")
    async with started() as playwright:
        return await _Crawl(plan, url, playwright, progress).run()


class _Crawl:
    def __init__(self, plan: Plan, url: str, playwright: Playwright, progress: Progress) -> None:
        self._plan = plan
        self._start = url
        self._playwright = playwright
        self._executable = find_chromium(playwright, plan.chromium)
        self._progress = progress
        self._robots = Robots("")
        self._pages: list[str] = []
        self._buttons: dict[Phase, str] = {}
        self._recording = Recording(url, f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "Chromium")

    async def run(self) -> Recording:
        begun = time.monotonic()
        await self._phase(Phase.BEFORE)
        for phase in (Phase.REFUSED, Phase.ACCEPTED):
            if phase in self._buttons:
                await self._phase(phase)
        self._recording.seconds = round(time.monotonic() - begun, 1)
        return self._recording

    async def _phase(self, phase: Phase) -> None:
        record = PhaseRecord(phase)
        arguments = self._plan.arguments
        async with fresh_profile(self._playwright, self._executable, arguments) as profile:
            watcher = Watcher(record, profile.context)
            await watcher.begin()
            visiting = _Visiting(self._plan.bounds, record, watcher, profile)
            await visiting.open_window()
            visiting.until = time.monotonic() + self._plan.bounds.seconds / len(Phase)
            if phase is Phase.BEFORE:
                self._recording.browser = f"Chromium {profile.version}".strip()
                await self._read_robots(visiting)
                await self._first_pages(visiting)
            else:
                await self._pages_again(visiting, phase)
            await in_time(visiting.leave(), STUCK_SECONDS)
            await in_time(profile.end(), STUCK_SECONDS)
            watcher.finish(read_netlog(profile.log, host_of(self._start)) if profile.log.is_file() else ())
        for url in sorted(watcher.led_away)[:20]:
            self._recording.notes.append(f"A page leads the window to {url[:200]}; that was not followed.")
        self._recording.phases.append(record)

    async def _read_robots(self, visiting: _Visiting) -> None:
        response = await visiting.open_silently(urljoin(self._start, "/robots.txt"))
        if response is None:
            return  # whether the site can be reached shows in a moment
        if response.status >= 500:
            # RFC 9309, section 2.3.1.4: then nothing may be read.
            raise ScanError(
                f"robots.txt answered {response.status}: try again when the site can tell what it allows"
            )
        if response.ok and "html" not in response.headers.get("content-type", ""):
            body: bytes | None = await answered(response.body(), None)
            if body is None:
                raise ScanError("robots.txt cannot be read: send it as text/plain")
            self._robots = Robots(body[:MAX_ROBOTS_BYTES].decode("utf-8", "replace"))
        elif not response.ok:
            # In place of an error without a body the browser shows a page of its own, which is still on its way.
            await visiting.open_window()

    async def _first_pages(self, visiting: _Visiting) -> None:
        self._check_allowed(self._start)
        visiting.allows = lambda url: origin_of(url) != "" and is_same_site(url, self._start)
        visit = await self._visit(visiting, self._start, 1)
        landed = visiting.page.url.partition("#")[0]
        if visit.status == 0 or not visit.status < 400:
            said = visit.problem or f"it answered {visit.status}"
            raise ScanError(f"{self._start} cannot be scanned: {said}")
        if origin_of(landed) != origin_of(self._start):
            # "http" leads to "https", and a bare name to "www.": that is where the site is, with rules of its own.
            self._start = landed
            visiting.record.visits.clear()
            await self._read_robots(visiting)
            self._check_allowed(landed)
            await self._visit(visiting, landed, 1)
        self._start = self._recording.url = landed
        prefix = await self._find_buttons(visiting.page)
        frontier = Frontier(landed, self._robots, depth=self._plan.bounds.depth, prefix=prefix)
        visiting.allows = frontier.allows
        _, depth = frontier.take()
        self._pages.append(landed)
        frontier.add(await visiting.links(), depth)
        while frontier and visiting.may_go_on(len(self._pages)):
            url, depth = frontier.take()
            expected = min(len(self._pages) + 1 + len(frontier), self._plan.bounds.pages)
            await visiting.pause()
            await self._visit(visiting, url, expected)
            self._pages.append(url)
            if not visiting.record.stopped:
                frontier.add(await visiting.links(), depth)
        if frontier.withheld:
            self._recording.notes.append(
                f"robots.txt asks {PRODUCT} to leave {frontier.withheld} linked pages alone; they were not opened."
            )

    async def _pages_again(self, visiting: _Visiting, phase: Phase) -> None:
        origin = origin_of(self._start)
        visiting.allows = lambda url: origin_of(url) == origin
        self._progress(phase, 0, len(self._pages), self._start)
        await visiting.open_silently(self._start)
        await visiting.watcher.settle(visiting.bounds.quiet, SETTLE_SECONDS)
        # What happens from here on is the answer to the choice.
        visiting.watcher.open(self._start)
        cookies = await self._press(visiting, self._buttons[phase])
        if cookies is None:
            visiting.record.stopped = "the button could not be pressed"
            return
        self._recording.choice_cookies = tuple(dict.fromkeys((*self._recording.choice_cookies, *cookies)))
        for number, url in enumerate(self._pages):
            if number and not visiting.may_go_on(number):
                break
            await visiting.pause()
            await self._visit(visiting, url, len(self._pages))

    async def _visit(self, visiting: _Visiting, url: str, expected: int) -> Visit:
        self._progress(visiting.record.phase, len(visiting.record.visits), expected, url)
        visits = visiting.record.visits
        if not await in_time(visiting.visit(url), PAGE_SECONDS + 2 * SETTLE_SECONDS + STUCK_SECONDS):
            visits.append(Visit(url, 0, "the browser did not answer any more"))
            visiting.record.stopped = "a page that the browser does not cope with"
        return visits[-1]

    def _check_allowed(self, url: str) -> None:
        if not Frontier(url, self._robots, depth=0).allows(url):
            raise ScanError(
                f"robots.txt does not allow {PRODUCT} to open {url}: if the site is yours, add "
                f"'User-agent: {PRODUCT}' with 'Allow: /' to it"
            )

    async def _find_buttons(self, page: Page) -> str:
        """Find out how to choose; return the path of the middleware's own pages, empty where it is not there."""
        own = {
            Phase.REFUSED: _CHOICE_FORM.format("refuse"),
            Phase.ACCEPTED: _CHOICE_FORM.format("accept"),
        }
        given = {Phase.REFUSED: self._plan.refuse, Phase.ACCEPTED: self._plan.accept}
        found = {phase: given[phase] or selector for phase, selector in own.items()}
        for phase, selector in found.items():
            if await _frame_with(page, selector) is not None:
                self._buttons[phase] = selector
            elif given[phase]:
                raise ScanError(f"nothing on {page.url} fits the selector {given[phase]!r}: correct it")
        script = "s => document.querySelector(s)?.form?.getAttribute('action') ?? ''"
        action: str = await answered(page.evaluate(script, own[Phase.REFUSED]), "")
        if not self._buttons:
            self._recording.notes.append(
                "No banner of ConsentMiddleware was found, so that only what happens before a choice was looked at. "
                "The buttons of another banner can be named with --refuse and --accept."
            )
        self._recording.banner = "the banner of ConsentMiddleware" if self._buttons else ""
        if any(given.values()):
            self._recording.banner = "the buttons named by --refuse and --accept"
        return str(action).removesuffix("/choice")

    async def _press(self, visiting: _Visiting, selector: str) -> list[str] | None:
        """Press a button; return the cookies that the answer set, ``None`` if it could not be pressed."""
        page = visiting.page
        frame = await _frame_with(page, selector)
        if frame is None:
            return None
        answers: list[Response] = []
        page.on("response", lambda r: answers.append(r) if r.request.method == "POST" else None)
        visiting.pressing = True
        # A visitor presses what is shown; the button of a form that is not open yet is pressed by its form.
        pressed = await answered(_click(frame, selector), False)
        if not pressed:
            pressed = await answered(_done(frame.evaluate(_PRESS, selector)), False)
        await visiting.watcher.settle(visiting.bounds.quiet, SETTLE_SECONDS)
        visiting.pressing = False
        if not pressed:
            return None
        headers: list[Any] = []
        for answer in answers[:20]:
            if origin_of(answer.url) == origin_of(self._start) and path_of(answer.url).endswith("/choice"):
                headers += await answered(answer.headers_array(), [])
        return [
            header["value"].partition("=")[0].strip()
            for header in headers
            if header["name"].lower() == "set-cookie" and "max-age=0" not in header["value"].lower()
        ]


class _Visiting:
    """The window of one phase, with what it may do."""

    def __init__(self, bounds: Bounds, record: PhaseRecord, watcher: Watcher, profile: Profile) -> None:
        self.bounds = bounds
        self.record = record
        self.watcher = watcher
        self.page: Page
        self.until = 0.0
        self.allows: Callable[[str], bool] = lambda url: True
        self.pressing = False
        self._context = profile.context
        self._session: CDPSession
        self._frame = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def open_window(self) -> None:
        """Open a window that is watched, in place of one that does not answer any more."""
        page = await self._context.new_page()
        session = await self._context.new_cdp_session(page)
        for other in self._context.pages:
            if other is not page:
                await answered(_done(other.close()), False)
        await session.send(
            "Network.enable", {"maxTotalBufferSize": 1 << 24, "maxResourceBufferSize": 1 << 20}
        )
        await session.send("Page.enable")
        agent = await session.send("Browser.getVersion")
        await session.send("Network.setUserAgentOverride", {"userAgent": user_agent(agent["userAgent"])})
        tree = await session.send("Page.getFrameTree")
        self._frame = tree["frameTree"]["frame"]["id"]
        session.on("Fetch.requestPaused", self._paused)
        await session.send("Fetch.enable", {"patterns": [{"urlPattern": "*", "resourceType": "Document"}]})
        self.watcher.watch(page, session)
        page.on("popup", lambda popup: self._later(self._close(popup)))
        self.page, self._session = page, session

    async def open_silently(self, url: str) -> Response | None:
        """Open a page, and take no notice of it; return the answer also where that is one to be saved, not shown."""
        from playwright.async_api import Error

        answers: list[Response] = []
        page = self.page

        def note(answer: Response) -> None:
            if answer.request.is_navigation_request():
                answers.append(answer)

        page.on("response", note)
        try:
            return await page.goto(url, timeout=PAGE_SECONDS * 1000)
        except Error:
            return answers[-1] if answers else None
        finally:
            page.remove_listener("response", note)

    async def visit(self, url: str) -> None:
        """Open a page, let it load to its end, and take note of what is stored, and of the visit."""
        from playwright.async_api import Error, TimeoutError

        await self.leave()
        self.watcher.open(url)
        status, problem = 0, ""
        try:
            response = await self.page.goto(url, timeout=PAGE_SECONDS * 1000)
            status = response.status if response is not None else 0
        except TimeoutError:
            problem = f"it did not load within {PAGE_SECONDS:g} seconds"
        except Error as error:
            problem = _reason(error)
        if not problem:
            await self.watcher.settle(self.bounds.quiet, SETTLE_SECONDS)
            # Some things load only when they come into view.
            await answered(self.page.evaluate("() => scrollTo(0, document.body?.scrollHeight ?? 0)"), None)
            await self.watcher.settle(self.bounds.quiet, SETTLE_SECONDS)
        await self.watcher.look(self.page, self._session)
        if problem and await answered(self.page.evaluate("() => true"), False) is False:
            await self.open_window()
        self.record.visits.append(Visit(url, status, problem))

    async def leave(self) -> None:
        """Leave the page, so that what it sends in its last moment still belongs to it."""
        if not self.page.url.startswith("http"):
            return
        if not await answered(_done(self.page.goto("about:blank")), False):
            await self.open_window()
        await asyncio.sleep(_LEAVE_SECONDS)

    async def links(self) -> list[Link]:
        """Return where the page leads."""
        found: Any = await answered(self.page.evaluate(_LINKS), [])
        try:
            return [Link(str(href), str(text)) for href, text in found]
        except (ValueError, TypeError, RecursionError):  # a page may have put anything there
            return []

    async def pause(self) -> None:
        await asyncio.sleep(self.bounds.pause)

    def may_go_on(self, pages: int) -> bool:
        """Tell whether no bound is reached yet, and write down which one is."""
        share = self.bounds.megabytes * 1_000_000 // len(Phase)
        if pages >= self.bounds.pages:
            self.record.stopped = f"{self.bounds.pages} pages"
        elif time.monotonic() >= self.until:
            self.record.stopped = f"{self.bounds.seconds:g} seconds"
        elif self.watcher.bytes_received >= share:
            self.record.stopped = f"{self.bounds.megabytes} megabytes"
        return not self.record.stopped

    def _paused(self, event: dict[str, Any]) -> None:
        self._later(self._decide(event))

    async def _decide(self, event: dict[str, Any]) -> None:
        """Let a document load, unless it would take the window off the site, or is sent a form."""
        url, method = event["request"]["url"], event["request"]["method"]
        permitted = (self.pressing or method == "GET") and (self.allows(url) or not url.startswith("http"))
        if event.get("frameId") != self._frame or permitted:
            order, given = "Fetch.continueRequest", {}
        else:
            self.watcher.led_away.add(url[:2_048])
            order, given = "Fetch.failRequest", {"errorReason": "Aborted"}
        await answered(self._session.send(order, {"requestId": event["requestId"], **given}), None)

    async def _close(self, popup: Page) -> None:
        await answered(_done(popup.close()), False)
        self.watcher.give_up()

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def in_time(work: Awaitable[object], seconds: float) -> bool:
    """Do something unless it takes too long; tell whether it was done."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True


async def _frame_with(page: Page, selector: str) -> Any:
    """Return the frame that has such an element: banners of others are often in one of their own."""
    for frame in page.frames[:100]:
        found: Any = await answered(frame.query_selector(selector), False)
        if found:
            return frame
    return None


async def _click(frame: Any, selector: str) -> bool:
    await frame.click(selector, timeout=2_000)
    return True


async def _done(work: Awaitable[object]) -> bool:
    await work
    return True


_REASONS = {
    "ERR_ABORTED": "it leads away from the pages that may be opened",
    "ERR_TOO_MANY_REDIRECTS": "it redirects without an end",
    "Download is starting": "it is a file to save, not a page",
}


def _reason(error: Exception) -> str:
    """Return what the browser says is wrong, without the driver's account of its doings."""
    said = str(error).partition("Call log:")[0].strip().splitlines()
    first = said[0].removeprefix("Page.goto: ") if said else type(error).__name__
    return next(
        (words for part, words in _REASONS.items() if part in first), first.partition(" at http")[0][:200]
    )

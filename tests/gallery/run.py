"""Shows every page of the gallery to Chromium in every state, and records what happened.

Pages are shown in several tabs at once; the record tells them apart.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import httpx2
from playwright.async_api import BrowserContext, Error, Playwright, async_playwright
from playwright.async_api import Page as Tab
from playwright.sync_api import sync_playwright

from consent import ConsentMiddleware
from consent.policy import CspMode, Policy, Refused
from tests.browser.chromium import find_chromium
from tests.browser.conftest import BROWSERS_OWN_HOSTS
from tests.browser.standin import StandIn
from tests.gallery.pages import Page
from tests.gallery.record import Record, Visit, says_all
from tests.gallery.site import GallerySite
from tests.live import served

TABS = 8
"""How many pages are shown at once."""
QUIET_SECONDS = 0.3
"""Nothing new for so long: the page has done what it does."""
SLOW_QUIET_SECONDS = 1.0
"""The same for pages that have the browser start something first, such as a worker."""
PATIENCE_SECONDS = 5.0
LOAD_MS = 8_000
PAGE_SECONDS = 20.0
"""No page takes longer, from its address to what it says of itself."""


class State(StrEnum):
    """What has been decided about the trackers when a page is shown."""

    BARE = "without the middleware"
    BEFORE = "before a choice"
    ACCEPTED = "after accept"
    WITHDRAWN = "after withdraw"


REFUSING = (State.BEFORE, State.WITHDRAWN)
ALLOWING = (State.BARE, State.ACCEPTED)


@dataclass(frozen=True, slots=True)
class Answered:
    """A page's document as a client without a browser gets it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def has(self, text: str, charset: str) -> bool:
        """Whether ``text`` is in the body or in the value of a header."""
        return text.encode(charset) in self.body or any(text in value for _, value in self.headers)


@dataclass(frozen=True, slots=True)
class Setup:
    """How the middleware is set up; what it has by default, if nothing is said."""

    refused: Refused = Refused.STRIP
    csp: CspMode = CspMode.REPORT

    def policy(self, pages: Sequence[Page]) -> Policy:
        """Return the policy. A Content-Security-Policy has to be told what is benign: the catalog does not know."""
        places = set()
        for host, target in (address for page in pages for address in page.benign_addresses):
            places.add(host if host.endswith(".example") else host + target.partition("?")[0])
            if host.startswith("live."):
                places.add(f"wss://{host}")
        return Policy(refused=self.refused, csp=self.csp, csp_allow=tuple(sorted(places)))


@dataclass(frozen=True, slots=True)
class Showing:
    """The whole gallery, shown."""

    pages: tuple[Page, ...]
    visits: Mapping[State, Mapping[str, Visit]]
    """By state and page id."""
    answers: Mapping[State, Mapping[str, Answered]]
    guarded: bool
    """Whether what the middleware serves carries the guard ..."""
    setup: Setup
    seconds: float
    chromium: str

    def is_enforced(self, page: Page) -> bool:
        """Whether the layer that stops this page's technique is there."""
        return {"": True, "guard": self.guarded, "csp": self.setup.csp is CspMode.ENFORCE, "nothing": False}[
            page.needs
        ]


# What the middleware puts into pages: nothing else of it may differ from what the app answered.
_GUARD = re.compile(r"""<script\b[^>]*\bsrc=["']?[^"'> ]*/_consent/[^>]*></script>\n?""")
_BANNER = re.compile(
    r"""<link rel="stylesheet" href="(?://[^/"]*)?/_consent/static/[^>]*>\s*"""
    r"""<section class="consent-root.*?</section>\n?""",
    re.DOTALL,
)


def without_insertions(body: bytes, charset: str) -> bytes:
    """Return a page as it was before the middleware's own markup was put into it."""
    codec = charset if charset.startswith("utf-16") else "latin-1"
    text = body.decode(codec, "surrogatepass")
    return _BANNER.sub("", _GUARD.sub("", text)).encode(codec, "surrogatepass")


@asynccontextmanager
async def open_browser(
    playwright: Playwright, executable: Path, standin: StandIn, profile: Path
) -> AsyncIterator[BrowserContext]:
    """Open a browser with a profile of its own, in an ordinary window rather than a private one.

    A private one refuses third-party cookies and preconnects by itself, and would prove nothing.
    """
    preferences = profile / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True)
    preferences.write_text(json.dumps({"profile": {"cookie_controls_mode": 0}}))
    rules = [f"MAP {host} ^NOTFOUND" for host in BROWSERS_OWN_HOSTS]
    rules += [f"MAP * 127.0.0.1:{standin.port}", "EXCLUDE 127.0.0.1", "EXCLUDE localhost"]
    context = await playwright.chromium.launch_persistent_context(
        profile,
        executable_path=executable,
        args=[
            "--no-sandbox",
            "--disable-quic",
            "--disable-component-update",
            "--ignore-certificate-errors",
            "--short-reporting-delay",
            "--host-resolver-rules=" + ", ".join(rules),
        ],
        viewport={"width": 1000, "height": 700},
    )
    try:
        yield context
    finally:
        await context.close()


class _Room:
    """One visitor's browser at one address of the site."""

    def __init__(self, context: BrowserContext, address: str, site: GallerySite, standin: StandIn) -> None:
        self.address = address
        self._context = context
        self._site = site
        self._standin = standin
        self._tabs: set[Tab] = set()
        self._front = asyncio.Lock()
        context.on("page", self._close_if_foreign)

    def _close_if_foreign(self, tab: Tab) -> None:
        """Close windows that pages opened, once they have asked for what they show."""

        async def close() -> None:
            await asyncio.sleep(2 * QUIET_SECONDS)
            if tab not in self._tabs:
                with suppress(Error):
                    await tab.close()

        asyncio.get_running_loop().create_task(close())

    async def _open(self, *, scripting: bool = True) -> Tab:
        tab = await self._context.new_page()
        self._tabs.add(tab)
        if not scripting:
            session = await self._context.new_cdp_session(tab)
            await session.send("Emulation.setScriptExecutionDisabled", {"value": True})
        return tab

    async def _renew(self, tab: Tab, *, scripting: bool) -> Tab:
        self._tabs.discard(tab)
        with suppress(Error, TimeoutError):
            await asyncio.wait_for(tab.close(), LOAD_MS / 1000)
        return await self._open(scripting=scripting)

    async def choose(self, action: str) -> None:
        """Press a button as visitors do: ``accept`` in the banner, or ``withdraw`` among the preferences."""
        tab = await self._open()
        await tab.goto(self.address + ("/" if action == "accept" else "/_consent/choices"))
        async with tab.expect_navigation():
            await tab.locator(f"button[name=action][value={action}]").first.click()
        await tab.close()

    async def cookie_header(self) -> str:
        """Return the browser's cookies for the site as it would send them."""
        cookies = await self._context.cookies(self.address)
        return "; ".join(f"{cookie.get('name')}={cookie.get('value')}" for cookie in cookies)

    async def show(self, pages: Sequence[Page], *, allowed: bool) -> dict[str, Visit]:
        """Show ``pages``, and return what happened, by page id. ``allowed``: nothing is to be held back."""
        self._record = record = Record(pages, self._site, self._standin)
        self._allowed = allowed
        # What needs the foremost tab comes first, before pages open windows of their own.
        ordered = sorted(pages, key=lambda page: not page.front)
        for scripting in (True, False):
            todo = deque(page for page in ordered if page.scripting is scripting)
            tabs = [await self._open(scripting=scripting) for _ in range(min(TABS, len(todo)))]
            await asyncio.gather(*(self._work_off(tab, todo, scripting=scripting) for tab in tabs))
        # What came late, too: it tells by itself where it belongs.
        await asyncio.sleep(2 * QUIET_SECONDS)
        record.read()
        return record.visits

    async def _work_off(self, tab: Tab, todo: deque[Page], *, scripting: bool) -> None:
        while todo:
            page = todo.popleft()
            visit = self._record.visits[page.id]
            for attempts_left in (2, 1, 0):
                visit.trouble = await self._trouble(page, tab, visit)
                if visit.trouble or tab.is_closed():
                    tab = await self._renew(tab, scripting=scripting)
                # The page before may have sent the tab somewhere that very moment. And what is no more than a hint,
                # such as to connect, or waits for its turn, a browser that is busy may pass over. What is refused and
                # contacted at any attempt counts.
                interrupted = "interrupted by another navigation" in visit.trouble
                lacking = not self._has_all(page)
                if not (interrupted or lacking) or not attempts_left:
                    break
        await tab.close()

    def _has_all(self, page: Page) -> bool:
        self._record.read()
        return self._record.has_all(page, tracker=self._allowed)

    async def _trouble(self, page: Page, tab: Tab, visit: Visit) -> str:
        """Show a page; return why that did not work, or nothing."""
        try:
            # A page may keep its tab busy for ever, or promise what it never keeps.
            await asyncio.wait_for(self._show_one(page, tab, visit), PAGE_SECONDS)
        except Error as error:
            return error.message.partition("\n")[0]
        except TimeoutError:
            return f"it did not come to rest within {PAGE_SECONDS:.0f} seconds"
        return ""

    async def _show_one(self, page: Page, tab: Tab, visit: Visit) -> None:
        if page.front:
            async with self._front:
                await tab.bring_to_front()
                await self._show_where_it_is(page, tab, visit)
        else:
            await self._show_where_it_is(page, tab, visit)

    async def _show_where_it_is(self, page: Page, tab: Tab, visit: Visit) -> None:
        await tab.goto(self.address + page.path, wait_until="commit", timeout=LOAD_MS)
        with suppress(Error):  # one that navigates away at once has no load to wait for
            await tab.wait_for_load_state("load", timeout=LOAD_MS)
        action, _, subject = page.act.partition(" ")
        if action == "click":
            # By script: a tab in the background may wait for ever for its turn to be pointed at.
            await tab.evaluate(_CLICK, subject)
        elif action == "leave":
            await tab.goto("about:blank")
        await self._settle(page)
        await self._read(page, tab, visit)

    async def _settle(self, page: Page) -> None:
        """Wait until the page has asked for all that it must, and then for nothing more for a while."""
        begun = since = time.monotonic()
        patience = SLOW_QUIET_SECONDS if page.slow else QUIET_SECONDS
        seen = -1
        while (now := time.monotonic()) - begun < PATIENCE_SECONDS:
            await asyncio.sleep(QUIET_SECONDS / 6)
            self._record.read()
            if self._record.activity[page.id] != seen:
                seen, since = self._record.activity[page.id], time.monotonic()
            if self._record.has_all(page, tracker=self._allowed) and (
                now - since >= patience or (self._allowed and says_all(page))
            ):
                return

    async def _read(self, page: Page, tab: Tab, visit: Visit) -> None:
        """Read what the page left in the browser, and what it says of itself."""
        if page.storage:
            visit.storage = set(await tab.evaluate(_STORED))
        if page.works:
            visit.works = False
            visit.works = bool(await tab.evaluate(f"async () => Boolean(await ({page.works}))"))
        if page.cookies or page.own_cookies:
            wanted = {*page.cookies, *page.own_cookies}
            cookies = await self._context.cookies()
            visit.cookies = {name for c in cookies if (name := str(c.get("name"))) in wanted}


_CLICK = """selector => {
  const element = document.querySelector(selector);
  element.click ? element.click() : element.dispatchEvent(new MouseEvent("click", {bubbles: true}));
}"""
_STORED = """async () => {
  const keys = area => Object.keys(area);
  const databases = await indexedDB.databases();
  return [...keys(localStorage).map(key => "local:" + key),
          ...keys(sessionStorage).map(key => "session:" + key),
          ...databases.map(database => "indexeddb:" + database.name)];
}"""


async def _fetch(pages: Sequence[Page], address: str, cookie: str) -> dict[str, Answered]:
    headers = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Dest": "document"}
    if cookie:
        headers["Cookie"] = cookie
    found = {}
    async with httpx2.AsyncClient(base_url=address, headers=headers, trust_env=False) as client:
        for page in pages:
            response = await client.get(page.path)
            found[page.id] = Answered(
                response.status_code, tuple(response.headers.multi_items()), response.content
            )
    return found


def show_gallery(
    pages: Sequence[Page],
    *,
    states: Sequence[State] = tuple(State),
    setup: Setup = Setup(),
    progress: Callable[[str], None] = lambda text: None,
) -> Showing:
    """Show ``pages`` in Chromium in the given states, and return what happened.

    Raises:
        NoChromiumError: there is no browser; the message says what to do.
    """
    begun = time.monotonic()
    site = GallerySite({path: answer for page in pages for path, answer in page.answers.items()})
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        standin = opened.enter_context(StandIn())
        bare = opened.enter_context(served(site))
        middleware = ConsentMiddleware(site, policy=setup.policy(pages), data=folder / "receipts")
        governed = opened.enter_context(served(middleware))
        probe = httpx2.get(governed + "/", headers={"Accept": "text/html"}, trust_env=False)
        with sync_playwright() as driver:
            executable, chromium = find_chromium(driver)

        visits: dict[State, Mapping[str, Visit]] = {}
        answers: dict[State, Mapping[str, Answered]] = {}

        async def show(state: State, room: _Room) -> None:
            if state in states:
                progress(state)
                visits[state] = await room.show(pages, allowed=state in ALLOWING)
                answers[state] = await _fetch(pages, room.address, await room.cookie_header())

        async def show_all() -> None:
            async with async_playwright() as playwright:
                if State.BARE in states:
                    async with open_browser(playwright, executable, standin, folder / "bare") as context:
                        await show(State.BARE, _Room(context, bare, site, standin))
                if set(states) == {State.BARE}:
                    return
                async with open_browser(playwright, executable, standin, folder / "governed") as context:
                    room = _Room(context, governed, site, standin)
                    await show(State.BEFORE, room)
                    if {State.ACCEPTED, State.WITHDRAWN} & set(states):
                        await room.choose("accept")
                    await show(State.ACCEPTED, room)
                    if State.WITHDRAWN in states:
                        await room.choose("withdraw")
                    await show(State.WITHDRAWN, room)

        asyncio.run(show_all())
    return Showing(
        pages=tuple(pages),
        visits=visits,
        answers=answers,
        guarded=_GUARD.search(probe.text) is not None,
        setup=setup,
        seconds=time.monotonic() - begun,
        chromium=chromium,
    )

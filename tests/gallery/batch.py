"""Shows generated pages in Chromium, with the middleware and without, and looks for contacts with their tracker.

``python -m tests.gallery.batch --pages 400``. What html5lib and lexbor make of such pages the tests of the
rewriter ask; this asks a browser. Every page names a tracker of its own, so that each contact tells its page.
There is no guard and no Content-Security-Policy: what the server lets through counts.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from playwright.async_api import BrowserContext, Error, async_playwright
from playwright.sync_api import sync_playwright
from starlette.types import ASGIApp

from consent import ConsentMiddleware
from consent.catalog import Vendor
from consent.categories import Category
from consent.policy import CspMode, Policy, Refused
from tests.browser.chromium import NoChromiumError, find_chromium
from tests.browser.standin import StandIn
from tests.gallery.pages import Answer
from tests.gallery.run import open_browser
from tests.gallery.site import GallerySite
from tests.html import soup
from tests.live import served

TABS = 4
FRAMES = 20
"""How many pages are shown in one tab, each in a frame of its own."""
QUIET_SECONDS = 0.4
FRAME_MS = 15_000

VENDOR = Vendor(
    id="tracker",
    name="Tracker",
    company="Tracker Ltd",
    country="NL",
    privacy_url="https://tracker.example/privacy",
    category=Category.PERFORMANCE,
    about="Counts visits.",
    hosts=("tracker.example",),
)
_TRACKER = re.compile(rb"tracker(?=\.example|&#46;example)")
_CONTACT = re.compile(r"p([0-9]+)\.tracker\.example")


def generated(count: int) -> list[bytes]:
    """Return ``count`` pages, others each time."""
    pages: dict[bytes, None] = {}

    @settings(
        max_examples=count * 2,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(page=soup.page)
    def collect(page: bytes) -> None:
        if b"tracker" in page:
            pages[page] = None

    collect()
    return list(pages)[:count]


def _site(pages: Sequence[bytes]) -> GallerySite:
    """Answer ``/<number>`` with that page, and ``/frames/<number>`` with a page of frames from there on."""
    kind = ((b"content-type", b"text/html; charset=utf-8"),)
    answers = {
        f"/{number}": Answer(200, kind, _TRACKER.sub(b"p%d.tracker" % number, page))
        for number, page in enumerate(pages)
    }
    for start in range(0, len(pages), FRAMES):
        numbers = range(start, min(start + FRAMES, len(pages)))
        frames = b"".join(b'<iframe src="/%d"></iframe>' % number for number in numbers)
        answers[f"/frames/{start}"] = Answer(200, kind, b"<!doctype html>" + frames)
    return GallerySite(answers)


async def _show(context: BrowserContext, address: str, count: int) -> None:
    starts = list(range(0, count, FRAMES))

    async def work() -> None:
        tab = await context.new_page()
        while starts:
            start = starts.pop(0)
            try:
                await tab.goto(f"{address}/frames/{start}", wait_until="load", timeout=FRAME_MS)
            except Error:
                # A page of frames that is sent elsewhere, or never ends, has made its contacts by now.
                await tab.close()
                tab = await context.new_page()
                continue
            await asyncio.sleep(QUIET_SECONDS)
        await tab.close()

    await asyncio.gather(*(work() for _ in range(TABS)))


def contacted(pages: Sequence[bytes], *, refused: Refused | None) -> set[int]:
    """Return which of ``pages`` contact their tracker: without the middleware where ``refused`` is ``None``."""
    site = _site(pages)
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        standin = opened.enter_context(StandIn())
        app: ASGIApp = site
        if refused is not None:
            app = ConsentMiddleware(
                site,
                policy=Policy(vendors=(VENDOR,), refused=refused, csp=CspMode.OFF),
                guard=False,
                data=folder / "receipts",
            )
        address = opened.enter_context(served(app))
        with sync_playwright() as driver:
            executable, _ = find_chromium(driver)

        async def show() -> None:
            async with (
                async_playwright() as playwright,
                open_browser(playwright, executable, standin, folder / "profile") as context,
            ):
                await _show(context, address, len(pages))

        asyncio.run(show())
        hosts = standin.hosts()
    return {int(match[1]) for host in hosts if (match := _CONTACT.fullmatch(host))}


def main() -> int:
    """Return the exit status: 1 where a page contacts the tracker although it is refused, or none does anyway."""
    parser = argparse.ArgumentParser(prog="python -m tests.gallery.batch", description=__doc__)
    parser.add_argument("--pages", type=int, default=400)
    pages = generated(parser.parse_args().pages)
    try:
        bare = contacted(pages, refused=None)
        leaks = {way: contacted(pages, refused=way) for way in Refused}
    except NoChromiumError as error:
        print(error, file=sys.stderr)
        return 1
    counts = ", ".join(f"{len(found)} with {way}" for way, found in leaks.items())
    print(f"{len(pages)} pages: {len(bare)} contact their tracker without the middleware, {counts}")
    for number in sorted(set().union(*leaks.values())):
        print(f"  {pages[number]!r}")
    return 1 if any(leaks.values()) or not bare else 0


if __name__ == "__main__":
    sys.exit(main())

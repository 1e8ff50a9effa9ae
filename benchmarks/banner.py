"""What the banner costs the page it comes with, as visitors see it: layout shift, and when something is first painted.

    python benchmarks/banner.py [FOLDER] [--rounds N] [--layout LAYOUT] [--script WHEN] [--pieces] [--json]

FOLDER holds ``*.html`` pages; without it one is generated, with a style sheet, a script of the site's own, text,
and drawings of a size that the markup states. ``--script`` says when that script runs: deferred, at once, or never.
They are served on loopback three times, each by a process of its own: without the middleware, so again, and with it.
Nothing else can be reached, so that what pages of others load from elsewhere fails the same way with and without.
``--layout`` says how the banner lies over the page. With ``--pieces`` the end of a page comes in eight, 20 ms apart,
cut within the banner.

Each round opens each page in each of the three as a new visitor, with nothing in the browser's cache, and goes on as
somebody who has refused: to a second page, of which nothing is kept, since it is what fills the browser's caches of
what the answer changes; and to a third, the later visit. All three are the same page under another address: going to
the same one is a reload. With the middleware there is the banner first, and then the small control. In which order the
three are asked is left to chance, since what a machine does besides goes on from one to the next.

- CLS: the cumulative layout shift, as Chromium reports it, from the start until half a second after the page has
  loaded; the largest of all rounds. (The largest sum of one session window; what follows input does not count.)
- FCP: the first contentful paint, in milliseconds from the navigation; medians. The shift is the median, over pages
  and rounds, of the difference between with and without in the same round. The noise is what the same gives for the
  two without, in the same rounds. Half of the differences lie between the quartiles. On a machine with other work,
  the fastest of all rounds says more: the median over pages of each page's fastest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import platform
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent import ConsentMiddleware
from consent.policy import Layout, Policy
from tests.browser.chromium import find_chromium

SERVED = ("without", "without, again", "with")
VISITS = ("first visit, the banner asks", "later visit, refused before")
PLACES = ("first", "second", "later")
"""Under each of these there is every page."""
SETTLED_MS = 500

MEASURE = """async settled => {
    let cls = 0, window_ = 0, first = 0, last = 0
    new PerformanceObserver(list => {
        for (const {hadRecentInput, startTime, value} of list.getEntries()) {
            if (hadRecentInput) continue
            if (startTime - last > 1000 || startTime - first > 5000) { window_ = 0; first = startTime }
            last = startTime
            cls = Math.max(cls, window_ += value)
        }
    }).observe({type: "layout-shift", buffered: true})
    await new Promise(done => setTimeout(done, settled))
    return [performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null, cls]
}"""

STYLE = """body { margin: 0; font: 1rem/1.6 sans-serif } main { max-width: 60rem; margin: auto; padding: 1rem }
.card { display: grid; grid-template-columns: 8rem 1fr; gap: 1rem; border-top: 1px solid #ccc; padding: 1rem 0 }"""
DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path fill="#177a68" d="M0 8 4 0l4 8z"/></svg>'
)
SENTENCE = (
    "Roots hold more water than the page of an article about them, which a reader in a garden may see. "
)


SCRIPT = "window.own = [" + ",".join(f'"{SENTENCE} {n}"' for n in range(400)) + "].length"
SCRIPTS = {
    "deferred": '<script src="/app.js" defer></script>',
    "at-once": '<script src="/app.js"></script>',
    "never": "",
}


def generated_page(script: str, cards: int = 120) -> str:
    """Return a page of an ordinary make, of some 60 KB."""
    body = "".join(
        f'<div class="card"><img src="/drawing.svg?{n % 12}" width="128" height="128" alt="">'
        f"<div><h2>Card {n}</h2><p>{SENTENCE * 4}</p></div></div>"
        for n in range(cards)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Generated</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css">'
        f"{SCRIPTS[script]}</head>"
        f"<body><main><h1>Generated</h1>{body}</main></body></html>"
    )


def site(pages: Sequence[bytes]) -> Starlette:
    """Return an app that has ``pages`` under their numbers."""

    def page(content: bytes) -> Any:
        return lambda request: HTMLResponse(content)

    routes = [
        Route(f"/{place}/{number}", page(content)) for place in PLACES for number, content in enumerate(pages)
    ]
    routes.append(Route("/app.js", lambda request: Response(SCRIPT, media_type="text/javascript")))
    routes.append(Route("/style.css", lambda request: Response(STYLE, media_type="text/css")))
    routes.append(Route("/drawing.svg", lambda request: Response(DRAWING, media_type="image/svg+xml")))
    return Starlette(routes=routes)


def in_pieces(app: ASGIApp) -> ASGIApp:
    """Return ``app`` with the end of each page, where a banner is, sent in pieces."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def cut(message: Message) -> None:
            body = message.get("body", b"")
            end = max(len(body) - 24_000, 0)
            if scope["path"].split("/")[1] in PLACES and len(body) > end + 8:
                step = (len(body) - end) // 8 + 1
                pieces = [
                    body[: end + step],
                    *(body[at : at + step] for at in range(end + step, len(body), step)),
                ]
                for piece in pieces[:-1]:
                    await send({**message, "body": piece, "more_body": True})
                    await asyncio.sleep(0.02)
                message = {**message, "body": pieces[-1]}
            await send(message)

        await app(scope, receive, cut)

    return answer


def serve(
    pages: Sequence[bytes], data: str, layout: Layout, pieces: bool, listener: socket.socket, governed: bool
) -> None:
    """Serve ``pages``, until the process is ended."""
    app: ASGIApp = site(pages)
    if governed:
        app = ConsentMiddleware(app, policy=Policy(layout=layout), data=data)
    if pieces:
        app = in_pieces(app)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    server.run(sockets=[listener])


@contextmanager
def serving(*args: Any, governed: bool) -> Iterator[str]:
    """Serve in a process of its own, which takes nothing from the browser's driver; give its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(*args, listener, governed))
        process.start()
    try:
        for _ in range(600):
            try:
                urlopen(address + "/style.css").close()
                break
            except OSError:
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.join()


@dataclass(slots=True)
class Seen:
    """What was measured of one kind of visit, by what was served; the same place is the same page and round."""

    paints: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SERVED})
    shifts: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SERVED})
    pages: list[int] = field(default_factory=list)

    def fastest(self, name: str) -> float:
        best: dict[int, float] = {}
        for page, paint in zip(self.pages, self.paints[name], strict=True):
            best[page] = min(paint, best.get(page, paint))
        return statistics.median(best.values())

    def differences(self, name: str) -> list[float]:
        return [one - other for one, other in zip(self.paints[name], self.paints["without"], strict=True)]

    def summary(self) -> dict[str, float]:
        """Return the figures: CLS without unit, all else in milliseconds."""
        added, noise = self.differences("with"), self.differences("without, again")
        low, _, high = statistics.quantiles(added, n=4)
        noise_low, _, noise_high = statistics.quantiles(noise, n=4)
        return {
            "cls_without": round(max(self.shifts["without"]), 4),
            "cls_with": round(max(self.shifts["with"]), 4),
            "fcp_without_ms": round(statistics.median(self.paints["without"]), 1),
            "fcp_with_ms": round(statistics.median(self.paints["with"]), 1),
            "shift_ms": round(statistics.median(added), 1),
            "shift_low_ms": round(low, 1),
            "shift_high_ms": round(high, 1),
            "noise_ms": round(statistics.median(noise), 1),
            "noise_low_ms": round(noise_low, 1),
            "noise_high_ms": round(noise_high, 1),
            "fastest_without_ms": round(self.fastest("without"), 1),
            "fastest_again_ms": round(self.fastest("without, again"), 1),
            "fastest_with_ms": round(self.fastest("with"), 1),
        }


def look(page: Page, url: str) -> tuple[float | None, float]:
    """Open ``url``; return when something was first painted (``None``: nothing was), and the layout shift."""
    page.goto(url, wait_until="load")
    paint, shift = page.evaluate(MEASURE, SETTLED_MS)
    return paint, shift


def visit(browser: Browser, address: str, number: int, *, governed: bool) -> list[tuple[float | None, float]]:
    """Visit a page for the first time, refuse where that is asked, and come back twice: the second time counts."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    try:
        page = context.new_page()
        first, second, later = (f"{address}/{place}/{number}" for place in PLACES)
        seen = look(page, first)
        if governed:
            answer = context.request.post(
                address + "/_consent/choice",
                data={"action": "refuse"},
                headers={"origin": address},
            )
            if not answer.ok:
                raise SystemExit(f"the refusal was not taken: {answer.status} {answer.text()[:200]}")
        look(page, second)
        return [seen, look(page, later)]
    finally:
        context.close()


def measure(browser: Browser, addresses: dict[str, str], pages: int, rounds: int) -> tuple[Seen, ...]:
    """Return what was seen, first and later. A page that paints nothing in one of the three is left out."""
    seen = tuple(Seen() for _ in VISITS)
    chance = random.Random(rounds)
    for number in range(-1, rounds):  # what the first round meets is cold, and is not kept
        for page in range(pages):
            results = {
                name: visit(browser, addresses[name], page, governed=name == "with")
                for name in chance.sample(SERVED, len(SERVED))
            }
            for kind, kept in enumerate(seen):
                paints = {name: results[name][kind][0] for name in SERVED}
                if number < 0 or None in paints.values():
                    continue
                kept.pages.append(page)
                for name, paint in paints.items():
                    kept.paints[name].append(paint or 0.0)
                    kept.shifts[name].append(results[name][kind][1])
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="with *.html pages")
    parser.add_argument("--rounds", type=int, default=20, help="2 or more")
    parser.add_argument("--layout", choices=list(Layout), default=Layout.CARD, type=Layout)
    parser.add_argument(
        "--script", choices=list(SCRIPTS), default="deferred", help="when the page's own runs"
    )
    parser.add_argument("--pieces", action="store_true", help="send pages in pieces")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds must be 2 or more")
    pages = [generated_page(options.script).encode()]
    if options.folder:
        pages = [path.read_bytes() for path in sorted(options.folder.glob("*.html"))]
        if not pages:
            parser.error(f"there are no *.html files in {options.folder}")
    with ExitStack() as stack:
        data = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        common = (pages, data, options.layout, options.pieces)
        addresses = {name: stack.enter_context(serving(*common, governed=name == "with")) for name in SERVED}
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=find_chromium(playwright)[0],
            args=["--no-sandbox", "--host-resolver-rules=MAP * ^NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        version = browser.version
        seen = measure(browser, addresses, len(pages), options.rounds)
        browser.close()
    rows = {visit: kept.summary() for visit, kept in zip(VISITS, seen, strict=True)}
    if options.json:
        about = {
            "chromium": version,
            "python": platform.python_version(),
            "pages": len(pages),
            "layout": options.layout,
        }
        print(json.dumps({**about, "rounds": options.rounds, "rows": rows}))
        return
    print(
        "| visit | CLS without, with | FCP without, with | shift, and half of all | noise, and half of all "
        "| fastest without, again, with |"
    )
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        print(
            f"| {name} | {row['cls_without']:g}, {row['cls_with']:g} "
            f"| {row['fcp_without_ms']:g} ms, {row['fcp_with_ms']:g} ms "
            f"| {row['shift_ms']:+g} ms, {row['shift_low_ms']:+g} to {row['shift_high_ms']:+g} "
            f"| {row['noise_ms']:+g} ms, {row['noise_low_ms']:+g} to {row['noise_high_ms']:+g} "
            f"| {row['fastest_without_ms']:g}, {row['fastest_again_ms']:g}, {row['fastest_with_ms']:g} ms |"
        )
    machine = f"Chromium {version}, {platform.machine()}"
    print(f"\n{len(pages)} pages, {options.rounds} rounds, layout {options.layout}, {machine}")


if __name__ == "__main__":
    main()

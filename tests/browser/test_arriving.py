"""The banner where the page arrives in pieces."""

from __future__ import annotations

import asyncio
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from consent import ConsentMiddleware
from tests.browser.conftest import Demo, OpenBrowser, serve

CUT = b'<div class="consent-actions">'
SHIFTS = """() => new Promise(done => {
    new PerformanceObserver(list => done(list.getEntries().map(shift => shift.value)))
        .observe({type: "layout-shift", buffered: true})
    setTimeout(done, 500, [])
})"""


def test_a_banner_that_arrives_in_pieces_does_not_shift(open_browser: OpenBrowser, tmp_path: Path) -> None:
    """It is shown when it is whole, and then it is."""
    site = Starlette(routes=[Route("/", lambda request: HTMLResponse("<body><h1>Page</h1></body>"))])
    inner = ConsentMiddleware(site, data=tmp_path / "data")

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        async def cut(message: Message) -> None:
            before, found, after = message.get("body", b"").partition(CUT)
            if found and scope["path"] == "/":
                await send({**message, "body": before, "more_body": True})
                await asyncio.sleep(0.5)
                message = {**message, "body": CUT + after}
            await send(message)

        await inner(scope, receive, cut)

    with serve(slow) as port:
        page = open_browser(Demo(f"http://127.0.0.1:{port}", port, None)).page
        page.goto(f"http://127.0.0.1:{port}/")
        assert page.evaluate(SHIFTS) == []
        assert page.locator(".consent-banner").is_visible()

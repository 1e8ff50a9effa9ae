"""When the guard runs in Chromium: before all of the page's scripts, once, and never before it is needed."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from consent import ConsentMiddleware
from consent.data_folder import DataFolder
from tests.browser.conftest import Demo, OpenBrowser, serve

NOTES = "(window.notes ||= []).push([%r, typeof consent])"
DEFERRED = '<script defer src="/deferred.js"></script><script type="module" src="/module.js"></script>'
AT_ONCE = f"<script>{NOTES % 'inline'}</script>"


class Slow:
    """Counts what is asked for, and lets the guard wait until it is let go."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.asked: Counter[str] = Counter()
        self.holds_guard = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            name = scope["path"].rpartition("/")[2].partition(".")[0]
            self.asked[name] += 1
            while name == "guard" and self.holds_guard:  # noqa: ASYNC110 - another thread lets it go
                await asyncio.sleep(0.01)
        await self.app(scope, receive, send)


def site(page: str) -> Starlette:
    def script(request: Request) -> Response:
        return Response(NOTES % request.path_params["name"], media_type="text/javascript")

    return Starlette(routes=[Route("/", lambda _: HTMLResponse(page)), Route("/{name}.js", script)])


@pytest.mark.parametrize(
    ("body", "order"),
    [
        ("<p>x</p>", ["deferred", "module"]),
        (f"<p>x</p>{AT_ONCE}", ["inline", "deferred", "module"]),
        (f'<form id="consent" name="consent"></form>{AT_ONCE}', ["inline", "deferred", "module"]),
        ('<form id="consent" name="consent"></form>', ["deferred", "module"]),
        ("<svg><path d='M0 0'/></svg><p>x</p>", ["deferred", "module"]),
        ("<image name=currentScript><p>x</p>", ["deferred", "module"]),
    ],
)
def test_each_script_of_the_page_finds_the_guard(
    open_browser: OpenBrowser, tmp_path: Path, body: str, order: list[str]
) -> None:
    """Whether the page has one tag of it or two, it is loaded once, and runs first."""
    page = f"<!doctype html><html><head><title>x</title>{DEFERRED}</head><body>{body}</body></html>"
    app = Slow(ConsentMiddleware(site(page), data=tmp_path / "data"))
    with serve(app) as port:
        visitor = open_browser(
            Demo(f"http://127.0.0.1:{port}", port, DataFolder(tmp_path / "data").receipts_path)
        )
        visitor.go("/")
        notes = visitor.page.evaluate("window.notes")
        assert [name for name, _ in notes] == order
        assert {kind for _, kind in notes} == {"object"}
        # Where rules of style may count elements, there is none of it.
        assert visitor.page.locator("body script[data-allowed]").count() == 0
        assert app.asked["guard"] == 1
        assert visitor.page.evaluate("consent.allows('targeting')") is False


def test_no_picture_stands_for_the_guard_s_own_tag(open_browser: OpenBrowser, tmp_path: Path) -> None:
    """Where nothing is refused, the tag is behind all that the page has."""
    page = (
        "<!doctype html><html><head><title>x</title></head><body><img alt name=currentScript></body></html>"
    )
    with serve(ConsentMiddleware(site(page), data=tmp_path / "data")) as port:
        visitor = open_browser(
            Demo(f"http://127.0.0.1:{port}", port, DataFolder(tmp_path / "data").receipts_path)
        )
        visitor.go("/")
        with visitor.page.expect_navigation():
            visitor.page.locator("button[name=action][value=accept]").first.click()
        assert visitor.page.evaluate("document.currentScript.localName") == "img"
        assert visitor.page.evaluate("consent.allows('targeting')") is True


def test_a_page_is_drawn_while_the_guard_is_on_its_way(open_browser: OpenBrowser, tmp_path: Path) -> None:
    """Up to where something runs at once; what is deferred waits for the guard, with the page before the eyes."""
    page = (
        f"<!doctype html><html><head><title>x</title>{DEFERRED}</head><body><p id='a'>x</p>%s</body></html>"
    )
    for rest, is_there in (("<p id='b'>y</p>", True), (f"{AT_ONCE}<p id='b'>y</p>", False)):
        app = Slow(ConsentMiddleware(site(page % rest), data=tmp_path / "data"))
        app.holds_guard = True
        with serve(app) as port:
            visitor = open_browser(
                Demo(f"http://127.0.0.1:{port}", port, DataFolder(tmp_path / "data").receipts_path)
            )
            visitor.page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
            visitor.page.wait_for_selector("#a")
            visitor.page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
            assert visitor.page.locator("#b").count() == is_there
            assert visitor.page.evaluate("window.notes") is None
            app.holds_guard = False
            visitor.page.wait_for_function("(window.notes || []).length > 1")
            assert visitor.page.locator("#b").count() == 1

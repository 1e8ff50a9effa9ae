"""What is held comes back in Chromium without a reload; what is replaced is offered, with scripts and without."""

# ruff: noqa: E501 - the long lines are JavaScript and HTML
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Route as Caught
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from consent import ConsentMiddleware, load_catalog
from consent.categories import Category
from consent.data_folder import DataFolder
from consent.policy import CspMode, Policy, Refused
from consent.receipts import CollectionMethod
from tests.browser.conftest import Demo, OpenBrowser, Visitor, serve
from tests.exchange import vendor

TRACKER = vendor("tracker", Category.PERFORMANCE, "tracker.example", inline="trackMe")
NONCE = "n0nce"
LOG = "window.order = (window.order || []).concat"
SCRIPTS = f"""<!doctype html><html><head><title>Scripts</title>
<script src="https://tracker.example/first.js" id="first" data-x="y"></script>
<script nonce="{NONCE}">function trackMe() {{}} trackMe(1); {LOG}('inline ' + window.first_ran + ' ' + document.currentScript.nonce)</script>
<script defer src="https://tracker.example/deferred.js"></script>
<script async src="https://tracker.example/async.js"></script>
<script type="module" src="https://tracker.example/module.js"></script>
<script src="https://tracker.example/second.js"></script>
</head><body><p>Before</p><img alt="" src="https://tracker.example/pixel.gif">
<script nonce="{NONCE}">// </template> is text here
trackMe(2); {LOG}('last ' + window.second_ran)</script><p id="end">After</p></body></html>"""
FILM = (
    '<iframe width="560" height="315" id="film" title="Film" src="https://www.youtube.com/embed/x"></iframe>'
)
EMBEDS = f"""<!doctype html><html lang="en"><head><title>Embeds</title></head><body><main><h1>Embeds</h1>
<p>In a paragraph {FILM}</p>
<form action="/other"><input name="mail" aria-label="Mail"><iframe title="Map" style="width:100%;height:300px" src="https://www.google.com/maps/embed?pb=1"></iframe></form>
<p style="aspect-ratio:2;overflow:hidden"><iframe title="Other" src="https://www.youtube.com/embed/y" width="320" height="180"></iframe></p></main></body></html>"""


Opened = Callable[..., tuple[Visitor, Demo]]


@pytest.fixture
def opened(open_browser: OpenBrowser, tmp_path: Path) -> Iterator[Opened]:
    """Serve one page behind the middleware, and open a browser for it."""
    with ExitStack() as stack:

        def open_page(
            page: str, *, javascript: bool = True, csp: str = "", **policy: object
        ) -> tuple[Visitor, Demo]:
            async def front(request: Request) -> Response:
                return HTMLResponse(page, headers={"content-security-policy": csp} if csp else {})

            settings = {"vendors": (TRACKER, load_catalog().vendors["youtube"]), "csp": CspMode.OFF}
            app = ConsentMiddleware(
                Starlette(routes=[Route("/", front)]),
                policy=Policy(**{**settings, **policy}),  # type: ignore[arg-type]
                data=tmp_path / "data",
            )
            port = stack.enter_context(serve(app))
            demo = Demo(f"http://127.0.0.1:{port}", port, DataFolder(tmp_path / "data").receipts_path)
            return open_browser(demo, javascript=javascript), demo

        yield open_page


def answer(route: Caught) -> None:
    """Be the tracker: each script says that it ran, and as which element."""
    name = route.request.url.rpartition("/")[2].partition(".")[0]
    code = f"window.{name}_ran = true; {LOG}('{name} ' + (document.currentScript?.id ?? 'module'))"
    route.fulfill(
        status=200, content_type="text/javascript", headers={"access-control-allow-origin": "*"}, body=code
    )


def test_what_is_held_comes_back_in_document_order_without_a_reload(opened: Opened) -> None:
    """External scripts in sequence with the inline ones between; deferred ones and modules last; async whenever."""
    csp = f"script-src 'self' 'nonce-{NONCE}' 'unsafe-eval' https://tracker.example"
    visitor, _ = opened(SCRIPTS, csp=csp, refused=Refused.HOLD)
    page = visitor.page
    page.route("https://tracker.example/*.js", answer)
    visitor.go("/")
    assert visitor.contacted() == frozenset()
    assert page.evaluate("window.order") is None
    assert (
        page.evaluate("document.querySelectorAll('template[data-consent=\"performance/tracker\"]').length")
        == 8
    )
    page.evaluate("window.here = true")
    visitor.press("Accept all")
    page.wait_for_function("(window.order || []).length == 7")
    order = page.evaluate("order.filter(name => !name.startsWith('async'))")
    assert order == [
        "first first",
        f"inline true {NONCE}",
        "second ",
        "last true",
        "deferred ",
        "module module",
    ]
    assert page.evaluate("[window.here, document.querySelector('#first').dataset.x, document.images[0].src]") == [
        True, "y", "https://tracker.example/pixel.gif",
    ]  # fmt: skip
    assert page.evaluate("document.querySelectorAll('template').length") == 0
    assert visitor.page_errors == []


def test_an_embed_is_shown_once_by_keyboard_alone(opened: Opened) -> None:
    """It takes the place and the size of its placeholder, and the focus; nothing is stored."""
    visitor, demo = opened(EMBEDS)
    page = visitor.page
    visitor.go("/")
    assert visitor.contacted() == frozenset()
    place = page.locator(".consent-embed").first
    assert place.bounding_box() == {**(place.bounding_box() or {}), "width": 560, "height": 315}
    assert page.locator("p > .consent-embed").count() == 2
    once = page.get_by_role("button", name="Show once").first
    for _ in range(30):
        page.keyboard.press("Tab")
        if once.evaluate("b => b == document.activeElement"):
            break
    assert once.evaluate("b => getComputedStyle(b).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    visitor.await_contacts({"www.youtube.com"})
    assert "www.google.com" not in visitor.contacted()
    assert page.evaluate("[document.activeElement.id, film.width]") == ["film", "560"]
    assert page.locator(".consent-embed").count() == 2
    assert page.locator(".consent-banner").count() == 1
    assert demo.receipts() == []


@pytest.mark.parametrize("javascript", [True, False])
def test_a_vendor_is_always_allowed(javascript: bool, opened: Opened) -> None:
    """With a receipt for that vendor alone; in a form of the page too, which is not sent."""
    visitor, demo = opened(EMBEDS, javascript=javascript)
    page = visitor.page
    visitor.go("/")
    assert page.get_by_role("button", name="Show once").count() == (3 if javascript else 0)
    page.get_by_role("button", name="Always allow Google Maps").click()
    visitor.await_contacts({"www.google.com"})
    assert page.url == f"{demo.address}/"
    (receipt,) = demo.receipts()
    assert receipt.collection_method is CollectionMethod.EMBED_FORM
    assert dict(receipt.vendors) == {"google-maps": True}
    visitor.standin.forget()
    visitor.go("/")
    assert visitor.contacted() & {"www.youtube.com", "www.google.com"} == {"www.google.com"}
    assert page.locator(".consent-embed").count() == 2
    page.get_by_role("button", name="Always allow YouTube").first.click()
    visitor.await_contacts({"www.youtube.com"})
    assert page.locator(".consent-embed").count() == 0
    assert dict(demo.receipts()[1].vendors) == {"google-maps": True, "youtube": True}


def test_placeholders_fit_into_a_narrow_window(opened: Opened) -> None:
    """At 320 pixels nothing sticks out or is cut off by the box of an embed, and every target has 24 pixels or more."""
    visitor, _ = opened(EMBEDS)
    page = visitor.page
    page.set_viewport_size({"width": 320, "height": 640})
    visitor.go("/")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    for target in page.locator(".consent-embed :is(a, button)").all():
        box = target.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 24
    placeholder, around = page.locator(".consent-embed").last, page.locator("p:has(.consent-embed)").last
    assert placeholder.evaluate("e => e.offsetHeight") == around.evaluate("e => e.offsetHeight") > 180

"""The banner in each of its layouts: for everybody, by keyboard alone, and beside a page that can be used.

What WCAG 2.2 AA asks for, and which test shows it, is in tests/test_accessibility_rules.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from consent import ConsentMiddleware, load_catalog
from consent.policy import Layout, Policy, Regime
from tests.browser.conftest import serve

CUT = b'<div class="consent-actions">'
LINKS = 12
PAGE = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Page</title>
<meta name="viewport" content="width=device-width"><style>a {{ display: inline-block; margin: 4rem 0 }}</style>
</head><body><main><h1>Page</h1>
{"".join(f"<p><a href='#{n}'>Link {n}</a></p>" for n in range(LINKS))}
<iframe width="560" height="315" title="Film" src="https://www.youtube.com/embed/x"></iframe>
</main></body></html>"""
SHIFTS = """() => new Promise(done => {
    new PerformanceObserver(list => done(list.getEntries().map(shift => shift.value)))
        .observe({type: "layout-shift", buffered: true})
    setTimeout(done, 500, [])
})"""
# WCAG 2.2, 1.4.12.
SPACING = """
:not(#_, #_#_) { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important }
p:not(#_, #_#_) { margin-bottom: 2em !important }
"""
AXE = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
# What has the focus, and whether any of it can be seen: of what is under points of it, one is itself or in it.
FOCUSED = """() => {
    const element = document.activeElement, box = element.getBoundingClientRect()
    const seen = [.1, .5, .9].flatMap(x => [.1, .5, .9].map(y =>
        document.elementFromPoint(box.x + box.width * x, box.y + box.height * y)))
    if (element == document.body) return ["", true]
    return [element.textContent.trim().slice(0, 12), seen.some(e => e && element.contains(e))]
}"""
# But for links within a sentence (2.5.8).
TARGETS = """() => [...document.querySelectorAll(".consent-root :is(a, button, input:not([type=hidden]), summary)")]
    .filter(target => target.checkVisibility() && !target.matches("p > a"))
    .map(target => [target.textContent || target.name, target.getBoundingClientRect()])
    .filter(([name, box]) => Math.min(box.width, box.height) < 24)
    .map(([name]) => name)"""


async def page_of_links(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


class Sites:
    """The page behind a middleware for each layout, all in one browser."""

    def __init__(self, browser: Browser, addresses: dict[str, str]) -> None:
        self.browser = browser
        self.addresses = addresses

    def open(self, name: str, *, width: int, height: int, path: str = "/", **options: Any) -> Page:
        """Open the page as somebody who was never there."""
        context = self.browser.new_context(viewport={"width": width, "height": height}, **options)
        page = context.new_page()
        page.goto(self.addresses[name] + path)
        return page


def policy(layout: Layout, regime: Regime = Regime.OPT_IN) -> Policy:
    vendors = load_catalog().vendors
    return Policy(
        site="Example",
        privacy_url="/privacy",
        layout=layout,
        regime=regime,
        vendors=tuple(vendors[name] for name in ("hotjar", "google-ads", "youtube")),
    )


class InPieces:
    """Sends the page as far as the banner's buttons, and the rest of it half a second later."""

    def __init__(self, app: ConsentMiddleware) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def cut(message: Message) -> None:
            before, found, after = message.get("body", b"").partition(CUT)
            if found and scope["path"] == "/":
                await send({**message, "body": before, "more_body": True})
                await asyncio.sleep(0.5)
                message = {**message, "body": CUT + after}
            await send(message)

        await self._app(scope, receive, cut)


@pytest.fixture(scope="module")
def sites(
    playwright: Playwright, chromium: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sites]:
    site = Starlette(routes=[Route("/", page_of_links)])
    with ExitStack() as stack:
        addresses = {}
        kinds = {layout.value: policy(layout) for layout in Layout}
        kinds["opt-out"] = policy(Layout.CARD, Regime.OPT_OUT)
        for name, rules in kinds.items():
            app = ConsentMiddleware(site, policy=rules, data=tmp_path_factory.mktemp(name))
            addresses[name] = f"http://127.0.0.1:{stack.enter_context(serve(app))}"
            addresses[f"{name}, in pieces"] = f"http://127.0.0.1:{stack.enter_context(serve(InPieces(app)))}"
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ^NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        stack.callback(browser.close)
        yield Sites(browser, addresses)


def assert_no_violations(page: Page) -> None:
    """Nothing that axe knows to be wrong, with all that is good practice beside the standard."""
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    found = page.evaluate(AXE)["violations"]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []


def assert_alike_and_in_sight(page: Page) -> None:
    """The three answers are as large as each other and can all be pressed; nothing sticks out of the window."""
    size = page.viewport_size
    assert size
    buttons = page.locator(".consent-banner .consent-button:visible").all()
    boxes = [box for button in buttons if (box := button.bounding_box())]
    assert len(boxes) == 3
    assert len({(round(box["width"]), round(box["height"])) for box in boxes}) == 1
    for box in boxes:
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= size["width"]
        assert box["y"] + box["height"] <= size["height"]
    for button in buttons:
        assert button.evaluate("b => b.scrollWidth <= b.clientWidth && b.scrollHeight <= b.clientHeight")
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert page.evaluate(TARGETS) == []


@pytest.mark.parametrize("layout", Layout)
def test_a_banner_that_arrives_in_pieces_does_not_shift(layout: Layout, sites: Sites) -> None:
    """It is shown when it is whole, and then it is."""
    page = sites.open(f"{layout}, in pieces", width=390, height=844)
    assert page.evaluate(SHIFTS) == []
    assert page.locator(".consent-banner").is_visible()
    page.context.close()


@pytest.mark.parametrize("layout", Layout)
def test_a_banner_is_for_everybody(layout: Layout, sites: Sites) -> None:
    """On a phone, on a screen, at 320 pixels, twice as large, in the dark, from right to left, in forced colours, with
    a signal to tell of, and with more space between letters and lines.
    """
    page = sites.open(layout, width=390, height=844)
    assert_no_violations(page)
    for width, height in ((390, 844), (1280, 800), (320, 568), (640, 400), (844, 390)):
        page.set_viewport_size({"width": width, "height": height})
        assert_alike_and_in_sight(page)
    page.emulate_media(color_scheme="dark")
    assert_no_violations(page)
    # A theme is taken from the page, whatever the layout.
    page.add_style_tag(
        content=":root { --consent-accent: #123456; --consent-surface: #fff; --consent-radius: 8px; "
        "--consent-layer: 7 }"
    )
    looks = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).borderTopLeftRadius]"
    banner = page.locator(".consent-banner")
    # A bar goes from edge to edge, and has no corners.
    assert banner.evaluate(looks) == ["rgb(255, 255, 255)", "0px" if layout is Layout.BAR else "8px"]
    assert banner.locator(".consent-button").first.evaluate(looks) == ["rgb(18, 52, 86)", "8px"]
    assert banner.evaluate("e => getComputedStyle(e).zIndex") == "7"
    page.emulate_media(forced_colors="active")
    edge = "b => [getComputedStyle(b).borderTopWidth, getComputedStyle(b).borderTopColor]"
    edges = [button.evaluate(edge) for button in page.locator(".consent-banner .consent-button").all()]
    # A background is taken away there; the edge that cannot be seen otherwise is drawn.
    assert {width for width, _ in edges} == {"1px"}
    assert all("rgba" not in colour for _, colour in edges)
    page.context.close()
    for locale in ("ar", "fi"):
        page = sites.open(layout, width=390, height=844, locale=locale, extra_http_headers={"Sec-GPC": "1"})
        assert page.locator(".consent-banner .consent-notice").is_visible()
        page.add_style_tag(content=SPACING)
        assert_alike_and_in_sight(page)
        if locale == "ar":
            assert_no_violations(page)
        page.context.close()


@pytest.mark.parametrize("layout", Layout)
def test_with_a_banner_the_page_can_be_used_by_keyboard(layout: Layout, sites: Sites) -> None:
    """Each link is reached, there and back, and is never under the banner (2.4.11); so are its buttons; none keeps the
    focus. The dialog has it first, and no other; no page shifts for any of it.
    """
    for width, height in ((390, 844), (320, 568), (640, 400)):
        page = sites.open(layout, width=width, height=height, locale="de" if width == 320 else "en")
        first = page.evaluate("document.activeElement.className")
        assert first == ("consent-banner" if layout is Layout.DIALOG else "")
        if layout is Layout.DIALOG:
            page.keyboard.press("Enter")  # by chance: it answers nothing
        for key in ("Tab", "Shift+Tab"):
            reached = set()
            for _ in range(LINKS + 9):
                page.keyboard.press(key)
                name, in_sight = page.evaluate(FOCUSED)
                assert in_sight, (key, width, name)
                reached.add(name)
            assert {f"Link {n}" for n in range(LINKS)} <= reached
            if width != 320:
                assert reached >= {"Accept all", "Refuse all", "Choose", "Privacy noti", "Always allow"}
        assert page.evaluate(SHIFTS.replace("500", "0")) == []
        # And by pointer: what is beside the banner is what is pressed.
        page.evaluate("scrollTo(0, 0)")
        page.get_by_role("link", name="Link 0").click()
        assert page.url.endswith("#0")
        assert page.locator(".consent-banner").is_visible()
        page.context.close()


def test_the_preferences_are_for_everybody(sites: Sites) -> None:
    """The focus goes in, goes on, and comes back; each target is large enough; each switch has a name and a state."""
    page = sites.open("card", width=390, height=844)
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(FOCUSED) == ["Choose", True]
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="Your cookie choices")
    assert panel.is_visible()
    assert page.evaluate("document.activeElement.ariaLabel") == "Close"
    for summary in panel.locator("summary").all():
        summary.click()
    for name in ("Performance", "Functional", "Targeting"):
        assert panel.get_by_role("checkbox", name=name, exact=True).is_checked() is False
    assert panel.get_by_role("checkbox").count() == 3
    assert page.evaluate(TARGETS) == []
    assert_no_violations(page)
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        if not page.evaluate("document.activeElement.closest('.consent-preferences')"):
            break
        name, in_sight = page.evaluate(FOCUSED)
        assert in_sight, name
        reached.append(name)
    assert reached[-3:] == ["Save choices", "Refuse all", "Accept all"]
    for summary in panel.locator("summary").all():
        summary.click()
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="dark")
    assert_no_violations(page)
    page.keyboard.press("Escape")
    assert not panel.is_visible()
    page.locator(".consent-banner").get_by_role("button", name="Choose").click()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "Choose"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(FOCUSED) == ["Refuse all", True]
    page.keyboard.press("Enter")
    page.get_by_role("status").filter(has_text="Saved. Your choice is in effect.").wait_for()
    assert page.evaluate("document.activeElement.className") == "consent-pill consent-opener"
    assert_no_violations(page)
    assert page.evaluate(TARGETS) == []
    page.context.close()


def test_the_page_of_choices_is_for_everybody(sites: Sites) -> None:
    """Nothing lies over what has the focus there either, in the smallest window."""
    page = sites.open("opt-out", width=320, height=568, path="/_consent/choices")
    assert_no_violations(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        name, in_sight = page.evaluate(FOCUSED)
        assert in_sight, name
        reached.add(name)
    assert reached >= {"Save choices", "Refuse all", "Accept all", "Do not sell "}
    page.get_by_role("button", name="Do not sell").click()
    page.get_by_role("status").filter(has_text="Opt-out request honoured").wait_for()
    assert_no_violations(page)
    page.context.close()

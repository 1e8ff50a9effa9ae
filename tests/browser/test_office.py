"""The office's console in a browser: by keyboard, for everybody, on a phone and on a screen."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright

from consent.office.events import EventType
from consent.office.roles import Role
from tests.browser.conftest import serve
from tests.test_office_api import Place

AXE = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
DAYS = "from=2025-12-20&to=2026-01-18"
FOCUSED = """() => { const it = document.activeElement, box = it.getBoundingClientRect();
    return [it.labels?.[0]?.innerText || it.innerText?.trim() || it.getAttribute('aria-label') || it.tagName,
        box.width > 0 && box.left >= 0 && box.right <= innerWidth && box.bottom > 0 && box.top < innerHeight]; }"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    with ThreadPoolExecutor(1) as pool:  # Playwright has a loop of its own in this thread
        return pool.submit(Place, tmp_path_factory.mktemp("office") / "data").result()


@pytest.fixture(scope="module")
def home(place: Place) -> Iterator[str]:
    with serve(place.app) as port:
        yield f"http://127.0.0.1:{port}/_consent/office"


@pytest.fixture(scope="module")
def browser(playwright: Playwright, chromium: Path) -> Iterator[Browser]:
    with ExitStack() as stack:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        stack.callback(opened.close)
        yield opened


def press_to(page: Page, name: str) -> list[str]:
    """Press Tab until something with this name has the focus; return what had it before."""
    passed: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        focused, in_sight = page.evaluate(FOCUSED)
        assert in_sight, focused
        if focused.startswith(name):
            return passed
        passed.append(focused)
    raise AssertionError(f"{name} is not reached: {passed}")


def assert_for_everybody(page: Page) -> None:
    """Nothing that axe knows to be wrong, and nothing sticks out, at both widths, light and dark."""
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert_no_violations(page, AXE)
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page.emulate_media(color_scheme="dark")
    assert_no_violations(page, "axe.run({runOnly: ['color-contrast']})")
    page.emulate_media(color_scheme="light")


def assert_no_violations(page: Page, run: str) -> None:
    found = page.evaluate(run)["violations"]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []


def test_every_page_is_for_everybody(browser: Browser, place: Place, home: str) -> None:
    """From the sign-in to the proof by keyboard alone; each page is checked on the way."""
    webhooks = place.app.desk.webhooks
    webhooks.add("https://hooks.example.com/consent", [EventType.EXPORT_FINISHED, EventType.INTEGRITY_FAILED])
    page = browser.new_context(bypass_csp=True).new_page()
    page.goto(home)
    assert_for_everybody(page)
    page.wait_for_selector("#token:focus")
    page.keyboard.type(place.secrets[Role.OFFICER])
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Overview')")
    page.goto(f"{home}?{DAYS}")
    assert_for_everybody(page)
    assert press_to(page, "Receipts") == ["To the content", "Overview"]
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Receipts')")
    press_to(page, "Narrow it down")
    page.keyboard.press("Enter")
    assert press_to(page, "Look a visitor")[:3] == ["From", "From", "From"]  # the parts of a day
    page.keyboard.press("Enter")
    assert_for_everybody(page)
    press_to(page, "59")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Open receipt 59')")
    assert_for_everybody(page)
    page.wait_for_selector("input:focus")
    page.keyboard.type("complaint 12")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Proof verified")
    assert_for_everybody(page)
    for path in (f"trackers?{DAYS}", "policies", "as-of", "standing"):
        page.goto(f"{home}/{path}")
        assert_for_everybody(page)
    page.goto(f"{home}/exports")
    assert_for_everybody(page)
    press_to(page, "Why: it is recorded")
    page.keyboard.press("Enter")  # as JSON lines, what receipts are found by
    page.wait_for_selector("h1:text('Exports')")
    while not page.locator("a:text('Download')").count():
        page.reload()
    assert_for_everybody(page)
    with page.expect_download() as download:
        page.click("a:text('Download')")
    assert len(download.value.path().read_bytes().splitlines()) == 60
    press_to(page, "Sign out")
    page.keyboard.press("Enter")
    page.wait_for_selector("#token")
    page.wait_for_selector("#token:focus")
    page.keyboard.type(place.secrets[Role.ADMINISTRATOR])
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Overview')")
    page.goto(f"{home}/webhooks")
    assert_for_everybody(page)
    press_to(page, "Disable")
    page.keyboard.press("Enter")
    page.wait_for_selector(".flag:text('disabled')")
    assert_for_everybody(page)
    press_to(page, "Send events to an address")
    page.keyboard.press("Enter")
    press_to(page, "Address, with https")
    assert_for_everybody(page)
    page.keyboard.type("https://hooks.example.com/other")
    page.keyboard.press("Enter")
    page.wait_for_selector("code:text('whsec_')")
    assert_for_everybody(page)
    press_to(page, "I have it")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Webhooks')")
    press_to(page, "New secret")
    page.keyboard.press("Enter")
    assert_for_everybody(page)
    press_to(page, "Make a new secret")
    page.keyboard.press("Enter")
    page.wait_for_selector("dt:text('Its former secret')")
    assert_for_everybody(page)
    page.goto(f"{home}/webhooks")
    page.goto(f"{home}/accesses")
    assert page.locator("td:text('complaint 12')").count() >= 1
    assert_for_everybody(page)
    page.context.close()

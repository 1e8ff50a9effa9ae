"""Visitors read everything in their browser's language in Chromium, with scripts and without."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from consent import ConsentMiddleware
from consent.data_folder import DataFolder
from consent.policy import Policy
from consent.texts import load_texts
from tests.browser.conftest import Demo, OpenBrowser, serve

PAGE = """<!doctype html><html lang="en"><head><title>Films</title></head><body><main><h1>Films</h1>
<iframe width="560" height="315" title="Film" src="https://www.youtube.com/embed/x"></iframe></main></body></html>"""


async def films(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


@pytest.mark.parametrize(
    ("locale", "tag", "direction", "javascript", "refuse", "title", "embed"),
    [
        ("de-AT", "de", "ltr", True, "Alle ablehnen", "Ihre Cookie-Auswahl", "YouTube ist ausgeschaltet"),
        ("ar-EG", "ar", "rtl", False, "رفض الكل", "خياراتك لملفات تعريف الارتباط", "خدمة ⁨YouTube⁩ متوقفة"),
    ],
)
def test_everything_is_in_the_browser_s_language(
    open_browser: OpenBrowser,
    tmp_path: Path,
    locale: str,
    tag: str,
    direction: str,
    javascript: bool,
    refuse: str,
    title: str,
    embed: str,
) -> None:
    """Banner, placeholder, and the page of choices; the receipt names the language."""
    app = ConsentMiddleware(Starlette(routes=[Route("/", films)]), policy=Policy(), data=tmp_path / "data")
    with serve(app) as port:
        demo = Demo(f"http://127.0.0.1:{port}", port, DataFolder(tmp_path / "data").receipts_path)
        visitor = open_browser(demo, javascript=javascript, locale=locale)
        page = visitor.page
        page.goto(demo.address + "/")
        root = page.locator("section.consent-root")
        assert (root.get_attribute("lang"), root.get_attribute("dir")) == (tag, direction)
        assert page.locator("html").get_attribute("lang") == "en"
        assert page.locator(".consent-banner").get_by_role("button", name=refuse, exact=True).is_visible()
        assert page.get_by_role("group", name=embed).is_visible()
        # Another language by the link in its own name, and the choice is made in that one.
        page.goto(demo.address + "/_consent/choices")
        assert page.locator("h1").inner_text() == title
        page.locator("summary", has_text=load_texts(tag).name).click()
        page.get_by_role("link", name="English", exact=True).click()
        page.wait_for_url(re.compile("language=en"))
        assert page.locator("h1").inner_text() == "Your cookie choices"
        page.get_by_role("button", name="Accept all", exact=True).click()
        page.get_by_text("Saved. Your choice is in effect.").wait_for()
        assert page.locator("html").get_attribute("lang") == "en"
        page.wait_for_load_state("networkidle")
        (receipt,) = demo.receipts()
        assert receipt.language == "en"
        page.goto(demo.address + "/")
        assert root.get_attribute("lang") == tag

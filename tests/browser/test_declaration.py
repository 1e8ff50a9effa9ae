"""The cookie declaration in Chromium: wide and narrow, from right to left, without scripts, by keyboard, on paper."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from consent import ConsentMiddleware, load_catalog
from consent.policy import Policy, Regime
from tests.browser.conftest import Demo, OpenBrowser, serve


def test_the_declaration_fits_every_width(open_browser: OpenBrowser, tmp_path: Path) -> None:
    """In a row on a screen, one below the other on a phone, a table to a screen reader on both; nothing sticks out.

    Nor do the small controls of a page, where their words are long.
    """
    catalog = load_catalog()
    vendors = tuple(catalog.vendors[name] for name in ("hotjar", "google-ads", "youtube"))
    policy = Policy(vendors=vendors, regime=Regime.OPT_OUT)
    site = Starlette(routes=[Route("/", lambda request: HTMLResponse("<p>Page</p>"))])
    app = ConsentMiddleware(site, policy=policy, data=tmp_path / "data")
    with serve(app) as port:
        demo = Demo(f"http://127.0.0.1:{port}", port, None)
        page = open_browser(demo, javascript=False, locale="ar").page
        page.goto(demo.address + "/_consent/choices")
        page.get_by_role("link", name="كل ملفات تعريف الارتباط والخدمات").click()
        page.wait_for_url("**/_consent/cookies?language=ar")
        table = page.get_by_role("table", name="Hotjar")
        assert table.get_by_role("columnheader").all_inner_texts() == ["الاسم", "الغرض", "الحفظ"]
        assert page.locator("bdi[lang]").count() == 0  # nothing is left in another language
        row = table.get_by_role("row").nth(1)
        parts = [row.get_by_role("rowheader"), row.get_by_role("cell").first, row.get_by_role("cell").last]
        for width, stacked in ((1280, False), (390, True)):
            page.set_viewport_size({"width": width, "height": 800})
            boxes = [part.bounding_box() for part in parts]
            assert [len({box[edge] for box in boxes if box}) for edge in ("x", "y")] == (
                [1, 3] if stacked else [3, 1]
            )
            assert table.get_by_role("row").count() == 1 + len(catalog.vendors["hotjar"].cookies) + len(
                catalog.vendors["hotjar"].storage
            )
            for part in page.locator("html, table, a, p, h2, h3").all():
                box = part.bounding_box()
                assert box
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width, part.inner_text()
        # From right to left: the name comes first, on the right.
        page.set_viewport_size({"width": 1280, "height": 800})
        lefts = [(part.bounding_box() or {"x": 0})["x"] for part in parts]
        assert lefts == sorted(lefts, reverse=True)
        page.keyboard.press("Tab")
        assert page.locator(":focus").get_attribute("href") == "/_consent/choices?language=ar"
        page.emulate_media(media="print")
        assert not page.locator("summary").is_visible()
        page.emulate_media(media="screen")
        page.set_viewport_size({"width": 300, "height": 800})
        page.goto(demo.address + "/")
        controls = page.locator(".consent-pill:visible")
        assert controls.count() == 2
        for control in controls.all():
            box = control.bounding_box()
            assert box
            assert box["x"] >= 12
            assert box["x"] + box["width"] == 288

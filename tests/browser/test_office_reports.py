"""Reports in a browser: for everybody on a screen, and whole on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page

from consent.cli import main
from consent.office.roles import Role
from consent.sqlite_log import SQLiteReceiptLog
from tests.browser.conftest import serve
from tests.browser.test_office import assert_for_everybody, browser
from tests.test_office_reports import HOSTILE, Months

__all__ = ["browser"]

A4 = (595, 842)
"""In points."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Months:
    with ThreadPoolExecutor(1) as pool:  # Playwright has a loop of its own in this thread
        return pool.submit(Months, tmp_path_factory.mktemp("reports") / "data").result()


@pytest.fixture(scope="module")
def home(place: Months) -> Iterator[str]:
    with serve(place.app) as port:
        yield f"http://127.0.0.1:{port}/_consent/office"


@pytest.fixture
def page(browser: Browser, place: Months, home: str) -> Iterator[Page]:
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(home)
    page.fill("#token", place.secrets[Role.OFFICER])
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Overview')")
    yield page
    context.close()


def test_every_report_is_for_everybody(page: Page, home: str) -> None:
    """From the list of them to each, and back; names are shown as they are."""
    page.goto(f"{home}/reports")
    assert_for_everybody(page)
    page.fill("#month", "2026-03")
    page.select_option("#site", HOSTILE)
    page.click("section[aria-labelledby=monthly] button")
    page.wait_for_selector("h1:text('Consent, March 2026')")
    assert HOSTILE in page.inner_text(".story")
    assert_for_everybody(page)
    page.goto(f"{home}/reports/processing?day=2026-03-31")
    assert "<img src=x onerror=alert(1)>" in page.inner_text("main")
    assert_for_everybody(page)


def test_a_proof_of_days_is_downloaded(page: Page, home: str, place: Months, tmp_path: Path) -> None:
    """With the receipts only for a reason; the file is checked with the log's key."""
    page.goto(f"{home}/reports")
    page.fill("#from", "2026-03-01")
    page.fill("#to", "2026-03-31")
    page.select_option("#records", "true")
    page.click("section[aria-labelledby=proof] button")
    page.wait_for_selector("h1:text('A reason is missing')")
    page.go_back()
    page.fill("#reason", "audit 7")
    with page.expect_download() as waiting:
        page.click("section[aria-labelledby=proof] button")
    assert waiting.value.suggested_filename == "consent-proof-2026-03-01-2026-03-31-records.jsonl"
    file = tmp_path / "proof.jsonl"
    waiting.value.save_as(file)
    with SQLiteReceiptLog(place.folder.receipts_path, place.keys) as log:
        key = str(log.verifiers()[0])
    result = CliRunner().invoke(main, ["ledger", "verify", "--key", key, str(file)])
    assert (result.exit_code, "120 receipts, each with its record" in result.output) == (0, True), (
        result.output
    )


@pytest.mark.parametrize("path", ["monthly?month=2026-03", "processing?day=2026-03-31"])
def test_a_report_is_whole_on_paper(page: Page, home: str, path: str) -> None:
    """On A4, without what only a screen needs; as black on white in the dark, too; nothing is cut off at the side."""
    page.emulate_media(color_scheme="dark")
    page.goto(f"{home}/reports/{path}")
    printed = page.pdf(prefer_css_page_size=True, print_background=False)
    boxes = {
        tuple(map(round, map(float, found.split())))
        for found in re.findall(rb"/MediaBox \[([^\]]*)\]", printed)
    }
    assert {box[2:] for box in boxes} <= {A4, (596, 842), (596, 843), (595, 843)}
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 8
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 690, "height": 1000})  # what is between A4's margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 690
    assert not page.is_visible(".bar")
    assert not page.is_visible(".tools")
    black, white = page.evaluate(
        "(() => { const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]; })()"
    )
    assert (black, white) == ("rgb(0, 0, 0)", "rgb(255, 255, 255)")
    for name in page.query_selector_all(".scroll table"):
        box, around = name.bounding_box(), name.evaluate("it => it.parentElement.clientWidth")
        assert box is not None
        assert box["width"] <= around + 1


def test_the_file_is_the_same_report(browser: Browser, page: Page, home: str, tmp_path: Path) -> None:
    """Opened without the office, it looks the same and loads nothing."""
    page.goto(f"{home}/reports/monthly?month=2026-03")
    with page.expect_download() as waiting:
        page.click("text=Download")
    assert waiting.value.suggested_filename == "consent-2026-03.html"
    file = tmp_path / "report.html"
    waiting.value.save_as(file)
    alone = browser.new_page()
    asked: list[str] = []
    alone.on("request", lambda request: asked.append(request.url))
    alone.goto(file.as_uri())
    assert asked == [file.as_uri()]
    assert alone.inner_text("article") == page.inner_text("article")
    alone.close()

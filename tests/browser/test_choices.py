"""The visitor's page in a real browser, without scripts: the answers so far, the very text, and being forgotten."""

from __future__ import annotations

from tests.browser.conftest import Demo, OpenBrowser


def test_a_visitor_reads_takes_along_and_is_forgotten(demo: Demo, open_browser: OpenBrowser) -> None:
    """From the control of any page; the text is all there and does nothing; what stays is a no without a name."""
    visitor = open_browser(demo, javascript=False)
    page = visitor.page
    visitor.go("/")
    visitor.press("Accept all", within=".consent-banner")
    visitor.press("Cookie choices")
    page.locator(".consent-preferences").get_by_role("link", name="Your answers so far").click()
    (entry,) = page.locator(".consent-entry").all()
    assert entry.get_by_role("heading").inner_text() == "You agreed"
    with page.expect_download() as download:
        entry.get_by_role("link", name="Kantara 1.1").click()
    assert download.value.suggested_filename == "consent-receipt-kantara.json"

    entry.get_by_role("link", name="The text you were shown").click()
    address = page.url
    shown = page.locator(".consent-shown")
    for part in (".consent-banner", ".consent-preferences"):
        assert shown.locator(part).is_visible()
        assert shown.locator(part).evaluate("part => getComputedStyle(part).position") == "static"
    with page.expect_download() as download:
        page.get_by_role("link", name="Save this text").click()
    assert download.value.suggested_filename.startswith("consent-text-")
    # A key presses what a pointer cannot reach.
    shown.get_by_role("button", name="Refuse all").first.press("Enter")
    page.wait_for_timeout(200)
    assert page.url == address
    assert [receipt.outcome for receipt in demo.receipts()] == ["given"]

    page.get_by_role("link", name="Your answers so far").first.click()
    page.get_by_role("button", name="Forget me").click()
    assert page.locator(".consent-saved").inner_text().startswith("Your receipts are erased")
    assert demo.receipts() == []
    visitor.go("/")
    assert page.locator(".consent-banner").count() == 0
    assert visitor.own_cookies() & {"_ga", "_fbp"} == set()

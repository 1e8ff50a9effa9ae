"""Requests in a browser: the form without JavaScript, the office's pages by keyboard, both for everybody."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from consent import ConsentMiddleware
from consent.office.register import Register
from consent.office.roles import Role
from consent.subject_request import RegisterFull
from tests.browser.conftest import serve
from tests.browser.test_office import assert_for_everybody, browser, press_to  # noqa: F401
from tests.test_register import NEW as ASKED

FORM = "/_consent/requests"


async def shop(request: Request) -> HTMLResponse:
    return HTMLResponse("<!doctype html><html lang='en'><title>Shop</title><h1>Shop</h1></html>")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> ConsentMiddleware:
    inner = Starlette(routes=[Route("/", shop)])
    return ConsentMiddleware(inner, data=tmp_path_factory.mktemp("requests") / "data", requests=True)


@pytest.fixture(scope="module")
def site(app: ConsentMiddleware) -> Iterator[str]:
    with serve(app) as port:
        yield f"http://127.0.0.1:{port}"


def sent(page: Page, site: str) -> tuple[str, str]:
    """Fill the form in and send it; return reference and code."""
    page.goto(f"{site}{FORM}?language=en")
    page.get_by_label("My data erased").check()
    page.get_by_label("Your name").fill("Alix Example")
    page.get_by_label("Where the answer goes").fill("alix@mail.example")
    page.get_by_label("Anything else").fill("I bought boots once.\nPlease forget me.")
    page.get_by_role("button", name="Send the request").click()
    reference, code = page.locator("dd code").all_inner_texts()
    return reference, code


@pytest.mark.parametrize("language", ["en", "de", "ar"])
def test_the_form_is_for_everybody(browser: Browser, site: str, language: str) -> None:  # noqa: F811
    """At both widths, light and dark, also from right to left."""
    page = browser.new_context(bypass_csp=True).new_page()
    page.goto(f"{site}{FORM}?language={language}")
    assert_for_everybody(page)
    page.context.close()


def test_without_javascript_a_request_is_sent_and_seen(browser: Browser, site: str) -> None:  # noqa: F811
    """From the page of choices to the state of the request; neither reference nor code is in an address."""
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{site}/_consent/choices?language=en")
    page.get_by_role("link", name="Ask about your data").click()
    assert page.url.startswith(f"{site}{FORM}")
    reference, code = sent(page, site)
    addresses = [page.url]
    page.get_by_role("button", name="Show").click()
    page.get_by_text("To be answered by").wait_for()
    assert page.get_by_text("Received").first.is_visible()
    addresses.append(page.url)
    assert [address for address in addresses if reference in address or code in address] == []
    page.context.close()


def test_the_office_handles_it_by_keyboard(browser: Browser, app: ConsentMiddleware, site: str) -> None:  # noqa: F811
    """Listed, opened, acknowledged, verified; each page is checked on the way."""
    visitor = browser.new_context().new_page()
    reference, _ = sent(visitor, site)
    visitor.context.close()
    office = app._office
    assert office is not None
    secret, _ = office.desk.tokens.make("Jo Example", Role.OFFICER, days=1)
    page = browser.new_context(bypass_csp=True).new_page()
    page.goto(f"{site}/_consent/office")
    page.wait_for_selector("#token:focus")
    page.keyboard.type(secret)
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Overview')")
    press_to(page, "Requests")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Requests')")
    assert_for_everybody(page)
    press_to(page, reference)
    page.keyboard.press("Enter")
    page.wait_for_selector(f"h1:text('Request {reference}')")
    assert "Alix" not in page.inner_text("main")
    assert_for_everybody(page)
    press_to(page, "Open")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=alix@mail.example")
    assert_for_everybody(page)
    press_to(page, "Acknowledge")
    press_to(page, "Acknowledge")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=The request is acknowledged")
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert_for_everybody(page)
    page.locator("#text-verify-identity").fill("passport, seen by Jo")
    page.get_by_role("button", name="It is verified who asks").click()
    page.wait_for_selector("text=it is verified who asks")
    page.goto(f"{site}/_consent/office/requests/new")
    assert_for_everybody(page)
    page.context.close()


def test_a_withdrawal_and_a_flood(browser: Browser, tmp_path: Path) -> None:  # noqa: F811
    """What the office records, the visitor reads; what is too much, both are told of; each page is for everybody."""
    policy = tmp_path / "consent.toml"
    policy.write_text(
        '[site]\nname = "Shop"\ncontroller = "Shop GmbH"\ncontact = "privacy@shop.example"\nprivacy_url = "/privacy"\n'
    )
    app = ConsentMiddleware(
        Starlette(routes=[Route("/", shop)]), policy=policy, data=tmp_path / "data", requests=True
    )
    with ThreadPoolExecutor(1) as pool, serve(app) as port:
        site = f"http://127.0.0.1:{port}"
        visitor = browser.new_context(bypass_csp=True).new_page()
        visitor.goto(site)
        # The page is loaded anew when the choice is through.
        with visitor.expect_navigation():
            visitor.get_by_role("button", name="Accept all").click()
        visitor.goto(f"{site}{FORM}?language=en")
        visitor.get_by_label("To withdraw my consent").check()
        visitor.get_by_label("Your name").fill("Alix Example")
        visitor.get_by_label("Where the answer goes").fill("alix@mail.example")
        visitor.get_by_label("Add the pseudonym").check()
        visitor.get_by_role("button", name="Send the request").click()
        reference = visitor.locator("dd code").first.inner_text()
        for _ in range(4):
            sent(visitor, site)
        with pytest.raises(ValueError, match="not enough values"):
            sent(visitor, site)
        visitor.get_by_text("privacy@shop.example").wait_for()
        assert_for_everybody(visitor)

        office = app._office
        assert office is not None
        pool.submit(flood, office.register).result()
        secret, _ = pool.submit(office.desk.tokens.make, "Jo Example", Role.OFFICER, days=1).result()
        page = browser.new_context(bypass_csp=True).new_page()
        page.goto(f"{site}/_consent/office")
        page.wait_for_selector("#token:focus")
        page.keyboard.type(secret)
        page.keyboard.press("Enter")
        page.wait_for_selector("text=The form for requests takes no more")
        assert_for_everybody(page)
        page.click("a:text('what waits')")
        page.wait_for_selector("h1:text('Requests')")
        assert_for_everybody(page)
        page.goto(f"{site}/_consent/office/requests/{reference}")
        page.get_by_role("button", name="Open").click()
        page.get_by_role("button", name="Record the withdrawal").click()
        page.wait_for_selector("text=The withdrawal is recorded, for Shop")
        assert_for_everybody(page)
        visitor.goto(f"{site}/_consent/choices?language=en")
        visitor.get_by_text("By the privacy office, on request").first.wait_for()
        assert_for_everybody(visitor)
        for each in (page, visitor):
            each.context.close()


def flood(register: Register) -> None:
    """Let as many requests come as are taken, each from another network."""
    with contextlib.suppress(RegisterFull):
        for number in range(1, 100):
            register.receive(ASKED, nonce=number.to_bytes(16, "big"), network=b"%d" % number)

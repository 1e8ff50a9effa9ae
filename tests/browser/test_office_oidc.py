"""Signing in to the office's console with a real provider, in a browser, with and without a script."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.types import Receive, Scope, Send

from consent.office.app import Office
from consent.office.oidc.settings import Grant, OidcSettings
from consent.office.roles import Role
from consent.sqlite_log import SQLiteReceiptLog
from tests.browser.conftest import serve
from tests.browser.test_office import assert_for_everybody, browser
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, PASSWORD, provider
from tests.test_office_api import Place

__all__ = ["browser"]


class Console:
    """An office that is served before it knows its provider, which has to know it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.app = place.app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def know(self, issuer: str, console: str) -> None:
        place = self.place
        self.app = Office(
            "/_consent",
            place.folder,
            lambda: SQLiteReceiptLog(place.folder.receipts_path, place.keys),
            time.time,
            OidcSettings(
                issuer=issuer,
                client_id=CLIENT_ID,
                client_secret=CLIENT_SECRET,
                console=console,
                grants=[Grant("groups", "privacy", Role.ADMINISTRATOR)],
                name="Example accounts",
                scopes=("openid", "profile", "groups"),
                max_age_minutes=60,
            ),
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ThreadPoolExecutor(1) as pool:  # Playwright has a loop of its own in this thread
        place = pool.submit(Place, tmp_path_factory.mktemp("oidc") / "data").result()
    console = Console(place)
    with serve(console) as port:
        home = f"http://127.0.0.1:{port}/_consent/office"
        with provider(tmp_path_factory.mktemp("provider"), home) as issuer:
            console.know(issuer, home)
            yield home


def log_in(page: Page, home: str, name: str) -> None:
    """Go the whole way from the console to the provider, and back."""
    page.goto(home)
    page.get_by_role("link", name="Sign in with Example accounts").click()
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Allow").click()


@pytest.mark.parametrize("scripts", [True, False])
def test_signing_in_and_out_with_a_real_provider(browser: Browser, home: str, scripts: bool) -> None:
    """The way back ends in the console, signed in; signing out offers the provider, which asks, and leads back."""
    context = browser.new_context(java_script_enabled=scripts)
    page = context.new_page()
    log_in(page, home, "jo")
    page.wait_for_url(home)
    expect(page.get_by_text("Jo Example, administrator")).to_be_visible()
    page.get_by_role("link", name="Accesses").click()
    expect(page.get_by_role("cell", name="at http").first).to_contain_text("Jo Example (1 at http")
    (session,) = [each for each in context.cookies() if each["name"] == "consent-office"]
    assert (session["sameSite"], session["httpOnly"]) == ("Strict", True)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Signed out")).to_be_visible()
    page.get_by_role("link", name="Sign out of Example accounts, too").click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{home}*")
    expect(page.get_by_role("link", name="Sign in with Example accounts")).to_be_visible()
    page.get_by_role("link", name="Sign in with Example accounts").click()
    expect(page.get_by_label("Password")).to_be_visible()  # the provider has forgotten, too
    context.close()


def test_who_may_not_come_in_is_told(browser: Browser, home: str) -> None:
    """An account alone lets nobody in."""
    context = browser.new_context()
    page = context.new_page()
    log_in(page, home, "al")
    expect(page.get_by_role("alert")).to_contain_text("you are none of those who may come in")
    assert [each["name"] for each in context.cookies() if each["name"] == "consent-office"] == []
    context.close()


def test_the_doors_pages_are_for_everybody(browser: Browser, home: str, tmp_path: Path) -> None:
    """Signing in, signed in, and signed out, in all sizes and colours; by keyboard, too."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(home)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Sign in with Example accounts"
    assert_for_everybody(page)
    log_in(page, home, "jo")
    page.wait_for_url(home)
    page.get_by_role("button", name="Sign out").click()
    assert_for_everybody(page)
    context.close()

"""The demo site served on loopback, the stand-in for everybody else, and Chromium between them.

Fixtures live as long as tests of this package run one after another, not for the whole session: Playwright
keeps an event loop running in the main thread, and the other tests' ``asyncio.run`` could not work beside it.
"""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import BrowserContext, Locator, Page, Playwright, sync_playwright
from starlette.types import ASGIApp

from consent import ConsentMiddleware
from consent.data_folder import DataFolder
from consent.receipts import Receipt
from consent.sqlite_log import SQLiteReceiptLog
from demo_site.site import HERE, site
from tests.browser.chromium import find_chromium
from tests.browser.standin import StandIn

OWN_NAME = "www.fernwell.example"
"""A name of the demo beside its address: cookies can have a ``Domain`` there. Port 80."""

BROWSERS_OWN_HOSTS = (
    "accounts.google.com",
    "android.clients.google.com",
    "clients2.google.com",
    "clientservices.googleapis.com",
    "content-autofill.googleapis.com",
    "edgedl.me.gvt1.com",
    "mtalk.google.com",
    "optimizationguide-pa.googleapis.com",
    "redirector.gvt1.com",
    "safebrowsing.googleapis.com",
    "safebrowsingohttpgateway.googleapis.com",
    "update.googleapis.com",
)
"""What Chromium calls for itself, whatever the page; no page of the demo names any. They do not resolve."""

PAGES: tuple[str, ...] = (
    "/",
    "/products/taproot",
    "/journal/frost-night",
    "/contact",
    "/contact/thanks",
    "/sign-in",
    "/members",
    "/privacy",
)
"""Every page of the demo, in the order in which ``Visitor.visit_everything`` sees them."""


@contextmanager
def serve(app: ASGIApp, *, certificate: Path | None = None) -> Iterator[int]:
    """Serve ``app`` with uvicorn in a thread, over HTTPS with a certificate, and give its port on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                lifespan="on",
                timeout_graceful_shutdown=1,
                ssl_certfile=certificate,
                ssl_keyfile=certificate,
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="demo")
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started and thread.is_alive() and time.monotonic() < deadline:
                time.sleep(0.005)
            assert server.started, "the demo did not start"
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(20)


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo as it is being served."""

    address: str
    port: int
    receipts_path: Path | None

    def receipts(self) -> list[Receipt]:
        """What is in SQLite, oldest first; read as the privacy office would, in another connection."""
        assert self.receipts_path is not None
        if not self.receipts_path.exists():
            return []
        keys = DataFolder(self.receipts_path.parent).ledger_keys(create=False)
        with SQLiteReceiptLog(self.receipts_path, keys) as log:
            return [entry.receipt for entry in reversed(log.list(limit=100))]


class Visitor:
    """Somebody with a browser of their own, on the demo site."""

    def __init__(self, context: BrowserContext, demo: Demo, standin: StandIn) -> None:
        self.context = context
        self.demo = demo
        self.standin = standin
        self.page: Page = context.pages[0]
        self.page_errors: list[str] = []
        """Uncaught exceptions of scripts."""
        self.statuses: dict[str, int] = {}
        """The last status of each of the site's own addresses, paths only."""
        self.page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        self.page.on("response", lambda response: self._note(response.url, response.status))
        self.address = demo.address

    def _note(self, url: str, status: int) -> None:
        if url.startswith(self.address + "/"):
            self.statuses[url.removeprefix(self.address).partition("?")[0]] = status

    def settle(self) -> None:
        """Wait until the page and its frames have loaded and nobody asks for anything any more."""
        self.page.wait_for_load_state("networkidle")
        deadline = time.monotonic() + 10
        while self.standin.busy() and time.monotonic() < deadline:
            self.page.wait_for_timeout(10)

    def await_contacts(self, hosts: Iterable[str]) -> None:
        """Wait until all of these were contacted, but not forever: what is missing is for the test to say."""
        wanted = frozenset(hosts)
        deadline = time.monotonic() + 10
        while not wanted <= self.contacted() and time.monotonic() < deadline:
            self.page.wait_for_timeout(10)

    def go(self, path: str, *, settled: bool = True) -> None:
        """Open a page of the site and let it settle, or only load."""
        self.page.goto(self.address + path)
        if settled:
            self.settle()

    def press(self, name: str, *, within: str = "body", settled: bool = True) -> None:
        """Press a button by its name, and let the page that follows settle."""
        self.click(self.page.locator(within).get_by_role("button", name=name, exact=True))
        if settled:
            self.settle()

    def click(self, button: Locator) -> None:
        """Press a button. A choice that a script sends has been taken in when this returns."""
        chooses = """b => (window.before = true) && !!window.consent
            && b.form?.getAttribute("action") == "/_consent/choice" && !!b.name"""
        if button.evaluate(chooses):
            button.click()
            # It is announced, or the page is loaded anew.
            self.page.wait_for_function(
                "!window.before || !!document.querySelector('[data-saved]')?.textContent"
            )
        else:
            button.click()

    def visit_everything(self, *, settled: bool = True) -> Iterator[str]:
        """Open every page one after another, through the forms where they lead; give each one's path."""
        for path in PAGES:
            if path == "/contact/thanks":
                self.page.get_by_label("Your name").fill("Ada")
                self.page.get_by_label("Email").fill("ada@example.com")
                self.page.get_by_label("Message").fill("Silt, mostly.")
                self.press("Send", settled=settled)
            elif path == "/members":
                self.press("Sign in", within="main", settled=settled)
            else:
                self.go(path, settled=settled)
            self.page.wait_for_url(self.address + path)
            yield path

    def contacted(self) -> frozenset[str]:
        """Every host other than the site itself that was contacted since the stand-in last forgot."""
        return self.standin.hosts()

    def own_cookies(self) -> set[str]:
        """The names of the site's own cookies that the browser has, HttpOnly ones included, but for marks of a no."""
        names = {cookie["name"] for cookie in self._cookies() if self._is_own(str(cookie["domain"]))}
        return {name for name in names if not name.startswith("consent_no_")}

    def foreign_cookies(self) -> set[tuple[str, str]]:
        """Domain and name of the cookies of everybody else."""
        return {
            (str(cookie["domain"]).lstrip("."), str(cookie["name"]))
            for cookie in self._cookies()
            if not self._is_own(str(cookie["domain"]))
        }

    def _cookies(self) -> list[Any]:
        return list(self.context.cookies())

    @staticmethod
    def _is_own(domain: str) -> bool:
        return domain == "127.0.0.1" or domain.lstrip(".") in (OWN_NAME, "fernwell.example")


@pytest.fixture(scope="package")
def standin() -> Iterator[StandIn]:
    """The whole third-party internet."""
    with StandIn() as running:
        yield running


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="package")
def chromium(playwright: Playwright) -> Path:
    """The Chromium to use. Without one these tests fail, with the command that installs it."""
    return find_chromium(playwright)[0]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The demo with the middleware mounted, and a data folder of its own."""
    data = tmp_path / "data"
    app = ConsentMiddleware(site, policy=HERE / "consent.toml", data=data, explain=True)
    with serve(app) as port:
        yield Demo(f"http://127.0.0.1:{port}", port, DataFolder(data).receipts_path)


@pytest.fixture
def bare_demo() -> Iterator[Demo]:
    """The demo without the middleware: every tracker at work."""
    with serve(site) as port:
        yield Demo(f"http://127.0.0.1:{port}", port, None)


OpenBrowser = Callable[..., Visitor]


@pytest.fixture
def open_browser(playwright: Playwright, chromium: Path, standin: StandIn) -> Iterator[OpenBrowser]:
    """Open a new browser for a demo: ``open_browser(demo, javascript=True, headers={}, dnt=False, locale="de")``.

    It is a profile of its own in an ordinary window, not a private one: that refuses third-party cookies and
    preconnects by itself. Afterwards the stand-in's record is empty.
    """
    with ExitStack() as opened:

        def open_one(
            demo: Demo,
            *,
            javascript: bool = True,
            headers: Mapping[str, str] | None = None,
            dnt: bool = False,
            locale: str | None = None,
        ) -> Visitor:
            profile = Path(opened.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            preferences = profile / "Default" / "Preferences"
            preferences.parent.mkdir()
            preferences.write_text(
                json.dumps({"profile": {"cookie_controls_mode": 0}, "enable_do_not_track": dnt})
            )
            # The first rule that fits counts.
            rules = [f"MAP {host} ^NOTFOUND" for host in BROWSERS_OWN_HOSTS]
            rules += [
                f"MAP {OWN_NAME} 127.0.0.1:{demo.port}",
                f"MAP * 127.0.0.1:{standin.port}",
                "EXCLUDE 127.0.0.1",
                "EXCLUDE localhost",
            ]
            context = playwright.chromium.launch_persistent_context(
                profile,
                executable_path=chromium,
                args=[
                    "--no-sandbox",
                    "--disable-quic",
                    "--disable-component-update",
                    "--ignore-certificate-errors",
                    "--short-reporting-delay",
                    "--host-resolver-rules=" + ", ".join(rules),
                ],
                java_script_enabled=javascript,
                locale=locale,
                extra_http_headers=dict(headers or {}),
                viewport={"width": 1280, "height": 800},
            )
            opened.callback(context.close)
            standin.forget()
            return Visitor(context, demo, standin)

        yield open_one
    standin.forget()

"""Hand-made pages on loopback, the stand-in for everybody else, and one Chromium between them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright
from starlette.types import Receive, Scope, Send

from consent.catalog import load_catalog
from consent.categories import Category
from consent.choice import Choice
from consent.decision import Decision, decide
from consent.guard import Guard
from consent.policy import Policy
from consent.signals import ChoiceState, Signals
from tests.browser.chromium import find_chromium
from tests.browser.conftest import serve
from tests.browser.standin import StandIn

NAME = "www.shop.example"
"""A name of the site beside its address: cookies can have a ``Domain`` there."""
CHOICE = "/_consent/choice"


def deciding(*granted: Category, vendors: Mapping[str, bool] | None = None) -> Decision:
    """The decision for somebody who granted these categories, with exceptions for single vendors."""
    policy = Policy()
    choice = Choice(
        receipt_id="1f0c6e7e-3c58-4b6e-8f9f-0d3f5d7c2a10",
        subject="0" * 32,
        made_at=1,
        policy_version=policy.version,
        granted=frozenset(granted),
        vendors=dict(vendors or {}),
        told=frozenset(),
    )
    return decide(policy, Signals(choice=choice, choice_state=ChoiceState.VALID, gpc=False, dnt=None))


@dataclass
class Site:
    """A site of a few pages, its guard, and what visitors submitted."""

    guard: Guard
    port: int = 0
    pages: dict[str, tuple[dict[str, str], str]] = field(default_factory=dict)
    outcome: dict[str, object] | None = None
    """What the endpoint for choices answers to scripts; ``None``: it fails."""
    outcomes: dict[str, dict[str, object]] = field(default_factory=dict)
    """... and to some actions something else."""
    slow: str = ""
    """The action that takes its time."""
    submitted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """``json`` or ``page``, as was asked for, and the fields."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        status, headers, body = 200, {}, b""
        if path == self.guard.url:
            headers, body = {"content-type": self.guard.file.media_type}, self.guard.file.content
        elif path == CHOICE:
            message = await receive()
            wants_json = (b"accept", b"application/json") in scope["headers"]
            is_json = (b"content-type", b"application/json") in scope["headers"]
            fields = json.loads(message["body"]) if is_json else dict(parse_qsl(message["body"].decode()))
            self.submitted.append(("json" if wants_json else "page", fields))
            if fields.get("action") == self.slow:
                await asyncio.sleep(0.4)
            outcome = self.outcomes.get(fields.get("action", "")) or self.outcome
            headers = {"content-type": "application/json" if wants_json else "text/html"}
            status = 200 if outcome or not wants_json else 503
            body = json.dumps(outcome).encode() if wants_json else b"<h1>By the form</h1>"
        elif path in self.pages:
            extra, text = self.pages[path]
            headers, body = {"content-type": "text/html; charset=utf-8", **extra}, text.encode()
        elif path.endswith(".js"):
            headers = {"content-type": "text/javascript"}
            body = f"window.order = (window.order || []).concat({json.dumps(path)});".encode()
        else:
            status = 404
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


@dataclass
class Visit:
    """Somebody's browser on the site."""

    context: BrowserContext
    page: Page
    site: Site
    standin: StandIn
    errors: list[str] = field(default_factory=list)
    """Uncaught exceptions of scripts."""

    def open(
        self,
        body: str = "",
        *,
        decision: Decision | None = None,
        headers: Mapping[str, str] | None = None,
        nonce: str | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """Open a page with the guard for ``decision``, by default one of a visitor who refused everything."""
        tag = self.site.guard.markup(decision or deciding(), nonce=nonce).decode()
        start = f"<!doctype html><html lang=en><head>{tag}<title>Page</title></head>"
        self.site.pages["/page"] = (dict(headers or {}), f"{start}<body>{body}</body></html>")
        port = f":{self.site.port}" if host == "127.0.0.1" else ""
        self.page.goto(f"http://{host}{port}/page")

    def wait_for(self, host: str) -> None:
        """Wait until ``host`` was contacted, and then for what may come at the same time."""
        deadline = time.monotonic() + 5
        while host not in self.standin.hosts():
            assert time.monotonic() < deadline, (
                f"{host} was not contacted, only {sorted(self.standin.hosts())}"
            )
            self.page.wait_for_timeout(10)
        self.page.wait_for_timeout(60)

    def until(self, expression: str) -> None:
        """Wait until ``expression`` is true in the page; a policy without eval does not matter."""
        deadline = time.monotonic() + 5
        while not self.page.evaluate(f"Promise.resolve({expression}).then(Boolean)"):
            assert time.monotonic() < deadline, f"{expression} did not become true"
            self.page.wait_for_timeout(10)


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
def running_site() -> Iterator[Site]:
    """The site, served."""
    site = Site(Guard(load_catalog()))
    with serve(site) as port:
        site.port = port
        yield site


@pytest.fixture(scope="package")
def browser(playwright: Playwright, standin: StandIn, running_site: Site) -> Iterator[Browser]:
    """One Chromium; every test has a context of its own in it."""
    rules = f"MAP {NAME} 127.0.0.1:{running_site.port}, MAP * 127.0.0.1:{standin.port}, EXCLUDE 127.0.0.1"
    browser = playwright.chromium.launch(
        executable_path=find_chromium(playwright)[0],
        args=[
            "--no-sandbox",
            "--disable-quic",
            "--disable-component-update",
            "--ignore-certificate-errors",
            f"--unsafely-treat-insecure-origin-as-secure=http://{NAME}",
            f"--host-resolver-rules={rules}",
        ],
    )
    yield browser
    browser.close()


@pytest.fixture
def site(running_site: Site) -> Site:
    """The site, without what an earlier test left."""
    running_site.pages.clear()
    running_site.submitted.clear()
    running_site.outcome = None
    running_site.slow = ""
    running_site.outcomes.clear()
    return running_site


@pytest.fixture
def visit(browser: Browser, site: Site, standin: StandIn) -> Iterator[Visit]:
    """A new visitor."""
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    visit = Visit(context, page, site, standin)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    standin.forget()
    yield visit
    context.close()
    standin.forget()

"""One page for everybody, out of nginx's cache, in Chromium: each visitor has what they allowed, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright

from consent.policy import CacheMode
from tests.browser.chromium import find_chromium
from tests.browser.standin import StandIn
from tests.caching.site import HOST, TRACKERS, Served, ask, behind

PERFORMANCE, FUNCTIONAL, TARGETING = TRACKERS.values()
EVERYBODY = tuple(TRACKERS.values())
# Notes for every picture that is drawn whether the banner is in it, and counts those drawn before a page is whole.
WATCH = """
window.drawn = [];
window.drawnUnfinished = 0;
const look = () => {
  drawn.push(!!document.querySelector(".consent-banner"));
  if (document.readyState === "loading" && document.querySelector("script[src='/slow.js']")) drawnUnfinished++;
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
GPC = "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true, configurable: true})"


@dataclass
class Visitor:
    """Somebody's browser, on the site."""

    context: BrowserContext
    standin: StandIn
    statuses: list[str] = field(default_factory=list)
    """What the cache said of each page."""

    def __post_init__(self) -> None:
        self.context.add_init_script(WATCH)
        self.page = self.context.new_page()

    def open(self, path: str = "/") -> None:
        """Open a page."""
        self.standin.forget()
        answer = self.page.goto(f"http://{HOST}{path}")
        assert answer is not None
        self.statuses.append(answer.headers["x-cache-status"])

    def contacts(self, *expected: str) -> bool:
        """Wait for these trackers, and then for any other; tell whether it was these and no other."""
        self.page.wait_for_load_state("load")
        deadline = time.monotonic() + 10
        while not self.standin.hosts() >= set(expected) and time.monotonic() < deadline:
            self.page.wait_for_timeout(20)
        self.page.wait_for_timeout(500)
        return set(self.standin.hosts()) & set(EVERYBODY) == set(expected)

    def press(self, name: str, within: str) -> None:
        """Press a button of the banner or of the preferences."""
        self.page.locator(within).get_by_role("button", name=name, exact=True).click()

    def choose(self, **choice: Any) -> None:
        """Choose by a script of the page, as a site of its own wording does."""
        self.page.evaluate(
            """choice => fetch("/_consent/choice", {method: "POST", body: JSON.stringify(choice),
                headers: {"content-type": "application/json"}})""",
            choice,
        )

    @property
    def asked(self) -> bool:
        """Whether the banner was in any picture that was drawn of the page."""
        self.page.wait_for_function("drawn.length > 5")
        return bool(self.page.evaluate("drawn.includes(true)"))

    @property
    def checked(self) -> list[bool]:
        """The switches of the preferences."""
        return list(
            self.page.evaluate("[...document.querySelectorAll('.consent-switch')].map(s => s.checked)")
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The site and the cache, which has the pages already: nobody here makes the app render one."""
    with behind(CacheMode.UNIFORM, tmp_path_factory.mktemp("uniform")) as served:
        for path in ("/", "/next", "/slow"):
            ask(served.cache, path, {"Accept-Encoding": "gzip, deflate"})
        yield served


@pytest.fixture(scope="module")
def browser(playwright: Playwright, standin: StandIn, served: Served) -> Iterator[Browser]:
    """One Chromium that finds the site at the cache, and everybody else at the stand-in."""
    rules = f"MAP {HOST} 127.0.0.1:{served.cache}, MAP * 127.0.0.1:{standin.port}, EXCLUDE 127.0.0.1"
    browser = playwright.chromium.launch(
        executable_path=find_chromium(playwright)[0],
        args=[
            "--no-sandbox",
            "--disable-component-update",
            "--ignore-certificate-errors",
            f"--unsafely-treat-insecure-origin-as-secure=http://{HOST}",
            f"--host-resolver-rules={rules}",
        ],
    )
    yield browser
    browser.close()


@pytest.fixture
def enter(browser: Browser, standin: StandIn) -> Iterator[Callable[..., Visitor]]:
    """Let somebody in."""
    contexts: list[BrowserContext] = []

    def enter(*scripts: str, **options: Any) -> Visitor:
        context = browser.new_context(ignore_https_errors=True, **options)
        contexts.append(context)
        for script in scripts:
            context.add_init_script(script)
        return Visitor(context, standin)

    yield enter
    for context in contexts:
        context.close()


def test_what_is_accepted_comes_at_once_and_with_every_page(enter: Callable[..., Visitor]) -> None:
    """Without a reload, and from then on out of the cache, without a banner in any picture; until it is withdrawn."""
    visitor = enter()
    visitor.open()
    assert visitor.contacts()
    assert visitor.asked
    assert visitor.checked == [False] * 3
    visitor.page.evaluate("window.here = true")
    visitor.press("Accept all", ".consent-banner")
    visitor.page.wait_for_function("!document.querySelector('.consent-banner')")
    assert visitor.contacts(*EVERYBODY)
    assert visitor.page.evaluate("window.here") is True
    for path in ("/", "/next"):
        visitor.open(path)
        assert visitor.contacts(*EVERYBODY)
        assert not visitor.asked
        assert visitor.checked == [True] * 3
        assert visitor.page.locator(".consent-pill").first.is_visible()
    visitor.page.evaluate("document.getElementById('consent-preferences').showPopover()")
    visitor.standin.forget()
    with visitor.page.expect_navigation():
        visitor.press("Refuse all", ".consent-preferences")
    assert visitor.contacts()
    for path in ("/", "/next"):
        visitor.open(path)
        assert visitor.contacts()
        assert not visitor.asked
        assert visitor.checked == [False] * 3
    # The guard follows the visitor, not the page.
    visitor.page.evaluate(
        "new Image().src = 'https://snap.licdn.com/x'; fetch('https://static.hotjar.com/y').catch(() => 0)"
    )
    assert visitor.contacts()
    assert visitor.statuses == ["HIT"] * 5


def test_what_is_taken_away_is_never_drawn(enter: Callable[..., Visitor]) -> None:
    """Even where the page takes long after it."""
    visitor = enter()
    visitor.open("/slow")
    assert visitor.page.evaluate("drawnUnfinished") > 0
    assert visitor.asked
    visitor.choose(action="accept")
    visitor.open("/slow")
    assert visitor.page.evaluate("drawnUnfinished") > 0
    assert not visitor.asked
    assert visitor.statuses == ["HIT"] * 2


def test_what_is_refused_is_not_asked_again(enter: Callable[..., Visitor]) -> None:
    """Nor given back."""
    visitor = enter()
    visitor.open()
    visitor.press("Refuse all", ".consent-banner")
    visitor.page.wait_for_function("!document.querySelector('.consent-banner')")
    assert visitor.contacts()
    visitor.open("/next")
    assert visitor.contacts()
    assert not visitor.asked


@pytest.mark.parametrize(
    ("choice", "allowed"),
    [
        ({"performance": True}, {PERFORMANCE}),
        ({"functional": True, "targeting": True}, {FUNCTIONAL, TARGETING}),
        ({"performance": True, "targeting": True, "vendors": {"hotjar": False}}, {TARGETING}),
        ({"vendors": {"youtube": True}}, {FUNCTIONAL}),
    ],
)
def test_some_of_it_comes_back(
    choice: dict[str, Any], allowed: set[str], enter: Callable[..., Visitor]
) -> None:
    """Categories, and single vendors in both directions."""
    visitor = enter()
    visitor.open()
    visitor.choose(action="save", **choice)
    for path in ("/", "/next"):
        visitor.open(path)
        assert visitor.contacts(*allowed)
        assert not visitor.asked
    assert visitor.statuses == ["HIT"] * 3


def test_a_browsers_signal_is_honoured(enter: Callable[..., Visitor]) -> None:
    """By what accepting everything then means, and over an earlier yes."""
    visitor = enter(GPC, extra_http_headers={"Sec-GPC": "1"})
    visitor.open()
    assert visitor.contacts()
    visitor.press("Accept all", ".consent-banner")
    visitor.page.wait_for_function("!document.querySelector('.consent-banner')")
    assert visitor.contacts(PERFORMANCE, FUNCTIONAL)
    visitor.open("/next")
    assert visitor.contacts(PERFORMANCE, FUNCTIONAL)
    assert visitor.checked == [True, True, False]
    earlier = enter()
    earlier.open()
    earlier.choose(action="accept")
    earlier.open("/next")
    assert earlier.contacts(*EVERYBODY)
    later = enter(GPC, extra_http_headers={"Sec-GPC": "1"}, storage_state=earlier.context.storage_state())
    later.open("/next")
    assert later.contacts(PERFORMANCE, FUNCTIONAL)
    assert not later.asked


def test_a_script_chooses_and_bodies_are_exchanged(enter: Callable[..., Visitor]) -> None:
    """With a receipt; and everybody's page, put in later, becomes this visitor's, too."""
    visitor = enter()
    visitor.open()
    outcome = visitor.page.evaluate("consent.set({performance: true})")
    assert (outcome["recorded"], outcome["allowed"]) == (True, "p")
    assert visitor.contacts(PERFORMANCE)
    visitor.standin.forget()
    visitor.page.evaluate(
        """async () => {
            const next = new DOMParser().parseFromString(await (await fetch("/next")).text(), "text/html");
            document.documentElement.replaceChild(next.body, document.body);
            drawn.length = 0;
        }"""
    )
    assert visitor.contacts(PERFORMANCE)
    assert not visitor.asked
    assert visitor.checked == [True, False, False]


def test_nobody_is_asked_in_a_frame(enter: Callable[..., Visitor]) -> None:
    """The page around it asks."""
    visitor = enter()
    visitor.open()
    visitor.page.evaluate(
        """() => new Promise((done) => {
            const frame = document.createElement("iframe");
            frame.onload = done;
            frame.src = "/next";
            document.body.append(frame);
        })"""
    )
    inner = visitor.page.frames[-1]
    assert inner.locator("h1").inner_text() == "/next"
    assert inner.locator(".consent-root").count() == 0
    assert visitor.page.locator(".consent-banner").count() == 1


def test_without_scripts_nothing_is_given_back(enter: Callable[..., Visitor]) -> None:
    """The choice is recorded, and the banner stays, since the page is everybody's."""
    visitor = enter(java_script_enabled=False)
    visitor.standin.forget()
    visitor.page.goto(f"http://{HOST}/")
    with visitor.page.expect_navigation():
        visitor.press("Accept all", ".consent-banner")
    assert visitor.page.locator(".consent-banner").count() == 1
    assert {cookie["name"] for cookie in visitor.context.cookies()} == {"consent", "consent_variant"}
    assert visitor.contacts()

"""What a real Chromium makes of our Content-Security-Policy: stops, reports, and leaves alone."""

# ruff: noqa: E501 - the long lines are JavaScript and HTML
from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from consent import ConsentMiddleware, load_catalog, load_policy
from consent.data_folder import DataFolder
from consent.inventory import Source
from consent.policy import CspMode, Policy, Refused
from consent.sqlite_inventory import SQLiteInventory
from demo_site.site import HERE
from demo_site.site import site as demo_site
from tests.browser.conftest import Demo, OpenBrowser, Visitor, serve
from tests.browser.standin import write_certificate
from tests.browser.test_demo_site import ADDED, BENIGN, EVERYWHERE

HIDDEN = """
  import('https://snap.' + 'licdn.com/imported.js').catch(() => 0);
  new Worker('/worker.js');
  new Worker(URL.createObjectURL(new Blob(["fetch('https://bat.bing.com/blob').catch(() => 0)"])));
  for (const rel of ['modulepreload', 'prefetch', 'stylesheet', 'icon']) {
    const link = document.createElement('link');
    Object.assign(link, {rel, as: 'script', href: `https://${rel}.unknown.example/x`});
    document.head.append(link);
  }
"""
"""What neither the server nor the guard sees: it is put together in a file, and asks the browser's own machinery."""
WORKER = """
  try { importScripts('https://js.' + 'hs-scripts.com/imported.js'); } catch {}
  fetch('https://static.hotjar.com/fetched').catch(() => 0).then(() => fetch('/done'));
"""
PAGE = """<!doctype html><html><head><title>Page</title><style>p { color: green }</style></head><body>
  <p onclick="this.title = 'clicked'">Hello</p><img src="/own.svg"><img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">
  <script>window.inline = eval('1'); window.frames_ = [];</script>
  <iframe srcdoc="<script>parent.frames_.push('srcdoc')</script>"></iframe><iframe src="/frame"></iframe>
  <script type="module" src="/hidden.js"></script></body></html>"""
TRACKERS = frozenset({"snap.licdn.com", "bat.bing.com", "static.hotjar.com", "js.hs-scripts.com"})
UNKNOWN = frozenset(f"{rel}.unknown.example" for rel in ("modulepreload", "prefetch", "stylesheet", "icon"))
_FILES = {
    "/hidden.js": ("text/javascript", HIDDEN),
    "/worker.js": ("text/javascript", WORKER),
    "/own.svg": ("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>"),
    "/frame": ("text/html", "<!doctype html><script>parent.frames_.push('frame')</script>"),
    "/done": ("text/plain", ""),
}


def hand_made(page: str = PAGE, **headers: str) -> Starlette:
    """Return a site of one page, and what belongs to it."""

    async def front(request: Request) -> Response:
        return HTMLResponse(page, headers=headers)

    async def file(request: Request) -> Response:
        kind, content = _FILES[request.url.path]
        return Response(content, media_type=kind)

    return Starlette(routes=[Route("/", front), *(Route(path, file) for path in _FILES)])


Opened = tuple[Visitor, Path]
Open = Callable[..., AbstractContextManager[Opened]]


@pytest.fixture
def opened(open_browser: OpenBrowser, tmp_path: Path) -> Open:
    """Serve a site under a policy, over HTTPS on request, and open a browser for it."""

    @contextmanager
    def open_one(app: ASGIApp, policy: Policy, *, secure: bool = False) -> Iterator[Opened]:
        governed = ConsentMiddleware(app, policy=policy, data=tmp_path / "data")
        with serve(governed, certificate=write_certificate(tmp_path) if secure else None) as port:
            demo = Demo(f"http{'s' if secure else ''}://127.0.0.1:{port}", port, None)
            visitor = open_browser(demo)
            yield visitor, DataFolder(tmp_path / "data").inventory_path
            # Before the server stops: it does not close what is open over TLS.
            visitor.context.close()

    return open_one


VIOLATIONS = """
  window.violations = [];
  document.addEventListener('securitypolicyviolation', event => violations.push(event.blockedURI + ' ' + event.effectiveDirective));
"""


def visit(visitor: Visitor) -> None:
    """Open the front page; wait until the worker is done, and then for what may come at the same time."""
    with visitor.context.expect_event("response", lambda response: response.url.endswith("/done")):
        visitor.page.goto(visitor.address + "/")
    visitor.page.wait_for_timeout(300)


def reported(path: Path, wanted: set[str]) -> dict[str, tuple[str, str]]:
    """Return kind and vendor of what was reported, by host, once all that is wanted is there."""
    deadline = time.monotonic() + 20
    while True:
        found = {
            sighting.subject: (sighting.kind, sighting.vendor)
            for sighting in SQLiteInventory(path).sightings()
            if sighting.source is Source.REPORT
        }
        if wanted <= found.keys() or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def test_enforced_it_stops_what_neither_server_nor_guard_sees(opened: Open) -> None:
    """Imports in a module, workers of both kinds, links to hosts that nobody knows; the site's own things work."""
    with opened(hand_made(), Policy(csp=CspMode.ENFORCE)) as (visitor, path):
        visitor.page.add_init_script(VIOLATIONS)
        visit(visitor)
        assert visitor.contacted().isdisjoint(TRACKERS | UNKNOWN)
        blocked = visitor.page.evaluate("violations")
        assert "https://snap.licdn.com/imported.js script-src-elem" in blocked
        assert [text for text in blocked if "unknown.example" not in text and "licdn" not in text] == []
        visitor.page.get_by_text("Hello").click()
        assert visitor.page.evaluate(
            """[inline, frames_.sort(), document.querySelector('p').title, getComputedStyle(document.querySelector('p')).color,
                [...document.images].every(image => image.naturalWidth == 1)]"""
        ) == [1, ["frame", "srcdoc"], "clicked", "rgb(0, 128, 0)", True]
        assert visitor.page_errors == []
        assert reported(path, {"snap.licdn.com", "static.hotjar.com"})["static.hotjar.com"] == (
            "connect-src",
            "hotjar",
        )


def test_reporting_it_stops_nothing_and_the_inventory_names_it(opened: Open) -> None:
    """Over plain HTTP, each with its vendor if the catalog knows one, from workers too."""
    with opened(hand_made(), Policy()) as (visitor, path):
        visit(visitor)
        visitor.await_contacts(TRACKERS | UNKNOWN)
        assert visitor.contacted() >= TRACKERS | UNKNOWN
        found = reported(path, {*TRACKERS, "modulepreload.unknown.example"})
    assert found["snap.licdn.com"] == ("script-src-elem", "linkedin-insight")
    assert found["static.hotjar.com"] == ("connect-src", "hotjar")
    assert found["js.hs-scripts.com"] == ("script-src-elem", "hubspot")
    assert found["bat.bing.com"] == ("connect-src", "microsoft-advertising")
    assert found["modulepreload.unknown.example"] == ("script-src-elem", "")
    pages = {sighting[:4]: tally.pages for sighting, tally in SQLiteInventory(path).sightings().items()}
    assert pages[Source.REPORT, "script-src-elem", "snap.licdn.com", "linkedin-insight"] == ["/"]
    assert pages[Source.REPORT, "connect-src", "static.hotjar.com", "hotjar"] == ["/worker.js"]


def test_over_https_reports_come_by_way_of_the_endpoints(opened: Open) -> None:
    """Of the page in batches, and of its worker one by one."""
    with opened(hand_made(), Policy(), secure=True) as (visitor, path):
        answer = visitor.page.goto(visitor.address + "/")
        assert answer is not None
        assert answer.header_value("reporting-endpoints") == 'consent-csp="/_consent/report"'
        found = reported(path, {"snap.licdn.com", "static.hotjar.com"})
    assert found["snap.licdn.com"] == ("script-src-elem", "linkedin-insight")
    assert found["static.hotjar.com"] == ("connect-src", "hotjar")


NONCED = """<!doctype html><html><head><title>Page</title><script nonce="r4nd0m">window.one = 1</script>
  <script>window.never = 1</script><style nonce="r4nd0m">p { color: green }</style></head><body><p>Hello</p>
  <script nonce="r4nd0m">const script = document.createElement('script'); script.src = '/hidden.js'; script.type = 'module';
  document.body.append(script);</script></body></html>"""


def test_a_page_with_nonces_of_its_own_works_as_before(opened: Open) -> None:
    """What it forbids stays forbidden, what it trusts runs, and the banner is there; nothing hidden gets out."""
    own = (
        "script-src 'nonce-r4nd0m' 'strict-dynamic'; style-src 'self' 'nonce-r4nd0m'; worker-src 'self' blob:"
    )
    site = hand_made(NONCED, **{"content-security-policy": own})
    with opened(site, Policy(csp=CspMode.ENFORCE)) as (visitor, _):
        visit(visitor)
        assert visitor.page.evaluate(
            "[one, window.never, getComputedStyle(document.querySelector('p')).color, !!window.consent]"
        ) == [1, None, "rgb(0, 128, 0)", True]
        assert visitor.page.locator(".consent-banner").is_visible()
        visitor.page.get_by_role("button", name="Refuse all", exact=True).click()
        visitor.page.wait_for_selector("[data-saved]:not(:empty)", state="attached")
        assert visitor.contacted().isdisjoint(TRACKERS | UNKNOWN)


def test_what_is_held_comes_back_with_a_new_page(opened: Open) -> None:
    """The policy of the page that held it would stop it."""
    page = "<!doctype html><body><p>Hello</p><script src='https://snap.licdn.com/x.js'></script></body>"
    policy = Policy(csp=CspMode.ENFORCE, refused=Refused.HOLD)
    with opened(hand_made(page), policy) as (visitor, _):
        visitor.go("/")
        assert visitor.page.locator("template[data-consent]").count() == 2
        visitor.press("Accept all")
        visitor.await_contacts({"snap.licdn.com"})
        assert "snap.licdn.com" in visitor.contacted()


def test_the_demo_works_under_it_in_every_state(opened: Open) -> None:
    """Nothing of its own is stopped; what was accepted arrives, from all its vendors; what was not, does not."""
    policy, _ = load_policy(HERE / "consent.toml", load_catalog())
    with opened(demo_site, dataclasses.replace(policy, csp=CspMode.ENFORCE)) as (visitor, _):
        visitor.page.add_init_script(VIOLATIONS)
        stopped: list[str] = []
        for _ in visitor.visit_everything():
            stopped += visitor.page.evaluate("violations")
        assert visitor.contacted() == BENIGN
        assert stopped == []
        visitor.go("/journal/frost-night")
        visitor.press("Accept all")
        for path in ("/", "/journal/frost-night", "/contact"):
            visitor.standin.forget()
            visitor.go(path)
            wanted = BENIGN.union(*EVERYWHERE.values(), *ADDED[path].values())
            visitor.await_contacts(wanted)
            stopped += visitor.page.evaluate("violations")
            assert wanted - visitor.contacted() == frozenset(), path
        assert stopped == []

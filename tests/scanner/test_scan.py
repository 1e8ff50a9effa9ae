"""``consent scan`` as a command, with a real Chromium, on loopback."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from consent import ConsentMiddleware, load_catalog, load_policy
from consent.cli import main
from consent.scanner import crawl, watching
from demo_site.site import HERE, site
from tests.browser.chromium import find_chromium
from tests.live import served
from tests.scanner.sites import HOSTILE, TRAPS, Endless, Seeded, on_loopback, other_banner

QUICK = ("--pause", "0", "--wait", "0.1")
SOUGHT = {
    *(
        "google-tag-manager",
        "google-analytics",
        "google-ads",
        "doubleclick",
        "google-maps",
        "youtube",
        "vimeo",
    ),
    *("meta-pixel", "linkedin-insight", "x-pixel", "tiktok-pixel", "pinterest-tag", "microsoft-clarity"),
    *(
        "microsoft-advertising",
        "hotjar",
        "hubspot",
        "freshchat",
        "freshworks-widget",
        "freshworks-crm",
        "comscore",
    ),
}
"""What the demo's four pages have, as its policy declares it, but for the newsletter's pixel behind the sign-in."""


@pytest.fixture(scope="module")
def chromium() -> str:
    """The Chromium of the other browser tests."""
    with sync_playwright() as playwright:
        return str(find_chromium(playwright)[0])


def test_the_demo_holds_what_it_declares_and_a_tracker_that_nobody_declared_is_told(
    tmp_path: Path, chromium: str
) -> None:
    """It exits with 1, names host, vendor, page and phases; all else acts after consent only."""
    policy, html = str(HERE / "consent.toml"), tmp_path / "report.html"
    app = Seeded(ConsentMiddleware(site, policy=policy, data=tmp_path / "data"))
    with on_loopback(app) as (address, options):
        command = ["scan", f"{address}/", "--policy", policy, "--json", "--html", str(html), "--pages", "4"]
        result = CliRunner().invoke(main, [*command, "--chromium", chromium, *QUICK, *options])
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    leaks = [finding for finding in told["findings"] if not finding["allowed"]]
    assert [(f["phase"], f["kind"], f["host"], f["vendor"], f["declared"], f["pages"]) for f in leaks] == [
        (phase, "image", "api-js.mixpanel.com", "mixpanel", False, ["/contact"])
        for phase in ("before", "refused")
    ]
    assert leaks[0]["initiator"].startswith("the markup in the page, line ")
    assert [f for f in told["findings"] if f["vendor"] is None] == []
    seen: dict[str, set[str]] = {}
    for finding in told["findings"]:
        if finding["category"] != "strictly-necessary" and finding["vendor"] != "this-site-functional":
            seen.setdefault(finding["phase"], set()).add(finding["vendor"])
    assert seen == {"before": {"mixpanel"}, "refused": {"mixpanel"}, "accepted": SOUGHT | {"mixpanel"}}
    assert told["proposals"]["declare"] == ["mixpanel"]
    kinds = {(finding["kind"], finding["host"]) for finding in told["findings"]}
    assert {
        ("websocket", "ws.hotjar.com"),
        ("beacon", "analytics.tiktok.com"),
        ("iframe", "www.youtube.com"),
        ("cookie", "doubleclick.net"),
        ("session storage", "127.0.0.1"),
    } <= kinds
    cookies = {f["subject"]: f for f in told["findings"] if f["kind"] == "cookie"}
    assert (cookies["FPID"]["http_only"], cookies["_fbp"]["http_only"]) == (True, False)
    assert cookies["_fbp"]["initiator"] == "connect.facebook.net/en_US/fbevents.js"
    assert "consent" not in cookies
    assert [[page["status"] for page in phase["pages"]] for phase in told["phases"]] == [[200] * 4] * 3
    assert "1 tracker acts without consent" in html.read_text()
    assert _too_wide(html, chromium) == []


def _too_wide(html: Path, chromium: str) -> list[str]:
    """Return what does not fit into a page that is as narrow as a phone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.goto(html.as_uri())
        found: list[str] = page.evaluate(
            """() => [document.documentElement, ...document.querySelectorAll(".scroll, tbody td, tbody th")]
                .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.outerHTML.slice(0, 200))"""
        )
        browser.close()
    return found


def test_a_site_may_have_no_robots_txt(chromium: str) -> None:
    """An answer without a body, which the browser shows a page of its own for, is in nobody's way."""

    async def page(request: Request) -> Response:
        return HTMLResponse("<p>Hello")

    async def missing(request: Request) -> Response:
        return HTMLResponse("", 404)

    with on_loopback(Starlette(routes=[Route("/", page), Route("/robots.txt", missing)])) as (
        address,
        options,
    ):
        result = CliRunner().invoke(main, ["scan", address, "--chromium", chromium, *QUICK, *options])
    assert (result.exit_code, "1 page: before a choice" in result.output) == (0, True), result.output


def test_a_robots_txt_that_cannot_be_read_allows_nothing(chromium: str) -> None:
    """One that browsers save is there all the same."""

    async def robots(request: Request) -> Response:
        return Response("User-agent: *\nDisallow: /", media_type="application/octet-stream")

    with on_loopback(Starlette(routes=[Route("/robots.txt", robots)])) as (address, options):
        result = CliRunner().invoke(main, ["scan", address, "--chromium", chromium, *QUICK, *options])
    assert (result.exit_code, "robots.txt cannot be read" in result.output) == (2, True)


def test_a_site_that_means_no_good_is_looked_at_within_bounds(
    tmp_path: Path, chromium: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Endless links end, and so do pages without an end, redirects, dialogs, windows, frames, loops and what never
    rests; nothing is sent or left, robots.txt is obeyed; what pages do behind the scenes is seen."""
    trap, html = Endless(), tmp_path / "report.html"
    for name, seconds in (("PAGE_SECONDS", 6.0), ("SETTLE_SECONDS", 0.3)):
        monkeypatch.setattr(crawl, name, seconds)
    monkeypatch.setattr(watching, "ANSWER_SECONDS", 0.6)
    began = time.monotonic()
    with on_loopback(trap.app) as (address, options):
        pages = 4 + len(TRAPS) + 2
        command = ["scan", f"{address}/", "--json", "--html", str(html), "--pages", str(pages)]
        result = CliRunner().invoke(main, [*command, "--chromium", chromium, *QUICK, *options])
    assert result.exit_code == 0, result.output
    assert time.monotonic() - began < 100
    told = json.loads(result.stdout)
    (phase,) = told["phases"]
    assert (len(phase["pages"]), phase["stopped"]) == (pages, f"{pages} pages")
    opened = [page["url"].removeprefix(address) for page in phase["pages"]]
    assert opened[:-2] == ["/", "/p/1", "/a/2", "/away", *(f"/{name}" for name in TRAPS)]
    assert {line for line in trap.asked if not line.startswith("GET /more-")} <= {
        *("GET /popup", "GET /asked", "GET /favicon.ico"),
        *(f"GET {path}" for path in opened),
    }
    problems = {path: page["problem"] for path, page in zip(opened, phase["pages"], strict=True)}
    assert {path: problems[path] for path in ("/away", "/endless", "/loop", "/download", "/hang")} == {
        "/away": "it leads away from the pages that may be opened",
        "/endless": "it did not load within 6 seconds",
        "/loop": "it redirects without an end",
        "/download": "it is a file to save, not a page",
        "/hang": "it did not load within 6 seconds",
    }
    assert any("robots.txt asks asgi-consent-scan to leave 1 " in note for note in told["notes"])
    assert any("elsewhere.example" in note for note in told["notes"])
    kinds = {(finding["kind"], finding["host"]) for finding in told["findings"]}
    assert {
        ("script", "unknown.example"),
        ("fetch", "worker.example"),
        ("websocket", "socket.example"),
        ("preconnect", "early.example"),
        ("IndexedDB", "127.0.0.1"),
    } <= kinds
    assert "leaving.example" in {host for _, host in kinds}
    assert {host for _, host in kinds} & {"evil.example", "elsewhere.example"} == set()
    assert [(f["techniques"].keys(), f["likely"]) for f in told["fingerprinting"]] == [
        ({"canvas", "fonts", "plugins", "device"}, True)
    ]
    assert HOSTILE in {finding["subject"] for finding in told["findings"]}
    assert '<script src="https://evil' not in html.read_text()


def test_init_declares_what_acts_after_a_consent_to_another_banner(tmp_path: Path, chromium: str) -> None:
    """Its button is named by a selector; what the site keeps itself is left to describe. The file starts the app."""
    output = tmp_path / "consent.toml"
    with on_loopback(other_banner) as (address, options):
        command = ["init", f"{address}/", "--output", str(output), "--accept", "#yes"]
        result = CliRunner().invoke(main, [*command, "--chromium", chromium, *QUICK, *options])
    assert result.exit_code == 0, result.output
    assert "purpose and category of 1 cookie of your own" in result.stdout
    policy, _ = load_policy(output, load_catalog())
    assert [vendor.id for vendor in policy.vendors] == ["microsoft-advertising"]
    assert '# name = "said"' in output.read_text()
    with served(ConsentMiddleware(other_banner, policy=output, data=tmp_path / "data")) as address:
        checked = CliRunner().invoke(main, ["check", "--policy", str(output), address])
    assert (checked.exit_code, "1 tracker found, 1 withheld, 0 leaked" in checked.output) == (0, True)


def test_what_cannot_be_scanned_exits_with_2(tmp_path: Path) -> None:
    """No address, no browser there: one line that says so."""
    nonsense = CliRunner().invoke(main, ["scan", "www fernwell example"])
    assert (nonsense.exit_code, nonsense.stderr) == (
        2,
        "Error: www fernwell example is no address of a page: write it as https://www.example.com/\n",
    )
    missing = CliRunner().invoke(main, ["scan", "http://127.0.0.1:1/", "--chromium", str(tmp_path / "none")])
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert missing.stderr == (
        f"Error: {tmp_path}/none is no program that can be started: name Chromium's with --chromium\n"
    )

"""`consent check`: what a visitor without consent gets, told from outside, with an exit code for CI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from consent import ConsentMiddleware
from consent.cli import main
from consent.policy import Policy, Refused
from tests.live import served

TRACKED = """<!doctype html><html><head>
<script async src="https://www.googletagmanager.com/gtag/js?id=G-0000000000"></script>
<script>window.fbq=window.fbq||function(){};fbq('init','0000000000');</script>
<script src="https://cdn.jsdelivr.net/npm/example@1/dist/example.js"></script>
</head><body><img src="https://pictures.example.net/a.png">
<noscript><img src="https://www.facebook.com/tr?id=0000000000&amp;ev=PageView"></noscript></body></html>"""
CLEAN = "<!doctype html><p>Nothing to see</p>"


async def tracked(request: Request) -> Response:
    response = HTMLResponse(TRACKED)
    response.set_cookie("_ga", "GA1.1.1.1")
    return response


async def clean(request: Request) -> Response:
    return HTMLResponse(CLEAN)


async def moved(request: Request) -> Response:
    response = RedirectResponse("/clean")
    response.set_cookie("_fbp", "fb.1.1.1")
    return response


async def loop(request: Request) -> Response:
    return RedirectResponse("/loop")


async def holding(request: Request) -> Response:
    """Hold a tracker for the right consent, and for the wrong one."""
    script = '<script src="https://connect.facebook.net/en_US/fbevents.js"></script>'
    return HTMLResponse(
        f'<template data-consent="targeting/meta-pixel">{script}</template>'
        f'<template data-consent="functional/youtube">{script}</template>'
    )


async def text(request: Request) -> Response:
    return PlainTextResponse("just text")


async def missing(request: Request) -> Response:
    return HTMLResponse(CLEAN, status_code=404)


async def failing(request: Request) -> Response:
    return HTMLResponse(TRACKED, status_code=500)


async def coded(request: Request) -> Response:
    return HTMLResponse("what nobody asked for", headers={"content-encoding": "dcz"})


async def dripping(request: Request) -> Response:
    async def drops() -> AsyncIterator[str]:
        while True:
            yield "<p>"
            await asyncio.sleep(0.05)

    return StreamingResponse(drops(), media_type="text/html")


REPORT = '<script type="application/json" id="consent-report">'
FINDING = {"action": "stripped", "kind": "k\x1b[2J", "subject": "s\n\u202e\ud800", "vendor": "v", "name": "n"}


async def hostile(request: Request) -> Response:
    """Speak to the terminal, by a URL and by the account of what was withheld."""
    report = json.dumps({"findings": [{**FINDING, "category": "\x9b1m"}]})
    picture = '<img src="https://pictures.example.net/&#27;]0;x&#7;">'
    return HTMLResponse(f"{picture}{REPORT}{report}</script>")


async def nested(request: Request) -> Response:
    return HTMLResponse(f"{REPORT}{'[' * 100_000}</script>")


async def begun(request: Request) -> Response:
    """Begin an account a hundred thousand times, and end none."""
    return HTMLResponse(REPORT * 100_000)


SITE = Starlette(
    routes=[
        Route("/", tracked),
        Route("/clean", clean),
        Route("/moved", moved),
        Route("/loop", loop),
        Route("/holding", holding),
        Route("/text", text),
        Route("/missing", missing),
        Route("/failing", failing),
        Route("/coded", coded),
        Route("/dripping", dripping),
        Route("/hostile", hostile),
        Route("/nested", nested),
        Route("/begun", begun),
    ]
)


@pytest.fixture(scope="module")
def bare() -> Iterator[str]:
    with served(SITE) as address:
        yield address


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(ConsentMiddleware(SITE, data=tmp_path_factory.mktemp("data"))) as address:
        yield address


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["check", *arguments])
    return result.exit_code, result.output


def test_a_governed_site_withholds_all_that_is_found(governed: str) -> None:
    """Four trackers found, four withheld; the package CDN is allowed; the unknown host is named."""
    code, output = run(f"{governed}/")
    assert code == 0, output
    assert "4 trackers found, 4 withheld, 0 leaked, 1 unclassified" in output
    assert "unclassified unknown" in output
    assert "pictures.example.net/a.png" in output


def test_a_bare_site_leaks_and_the_exit_code_says_so(bare: str) -> None:
    """The positive control: the same site without the middleware."""
    code, output = run(f"{bare}/")
    assert code == 1
    assert "4 trackers found, 0 withheld, 4 leaked, 1 unclassified" in output
    assert "Google Analytics" in output
    assert "is ConsentMiddleware mounted?" in output


def test_json_has_one_object_a_page(governed: str, bare: str) -> None:
    """--json is for scripts: one line a page, everything in it."""
    code, output = run("--json", f"{governed}/", f"{bare}/clean")
    assert code == 0, output
    first, second = (json.loads(line) for line in output.splitlines())
    assert (first["found"], first["governed"], second["found"], second["governed"]) == (4, True, 0, False)
    assert {item["kind"] for item in first["withheld"]} == {"script", "inline script", "img", "cookie"}
    assert [item["vendor"] for item in first["left"]] == ["jsdelivr"]


def test_cookies_set_on_the_way_count(bare: str) -> None:
    """A tracker's cookie on a redirect is a leak as much as one on the page."""
    code, output = run(f"{bare}/moved")
    assert code == 1
    assert "cookie _fbp" in output


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/loop", "redirects more than 5 times"),
        ("/text", "is not an HTML page but text/plain"),
        ("/missing", "/missing answered 404: name a page that visitors without consent can see"),
        ("/coded", "it is in the coding dcz, which was not asked for"),
    ],
)
def test_what_cannot_be_checked_is_no_success(bare: str, path: str, said: str) -> None:
    """Exit code 2, with the reason."""
    code, output = run(f"{bare}{path}")
    assert code == 2
    assert said in " ".join(output.split())


def test_what_leaks_from_an_error_page_is_told(bare: str) -> None:
    """Visitors see error pages, too."""
    code, output = run(f"{bare}/failing")
    assert code == 1
    assert "3 trackers found, 0 withheld, 3 leaked, 1 unclassified" in output


def test_a_page_that_never_ends_is_given_up(bare: str) -> None:
    """The time to wait is for all of the page, however often a little more of it comes."""
    code, output = run("--timeout", "0.5", f"{bare}/dripping")
    assert code == 2
    assert "it did not end within 0.5 seconds" in " ".join(output.split())


def test_a_page_cannot_speak_to_the_terminal(bare: str) -> None:
    """Whatever is not a plain character is spelled out: escapes, new lines, what turns the text around."""
    code, output = run(f"{bare}/hostile")
    assert code == 0
    assert r"n (\x9b1m)" in output
    assert r"k\x1b[2J s\n\u202e\ud800" in output
    assert r"img pictures.example.net/\x1b]0;x\x07" in output


def test_what_a_page_holds_until_it_is_allowed_is_withheld(bare: str) -> None:
    """Where it waits for the consent of the one whose it is."""
    code, output = run(f"{bare}/holding")
    assert code == 1
    assert "2 trackers found, 1 withheld, 1 leaked, 0 unclassified" in output


def test_what_a_governed_site_holds_is_counted_once(tmp_path: Path) -> None:
    """It is in the site's account, and in the page."""
    policy = Policy(refused=Refused.HOLD)
    with served(ConsentMiddleware(SITE, policy=policy, data=tmp_path)) as address:
        code, output = run(f"{address}/")
    assert code == 0, output
    assert "4 trackers found, 4 withheld, 0 leaked, 1 unclassified" in output


@pytest.mark.parametrize("path", ["/nested", "/begun"])
def test_an_account_that_cannot_be_read_is_none(bare: str, path: str) -> None:
    """However deep it is, and in time that grows no faster than the page."""
    code, output = run(f"{bare}{path}")
    assert code == 0
    assert "0 trackers found, 0 withheld, 0 leaked, 0 unclassified" in output


def test_an_unreachable_address_is_named() -> None:
    """Nobody listens on port 9 of loopback."""
    code, output = run("--timeout", "2", "http://127.0.0.1:9/")
    assert code == 2
    assert "http://127.0.0.1:9/ could not be fetched" in " ".join(output.split())


def test_a_sites_own_vendors_count(bare: str, tmp_path: Path) -> None:
    """With --policy the site's own additions to the catalog are known."""
    policy = tmp_path / "consent.toml"
    policy.write_text(
        "[[vendor]]\n"
        'id = "example-pictures"\nname = "Example Pictures"\ncompany = "Example Ltd"\ncountry = "IE"\n'
        'privacy = "https://pictures.example.net/privacy"\ncategory = "targeting"\n'
        'about = "Counts who looks at pictures."\nhosts = ["pictures.example.net"]\n'
    )
    code, output = run("--policy", str(policy), f"{bare}/")
    assert code == 1
    assert "5 trackers found, 0 withheld, 5 leaked, 0 unclassified" in output


@pytest.mark.parametrize(
    ("path", "rules", "said"),
    [
        (
            "/",
            '[[rule]]\nhosts = ["127.0.0.1"]\npolicy = "own.toml"',
            "4 trackers found, 0 withheld, 4 leaked, 0 ",
        ),
        (
            "/",
            '[[rule]]\nhosts = ["localhost"]\npolicy = "own.toml"',
            "4 trackers found, 0 withheld, 4 leaked, 1 ",
        ),
        ("/failing", '[[rule]]\npaths = ["/failing"]\nunclassified = "strip"', "4 leaked, 0 unclassified"),
        ("/failing", '[[rule]]\npaths = ["/fail"]\nunclassified = "strip"', "3 leaked, 1 unclassified"),
        (
            "/failing",
            '[[rule]]\npaths = ["/failing"]\nunclassified = "strip"\ncsp_allow = ["*.example.net"]',
            "3 leaked, 0 unclassified",
        ),
    ],
)
def test_the_rules_about_a_page_count(bare: str, tmp_path: Path, path: str, rules: str, said: str) -> None:
    """By its host and path: another policy's vendors, and what becomes of what nobody has explained."""
    (tmp_path / "own.toml").write_text(
        "[[vendor]]\n"
        'id = "example-pictures"\nname = "Example Pictures"\ncompany = "Example Ltd"\ncountry = "IE"\n'
        'privacy = "https://pictures.example.net/privacy"\ncategory = "strictly-necessary"\n'
        'about = "Shows pictures."\nhosts = ["pictures.example.net"]\n'
    )
    (tmp_path / "consent.toml").write_text(rules)
    assert said in run("--policy", str(tmp_path / "consent.toml"), f"{bare}{path}")[1]


def test_help_reads_well() -> None:
    """`consent --help` names the commands with what they are for, and shows two calls."""
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for line in ("consent check http://127.0.0.1:8000/", "check ", "receipts "):
        assert line in result.output

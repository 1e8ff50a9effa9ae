"""`consent check`: what a visitor without consent gets, told from outside, with an exit code for CI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from consent import ConsentMiddleware
from consent.cli import main
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


async def text(request: Request) -> Response:
    return PlainTextResponse("just text")


SITE = Starlette(
    routes=[
        Route("/", tracked),
        Route("/clean", clean),
        Route("/moved", moved),
        Route("/loop", loop),
        Route("/text", text),
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
    [("/loop", "redirects more than 5 times"), ("/text", "is not an HTML page but text/plain")],
)
def test_what_cannot_be_checked_is_no_success(bare: str, path: str, said: str) -> None:
    """Exit code 2, with the reason."""
    code, output = run(f"{bare}{path}")
    assert code == 2
    assert said in " ".join(output.split())


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


def test_help_reads_well() -> None:
    """`consent --help` names the commands with what they are for, and shows two calls."""
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for line in ("consent check http://127.0.0.1:8000/", "check ", "receipts "):
        assert line in result.output

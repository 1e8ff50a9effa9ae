"""After a withdrawal nothing is left that vendors kept and anybody on the site can reach, whatever kind it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from consent import ConsentMiddleware
from tests.browser.conftest import OWN_NAME, Demo, OpenBrowser, serve
from tests.browser.standin import write_certificate

PAGE = "/shop/cart/item"
# Each kind under a name of its own: for the host and for the whole domain, at each path, seen by scripts or not.
VENDORS = [
    "_ga=1; Path=/; Domain=fernwell.example",
    "_gid=1; Path=/; HttpOnly; SameSite=Strict",
    f"_ga_A=1; Path=/shop/cart; Domain={OWN_NAME}",
    "_ga_B=1; Path=/shop/; HttpOnly; Secure; Domain=fernwell.example",
    "_fbp=1; Path=/; HttpOnly; Secure; SameSite=None; Partitioned",
    "_hjSession_A=1; Path=/shop; HttpOnly; Secure; SameSite=None; Partitioned; Domain=fernwell.example",
]
OWN = ["basket=1; Path=/shop; HttpOnly", "seat=1; Path=/; Secure; SameSite=None; Partitioned"]
STORE = """async () => {
  for (const key of ['li_adsId', 'onetag_sid', '33acrossId', 'cto_a', 'cto_b', '_li_duid', 'mine'])
    localStorage[key] = '1';
  sessionStorage._cltk = sessionStorage.mine = '1';
  for (const name of ['ONE_SIGNAL_SDK_DB', 'mine'])
    await new Promise(done => indexedDB.open(name).onsuccess = event => { event.target.result.close(); done(); });
}"""
STORED = """async () => [Object.keys(localStorage), Object.keys(sessionStorage),
  (await indexedDB.databases()).map(base => base.name).sort()]"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Demo]:
    """A page over HTTPS that sets what it may."""

    async def page(request: Request) -> HTMLResponse:
        answer = HTMLResponse(
            "<!doctype html><html lang=en><head><title>Cart</title></head><body>Cart</body>"
        )
        if request.state.consent.allows("targeting"):
            for line in (*VENDORS, *OWN):
                answer.raw_headers.append((b"set-cookie", line.encode()))
        return answer

    app = ConsentMiddleware(Starlette(routes=[Route(PAGE, page)]), data=tmp_path / "data")
    with serve(app, certificate=write_certificate(tmp_path)) as port:
        yield Demo(f"https://{OWN_NAME}", port, None)


def names(lines: list[str]) -> set[str]:
    return {line.partition("=")[0] for line in lines}


@pytest.mark.parametrize("javascript", [True, False])
def test_whatever_vendors_kept_is_gone(shop: Demo, open_browser: OpenBrowser, javascript: bool) -> None:
    """One step from the page: cookies of every Domain, Path and jar, HttpOnly too; storage and databases by scripts."""
    visitor = open_browser(shop, javascript=javascript)
    visitor.go(PAGE)
    visitor.press("Accept all", within=".consent-banner")
    visitor.go(PAGE)
    assert visitor.own_cookies() == names([*VENDORS, *OWN]) | {"consent"}
    if javascript:
        visitor.page.evaluate(STORE)
    visitor.press("Cookie choices")
    visitor.press("Withdraw all", within=".consent-preferences")
    assert visitor.page.url == f"https://{OWN_NAME}{PAGE}"
    for _ in range(20):  # those that come only with this page may need more than one
        if visitor.own_cookies() == names(OWN) | {"consent"}:
            break
        visitor.go(PAGE)
    assert visitor.own_cookies() == names(OWN) | {"consent"}
    if javascript:
        visitor.page.wait_for_function("indexedDB.databases().then(found => found.length == 1)")
        assert visitor.page.evaluate(STORED) == [["mine"], ["mine"], ["mine"]]

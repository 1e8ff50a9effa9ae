"""Google's tag in Chromium, where the policy lets it load before anybody agreed: it loads, and that is all."""

# ruff: noqa: E501 - the long lines are JavaScript and HTML
from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Route as Caught
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from consent import ConsentMiddleware, load_catalog
from consent.policy import CacheMode, CspMode, GoogleMode, Interfaces, Policy
from tests.browser.conftest import Demo, OpenBrowser, Visitor, serve
from tests.guard.test_interfaces import DENIED, GRANTED

PAGE = """<!doctype html><html lang="en"><head><title>Shop</title>
<script async src="https://www.googletagmanager.com/gtag/js?id=G-ABC1234567"></script>
<script>window.dataLayer = window.dataLayer || []; function gtag() { dataLayer.push(arguments); }
gtag('js', 1); gtag('config', 'G-ABC1234567');</script>
<script>(function (w, l) { w[l] = w[l] || []; w[l].push({'gtm.start': 1, event: 'gtm.js'});
var j = document.createElement('script'); j.src = 'https://www.googletagmanager.com/gtm.js?id=GTM-ABC123'; document.head.append(j); })(window, 'dataLayer');</script>
<script async src="https://pagead2.googlesyndication.com/pagead/js/adsbygoogle.js"></script>
<script async src="https://connect.facebook.net/en_US/fbevents.js"></script>
</head><body><main><h1>Shop</h1></main></body></html>"""
# What Google's own would do, and what it would not do if it kept its word.
TAG = """window.loaded = (window.loaded || []).concat(location.search, document.currentScript.src.split("/").pop());
document.cookie = "_ga=GA1.1.1.1"; document.cookie = "_gcl_au=1.1.1"; localStorage.setItem("_gcl_ls", "1");
navigator.sendBeacon("https://region1.google-analytics.com/g/collect?v=2&tid=G-ABC1234567&gcs=G100");
new Image().src = "https://pagead2.googlesyndication.com/ccm/collect?gcs=G100";
for (const other of ["www.google.com/ccm/collect", "stats.g.doubleclick.net/g/collect", "googleads.g.doubleclick.net/pagead/viewthroughconversion/1",
  "www.google-analytics.com/collect?v=1", "pagead2.googlesyndication.com/pagead/js/adsbygoogle.js", "www.facebook.com/tr?id=1"])
  navigator.sendBeacon("https://" + other);"""
TAG_HOST = "www.googletagmanager.com"
LET_THROUGH = {"region1.google-analytics.com": "/g/collect", "pagead2.googlesyndication.com": "/ccm/collect"}
SIGNAL = "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true, configurable: true})"


def shop(data: Path, mode: CacheMode) -> ConsentMiddleware:
    """The site of a policy in the advanced mode, whose own Content-Security-Policy is enforced."""

    async def front(request: Request) -> Response:
        answer = HTMLResponse(PAGE)
        answer.set_cookie("_ga", "server")
        answer.set_cookie("basket", "1")
        return answer

    vendors = tuple(
        load_catalog().vendors[name] for name in ("google-analytics", "google-ads", "google-tag-manager")
    )
    policy = Policy(
        vendors=vendors, csp=CspMode.ENFORCE, cache=mode, interfaces=Interfaces(google=GoogleMode.ADVANCED)
    )
    return ConsentMiddleware(Starlette(routes=[Route("/", front)]), policy=policy, data=data)


def seen(visitor: Visitor) -> dict[str, set[str]]:
    """The paths that were asked for of others, by host."""
    found: dict[str, set[str]] = {}
    for contact in visitor.standin.contacts():
        if contact.kind == "request":
            found.setdefault(contact.host, set()).add(contact.target.partition("?")[0])
    return found


def enter(open_browser: OpenBrowser, port: int, data: Path, *scripts: str, **options: Any) -> Visitor:
    visitor = open_browser(Demo(f"http://127.0.0.1:{port}", port, None), **options)

    def be_google(route: Caught) -> None:
        route.fulfill(status=200, content_type="text/javascript", body=TAG)

    visitor.context.route(f"https://{TAG_HOST}/**", be_google)
    for script in scripts:
        visitor.context.add_init_script(script)
    visitor.standin.forget()
    visitor.go("/")
    return visitor


def cookies(visitor: Visitor) -> set[str]:
    names = {str(cookie.get("name")) for cookie in visitor.context.cookies()}
    return {name for name in names if not name.startswith("consent_no_")}


COMMANDS = "dataLayer.filter(entry => entry[0]).map(entry => [...entry])"
LOADED = "(window.loaded || []).filter(Boolean).map(name => name.split('?')[0]).sort()"


def test_the_tag_loads_and_its_cookies_do_not(open_browser: OpenBrowser, tmp_path: Path) -> None:
    """Its requests without cookies pass; all else of Google stays refused, until the visitor says yes."""
    with serve(shop(tmp_path / "data", CacheMode.PER_VISITOR)) as port:
        visitor = enter(open_browser, port, tmp_path)
        assert visitor.page.evaluate(LOADED) == ["gtm.js", "js"]
        assert visitor.page.evaluate(COMMANDS)[:2] == [
            ["consent", "default", DENIED],
            ["set", "ads_data_redaction", True],
        ]
        assert ["config", "G-ABC1234567"] in visitor.page.evaluate(COMMANDS)
        assert seen(visitor) == {host: {path} for host, path in LET_THROUGH.items()}
        assert cookies(visitor) == {"basket"}
        assert visitor.page.evaluate("Object.keys(localStorage)") == []
        visitor.press("Refuse all")
        visitor.standin.forget()
        visitor.go("/")
        assert seen(visitor) == {host: {path} for host, path in LET_THROUGH.items()}
        assert cookies(visitor) == {"basket", "consent"}
        visitor.page.evaluate("consent.accept()")
        visitor.settle()
        visitor.page.wait_for_function("document.cookie.includes('_gcl_au')")
        assert visitor.page.evaluate(COMMANDS)[2] == ["consent", "update", GRANTED]
        assert cookies(visitor) >= {"_ga", "_gcl_au"}
        assert visitor.page_errors == []


def test_a_signal_keeps_the_tag_out_of_everybodys_page(open_browser: OpenBrowser, tmp_path: Path) -> None:
    """It is held for all, and given back to who sends none; who does has only what the signal is not about."""
    with serve(shop(tmp_path / "data", CacheMode.UNIFORM)) as port:
        visitor = enter(open_browser, port, tmp_path)
        visitor.page.wait_for_function("window.loaded && loaded.filter(Boolean).length == 2")
        visitor.settle()
        assert seen(visitor) == {host: {path} for host, path in LET_THROUGH.items()}
        assert cookies(visitor) == {"basket"}
        other = enter(open_browser, port, tmp_path, SIGNAL)
        other.page.wait_for_function("window.loaded && loaded.filter(Boolean).length == 1")
        other.settle()
        assert other.page.evaluate(LOADED) == ["js"]
        assert seen(other) == {"region1.google-analytics.com": {"/g/collect"}}

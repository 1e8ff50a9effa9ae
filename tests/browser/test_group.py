"""A link from one site of a group to another, in Chromium, which keeps third parties from their cookies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from playwright.sync_api import BrowserContext, Playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from consent import ConsentMiddleware
from consent.policy import CacheMode, Policy
from tests.browser.conftest import serve
from tests.browser.standin import write_certificate

SITES = {
    CacheMode.PER_VISITOR: ("www.one.example", "www.two.example"),
    CacheMode.UNIFORM: ("www.three.example", "www.four.example"),
}


def site(policy: Policy, data: Path, other: str) -> ASGIApp:
    """A page with two links to the other site: one to its page, and one as for who has no script."""

    async def page(request: Request) -> HTMLResponse:
        there = f"https://{other}/x?y=1#z"
        plain = "/_consent/group/go?to=" + there.replace("#", "%23")
        return HTMLResponse(
            '<!doctype html><html lang="en"><head><title>x</title></head><body>'
            f'<a id="link" href="{there}">There</a> <a id="plain" href="{plain}">There</a></body></html>'
        )

    app = Starlette(routes=[Route("/{path:path}", page)])
    return ConsentMiddleware(app, policy=policy, data=data)


def test_a_choice_goes_along_with_a_link(playwright: Playwright, chromium: Path, tmp_path: Path) -> None:
    """By the script from an ordinary link, and without it; the address that is left is the link's own.

    Where each visitor gets their own pages, and where everybody gets the same.
    """
    sites: dict[str, ASGIApp] = {}
    for mode, (one, two) in SITES.items():
        policy = Policy(language="en", cache=mode, group=(f"https://{one}", f"https://{two}"))
        for host, other in ((one, two), (two, one)):
            data = tmp_path / host
            data.mkdir(mode=0o700)
            if host == two:
                shutil.copy(tmp_path / one / "group-keys", data)
            sites[host] = site(policy, data, other)

    async def by_host(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await sites[dict(scope["headers"])[b"host"].decode()](scope, receive, send)

    with serve(by_host, certificate=write_certificate(tmp_path)) as port:
        for mode, (one, two) in SITES.items():
            for scripted in (True, False):
                if mode is CacheMode.UNIFORM and not scripted:
                    continue  # the page says nothing of what was chosen then
                profile = tmp_path / f"{mode}-{scripted}"
                context = opened(playwright, chromium, profile, port, scripted=scripted)
                try:
                    follow(context, one, two, link="#link" if scripted else "#plain")
                finally:
                    context.close()


def follow(context: BrowserContext, one: str, two: str, *, link: str) -> None:
    page = context.pages[0]
    visited: list[str] = []
    page.on("framenavigated", lambda frame: visited.append(frame.url))
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"https://{one}/")
    if link == "#link":
        # Who has not answered takes nothing along, and the link leads where it says.
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page.click(link)
        page.wait_for_url(f"https://{two}/x?y=1#z")
        assert not [url for url in asked if "/group/" in url]
        page.goto(f"https://{one}/")
    page.locator(".consent-banner").get_by_role("button", name="Refuse all", exact=True).click()
    page.wait_for_selector(".consent-banner", state="detached")
    page.click(link)
    page.wait_for_url(f"https://{two}/x?y=1#z")
    page.wait_for_selector(".consent-banner", state="detached")
    assert visited[-1] == f"https://{two}/x?y=1#z"
    # Also where something is clicked that is no link.
    assert errors == []
    assert not [url for url in visited if "/group/" in url]
    cookies = {(cookie.get("domain"), cookie.get("name")) for cookie in context.cookies()}
    assert {domain for domain, name in cookies if name == "consent"} == {one, two}
    assert not [name for _, name in cookies if str(name).endswith("consent_group")]


def opened(
    playwright: Playwright, chromium: Path, profile: Path, port: int, *, scripted: bool
) -> BrowserContext:
    preferences = profile / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True)
    # 1: no cookies for third parties.
    preferences.write_text(json.dumps({"profile": {"cookie_controls_mode": 1}}))
    hosts = ", ".join(f"MAP {host} 127.0.0.1:{port}" for pair in SITES.values() for host in pair)
    return playwright.chromium.launch_persistent_context(
        profile,
        executable_path=chromium,
        args=[
            "--no-sandbox",
            "--ignore-certificate-errors",
            f"--host-resolver-rules={hosts}, MAP * ^NOTFOUND",
        ],
        java_script_enabled=scripted,
    )

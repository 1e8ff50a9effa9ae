"""Sites to scan: the demo with a tracker that nobody declared, and one that means no good."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.browser.conftest import BROWSERS_OWN_HOSTS
from tests.browser.standin import StandIn
from tests.live import served

SEED = b'<img alt="" src="https://api-js.mixpanel.com/track/?data=e30">'


class Seeded:
    """Adds a pixel to one page after the middleware has read it, as a proxy in front of it may."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/contact":
            await self._app(scope, receive, send)
            return

        async def seeding(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [h for h in message["headers"] if h[0] != b"content-length"]
            else:
                message["body"] = message.get("body", b"").replace(b"</main>", SEED + b"</main>")
            await send(message)

        await self._app(scope, receive, seeding)


HOSTILE = '</td><script src="https://evil.example/x.js"></script>\u202e'
FRONT = """<!doctype html><html lang="en"><title>Endless</title>
<a href="/p/1">1</a> <a href="/a/2">2</a> <a href="/private/secret">no</a> <a href="/session/end">Log out</a>
<a href="/logout">x</a> <a href="/file.pdf">pdf</a> <a href="https://elsewhere.example/">away</a> <a href="/away">go</a>
<a href="mailto:a@b.example">mail</a> <form method="post" action="/changed"><button>Send</button></form>
TRAPS
<script src="https://unknown.example/tag.js?who=1"></script><link rel="preconnect" href="https://early.example">
<script>
document.cookie = "own=1; Max-Age=2592000; SameSite=Lax";
localStorage.setItem("KEY", "1");
const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
for (let i = 0; i < 60; i++) { context.font = "12px font" + i; context.measureText("mmm"); }
canvas.toDataURL(); navigator.plugins.length; navigator.hardwareConcurrency;
new Worker(URL.createObjectURL(new Blob(["fetch('https://worker.example/x', {mode: 'no-cors'})"])));
new WebSocket("wss://socket.example/");
addEventListener("pagehide", () => navigator.sendBeacon("https://leaving.example/x", "1"));
indexedDB.open("base");
window.open("/popup");
setTimeout(() => document.forms[0].submit(), 50);
</script>"""
TRAPS = {
    "endless": "",
    "loop": "",
    "download": "",
    "dialog": """<script>onbeforeunload = event => event.preventDefault();
        alert(1); confirm(2); prompt(3); setInterval(() => alert(4), 1);</script>""",
    "windows": "<script>setInterval(() => open('/popup?' + Math.random()), 20)</script>",
    "restless": """<meta http-equiv="refresh" content="0">
        <script>setInterval(() => { location = "/restless?" + Math.random(); }, 10)</script>""",
    "busy": "<script>setInterval(() => fetch('/asked?' + Math.random()), 10)</script>",
    "huge": """<script>
        for (let n = 0; n < 30000; n++)
            document.body.append(Object.assign(document.createElement("a"), {href: "/n/" + n}));
        </script>""",
    "jar": """<script>for (let n = 0; n < 10000; n++) document.cookie = "c" + n + "=" + n;
        for (let n = 0; n < 10000; n++) localStorage["k" + n] = n;</script>""",
    "frames": """<script>setInterval(() => {
        for (let n = 0; n < 9; n++) document.body.append(document.createElement("iframe"));
        });</script>""",
    "hang": "<script>for (;;);</script>",
}
"""What a page may do to whoever looks at it."""
_LINKS = " ".join(f'<a href="/{name}">{name}</a>' for name in TRAPS)
FRONT = FRONT.replace("TRAPS", _LINKS).replace("KEY", HOSTILE.replace("/", "\\/").replace('"', '\\"'))


class Endless:
    """A site without an end, which asks to be left alone in parts; it remembers which pages were opened."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._numbers = itertools.count()
        self.app = Starlette(
            routes=[
                Route("/robots.txt", self._robots),
                Route("/away", self._away),
                Route("/{rest:path}", self._page, methods=["GET", "POST"]),
            ]
        )

    async def _robots(self, request: Request) -> Response:
        return PlainTextResponse("User-agent: *\nDisallow: /private/\n")

    async def _away(self, request: Request) -> Response:
        self.asked.append("GET /away")
        return RedirectResponse("https://elsewhere.example/")

    async def _page(self, request: Request) -> Response:
        self.asked.append(f"{request.method} {request.url.path}")
        name = request.url.path.strip("/")
        if not name:
            return HTMLResponse(FRONT)
        if name == "endless":
            return StreamingResponse(_drops(), media_type="text/html")
        if name == "loop":
            return RedirectResponse(f"/loop?{next(self._numbers)}")
        if name == "download":
            return PlainTextResponse("x" * 1_000, headers={"content-disposition": "attachment"})
        if name in TRAPS:
            return HTMLResponse(f"<!doctype html><title>Trap</title><body>{TRAPS[name]}")
        names = ("x" * next(self._numbers) for _ in "ab")
        links = " ".join(f'<a href="/more-{name}y">more</a>' for name in names)
        return HTMLResponse(f"<!doctype html><title>More</title>{links}")


async def _drops() -> AsyncIterator[str]:
    while True:
        yield "<p>more"
        await asyncio.sleep(0.05)


OTHER_BANNER = """<!doctype html><html lang="en"><title>Other</title><button id="no">No</button>
<button id="yes">Yes</button><script>
if (document.cookie.includes("said=yes")) new Image().src = "https://bat.bing.com/x";
no.onclick = () => { document.cookie = "said=no"; };
yes.onclick = () => { document.cookie = "said=yes"; location.reload(); };
</script>"""


async def _other(request: Request) -> Response:
    return HTMLResponse(OTHER_BANNER)


other_banner = Starlette(routes=[Route("/", _other)])
"""A site with a banner that is not ours."""


@contextmanager
def on_loopback(app: ASGIApp) -> Iterator[tuple[str, list[str]]]:
    """Serve a site, with a stand-in for everybody else; give its address, and the options that lead there."""
    with StandIn() as standin, served(app) as address:
        rules = [f"MAP {host} ^NOTFOUND" for host in BROWSERS_OWN_HOSTS]
        rules += [f"MAP * 127.0.0.1:{standin.port}", "EXCLUDE 127.0.0.1"]
        given = ("--no-sandbox", "--ignore-certificate-errors", "--host-resolver-rules=" + ", ".join(rules))
        yield address, [f"--chromium-arg={argument}" for argument in given]

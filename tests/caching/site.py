"""A small site, served by uvicorn, behind nginx with the configuration of the documentation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

from starlette.types import Receive, Scope, Send

from consent import ConsentMiddleware, Policy
from consent.policy import CacheMode
from tests.browser.conftest import serve
from tests.caching.nginx import free_port, running

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
HOST = "www.shop.example"
TRACKERS = {
    "performance": "static.hotjar.com",
    "functional": "www.youtube.com",
    "targeting": "snap.licdn.com",
}
"""One host of a vendor in each category."""
TYPES = {"css": b"text/css", "js": b"text/javascript"}
PAGE = """<!doctype html>
<html lang="en"><head><title>A page</title></head><body><h1>{path}</h1>
<script src="https://static.hotjar.com/c/hotjar-1.js"></script>
<script src="https://snap.licdn.com/li.lms-analytics/insight.min.js"></script>
<iframe title="film" src="https://www.youtube.com/embed/x"></iframe>
<script>window.own = true</script></body></html>"""


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer: pages that may be shared for a minute, and two that may not; a style sheet that names trackers."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    if path == "/slow.js":
        await asyncio.sleep(0.5)
    body = PAGE.format(path=path).encode()
    headers = [
        (b"content-type", TYPES.get(path.rpartition(".")[2], b"text/html; charset=utf-8")),
        # The slow script is slow every time: no browser keeps it.
        (b"cache-control", b"no-store" if path == "/slow.js" else b"public, max-age=60"),
        (b"etag", b'"1"'),
        (b"link", b"<https://static.hotjar.com>; rel=preconnect"),
    ]
    if path == "/slow":
        # It is drawn long before it is whole.
        body = body.replace(b"</body>", b'</body><script src="/slow.js"></script>')
    elif path == "/login":
        headers.append((b"set-cookie", b"session=1"))
    elif path == "/nonce":
        headers.append((b"content-security-policy", b"script-src 'self' https: 'nonce-abc'"))
    elif path == "/named.css":
        body = b'@import "https://static.hotjar.com/a.css"; @import "https://snap.licdn.com/a.css";'
    elif "." in path:
        body = b"/* own */"
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def documented(mode: CacheMode) -> str:
    """Return the configuration that the documentation gives for ``mode``."""
    section = re.search(rf"^### `{mode}`\n(.*?)^##", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert section
    (block,) = re.findall(r"^```nginx\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)
    return str(block)


@dataclass(frozen=True)
class Served:
    """A site, with and without the cache in front."""

    origin: int
    cache: int


@contextmanager
def behind(mode: CacheMode, folder: Path, *, sites: str | None = None) -> Iterator[Served]:
    """Serve the site in ``mode``, with the documented configuration or with ``sites`` in front."""
    policy = Policy(site="Example Shop", cache=mode)
    sites = documented(mode) if sites is None else sites
    with serve(ConsentMiddleware(site, policy=policy, data=folder / "data")) as origin:
        cache = free_port()
        for shown, real in (
            ("listen 80;", f"listen 127.0.0.1:{cache};"),
            ("http://127.0.0.1:8000;", f"http://127.0.0.1:{origin};"),
            ("/var/cache/nginx/site", "FOLDER/site"),
        ):
            assert sites.count(shown) == 1
            sites = sites.replace(shown, real)
        with running(sites):
            yield Served(origin, cache)


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of a field; ``None`` where it is absent."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) < 2, values
        return values[0] if values else None

    @property
    def from_cache(self) -> str | None:
        """What the cache says of itself: ``HIT``, ``MISS``, ``BYPASS``."""
        return self.header("x-cache-status")

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that it sets."""
        lines = [value for key, value in self.headers if key.lower() == "set-cookie"]
        return dict(line.partition(";")[0].split("=", 1) for line in lines)


def ask(
    port: int,
    path: str = "/",
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
) -> Answer:
    """Make one request in a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body=body, headers={"Host": HOST, **(headers or {})})
        response: HTTPResponse = connection.getresponse()
        return Answer(response.status, response.getheaders(), response.read())
    finally:
        connection.close()

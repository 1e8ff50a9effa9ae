"""The site that has all the pages of the gallery: an ASGI app without any framework, which knows no consent."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from tests.browser.vendor_answers import GIF
from tests.gallery.pages import Answer

_HOME = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Gallery</title></head>
<body>
<p>Where visitors choose.</p>
</body>
</html>
"""

_ASSETS: dict[str, tuple[bytes, bytes]] = {
    "js": (b"text/javascript", b"window.loaded = (window.loaded || 0) + 1;\n"),
    "mjs": (b"text/javascript", b"export const value = 7;\n"),
    "css": (b"text/css", b"h1 { color: rgb(1, 2, 3); }\n"),
    "png": (b"image/gif", GIF),
    "json": (b"application/json", b'{"answer": 42}'),
    "html": (b"text/html; charset=utf-8", b"<!doctype html><title>own</title><p id=own>own frame</p>"),
    "txt": (b"text/plain; charset=utf-8", b"plain\n"),
    "woff2": (b"font/woff2", b"no font"),
    "vtt": (b"text/vtt", b"WEBVTT\n"),
}
"""What any path under ``/own/`` answers, by its extension."""


class GallerySite:
    """Serves the pages, and keeps a record of what was asked for.

    Safe to be asked from several threads.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = {
            "/": Answer(200, ((b"content-type", b"text/html; charset=utf-8"),), _HOME),
            **answers,
        }
        self._lock = threading.Lock()
        self._asked: list[str] = []

    def asked(self, *, since: int = 0) -> tuple[str, ...]:
        """Return paths with their queries since the last ``forget``, oldest first, but for the first ``since``."""
        with self._lock:
            return tuple(self._asked[since:])

    def forget(self) -> None:
        with self._lock:
            self._asked.clear()

    def _answer(self, path: str) -> Answer:
        found = self._answers.get(path)
        if found is None and path.startswith("/own/"):
            asset = _ASSETS.get(path.rpartition(".")[2])
            if asset is not None:
                found = Answer(200, ((b"content-type", asset[0]),), asset[1])
        return found or Answer(404, ((b"content-type", b"text/plain"),), b"nothing here\n")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        path: str = scope["path"]
        query = scope["query_string"].decode("latin-1")
        with self._lock:
            self._asked.append(f"{path}?{query}" if query else path)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
            return
        answer = self._answer(path)
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        size = answer.chunk or max(1, len(answer.body))
        for start in range(0, len(answer.body), size):
            piece = answer.body[start : start + size]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

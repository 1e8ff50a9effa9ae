"""Bodies that are sent as they come, as long as somebody reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from starlette.types import Receive, Scope, Send


async def stream(scope: Scope, receive: Receive, send: Send, pieces: Iterator[bytes]) -> None:
    """Send a body, whose pieces are made in a thread; the start of the response was sent before."""
    gone = asyncio.create_task(_gone(receive))
    try:
        if scope["method"] != "HEAD":
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if gone.done():
                    return  # the rest would be read and opened for nobody
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

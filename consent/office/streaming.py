"""Bodies that are sent as they come, as long as somebody reads them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from starlette.types import Receive, Scope, Send


async def stream(
    scope: Scope, receive: Receive, send: Send, pieces: Iterator[bytes] | AsyncIterator[bytes]
) -> None:
    """Send a body; the start of the response was sent before.

    At least one piece is asked for, so that whatever makes them can let go of what it holds.

    Args:
        scope, receive, send: the request's.
        pieces: those of an iterator are made in a thread.
    """
    gone = asyncio.create_task(_gone(receive))
    try:
        async with contextlib.aclosing(_pieces(pieces)) as made:
            async for piece in made:
                if scope["method"] == "HEAD":
                    break
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if gone.done():
                    return  # the rest would be read and opened for nobody
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _pieces(pieces: Iterator[bytes] | AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        if isinstance(pieces, AsyncIterator):
            async for piece in pieces:
                yield piece
        else:
            while (made := await asyncio.to_thread(lambda: next(pieces, None))) is not None:
                yield made
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
        elif (close := getattr(pieces, "close", None)) is not None:
            await asyncio.to_thread(close)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

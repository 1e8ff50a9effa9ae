"""Header fields that go with what is for one visitor only, and never with what a cache may give to somebody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Message, Send

from consent.headers import Headers, directive, directives

_PRIVATE = frozenset((b"private", b"no-store"))


def add_to_private(send: Send, added: Callable[[Headers], Awaitable[Headers]]) -> Send:
    """Return the server's ``send``, for what leaves it: a response for one visitor only gets more header fields.

    Args:
        added: called with the fields of such a response when it begins; it returns those to put behind them.
    """

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers") or ())
            if not _PRIVATE.isdisjoint(map(directive, directives(headers))):
                message = {**message, "headers": [*headers, *await added(headers)]}
        await send(message)

    return sending

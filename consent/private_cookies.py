"""Cookies that are set with a page, and never with anything that a cache may give to somebody else."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Message, Send

from consent.headers import directive, directives

_PRIVATE = frozenset((b"private", b"no-store"))


def set_with_private(send: Send, cookies: Iterable[bytes]) -> Send:
    """Return the server's ``send``, for what leaves it: the response sets ``cookies`` if it is for one visitor only.

    Args:
        cookies: values of ``Set-Cookie``. They are asked for when the response begins.
    """

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers") or ())
            if not _PRIVATE.isdisjoint(map(directive, directives(headers))):
                headers += [(b"set-cookie", cookie) for cookie in cookies]
                message = {**message, "headers": headers}
        await send(message)

    return sending

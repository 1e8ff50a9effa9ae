"""Which of a site's policies a request is under, by its host and its path."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from consent.headers import Headers, host_name
from consent.parts import beginnings, is_under
from consent.policy import Rule

_MAX_REMEMBERED = 1024
_LONGEST_REMEMBERED = 255

_Parts = tuple[tuple[tuple[str, ...], ASGIApp], ...]


class Dispatch:
    """Sends each request to the part of the site that it is for. Safe to share between event loops.

    Args:
        parts: What each rule leads to, in their order: the first that fits counts.
        rest: Where all else goes.
    """

    def __init__(self, parts: Iterable[tuple[Rule, ASGIApp]], rest: ASGIApp) -> None:
        self._parts = tuple(parts)
        self._rest = rest
        self._by_host: dict[bytes, _Parts] = {}
        everywhere = [(rule, app) for rule, app in self._parts if not rule.hosts]
        # Where no rule names hosts, nobody has to look for one.
        self._same: _Parts | None = None if len(everywhere) < len(self._parts) else _parts(everywhere)

    def enter(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI app for requests and websockets, as a plain function."""
        parts = self._same
        if parts is None:
            parts = self._at(scope["headers"])
        path: str = scope["path"]
        for paths, app in parts:
            if not paths or is_under(path, paths):
                return app(scope, receive, send)
        return self._rest(scope, receive, send)

    def _at(self, headers: Headers) -> _Parts:
        """Return the parts that may be on the host that is asked for, from memory if it was met before."""
        value = next((value for key, value in headers if key == b"host"), b"")
        found = self._by_host.get(value)
        if found is None:
            host = host_name(value)
            found = _parts((rule, app) for rule, app in self._parts if rule.is_on(host))
            # Anybody can send any: those who send another one each time are not remembered.
            if len(self._by_host) < _MAX_REMEMBERED and len(value) <= _LONGEST_REMEMBERED:
                self._by_host[value] = found
        return found


def _parts(parts: Iterable[tuple[Rule, ASGIApp]]) -> _Parts:
    return tuple((beginnings(rule), app) for rule, app in parts)

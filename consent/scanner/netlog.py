"""Reads what Chromium logged of its network: all that it asked for, also what no page can be asked about.

That is connections opened ahead of need, shared workers, and what is sent while a page is being left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from consent.enforcement import site_of
from consent.scanner.addresses import host_of

_MAX_LINE = 1 << 20
_REQUEST = "URL_REQUEST_START_JOB"
_CONNECTIONS = "TCP_CLIENT_SOCKET_POOL_REQUESTED_SOCKETS"


class Sent(NamedTuple):
    """One request or connection."""

    url: str
    preconnect: bool
    """Whether only a connection was opened."""
    moment: float
    """Seconds since 1970."""


def read_netlog(path: Path, host: str) -> Iterator[Sent]:
    """Yield what pages of the site at ``host`` made the browser ask for, and not what it asked for by itself.

    What is cut off or not understood is passed over: the log of a browser that was ended may stop anywhere.
    """
    site = site_of(host)
    with path.open(encoding="utf-8", errors="replace") as file:
        types: dict[object, str] = {}
        offset = 0.0
        for line in _lines(file):
            if not types:
                constants = _members(_object(line.removesuffix(",") + "}").get("constants"))
                numbers = _members(constants.get("logEventTypes"))
                types = {
                    numbers[name]: name for name in (_REQUEST, _CONNECTIONS) if _is_int(numbers.get(name))
                }
                offset = _number(constants.get("timeTickOffset"))
                continue
            event = _object(line.removesuffix(","))
            kind, given = event.get("type"), _members(event.get("params"))
            name = types.get(kind) if _is_int(kind) else None
            moment = (_number(event.get("time")) + offset) / 1000
            if name == _REQUEST:
                # What the browser asks about a page, such as how to fill a form in, has no page for its origin.
                if (
                    given.get("initiator") != "not an origin"
                    and _top_site(str(given.get("network_isolation_key"))) == site
                ):
                    yield Sent(str(given.get("url")), False, moment)
            elif name == _CONNECTIONS:
                # "https://host <https://site same_site>", perhaps with flags before it
                group, _, key = str(given.get("group_id")).partition(" <")
                if _top_site(key) == site:
                    yield Sent(group[max(group.find("http"), 0) :] + "/", True, moment)


def _lines(file: Any) -> Iterator[str]:
    while line := file.readline(_MAX_LINE):
        yield line.strip()


def _object(text: str) -> dict[str, Any]:
    try:
        return _members(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_int(value: object) -> bool:
    return isinstance(value, int)


def _number(value: object) -> float:
    """Return a number, also one that is written as a text, as moments are; 0 for what is none."""
    try:
        return float(value) if isinstance(value, (str, int, float)) else 0.0
    except (ValueError, OverflowError):
        return 0.0


def _top_site(key: str) -> str | None:
    host = host_of(key.split(" ")[0].rstrip(">"))
    return site_of(host) if host else None

"""Where a visitor is, by what the policy trusts for it, and the way into the app for those who are there."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent.errors import ConfigurationError
from consent.headers import DATA_TYPES, REWRITTEN_TYPES, media_type, varying
from consent.jurisdictions import Treatment, treatment
from consent.policy import Whereabouts

logger = logging.getLogger("consent")

_COUNTRY = re.compile(rb"[A-Za-z]{2}(-[A-Za-z0-9]{1,3})?")
_REGION = re.compile(rb"[A-Za-z0-9]{1,3}")
_MAX_REMEMBERED = 1024
_DAY = 86_400
_PAGES = REWRITTEN_TYPES | DATA_TYPES | {b""}

Locate = Callable[[Scope], str]
"""Returns the code of the place that a request comes from; empty where that is not known."""


def locating(whereabouts: Whereabouts) -> Locate:
    """Return what tells where a request comes from. Everything is read here; requests wait for nothing.

    Raises:
        ConfigurationError: the database cannot be read, or what reads it is not installed.
    """
    if whereabouts.everybody:
        return lambda scope: whereabouts.everybody
    if whereabouts.database:
        return _by_address(whereabouts.database)
    country = whereabouts.country_header.lower().encode()
    region = whereabouts.region_header.lower().encode()
    return lambda scope: _by_headers(scope, country, region)


def _by_headers(scope: Scope, country: bytes, region: bytes) -> str:
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in (country, region):
            if name in found:  # two proxies disagree, or one of them is none
                return ""
            found[name] = value.strip(b" \t")
    place = found.get(country, b"")
    if _COUNTRY.fullmatch(place) is None:
        return ""
    part = found.get(region, b"")
    if b"-" not in place and _REGION.fullmatch(part):
        place += b"-" + part
    return place.decode("ascii").upper()


def _by_address(path: str) -> Locate:
    try:
        import maxminddb
    except ImportError as error:
        raise ConfigurationError(
            "a database of places is read by maxminddb: pip install 'asgi-consent[geo]'", key="jurisdictions"
        ) from error
    try:
        # The whole of it: a file that is replaced meanwhile changes nothing until the next start.
        database = maxminddb.open_database(path, maxminddb.MODE_MEMORY)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as a MaxMind database: {error}", key="jurisdictions"
        ) from error

    def locate(scope: Scope) -> str:
        # Whose address that is, the server says: no header field is looked at here.
        try:
            address = ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return ""
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        try:
            record = database.get(address) if address.is_global else None
        except (ValueError, maxminddb.InvalidDatabaseError) as error:
            logger.error(
                "%s has no readable answer: the visitor is taken for one from nowhere: %s", path, error
            )
            return ""
        return _code(record)

    return locate


def _code(record: Any) -> str:
    """Return the code in a record of a country or city database, as MaxMind lays them out."""
    try:
        country = str(record["country"]["iso_code"])
    except (KeyError, TypeError):
        return ""
    try:
        return f"{country}-{record['subdivisions'][0]['iso_code']}"
    except (KeyError, TypeError, IndexError):
        return country


class ByJurisdiction:
    """Sends each request in by the way for its place. Safe to share between event loops.

    Args:
        whereabouts, locate: where visitors are.
        ways: the way for each treatment that there can be, and for each section.
        section: tells of which section of the IAB's platform scripts are told in a place.
        clock: returns seconds since 1970. What is in force changes with the day, in UTC.
    """

    def __init__(
        self,
        whereabouts: Whereabouts,
        locate: Locate,
        ways: Mapping[Treatment, Mapping[str, ASGIApp]],
        section: Callable[[str], str],
        clock: Callable[[], float],
    ) -> None:
        self._whereabouts = whereabouts
        self._locate = locate
        self._ways = ways
        self._section = section
        self._clock = clock
        self._day = -1
        self._by_place: dict[str, ASGIApp] = {}
        trusted = (whereabouts.country_header, whereabouts.region_header)
        self._names = tuple(name.encode() for name in trusted if name)

    def enter(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI app for requests and websockets, as a plain function."""
        way = self._way(self._locate(scope))
        return way(scope, receive, self._varying(send) if self._names else send)

    def _way(self, place: str) -> ASGIApp:
        day = int(self._clock() // _DAY)
        if day != self._day:
            self._by_place.clear()
            self._day = day
        found = self._by_place.get(place)
        if found is None:
            on = datetime.fromtimestamp(day * _DAY, UTC).date()
            found = self._ways[treatment(place, on, self._whereabouts)][self._section(place)]
            if len(self._by_place) < _MAX_REMEMBERED:
                self._by_place[place] = found
        return found

    def _varying(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers") or ())
                if media_type(headers) in _PAGES or any(
                    name.lower() == b"vary" and b"sec-gpc" in value.lower() for name, value in headers
                ):
                    # A cache has to tell apart who is where, also one that is allowed to keep pages.
                    message = {**message, "headers": varying(headers, self._names)}
            await send(message)

        return sending

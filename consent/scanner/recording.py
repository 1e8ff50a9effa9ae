"""What a browser did on a site, as plain values: nothing here judges, and nothing needs a browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from consent.errors import ConsentError

MAX_REQUESTS = 10_000
"""Different requests that are kept of one phase; more are only counted."""
MAX_KEPT = 2_000
"""Cookies, stored keys and calls that are kept of one phase, each."""
MAX_URL = 2_048
"""Characters that are kept of an address."""
MAX_NAME = 200
"""Characters that are kept of a cookie's name, a key or a script."""
MAX_PAGES_OF_ONE = 20
"""How many pages are kept as places of one thing."""


class ScanError(ConsentError):
    """A site could not be scanned; the message says what to do."""


class Phase(StrEnum):
    """What the visitor has said so far."""

    BEFORE = "before"
    """Nothing."""
    REFUSED = "refused"
    """No to everything."""
    ACCEPTED = "accepted"
    """Yes to everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a scan goes."""

    pages: int = 20
    """Pages of each phase."""
    depth: int = 3
    """Links from the first page."""
    seconds: float = 300.0
    """In all; each phase may take its share."""
    megabytes: int = 200
    """Received in all, in millions of bytes; each phase may take its share."""
    pause: float = 0.5
    """Seconds between two pages."""
    quiet: float = 0.5
    """Seconds without a request after which a page counts as loaded."""


@dataclass(slots=True)
class Request:
    """One address that was asked for, in one way."""

    url: str
    kind: str
    """``script``, ``image``, ``iframe``, ``fetch``, ``beacon``, ``websocket``, ``worker``, ``preconnect`` …"""
    initiator: str
    """What made the browser ask, in words; empty where that is not known."""
    pages: list[str] = field(default_factory=list)
    """The pages on which that happened, the first one first."""
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCookie:
    """One cookie in the browser's jar; its value is not kept."""

    name: str
    domain: str
    """With a leading dot where it is sent to subdomains, too."""
    path: str
    lifetime_seconds: int | None
    """How long it was to be kept when it was first seen; ``None``: for the session."""
    http_only: bool
    secure: bool
    same_site: str
    """``Strict``, ``Lax``, ``None``, or empty where it does not say."""
    partition: str
    """The site that it is partitioned by (CHIPS); empty: it is not."""
    page: str
    """The page after which it was first there."""
    initiator: str
    """The script that wrote it; empty: a response did, or that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """One key in a storage of the browser; what is kept under it is not looked at."""

    area: str
    """``local``, ``session``, ``indexeddb`` or ``cache``."""
    key: str
    origin: str
    page: str
    initiator: str


@dataclass(slots=True)
class Call:
    """A script's use of something that tells browsers apart."""

    what: str
    """``canvas``, ``webgl``, ``audio``, ``fonts`` …"""
    script: str
    page: str
    count: int = 0
    different: int = 0
    """How many different things were asked for, such as fonts."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One page that was opened."""

    url: str
    status: int
    """The HTTP status; 0 where there was no answer."""
    problem: str = ""


@dataclass(slots=True)
class PhaseRecord:
    """All that happened in one phase, in a fresh profile."""

    phase: Phase
    visits: list[Visit] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    cookies: list[StoredCookie] = field(default_factory=list)
    stored: list[StoredKey] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    stopped: str = ""
    """The bound that ended it before all pages were seen; empty: none."""
    dropped: int = 0
    """How many things there was no room for."""


@dataclass(slots=True)
class Recording:
    """One scan."""

    url: str
    """The page that it began with, after redirects."""
    started: str
    """UTC, as ``2026-11-25 21:00``."""
    browser: str
    seconds: float = 0.0
    banner: str = ""
    """What was pressed to choose, in words; empty: nothing could be."""
    choice_cookies: tuple[str, ...] = ()
    """The cookies in which the site keeps the choice."""
    phases: list[PhaseRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What whoever reads the report has to know, in sentences."""

"""What third-party content was seen on the site: counted without personal data, in bounded memory.

Pages and reports are noted in memory, on the request path; whoever keeps the inventory takes what has gathered
from there, and merges it into a store.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, Protocol

from consent.enforcement import Finding, is_unclassified

MAX_PENDING = 1_000
"""How many different sightings of one source wait in memory; more are turned away until these are taken."""
MAX_PAGES = 5
"""How many pages are kept as examples of one sighting."""
MAX_COUNT = 1_000_000_000
"""Nothing is counted further."""
_MAX_PATH = 120
_MAX_SUBJECT = 200

# A name that somebody chose is letters and a few digits; a number, a key or an address may be somebody.
_TELLING = re.compile(r"(?<=/)(?:[^/]*(?:[0-9]{3}|@|%40)[^/]*|[^/]{41,})")


class Source(StrEnum):
    """Who says that something was seen."""

    RESPONSE = "response"
    """It was in a page, as the middleware read it."""
    REPORT = "report"
    """A browser reported that a Content-Security-Policy stopped it, or would have."""
    SCRIPT = "script"
    """It is an inline script that was in a page, told from others by its fingerprint."""


class Sighting(NamedTuple):
    """One kind of thing from one place."""

    source: Source
    kind: str
    """What it is in the page, as in `consent.enforcement.Finding`; in reports, the directive."""
    subject: str
    """The host; of cookies the name, of inline scripts whose snippet it is, or the fingerprint and what it calls."""
    vendor: str
    """The vendor's id; empty: unclassified."""
    part: str = ""
    """The hosts on which it was, by the name of their part of the site; empty: those that no rule is about."""
    site: str = ""
    """The site, as receipts name it; empty: it was seen before that was noted."""


@dataclass(slots=True)
class Tally:
    """How often and where a sighting was made."""

    first_day: int
    """Days since 1970-01-01, in UTC."""
    last_day: int
    count: int = 0
    pages: list[str] = field(default_factory=list)
    """Paths, for example: without query, and with ``*`` for parts that may tell who somebody is."""

    def add(self, other: Tally) -> None:
        """Add what was counted elsewhere."""
        self.first_day = min(self.first_day, other.first_day)
        self.last_day = max(self.last_day, other.last_day)
        self.count = min(self.count + other.count, MAX_COUNT)
        for page in other.pages:
            if page not in self.pages and len(self.pages) < MAX_PAGES:
                self.pages.append(page)


def seen_in(findings: Iterable[Finding]) -> frozenset[tuple[str, str, str]]:
    """Return kind, subject and vendor of what was found in a page, as the inventory keeps it: no paths."""
    return frozenset(
        (
            finding.kind,
            finding.subject if finding.kind == "inline script" else finding.subject.partition("/")[0],
            finding.vendor.id if finding.vendor else "",
        )
        for finding in findings
        if finding.vendor or is_unclassified(finding)
    )


class InventoryStore(Protocol):
    """Where an inventory is kept. Its methods block; they are called by one thread at a time in each process."""

    def merge(self, tallies: Mapping[Sighting, Tally]) -> None:
        """Add what was seen to what is there, all of it or nothing.

        It may drop sightings to stay within bounds of its own, separately for each source and part of the site.

        Raises:
            StoreUnavailable: it cannot be written now; nothing was added.
        """

    def sightings(self) -> Mapping[Sighting, Tally]:
        """Return all that was seen; empty where nothing was yet.

        Raises:
            StoreUnavailable: it cannot be read.
        """


class Inventory:
    """What was seen since it was last taken. Safe to share between threads and event loops.

    Args:
        woken: Called when something waits to be taken, and again after it was. It must not block.
        part: The name of the part of the site that it is about.
        site: That part's site, as receipts name it.
    """

    def __init__(self, woken: Callable[[], None] = lambda: None, *, part: str = "", site: str = "") -> None:
        self._woken = woken
        self._part = part
        self._site = site
        self._lock = threading.Lock()
        self._pending: dict[Source, dict[tuple[str, str, str], Tally]] = {source: {} for source in Source}
        self._vendors: dict[Source, dict[str, None]] = {source: {} for source in Source}
        self.seen: Sequence[str] = ()
        """The ids of all vendors ever seen, those in responses first. Another object when there is a new one."""
        self.seen_in_pages: Sequence[str] = ()
        """The same of responses alone: nobody but the site says what is in them."""
        self.turned_away = 0
        """Sightings for which there was no room."""

    def note(self, source: Source, found: Iterable[tuple[str, str, str]], page: str, now: int) -> None:
        """Take note of what was seen in one page, each thing once.

        Args:
            found: Kind, subject and vendor of each, as in `Sighting`.
            page: The page's path, percent-encoded; empty where it has none.
            now: Seconds since 1970.
        """
        day = now // 86_400
        shape = page_shape(page[: 4 * _MAX_PATH])  # what is remembered is no longer, either
        with self._lock:
            pending = self._pending[source]
            wakes = not pending
            for key in found:
                tally = pending.get(key)
                if tally is None:
                    if len(pending) >= MAX_PENDING or len(key[1]) > _MAX_SUBJECT:
                        self.turned_away += 1
                        continue
                    tally = pending[key] = Tally(day, day)
                    if key[2]:
                        self._meet(source, (key[2],))
                tally.count += 1
                tally.last_day = day
                if shape and shape not in tally.pages and len(tally.pages) < MAX_PAGES:
                    tally.pages.append(shape)
            wakes = wakes and bool(pending)
        if wakes:
            self._woken()

    def wake(self) -> None:
        """Say that something will wait to be taken, once it was looked at."""
        self._woken()

    def take(self) -> dict[Sighting, Tally]:
        """Return what waits, which is then forgotten here."""
        with self._lock:
            taken, self._pending = self._pending, {source: {} for source in Source}
        return {
            Sighting(source, *key, self._part, self._site): tally
            for source in Source
            for key, tally in taken[source].items()
        }

    def give_back(self, tallies: Mapping[Sighting, Tally]) -> None:
        """Let what was taken wait again, as far as there is room."""
        with self._lock:
            for (source, *key, part, site), tally in tallies.items():
                if (part, site) != (self._part, self._site):
                    continue
                pending = self._pending[source]
                known = pending.get((key[0], key[1], key[2]))
                if known is not None:
                    known.add(tally)
                elif len(pending) < MAX_PENDING:
                    pending[key[0], key[1], key[2]] = tally
                else:
                    self.turned_away += tally.count

    def learn(self, sightings: Iterable[Sighting]) -> None:
        """Know the vendors that were seen by others, or before."""
        with self._lock:
            for sighting in sightings:
                if sighting.vendor and sighting.part == self._part:
                    self._meet(sighting.source, (sighting.vendor,))

    def _meet(self, source: Source, vendors: Iterable[str]) -> None:
        known = self._vendors[source]
        for vendor in vendors:
            if vendor not in known:
                known[vendor] = None
                seen = tuple(dict.fromkeys(v for met in self._vendors.values() for v in met))
                self.seen = seen if seen != self.seen else self.seen
                if source is Source.RESPONSE:
                    self.seen_in_pages = tuple(known)


@lru_cache(maxsize=1024)
def page_shape(path: str) -> str:
    """Return a path as it is kept: at most 120 characters, and ``*`` for parts that may tell who somebody is.

    These are parts with three digits in a row, an ``@``, or more than 40 characters.
    """
    return _TELLING.sub("*", path[: 4 * _MAX_PATH])[:_MAX_PATH]

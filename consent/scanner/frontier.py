"""Which links of a site are followed, and in which order: bounded, and nothing that changes anything."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import NamedTuple

from consent.html.urls import PageURL, resolve
from consent.scanner.addresses import origin_of
from consent.scanner.recording import MAX_URL
from consent.scanner.robots import Robots

MAX_WAITING = 2_000
"""How many addresses wait to be opened; further ones are passed over."""
_MAX_ALIKE = 3
"""How many addresses are opened that differ in their numbers and query only: calendars have no end."""
_DOING = re.compile(
    r"(?i)(?<![a-z])("
    r"log[-_ ]?(out|off)|sign[-_ ]?(out|off)|abmelden|d[eé]connexion|d[eé]connecter|cerrar[-_ ]?sesi[oó]n|uitloggen|"
    r"wyloguj|logga[-_ ]?ut|unsubscribe|abbestellen|d[eé]sabonner|delete|remove|destroy|cancel|revoke"
    r")(?![a-z])"
)
_FILES = re.compile(
    r"(?i)\.(7z|apk|atom|avif|bin|bmp|bz2|css|csv|deb|dmg|docx?|eot|epub|exe|gif|gz|ico|ics|iso|jpe?g|js|json|m4[av]|"
    r"map|mjs|mov|mp[34]|msi|odp|ods|odt|og[gv]|otf|pdf|pkg|png|pptx?|rar|rpm|rss|rtf|svgz?|tar|tgz|tiff?|tsv|ttf|txt|"
    r"vcf|wasm|wav|webm|webp|woff2?|xlsx?|xml|xz|zip)\Z"
)


class Link(NamedTuple):
    """One link on a page."""

    href: str
    """Absolute, as the browser resolved it."""
    text: str
    """What stands on it, or some of that."""


class Frontier:
    """The pages of one origin that were found and not opened yet: the nearest first, what is much alike last.

    Args:
        start: The first page's address; pages of its scheme, host and port are followed, no others.
        robots: What the site asks for.
        prefix: The path of the middleware's own pages, which are left out; empty: there are none.
    """

    def __init__(self, start: str, robots: Robots, *, depth: int, prefix: str = "") -> None:
        self._origin = origin_of(start)
        self._robots = robots
        self._depth = depth
        self._prefix = prefix
        self._waiting: list[tuple[int, int, int, str]] = [(0, 0, 0, start)]
        self._seen = {_plain(start)}
        self._alike = Counter([_shape(start)])
        self.withheld = 0
        """How many links robots.txt asks not to follow."""

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> tuple[str, int]:
        """Return the next page's address, and how many links it is away from the first."""
        _, depth, _, url = heappop(self._waiting)
        return url, depth

    def add(self, links: Iterable[Link], depth: int) -> None:
        """Take note of the links of a page that is ``depth`` links away from the first."""
        if depth >= self._depth:
            return
        for link in links:
            url = link.href.partition("#")[0]
            if not self._leads_on(url, link.text):
                continue
            plain, shape = _plain(url), _shape(url)
            if plain in self._seen or self._alike[shape] >= _MAX_ALIKE or len(self) >= MAX_WAITING:
                continue
            self._seen.add(plain)
            if not self.allows(url):
                self.withheld += 1
                continue
            heappush(self._waiting, (self._alike[shape], depth + 1, len(self._seen), url))
            self._alike[shape] += 1

    def allows(self, url: str) -> bool:
        """Tell whether a page may be opened: it is of this origin, and robots.txt does not object."""
        return origin_of(url) == self._origin and self._robots.allow(target_of(url))

    def _leads_on(self, url: str, text: str) -> bool:
        if len(url) > MAX_URL or origin_of(url) != self._origin:
            return False
        path = target_of(url)
        if self._prefix and path.startswith(f"{self._prefix}/"):
            return False
        return not (_DOING.search(path) or _DOING.search(text[:100]) or _FILES.search(path.partition("?")[0]))


def target_of(url: str) -> str:
    """Return path and query of an address as rules are compared with it."""
    target = resolve(url, PageURL("https", "nowhere.invalid", "/"))
    return "/" if target is None else target.path


def _plain(url: str) -> str:
    return target_of(url).rstrip("/")


def _shape(url: str) -> str:
    """Return what addresses have in common that differ in numbers and query only."""
    return re.sub(r"[0-9]+", "0", target_of(url).partition("?")[0])[:MAX_URL]

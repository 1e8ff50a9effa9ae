"""What pages of the gallery ask for, told apart as it comes in.

What reaches the stand-in for the third-party internet, or the site, tells by its URL which page it came from;
what only connects does so by its host.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.browser.standin import Contact, StandIn
from tests.gallery.pages import Page
from tests.gallery.site import GallerySite


@dataclass(slots=True)
class Visit:
    """What happened when a page was shown."""

    contacts: int = 0
    """How many requests (or connections, for pages about these) reached the tracker."""
    benign: set[str] = field(default_factory=set)
    """Which of the page's benign addresses and own paths were asked for, as the data name them."""
    cookies: set[str] = field(default_factory=set)
    storage: set[str] = field(default_factory=set)
    works: bool | None = None
    """What the page's own expression said; ``None``: it has none."""
    trouble: str = ""
    """Why the page could not be shown as it should."""


_TOKEN = re.compile(r"[?&]g=([a-z0-9.-]+)")


def _token(target: str) -> str:
    match = _TOKEN.search(target)
    return match[1] if match else ""


class Record:
    """What happens while ``pages`` are shown; begins with nothing."""

    def __init__(self, pages: Sequence[Page], site: GallerySite, standin: StandIn) -> None:
        self.visits = {page.id: Visit() for page in pages}
        self.activity: Counter[str] = Counter()
        """By page id, how much it has asked for."""
        self._by_id = {page.id: page for page in pages}
        self._by_path = {page.path: page for page in pages}
        self._by_host = {page.tracker_address[0]: page for page in pages if page.how == "connection"}
        self._site = site
        self._standin = standin
        self._contacts_read = self._asked_read = 0
        site.forget()
        standin.forget()

    def read(self) -> None:
        """Take in what came since the last time."""
        contacts = self._standin.contacts(since=self._contacts_read)
        self._contacts_read += len(contacts)
        for contact in contacts:
            page = self._by_host.get(contact.host)
            if page is not None:
                self.visits[page.id].contacts += 1
            elif contact.kind != "connection" and (page := self._by_id.get(_token(contact.target))):
                self._note(contact, page)
            if page is not None:
                self.activity[page.id] += 1
        asked = self._site.asked(since=self._asked_read)
        self._asked_read += len(asked)
        for one in asked:
            path, _, query = one.partition("?")
            if page := self._by_id.get(_token("?" + query)):
                self.visits[page.id].benign.add(path)
                self.activity[page.id] += 1
            beside, slash, name = path.rpartition("/")
            if page := self._by_path.get(beside + slash):
                if name in page.own:
                    self.visits[page.id].benign.add(name)
                self.activity[page.id] += 1

    def _note(self, contact: Contact, page: Page) -> None:
        visit = self.visits[page.id]
        path = contact.target.partition("?")[0]
        for written, (host, target) in zip(page.benign, page.benign_addresses, strict=True):
            if contact.host == host and path == target.partition("?")[0]:
                visit.benign.add(written)
                return
        # Anything else with the page's token is the tracker, in whatever way it is spelt.
        if page.tracker:
            visit.contacts += 1

    def has_all(self, page: Page, *, tracker: bool) -> bool:
        """Tell whether ``page`` has asked for what it must: all that is benign, and the ``tracker`` if that counts."""
        visit = self.visits[page.id]
        arrived = not tracker or not page.contacts_tracker or bool(page.gone) or visit.contacts > 0
        return arrived and visit.benign >= {*page.benign, *page.own}


def says_all(page: Page) -> bool:
    """Tell whether nothing more can be learned from a page that has asked for all that it can."""
    more = page.works or page.cookies or page.storage or page.own_cookies
    return page.contacts_tracker and not page.gone and not more

"""The inline scripts of some pages, for the inventory: picked on the way out, read by whoever keeps the inventory.

On its way out nothing is done to a page but to hold on to the pieces that the app sent, and that to few pages: to the
next one, whatever it is, when none was picked for a while.
"""

from __future__ import annotations

import logging
from hashlib import blake2b
from typing import NamedTuple

from consent.allowance import Allowance
from consent.catalog import Catalog
from consent.html import Rewriter
from consent.html.judge import Skip
from consent.inventory import Inventory, Source
from consent.script_shape import MAX_CODE, shape_of
from consent.streams import Stream

logger = logging.getLogger("consent")

SECONDS_BETWEEN = 5.0
"""A page is picked after so long, in each process, for each part of the site ..."""
BURST = 10
"""... and so many at once, after a while without any."""
MAX_PAGE_BYTES = 512 * 1024
"""No more of a page is held on to, and looked at."""
MAX_SCRIPTS = 200
"""Different scripts and event handlers of one page; more are not looked at."""
_MAX_KNOWN = 2_000


class _Page(NamedTuple):
    pieces: list[bytes]
    address: str
    now: int


class PickedPages:
    """Holds on to some pages, and notes the inline scripts in them. Safe to share between threads and event loops.

    Args:
        inventory: What they are noted in.
        catalog: Says whose a script is.
    """

    def __init__(self, inventory: Inventory, catalog: Catalog) -> None:
        self._inventory = inventory
        self._catalog = catalog
        self._allowance = Allowance(1 / SECONDS_BETWEEN, BURST)
        self._waiting: list[_Page] = []
        self._known: dict[bytes, tuple[tuple[str, str, str], ...]] = {}  # by the digest of a script

    def picks(self, now: float) -> bool:
        """Tell whether a page that is sent at ``now``, in seconds since 1970, is to be held on to."""
        return self._allowance.admits(now) and len(self._waiting) < BURST

    def is_due(self, now: float) -> bool:
        """Tell whether :meth:`picks` would, without counting it."""
        return self._allowance.would_admit(now) and len(self._waiting) < BURST

    def holding(self, stream: Stream, address: str, now: int) -> Stream:
        """Return a stream that does the same as ``stream``, and holds on to what it is given.

        Args:
            address: The page's path, percent-encoded.
            now: Seconds since 1970.
        """
        return _Holding(stream, self, _Page([], address, now))

    def keep(self, page: _Page) -> None:
        """Let a page wait to be read."""
        self._waiting.append(page)
        self._inventory.wake()

    def read(self) -> None:
        """Note the scripts of the pages that wait: some milliseconds for each."""
        waiting, self._waiting = self._waiting, []
        for page in waiting:
            reader = _Reader()
            rewriter = Rewriter(reader)
            try:
                for piece in page.pieces:
                    rewriter.write(piece)
            except Exception as error:
                # Whether the page can be read is for who sent it to say.
                logger.debug("not all inline scripts of a page were looked at: %s", error)
            found = {sighting for code in reader.scripts for sighting in self._sightings(code)}
            self._inventory.note(Source.SCRIPT, found, page.address, page.now)

    def _sightings(self, code: str) -> tuple[tuple[str, str, str], ...]:
        digest = blake2b(code.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        found = self._known.get(digest)
        if found is None:
            shape = str(shape_of(code))
            matches = self._catalog.match_inline(code[:MAX_CODE])
            vendors = [match.vendor.id for match in matches] or [""]
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            found = self._known[digest] = tuple(("inline script", shape, vendor) for vendor in vendors)
        return found


class _Holding:
    def __init__(self, stream: Stream, pages: PickedPages, page: _Page) -> None:
        self._stream = stream
        self._pages = pages
        self._page = page
        self._room = MAX_PAGE_BYTES

    def write(self, chunk: bytes) -> bytes:
        if self._room > 0:
            self._page.pieces.append(chunk[: self._room])
            self._room -= len(chunk)
        return self._stream.write(chunk)

    def end(self) -> bytes:
        self._pages.keep(self._page)
        return self._stream.end()


class _Reader:
    """A rewriter's ``Judge`` that refuses nothing, and takes the scripts."""

    skip: Skip | None = None

    def __init__(self) -> None:
        self.scripts: dict[str, None] = {}

    def refuses_script(self, code: str) -> bool:
        if len(self.scripts) < MAX_SCRIPTS and code.strip():
            self.scripts[code] = None
        return False

    def refuses_url(self, element: str, url: str) -> bool:
        return False

    def set_base(self, url: str) -> None:
        """Nothing is asked about URLs."""

    def begin_element(self) -> None:
        """Nothing is refused, so nothing is held."""

    def refused_by(self) -> frozenset[str]:
        return frozenset()

    def note_instead(self, action: str) -> None:
        """Nothing is refused, so nothing takes its place."""

    def note_undecided(self, element: str) -> None:
        """What is too long to be read here is not looked at."""
